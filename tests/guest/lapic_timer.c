/* SPDX-License-Identifier: MIT */
/* Symptom: a guest that halts until its timer comes never wakes, or a busy one gets its timer interrupt only when it happens to exit.
 * Cause: HLT is taken for the end; or the deadline is looked at only when the guest exits for another reason, and nothing makes it.
 * Who had it: hypervisors whose timer came after their HLT; drover's guests had none before.
 * Rules: section 0, the ladder, for an interrupt of the local APIC. */
#include "tests/guest/apic.h"

#define VEC_APIC_TIMER 0x40
#define TICKS 300000u
#define PERIOD (env.level > 2 ? 40 * TICKS : TICKS) /* with three drovers below an interrupt's handling alone takes longer than TICKS */

CODE64(lt_hlt, "sti; hlt; nop; cli;" DONE)
CODE64(lt_busy, "sti; nop; 1: jmp 1b; cli;" DONE)
CODE64(lt_wait, "sti; nop; nop; cli;" DONE)

static uint64_t taken_at;

static bool out_of_loop(struct trap_frame *f, struct trap_rec *rec)
{
	taken_at = rdtsc();
	if (f->rip == (uint64_t)lt_busy + 2)
		f->rip += 2;
	return apic_taken(f, rec);
}

/* Where exits are slow (a hypervisor in a hypervisor) a periodic timer may have come once more before it was masked: it waits in IRR. */
static void drain(void)
{
	__asm__ volatile("sti; nop; nop; cli" ::: "memory");
	trap_clear();
}

static void came(const char *id, const char *code, const char *want)
{
	struct run r = { .code = code };

	run_code(&r);
	apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED);
	check_trace(id, "one interrupt, in its place", code, want);
	drain();
}

static void one_shot(const char *id, const char *code, const char *want)
{
	apic_write(APIC_LVT_TIMER, VEC_APIC_TIMER);
	apic_write(APIC_INITIAL, TICKS);
	came(fmt("EV.%s", id), code, want);
	check_eq(fmt("EV.%s.count", id), "the count is used up", apic_read(APIC_CURRENT), 0);
}

static void deadline(const char *id, const char *code, int64_t ahead, const char *want)
{
	uint64_t at, left = 1;

	apic_write(APIC_LVT_TIMER, VEC_APIC_TIMER | APIC_LVT_DEADLINE);
	__asm__ volatile("mfence");
	at = rdtsc() + (uint64_t)ahead;
	check_eq(fmt("EV.%s.wrmsr", id), "no fault", try_wrmsr(MSR_TSC_DEADLINE, at), NO_FAULT);
	came(fmt("EV.%s", id), code, want);
	check(fmt("EV.%s.early", id), "not before its time", (int64_t)(taken_at - at) >= 0);
	try_rdmsr(MSR_TSC_DEADLINE, &left);
	check_eq(fmt("EV.%s.off", id), "the deadline is off", left, 0);
	note("%s: %lu ticks late", id, taken_at - at);
}

SCENARIO(lapic_timer, "the APIC's timer wakes HLT and interrupts a loop", 0)
{
	static const char *const names[] = { "hlt", "busy", "past" };
	uint32_t r[4], first;

	apic_begin();
	trap_set_hook(VEC_APIC_TIMER, out_of_loop);
	apic_write(APIC_DIVIDE, APIC_DIVIDE_BY_1);
	one_shot("one-shot.hlt", lt_hlt, "V40+2");
	one_shot("one-shot.busy", lt_busy, "V40+2");

	apic_write(APIC_LVT_TIMER, VEC_APIC_TIMER | APIC_LVT_PERIODIC);
	apic_write(APIC_INITIAL, PERIOD);
	for (unsigned i = 0; i < 3; i++) {
		struct run run = { .code = lt_hlt };

		run_code(&run);
		check_trace(fmt("EV.periodic.%u", i), "again and again", lt_hlt, "V40+2");
	}
	apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED);
	drain();

	apic_write(APIC_DIVIDE, 0xa); /* by 128 */
	apic_write(APIC_INITIAL, 0xffffffff);
	first = apic_read(APIC_CURRENT);
	for (unsigned i = 0; i < 20000; i++)
		__asm__ volatile("");
	check("EV.counts", "it counts down", apic_read(APIC_CURRENT) < first && first > 0xf0000000);
	apic_write(APIC_INITIAL, 0);
	check_eq("EV.stopped", "an initial count of 0 stops it", apic_read(APIC_CURRENT), 0);

	cpuid(1, 0, r);
	if (r[2] >> 24 & 1) {
		deadline("deadline.hlt", lt_hlt, 500000, "V40+2");
		deadline("deadline.busy", lt_busy, 500000, "V40+2");
		deadline("deadline.past", lt_wait, -1000, "V40+2");
	} else {
		for (unsigned i = 0; i < 3; i++)
			check_skip(fmt("EV.deadline.%s", names[i]), "TSC deadline", "the CPU has none");
	}
	apic_end();
}
