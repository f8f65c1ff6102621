/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor's guest runs with a DEBUGCTL or DR7 that its CPU does not have; or L0's own entry fails, and the VM with it.
 * Cause: L0 copies the nested guest's debug controls to the hardware unchecked. FREEZE_IN_SMM is the host's in hardware, and old hypervisors set it.
 * Who had it: Linux KVM until 095686e6fcb4 (DEBUGCTL unchecked). Rules: N01, N02; mutation B49. */
#include "tests/guest/l1_vmx.h"

CODE64(n01_read, "mov $0x1d9, %ecx; rdmsr;" VMX_END)
CODE64(n01_plain, "nop;" VMX_END)

#define FAIL_GUEST 0x80000021u
#define FREEZE_IN_SMM (1ul << 14)

static uint64_t dr7, debugctl;
static bool load;

static void tune(struct vmx_l2 *r)
{
	(void)r;
	vf_set(VF_DR7, dr7);
	vf_set(VF_DEBUGCTL, debugctl);
	vf_change(VF_ENTRY, VC_ENTRY_LOAD_DEBUG, load ? VC_ENTRY_LOAD_DEBUG : 0);
}

static void one(const char *id, const char *desc, uint64_t set_dr7, uint64_t set_debugctl, bool set_load, uint64_t expected)
{
	struct vmx_l2 r = { .code = n01_plain, .tune = tune };

	dr7 = set_dr7;
	debugctl = set_debugctl;
	load = set_load;
	vmx_run(&r);
	check_eq(id, desc, r.reason, expected);
	if (expected == FAIL_GUEST)
		check_eq(fmt("%s.qual", id), "nothing more to say", r.payload, 0);
}

SCENARIO(n01_debug_checks, "an entry checks the debug controls that it is to load", SCN_NESTED)
{
	struct vmx_l2 r = { .code = n01_read, .tune = tune, .regs = { .rax = ~0ul, .rdx = ~0ul } };

	vmx_start();
	one("N01.dr7.32", "DR7 bit 32", DR7_INIT | 1ul << 32, 0, true, FAIL_GUEST);
	one("N01.dr7.63", "DR7 bit 63", DR7_INIT | 1ul << 63, 0, true, FAIL_GUEST);
	one("N01.dr7.low", "all of DR7's low half", 0xffff03ff & ~DR7_GD, 0, true, 12);
	one("N01.debugctl.20", "DEBUGCTL: a bit that no CPU has", DR7_INIT, 1ul << 20, true, FAIL_GUEST);
	one("N01.debugctl.7", "DEBUGCTL: BTS, which this CPU does not announce", DR7_INIT, 1ul << 7, true, FAIL_GUEST);
	one("N01.ignored", "not loaded: not checked", DR7_INIT | 1ul << 32, 1ul << 20, false, 12);
	one("N02.enters", "FREEZE_IN_SMM is tolerated", DR7_INIT, FREEZE_IN_SMM, true, 12);
	dr7 = DR7_INIT;
	debugctl = FREEZE_IN_SMM;
	load = true;
	if (env.debugctl) {
		vmx_run(&r);
		check_eq("N02.hidden", "and the nested guest does not see it", r.exit == VX_HLT ? r.regs.rdx << 32 | r.regs.rax : ~0ul, 0);
	} else {
		check_skip("N02.hidden", "and the nested guest does not see it", "no DEBUGCTL in this CPU");
	}
	vmx_stop();
}
