/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor whose guest spins never gets its timer's interrupt, or gets it when its guest happens to exit.
 * Cause: L0 looks at the hypervisor's virtual timer at exits only, or injects its interrupt into what runs, not into whom it is for.
 * Who had it: nested implementations while they were young (Linux KVM: lost nested preemption, 2011 to 2014). Rules: NV = nested VMX as the SDM tells it. */
#include "tests/guest/apic.h"
#include "tests/guest/l1_vmx.h"

#define VEC_TICK 0x40
#define TICKS 300000u

CODE64(n00_at_spin, "1: jmp 1b;")
CODE64(n00_at_open, "sti; 1: jmp 1b; .globl n00_at_out; n00_at_out: cli;" VMX_END)
LABEL(n00_at_out);

static unsigned ticks;

static bool on_tick(struct trap_frame *f, struct trap_rec *rec)
{
	ticks++;
	if (f->rip == (uint64_t)n00_at_open + 1)
		f->rip = (uint64_t)n00_at_out;
	return apic_taken(f, rec);
}

static uint64_t armed_at;

static void arm(struct vmx_l2 *r)
{
	(void)r;
	apic_write(APIC_DIVIDE, APIC_DIVIDE_BY_1);
	apic_write(APIC_LVT_TIMER, VEC_TICK);
	apic_write(APIC_INITIAL, TICKS);
	armed_at = rdtsc();
}

static void no_ack(struct vmx_l2 *r)
{
	vf_change(VF_EXIT, VC_EXIT_ACK, 0);
	arm(r);
}

SCENARIO(n00_apic_timer, "the timer of a hypervisor whose guest does nothing but run", SCN_NESTED | SCN_DROVER) /* bare Bochs: an entry with IF=0 holds interrupts off for good */
{
	struct vmx_l2 r = { .code = n00_at_spin, .want = VW_INTR, .tune = arm };
	uint64_t took;

	vmx_start();
	apic_begin();
	trap_set_hook(VEC_TICK, on_tick);
	vmx_run(&r);
	took = rdtsc() - armed_at;
	check_eq("NV.timer", "the interrupt is an exit", r.exit, VX_INTR);
	check_eq("NV.timer.vector", "acknowledged", r.vector, VEC_TICK);
	check("NV.timer.early", "not before its time", took >= TICKS);
	check_le("NV.timer.late", "nor long after it", took - TICKS, env.level > 1 ? 4 * TICKS : TICKS / 2); /* each drover more costs tenfold exits */
	check_eq("NV.timer.isr", "in service in the hypervisor's APIC", apic_read(APIC_ISR(VEC_TICK)) >> VEC_TICK % 32 & 1, 1);
	apic_write(APIC_EOI, 0);
	r = (struct vmx_l2){ .code = n00_at_spin, .want = VW_INTR, .tune = no_ack };
	vmx_run(&r);
	check_eq("NV.timer.noack", "not acknowledged: an exit too", r.exit, VX_INTR);
	check_eq("NV.timer.irr", "it waits in the APIC", apic_read(APIC_IRR(VEC_TICK)) >> VEC_TICK % 32 & 1, 1);
	__asm__ volatile("sti; nop; cli");
	check_eq("NV.timer.taken", "for the hypervisor's IF", ticks, 1);
	r = (struct vmx_l2){ .code = n00_at_open, .tune = arm };
	vmx_run(&r);
	check_eq("NV.timer.theirs", "not asked for: no exit", r.exit, VX_HLT);
	check_eq("NV.timer.theirs.n", "the nested guest takes it", ticks, 2);
	apic_end();
	vmx_stop();
}
