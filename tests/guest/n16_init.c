/* SPDX-License-Identifier: MIT */
/* Symptom: a single step of a nested guest is lost when an INIT for its hypervisor's CPU ends its stay; or the INIT resets the hypervisor.
 * Cause: INIT outranks the #DB that waits, which has to go into the pending-debug field; in VMX operation INIT is an exit, or waits for one.
 * Who had it: Linux KVM until 684c0422da71. Rules: N16, N15; NV. */
#include "tests/guest/apic.h"
#include "tests/guest/l1_vmx.h"

#define INIT_SELF 0x4500u

CODE64(n16_self, "movl $0x4500, (%rbx); .globl n16_behind; n16_behind: nop;" VMX_END)
CODE64(n16_nop, "nop;" VMX_END)
LABEL(n16_behind);

static void is_init(const char *id, const struct vmx_l2 *r, const void *at, uint64_t pending)
{
	check_eq(fmt("N16.%s", id), "INIT is an exit", r->reason, 3);
	check_eq(fmt("N16.%s.rip", id), "where", r->rip, (uint64_t)at);
	check_eq(fmt("N16.%s.pending", id), "what waits", vf(VF_PENDING), pending);
}

SCENARIO(n16_init, "INIT in VMX operation", SCN_NESTED | SCN_DROVER)
{
	struct vmx_l2 r = { .code = n16_self, .regs.rbx = APIC_PAGE + APIC_ICR, .rflags = FL_TF };

	vmx_start();
	apic_begin();
	db.anywhere = true;
	trap_clear();
	write_dr6(DR6_INIT | DR6_B1);
	vmx_run(&r);
	is_init("step", &r, n16_behind, 0x4000);
	check_eq("N16.step.dr6", "DR6 does not have it yet", read_dr6(), DR6_INIT | DR6_B1);
	r.rflags &= ~(uint64_t)FL_TF;
	vmx_resume(&r);
	check_eq("N16.step.then", "entered again, the nested guest runs to its end", r.exit, VX_HLT);
	check_trace("N16.step.trace", "and its handler has had the step, once", n16_self, "DB+6/ffff4ff0");

	write_dr0((uint64_t)n16_behind);
	write_dr6(DR6_INIT);
	r = (struct vmx_l2){ .code = n16_self, .regs.rbx = APIC_PAGE + APIC_ICR, .dr7 = DR7_INIT | DR7_BP(0, RW_EXEC, LEN_1) };
	vmx_run(&r);
	is_init("code", &r, n16_behind, 0); /* N15: the breakpoint there is a fault, and not due */
	debug_state_reset();

	apic_write(APIC_ICR, INIT_SELF);
	r = (struct vmx_l2){ .code = n16_nop };
	vmx_run(&r);
	is_init("blocked", &r, n16_nop, 0); /* it waited for the entry */
	vmx_resume(&r);
	check_eq("N16.once", "once", r.exit, VX_HLT);
	apic_end();
	vmx_stop();
}
