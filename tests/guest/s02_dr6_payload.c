/* SPDX-License-Identifier: MIT */
/* A #DB replaces B0-3 by its own causes and keeps the sticky bits, whoever holds DR6 when it happens.
 *
 * Symptom: the guest's handler sees breakpoints of an earlier #DB again, or misses BS that was there. Cause: the hypervisor took the
 * whole DR6 that the exit left as the new causes, although the guest's old DR6 was loaded; or it wrote DR6 afresh.
 * Who: KVM until d67668e9dd76; Xen db39fa4b27 (OR, B0-3 never cleared), KVM 8246bf52c75a (assigned instead of merged).
 * Rules: S02, S04, A12, H13; mutations B29, B51. (B02 shows in doc1_host_dr6 as DR writes on idle exits.)
 * On Bochs's SVM an intercepted #DB leaves no trace in DR6: drover derives the cause there, under a quirk. */
#include "tests/guest/guest.h"

/* CPUID leaves to the slow path: at the store the guest does not own its registers. MOV DR before the store: it does. */
CODE64(s02_armed, "cpuid; movb $1, watch_buf; s02_armed_next: nop;" DONE)
CODE64(s02_live, "mov %dr7, %rax; movb $1, watch_buf; s02_live_next: nop;" DONE)
CODE64(s02_step, "mov %dr7, %rax; nop; nop;" DONE)
CODE64(s02_step_exit, "cpuid; nop; nop;" DONE)
LABEL(s02_armed_next);
LABEL(s02_live_next);

static void watch(void)
{
	write_dr0((uint64_t)(uintptr_t)watch_buf);
	write_dr3((uint64_t)(uintptr_t)&watch_buf[32]);
	write_dr7(DR7_INIT | DR7_BP(0, RW_WRITE, LEN_1));
}

static void hit(const char *rule, const char *mode, const void *code, uint64_t old)
{
	struct run r = { .code = code, .cpl = 0 };
	uint64_t sticky = old & (DR6_BS | DR6_BD);

	watch();
	write_dr6(DR6_INIT | old);
	run_code(&r);
	check_eq(fmt("%s.%s.%x", rule, mode, (unsigned)old), "causes left in DR6, then a watchpoint hit: B0, and the sticky ones only",
		 trap_nth(VEC_DB, 0)->dr6, DR6_INIT | DR6_B0 | sticky);
	check_eq(fmt("%s.%s.%x.n", rule, mode, (unsigned)old), "one #DB", trap_count(VEC_DB), 1);
}

static void step(const char *mode, const void *code, uint64_t old)
{
	struct run r = { .code = code, .cpl = 0, .rflags = FL_TF };
	uint64_t sticky = old & DR6_BD;

	debug_state_reset();
	write_dr6(DR6_INIT | old);
	db.clear_tf_after = 1;
	run_code(&r);
	check_eq(fmt("S04.%s.%x", mode, (unsigned)old), "causes left in DR6, then a step: BS, and the sticky ones", trap_nth(VEC_DB, 0)->dr6,
		 DR6_INIT | DR6_BS | sticky);
	db.clear_tf_after = 0;
}

/* Two hits in a row with a handler that leaves DR6 alone: nothing is counted twice, B bits follow the last hit. */
static void twice(void)
{
	struct run a = { .code = s02_live, .cpl = 0 }, b = { .code = s02_step, .cpl = 0, .rflags = FL_TF };

	watch();
	write_dr6(DR6_INIT);
	db.keep_dr6 = true;
	run_code(&a);
	write_dr7(DR7_INIT);
	db.clear_tf_after = 1;
	run_code(&b);
	db.clear_tf_after = 0;
	db.keep_dr6 = false;
	check_eq("S04.twice", "a hit, then a step, DR6 never cleared: BS without B0", trap_nth(VEC_DB, 0)->dr6, DR6_INIT | DR6_BS);
	check_eq("S04.after", "and the guest reads the same later", read_dr6(), DR6_INIT | DR6_BS);
}

SCENARIO(s02_dr6_payload, "DR6 of a #DB: new B bits, old sticky bits", 0)
{
	static const uint32_t old[] = { DR6_BS | DR6_B3, 0, DR6_BD, DR6_BS | DR6_BD | 0xf, DR6_B0 };

	for (unsigned i = 0; i < sizeof(old) / sizeof(old[0]); i++) {
		hit("S02", "armed", s02_armed, old[i]);
		hit("S02", "live", s02_live, old[i]);
		step("live", s02_step, old[i]);
		step("exit", s02_step_exit, old[i]);
	}
	twice();
}
