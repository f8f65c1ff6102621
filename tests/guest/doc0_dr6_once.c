/* SPDX-License-Identifier: MIT */
/* The guest's DR6 is loaded once per outer entry, and never again from a memory copy while the inner loop goes round.
 *
 * Symptom: a guest that owns its debug registers writes DR6 and, a moment later, reads something that it wrote long ago.
 * Cause: MOV to DR6 does not exit while the guest owns the registers, so the hypervisor's copy is stale; a loop that handles
 * cheap exits without leaving (timer, some MSR writes) loaded that copy again before each re-entry. On VMX it was worst: there
 * the copy went straight into the register; on SVM into the control block.
 * Who: Linux KVM, on SVM from d67668e9dd76 (2020), on VMX from 375e28ffc0cf (2021), until c2fee09fc167 (2025; CVE-2025-21839).
 * Rules: H11, S03; mutation B01. Causes in DR6 at a reflected #DB are another matter (S04): here only what the guest wrote counts. */
#include "tests/guest/guest.h"

#define ROUNDS (env.level > 2 ? 200u : 2000u) /* with three drovers below, an exit of this one may be two thousand of the lowest */
#define DB_ROUNDS (env.level > 2 ? 20u : 200u)

static const uint32_t pattern[] = { 0xf, 0, DR6_BS | DR6_B1, DR6_BD | DR6_B3, 0x5, DR6_BS | DR6_BD | DR6_BT | 0xa, DR6_B0 };
#define NR_PATTERNS (sizeof(pattern) / sizeof(pattern[0]))

CODE64(doc0_store, "movb $1, watch_buf; nop;" DONE)
CODE64(doc0_nops, "nop; nop; nop;" DONE)

/* What DR6 reads after a write of v (rule A01). */
static uint64_t dr6_after(uint64_t v)
{
	uint64_t ones = DR6_INIT;

	if (env.rtm)
		ones &= ~(uint64_t)DR6_RTM;
	if (env.bld)
		ones &= ~(uint64_t)DR6_BLD;
	return v | ones;
}

static uint64_t hook_value; /* what the #DB handler is to leave in DR6 */
static unsigned hook_calls;

/* A handler as an operating system has it: reads DR6 (the runtime did, for the log) and writes it; fast exits around the write. */
static bool db_hook(struct trap_frame *f, struct trap_rec *rec)
{
	(void)rec;
	hook_calls++;
	fx(FX_FAST);
	write_dr6(hook_value);
	fx(FX_FAST);
	f->rflags &= ~FL_TF;
	return true;
}

/* DR6 written, fast exits, DR6 read. slow_every: a slow exit before each n-th round makes the host's copy a new one (0: never). */
static void fast_rounds(const char *id, const char *desc, unsigned slow_every)
{
	uint64_t got = 0, want = 0;

	for (unsigned i = 0; i < ROUNDS && got == want; i++) {
		uint32_t v = pattern[i % NR_PATTERNS];

		if (slow_every && i % slow_every == 0)
			fx(FX_SLOW);
		(void)read_dr7(); /* from here on the guest owns the registers */
		write_dr6(v);
		want = dr6_after(v);
		for (unsigned k = 0; k <= i % 3; k++)
			fx(FX_FAST);
		got = read_dr6();
	}
	check_eq(id, desc, got, want);
}

/* A #DB that the hypervisor reflects, the handler's DR6, then fast exits. */
static void db_rounds(const char *id, const char *desc, const void *code, uint64_t rflags)
{
	uint64_t got = 0, want = 0;
	unsigned i;

	hook_calls = 0;
	for (i = 0; i < DB_ROUNDS && got == want; i++) {
		struct run r = { .code = code, .cpl = 0, .rflags = rflags };

		write_dr6(pattern[(i + 3) % NR_PATTERNS]);
		hook_value = pattern[i % NR_PATTERNS];
		run_code(&r);
		want = dr6_after(hook_value);
		got = read_dr6();
		if (got == want) {
			fx(FX_FAST);
			got = read_dr6();
		}
	}
	check_eq(id, desc, got, want);
	check_eq(fmt("%s.count", id), "each round took one #DB", hook_calls, i);
}

SCENARIO(doc0_dr6_once, "DR6 stays what the guest last wrote, through exits of the inner loop", SCN_LAB)
{
	uint64_t before = hypercall(HC_LAB_COUNT, LAB_FAST_EXITS, 0, 0);

	fast_rounds("H11.fast", fmt("DR6 written, fast exits, DR6 read: %u times in one outer entry", ROUNDS), 0);
	/* Each round makes 1 to 3 of them: without this check a hypervisor that treats them as slow would pass unseen. Under three drovers one of them may outlast
	 * the time slice, whose end is on the slow path. */
	check("H11.fast.count", "those exits went round the inner loop",
	      hypercall(HC_LAB_COUNT, LAB_FAST_EXITS, 0, 0) - before >= (env.level < 3 ? ROUNDS : 1));
	fast_rounds("H11.mixed", "the same with a slow exit, hence a new copy, before each fifth", 5);

	trap_set_hook(VEC_DB, db_hook);
	write_dr0((uint64_t)(uintptr_t)watch_buf);
	write_dr7(DR7_INIT | DR7_BP(0, RW_WRITE, LEN_1));
	db_rounds("S03.watch", "a reflected watchpoint hit: DR6 is what the handler wrote", doc0_store, 0);
	write_dr7(DR7_INIT);
	db_rounds("S03.step", "a reflected single step: DR6 is what the handler wrote", doc0_nops, FL_TF);
	trap_set_hook(VEC_DB, NULL);
}
