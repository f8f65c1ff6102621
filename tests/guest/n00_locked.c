/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor that asks IA32_FEATURE_CONTROL first, as it should, is told one thing by the MSR and another by VMXON.
 * Cause: firmware can lock VMX off: CPUID announces it still, CR4.VMXE can be set, and VMXON is #GP for good.
 * Rules: NV = nested VMX as the SDM's VMXON tells it. Needs a VM with nested=locked. */
#include "tests/guest/guest.h"

#define CR4_VMXE (1ul << 13)
#define MSR_FEATURE_CONTROL 0x3au

SCENARIO(n00_locked, "VMX that firmware has locked off", SCN_NESTED)
{
	uint64_t control = 0, cr4 = read_cr4();
	uint32_t r[4];

	cpuid(1, 0, r);
	if (!env.intel || !(r[2] >> 5 & 1))
		scenario_skip(env.intel ? "no VMX in this CPU" : "VMX only: this is an AMD CPU");
	if (try_rdmsr(MSR_FEATURE_CONTROL, &control) != NO_FAULT || (control & 5) != 1)
		scenario_skip("VMX is not locked off");
	check_eq("NV.locked.msr", "locked, without VMX", control, 1);
	check_eq("NV.locked.stays", "the lock holds", try_wrmsr(MSR_FEATURE_CONTROL, 5), VEC_GP);
	check_eq("NV.locked.cr4", "CR4.VMXE can be set", try_write_cr4(cr4 | CR4_VMXE), NO_FAULT);
	write_cr0(read_cr0() | 1ul << 5);
	try_begin();
	__asm__ volatile("1: vmxon %0\n2:\n" EXTABLE("1b", "2b")::"m"(watch_buf) : "cc", "memory");
	check_eq("NV.locked.vmxon", "VMXON is #GP", try_end(), VEC_GP);
	write_cr4(cr4);
}
