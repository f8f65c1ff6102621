/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor's breakpoints are gone after a VMLAUNCH that failed.
 * Cause: VMfail is no exit: nothing is loaded. But L0 may have entered already when it finds out, and an entry that fails has reset DR7 in hardware.
 * A failure behind the first checks is an exit and does load the host state, DR7 with it.
 * Who had it: Linux KVM (nested_vmx_restore_host_state). Rules: N07, N05. */
#include "tests/guest/l1_vmx.h"

CODE64(n07_code, "nop;" VMX_END)

#define OWN_DR7 0x402u

static void fails(const char *id, uint64_t field, uint64_t value, unsigned expected)
{
	struct vmx_l2 r = { .code = n07_code, .dr7 = 0x404 };

	vmx_prepare(&r);
	vf_set(field, value);
	write_dr7(OWN_DR7);
	check_eq(fmt("%s.error", id), "VMfail", vmx_launch(), expected);
	check_eq(id, "DR7 is as it was", read_dr7(), OWN_DR7);
	check_eq(fmt("%s.field", id), "and the control block's too", vf(VF_DR7), 0x404);
	debug_state_reset();
}

static void exits(void)
{
	struct vmx_l2 r = { .code = n07_code, .dr7 = 0x404 };

	vmx_prepare(&r);
	vf_set(VF_RFLAGS, 0); /* bit 1 must be 1 */
	write_dr7(OWN_DR7);
	check_eq("N07.exit", "an entry that fails for the guest state is an exit", vmx_launch(), VMX_OK);
	check_eq("N07.exit.dr7", "which loads the host state", read_dr7(), DR7_INIT);
	check_eq("N07.exit.reason", "reason 33, bit 31", vf(VF_REASON), 0x80000021);
	check_eq("N07.exit.field", "no guest state is saved", vf(VF_DR7), 0x404);
	check_eq("N07.exit.again", "and the control block is as it was: clear", (vf_set(VF_RFLAGS, FL_FIXED), vmx_relaunch()), VMX_ERROR(5));
	debug_state_reset();
}

SCENARIO(n07_failed_entry, "a VMLAUNCH that fails leaves the hypervisor's DR7", SCN_NESTED)
{
	vmx_start();
	fails("N07.control", VF_PIN, 0, VMX_ERROR(7));
	fails("N07.host", VF_HOST_CS, 0, VMX_ERROR(8));
	exits();
	vmx_stop();
}
