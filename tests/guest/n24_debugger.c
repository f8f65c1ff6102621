/* SPDX-License-Identifier: MIT */
/* Symptom: with a debugger outside of the VM, a guest hypervisor's DR7 is the debugger's after an exit or a failed entry, or its guest's control block has it;
 * or the hypervisor gets a #DB exit for a breakpoint that nobody in the VM has set.
 * Cause: what hardware's DR7 holds is taken for the guest's; a #DB is given to who intercepts it before it is asked whose it is.
 * Who had it: Linux KVM loses L1's DR7 under a debugger, and says so in a comment. Rules: N24, N10, Z01, Z04. */
#include "tests/guest/l1_vmx.h"

CODE64(n24_code, "mov %dr7, %rax; mov %dr3, %rbx; .globl n24_bp; n24_bp: nop; mov %dr6, %rcx; nop;" VMX_END)
LABEL(n24_bp);

static void own_dr7(struct vmx_l2 *r)
{
	(void)r;
	write_dr7(0x402);
}

SCENARIO(n24_debugger, "a debugger outside of the VM, and a nested guest", SCN_NESTED | SCN_LAB)
{
	struct vmx_l2 r = { .code = n24_code, .dr7 = 0x408, .exceptions = 1u << VEC_DB, .tune = own_dr7 }, bad = r;
	unsigned said;

	vmx_start();
	write_dr3(0x3333);
	write_dr6(DR6_INIT | DR6_B1);
	check_eq("N24.hold", "the debugger takes slot 3", hypercall(HC_LAB_DEBUGGER, (uint64_t)n24_bp, 0, 3), 0);
	hypercall(HC_LAB_DEBUGGER_HITS, 1, 0, 0);
	vmx_run(&r);
	check_eq("N24.exit", "its breakpoint in the nested guest is no exit", r.exit, VX_HLT);
	check_eq("N24.hits", "the debugger has it, once", hypercall(HC_LAB_DEBUGGER_HITS, 0, 0, 0), 1);
	check_eq("N24.l2.dr7", "the nested guest reads its own DR7", r.regs.rax, 0x408);
	check_eq("N24.l2.dr3", "and its hypervisor's DR3", r.regs.rbx, 0x3333);
	check_eq("N24.l2.dr6", "and DR6 without the debugger's hit", r.regs.rcx, DR6_INIT | DR6_B1);
	check_eq("N24.saved", "DR7 in the control block", r.dr7, 0x408);
	check_eq("N24.own", "the hypervisor's is reset", read_dr7(), DR7_INIT);
	vmx_prepare(&bad);
	vf_set(VF_PIN, ~0u);
	said = vmx_launch();
	check_eq("N24.fail", "an entry that fails", said, VMX_ERROR(7));
	check_eq("N24.fail.dr7", "leaves the hypervisor's DR7", read_dr7(), 0x402);
	hypercall(HC_LAB_DEBUGGER, 0, 0, ~0ul);
	check_eq("N24.dr3", "the hypervisor's DR3 behind all that", read_dr3(), 0x3333);
	debug_state_reset();
	vmx_stop();
}
