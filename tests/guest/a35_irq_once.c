/* SPDX-License-Identifier: MIT */
/* Symptom: an interrupt handler is entered twice for one interrupt, the second time from its own first instructions and with interrupts off.
 * Cause: the host is interrupted while the guest is in the handler, and the event that it injected goes in again: left valid in the control block, taken
 * from a stale field of the exit, or kept by an emulator.
 * Who had it: QEMU to this day, whose VMRUN leaves the injected vector in its exception index; drover on it (quirk svm-intr-twice).
 * Rules: A35 (the ladder: one event once), E16. */
#include "tests/guest/apic.h"

#include "arch/x86/def/hypercall.h"

#define VEC_FIRST 0x40
#define VEC_TIMER 0x41 /* same class: waits for the first one's EOI and IRET */
#define TICKS 200000u
#define ROUNDS 20u

CODE64(a35_once_amd, "vmmcall; nop; nop; cli;" DONE)
CODE64(a35_once_intel, "vmcall; nop; nop; cli;" DONE)

static uint64_t armed_at;

/* Long enough for the host's timer, which drover has set for the guest's, to come in here. */
static bool linger(struct trap_frame *f, struct trap_rec *rec)
{
	(void)f;
	(void)rec;
	while (rdtsc() - armed_at < 2ul * TICKS)
		;
	return true;
}

SCENARIO(a35_irq_once, "an interrupt comes once, whatever interrupts the host meanwhile", SCN_LAB)
{
	const char *code = env.amd ? a35_once_amd : a35_once_intel;

	apic_begin();
	trap_set_hook(VEC_FIRST, linger);
	trap_set_hook(VEC_TIMER, apic_taken);
	apic_write(APIC_DIVIDE, APIC_DIVIDE_BY_1);
	apic_write(APIC_LVT_TIMER, VEC_TIMER);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct run r = { .code = code, .rflags = FL_IF, .regs = { .rax = HC_LAB_INJECT, .rbx = LAB_IRQ, .rcx = VEC_FIRST } };

		armed_at = rdtsc();
		apic_write(APIC_INITIAL, TICKS + i * 97);
		run_code(&r);
		check_trace(fmt("E16.once.%u", i), "each of the two once, at the boundary behind the call", code, "V40+3;V41+3");
	}
	apic_end();
}
