/* SPDX-License-Identifier: MIT */
/* Symptom: an interrupt that a guest sends to itself comes twice, never, or in spite of a higher task priority; its handler is interrupted by
 * itself.
 * Cause: what is requested, what is in service and what the task priority allows are three things, and each change of one asks the others again:
 * EOI, TPR, CR8.
 * Who had it: virtual APICs in their first years.
 * Rules: section 0, the ladder, for interrupts and NMIs of the local APIC. */
#include "tests/guest/apic.h"

#define LOW 0x40
#define HIGH 0x61

CODE64(li_send, "mov %eax, (%rdi); nop; nop;" DONE)
CODE64(li_open, "nop; nop;" DONE)

static bool keep; /* no EOI */
static unsigned sent_inside;

static bool low(struct trap_frame *f, struct trap_rec *rec)
{
	if (sent_inside) {
		apic_write(APIC_ICR, ICR_SELF | sent_inside);
		sent_inside = 0;
		__asm__ volatile("sti; nop; nop; cli" ::: "memory"); /* a higher one comes here */
	}
	return keep ? true : apic_taken(f, rec);
}

static bool nmi(struct trap_frame *f, struct trap_rec *rec)
{
	(void)f;
	(void)rec;
	return true;
}

static void send(const char *id, uint32_t icr, uint64_t rflags, unsigned vec, unsigned want)
{
	struct run r = { .code = li_send, .rflags = rflags, .regs = { .rax = icr, .rdi = APIC_PAGE + APIC_ICR } };

	run_code(&r);
	check_eq(fmt("EV.%s", id), "so many came", trap_count(vec), want);
}

static void open(const char *id, unsigned vec, unsigned want)
{
	struct run r = { .code = li_open, .rflags = FL_IF };

	run_code(&r);
	check_eq(fmt("EV.%s", id), "so many came", trap_count(vec), want);
}

static bool requested(unsigned vec)
{
	return apic_read(APIC_IRR(vec)) >> vec % 32 & 1;
}

static bool in_service(unsigned vec)
{
	return apic_read(APIC_ISR(vec)) >> vec % 32 & 1;
}

static void targets(void)
{
	send("self", ICR_SELF | LOW, FL_IF, LOW, 1);
	send("all", ICR_ALL | LOW, FL_IF, LOW, 1);
	apic_write(APIC_ICR2, 0);
	send("physical", LOW, FL_IF, LOW, 1);
	apic_write(APIC_ICR2, 0x0e000000);
	send("another", LOW, FL_IF, LOW, 0);
	apic_write(APIC_ICR2, 0);
	send("nmi.physical", ICR_NMI, 0, VEC_NMI, 1);
	send("closed", ICR_SELF | LOW, 0, LOW, 0);
	check("EV.closed.irr", "it waits in IRR", requested(LOW));
	open("closed.open", LOW, 1);
	check("EV.closed.done", "and is gone", !requested(LOW) && !in_service(LOW));
}

static void priorities(void)
{
	uint64_t cr8 = 0;

	apic_write(APIC_TPR, 0x40);
	send("tpr", ICR_SELF | LOW, FL_IF, LOW, 0);
	__asm__ volatile("mov %%cr8, %0" : "=r"(cr8));
	check_eq("EV.tpr.cr8", "CR8 is the upper half of TPR", cr8, 4);
	send("tpr.higher", ICR_SELF | HIGH, FL_IF, HIGH, 1);
	__asm__ volatile("mov %0, %%cr8" ::"r"(3ul));
	check_eq("EV.cr8.tpr", "and the other way round", apic_read(APIC_TPR), 0x30);
	open("cr8.open", LOW, 1);
	apic_write(APIC_TPR, 0);

	keep = true;
	send("isr", ICR_SELF | LOW, FL_IF, LOW, 1);
	check("EV.isr.set", "in service until EOI", in_service(LOW));
	send("isr.same", ICR_SELF | LOW, FL_IF, LOW, 0);
	keep = false;
	apic_write(APIC_EOI, 0);
	check("EV.isr.eoi", "not any more", !in_service(LOW) && requested(LOW));
	open("isr.open", LOW, 1);

	sent_inside = HIGH;
	send("nested", ICR_SELF | LOW, FL_IF, HIGH, 1);
	check("EV.nested.end", "nothing is left", !in_service(LOW) && !in_service(HIGH) && !requested(HIGH));
}

SCENARIO(lapic_ipi, "interrupts and NMIs that a CPU sends to itself", 0)
{
	apic_begin();
	trap_set_hook(LOW, low);
	trap_set_hook(HIGH, apic_taken);
	trap_set_hook(VEC_NMI, nmi);
	targets();
	priorities();
	apic_end();
}
