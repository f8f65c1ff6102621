/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor's own breakpoints are armed with its guest's DR7 after an exit; or its control block has a DR7 that it did not ask for.
 * Cause: L0 ignores the exit control "save debug controls", or forgets that each exit loads DR7 with its reset value.
 * Who had it: Linux KVM until 2996fca0690f. Rules: N05; mutation B47. */
#include "tests/guest/l1_vmx.h"

CODE64(n05_write, "mov $0x408, %eax; mov %rax, %dr7; nop;" VMX_END)

static bool save;

static void tune(struct vmx_l2 *r)
{
	(void)r;
	vf_change(VF_EXIT, VC_EXIT_SAVE_DEBUG, save ? VC_EXIT_SAVE_DEBUG : 0);
	write_dr7(0x402);
}

static void one(bool set_save, uint64_t expected)
{
	struct vmx_l2 r = { .code = n05_write, .dr7 = 0x404, .tune = tune };
	uint64_t own;

	save = set_save;
	vmx_run(&r);
	own = read_dr7();
	check_eq(fmt("N05.saved.%u", save), "DR7 in the control block after the exit", r.dr7, expected);
	check_eq(fmt("N05.own.%u", save), "the hypervisor's DR7 has its reset value", own, DR7_INIT);
	write_dr7(0x420);
	r.rip = (uint64_t)n05_write;
	vmx_resume(&r);
	check_eq(fmt("N05.again.%u", save), "after a second exit too", read_dr7(), DR7_INIT);
	debug_state_reset();
}

/* DEBUGCTL, where the CPU has none that can be set: the nested guest inherits 0, and what stands in the field, neither loaded nor checked, is overwritten
 * or not. (A DEBUGCTL that acts: n03_debugctl.) */
static void inherit(struct vmx_l2 *r)
{
	tune(r);
	vf_change(VF_ENTRY, VC_ENTRY_LOAD_DEBUG, 0);
}

static void debugctl(bool set_save, uint64_t expected)
{
	struct vmx_l2 r = { .code = n05_write, .debugctl = DEBUGCTL_LBR, .tune = inherit };

	save = set_save;
	vmx_run(&r);
	check_eq(fmt("N05.debugctl.exit.%u", save), "with DEBUGCTL inherited it runs to its end", r.exit, VX_HLT);
	check_eq(fmt("N05.debugctl.%u", save), "DEBUGCTL in the control block after the exit", r.debugctl, expected);
	debug_state_reset();
}

SCENARIO(n05_save_debug, "an exit saves debug controls iff it is asked to, and always resets the hypervisor's", SCN_NESTED)
{
	vmx_start();
	one(true, 0x408);
	one(false, 0x404);
	debugctl(true, 0);
	debugctl(false, DEBUGCTL_LBR);
	vmx_stop();
}
