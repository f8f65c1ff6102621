/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor that waits for its interrupts with IF=0 and its guest running never gets them, or its guest does.
 * Cause: an interrupt for the hypervisor is an exit of its guest, whatever its guest's IF says; without the control it is its guest's.
 * Rules: N21, A35; NV = nested VMX as the SDM tells it. */
#include "tests/guest/l1_vmx.h"

CODE64(n00_ev_nop, "nop; nop;" VMX_END)
CODE64(n00_ev_sti, "nop; sti; nop; n00_ev_sti_at: nop; cli;" VMX_END)

#define VEC_IRQ 0x90

static unsigned irqs, nmis;

static bool on_irq(struct trap_frame *f, struct trap_rec *rec)
{
	(void)f;
	(void)rec;
	irqs++;
	return true;
}

static bool on_nmi(struct trap_frame *f, struct trap_rec *rec)
{
	(void)f;
	(void)rec;
	nmis++;
	return true;
}

static void irq_now(struct vmx_l2 *r)
{
	(void)r;
	hypercall(HC_LAB_INJECT, LAB_IRQ, VEC_IRQ, 0);
}

static void nmi_now(struct vmx_l2 *r)
{
	(void)r;
	__asm__ volatile("vmcall" ::"a"(HC_LAB_INJECT), "b"(LAB_NMI) : "memory"); /* taken at the latest here: see below */
}

static void no_ack(struct vmx_l2 *r)
{
	irq_now(r);
	vf_change(VF_EXIT, VC_EXIT_ACK, 0);
}

static void interrupts(void)
{
	struct vmx_l2 r = { .code = n00_ev_nop, .want = VW_INTR, .tune = irq_now };

	irqs = 0;
	vmx_run(&r);
	check_eq("NV.irq", "asked for: an exit, though IF is 0 at both levels", r.exit, VX_INTR);
	check_eq("NV.irq.vector", "acknowledged", r.vector, VEC_IRQ);
	check_eq("NV.irq.rip", "before the first instruction", r.rip - (uint64_t)n00_ev_nop, 0);
	vmx_resume(&r);
	check_eq("NV.irq.once", "once", r.exit, VX_HLT);
	r = (struct vmx_l2){ .code = n00_ev_nop, .want = VW_INTR, .tune = irq_now, .event = VE_SOFT_INT, .event_vector = VEC_INT80, .event_len = 2 };
	trap_clear();
	vmx_run(&r);
	check_eq("NV.irq.event", "behind an event that is injected: an exit", r.exit, VX_INTR);
	check_eq("NV.irq.event.first", "before the handler's first instruction", r.rip, trap_gate(VEC_INT80));
	check_eq("NV.irq.event.waits", "which has not run", trap_count(VEC_INT80), 0);
	vmx_resume(&r);
	check_eq("NV.irq.event.trace", "the handler runs then", r.exit == VX_HLT ? trap_count(VEC_INT80) : 99, 1);
	r = (struct vmx_l2){ .code = n00_ev_nop, .want = VW_INTR, .tune = no_ack };
	vmx_run(&r);
	check_eq("NV.irq.noack", "not acknowledged: an exit", r.reason, 1);
	check_eq("NV.irq.noack.info", "without a vector", vf(VF_INTR_INFO) >> 31, 0);
	check_eq("NV.irq.waits", "the interrupt waits", irqs, 0);
	__asm__ volatile("sti; nop; nop; cli");
	check_eq("NV.irq.own", "for the hypervisor's IF", irqs, 1);
	irqs = 0;
	r = (struct vmx_l2){ .code = n00_ev_sti, .tune = irq_now };
	vmx_run(&r);
	check_eq("NV.irq.theirs", "not asked for: no exit", r.exit, VX_HLT);
	check_eq("NV.irq.theirs.n", "the nested guest takes it", irqs, 1);
}

#define VC_PROC_MTF (1u << 27)

static void mtf_and_irq(struct vmx_l2 *r)
{
	irq_now(r);
	vf_change(VF_PROC, 0, VC_PROC_MTF);
}

/* The monitor trap flag is about an instruction that has run: what comes before the first one is no exit of the flag's. */
static void before_mtf(void)
{
	struct vmx_l2 r = { .code = n00_ev_nop, .want = VW_INTR, .tune = mtf_and_irq };
	uint64_t cap = 0;

	if (try_rdmsr(0x48e, &cap) != NO_FAULT || !(cap >> 32 & VC_PROC_MTF)) {
		check_skip("NV.irq.mtf", "an interrupt and the monitor trap flag", "no monitor trap flag");
		return;
	}
	vmx_run(&r);
	check_eq("NV.irq.mtf", "with the monitor trap flag: the interrupt's exit", r.exit == VX_INTR ? r.vector : 0x100 + r.reason, VEC_IRQ);
	check_eq("NV.irq.mtf.rip", "before the first instruction", r.rip - (uint64_t)n00_ev_nop, 0);
	vmx_resume(&r);
	check_eq("NV.irq.mtf.then", "then the flag's", r.reason, 37);
	check_eq("NV.irq.mtf.then.rip", "behind the first instruction", r.rip - (uint64_t)n00_ev_nop, 1);
}

static void nmi(void)
{
	struct vmx_l2 r = { .code = n00_ev_nop, .want = VW_NMI };

	nmis = 0;
	vmx_run(&r);
	nmi_now(&r);
	check_eq("NV.nmi.own", "an NMI in the hypervisor is its own", nmis, 1);
}

SCENARIO(n00_events, "interrupts of a hypervisor whose guest runs", SCN_NESTED | SCN_LAB)
{
	trap_set_hook(VEC_IRQ, on_irq);
	trap_set_hook(VEC_NMI, on_nmi);
	vmx_start();
	interrupts();
	before_mtf();
	nmi();
	vmx_stop();
}
