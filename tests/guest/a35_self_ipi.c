/* SPDX-License-Identifier: MIT */
/* Symptom: an interrupt handler is single-stepped, or a step is lost, when a guest steps over the instruction that sends itself an interrupt.
 * Cause: the store to the APIC exits and is emulated: the trap of the step and the interrupt are due at the same boundary, and the #DB is first.
 * The interrupt waits for the IRET of its handler; an exec breakpoint at the boundary waits for the interrupt.
 * Who had it: as a35_db_before_irq, here without the lab: what a debugged kernel does.
 * Rules: A35, E01, E10. */
#include "tests/guest/apic.h"

#define VEC_IPI 0x40

CODE64(a35_ipi, "mov %eax, (%rdi); nop; nop;" DONE)

static void one(const char *id, uint64_t rflags, unsigned exec_at, bool watch, const char *want)
{
	FOR_FX(k)
	{
		struct run r = { .code = a35_ipi, .rflags = rflags, .regs = { .rax = ICR_SELF | VEC_IPI, .rdi = APIC_PAGE + APIC_ICR } };

		__asm__ volatile("sti; nop; nop; cli" ::: "memory"); /* what a run that ended too early left */
		write_dr0((uint64_t)a35_ipi + exec_at);
		write_dr1(APIC_PAGE + APIC_ICR);
		write_dr7(DR7_INIT | (exec_at ? DR7_BP(0, RW_EXEC, LEN_1) : 0) | (watch ? DR7_BP(1, RW_WRITE, LEN_4) : 0));
		fx(k);
		run_code(&r);
		write_dr7(DR7_INIT);
		check_trace(fmt("A35.%s.%s", id, fx_name(k)), "handlers in the order in which they began to log", a35_ipi, want);
	}
}

SCENARIO(a35_self_ipi, "trap #DB before an interrupt to itself, exec breakpoint after", 0)
{
	apic_begin();
	trap_set_hook(VEC_IPI, apic_taken);
	one("step", FL_TF | FL_IF, 0, false, "DB+2/ffff4ff0;V40+2;DB+3/ffff4ff0;DB+4/ffff4ff0");
	one("watch", FL_IF, 0, true, "DB+2/ffff0ff2;V40+2");
	one("both", FL_TF | FL_IF, 0, true, "DB+2/ffff4ff2;V40+2;DB+3/ffff4ff0;DB+4/ffff4ff0");
	one("exec", FL_IF, 2, false, "V40+2;DB+2/ffff0ff1");
	apic_end();
}
