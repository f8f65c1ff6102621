/* SPDX-License-Identifier: MIT */
/* Symptom: a guest's own hypervisor never sees its guest run, or sees it from the second instruction on.
 * Cause: the entry that VMLAUNCH asks for is pending in L0, which handles an event first and does it into the wrong level (Linux KVM:
 * nested_run_pending, block_nested_exceptions).
 * Rules: N21. */
#include "tests/guest/l1_vmx.h"

CODE64(n21_cpuid, "mov $0x1234, %ebx; cpuid; nop;" VMX_END)

SCENARIO(n21_entry, "VMXON, VMLAUNCH, an exit, VMRESUME, VMXOFF", SCN_NESTED)
{
	struct vmx_l2 r = { .code = n21_cpuid };

	vmx_start();
	vmx_run(&r);
	check_eq("N21.cpuid", "CPUID exits", r.exit, VX_CPUID);
	check_eq("N21.cpuid.rip", "at the instruction", r.rip - (uint64_t)n21_cpuid, 5);
	check_eq("N21.cpuid.len", "two bytes", r.len, 2);
	check_eq("N21.rbx", "registers of the nested guest", r.regs.rbx, 0x1234);
	r.rip += r.len;
	vmx_resume(&r);
	check_eq("N21.hlt", "HLT exits", r.exit, VX_HLT);
	check_eq("N21.hlt.rip", "at the instruction", r.rip - (uint64_t)n21_cpuid, 8);
	vmx_stop();
}
