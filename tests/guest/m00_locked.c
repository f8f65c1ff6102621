/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor inside a guest reports that the CPU lacks virtualization where firmware has turned it off, or turns it on all the same.
 * Cause: the lock is modelled by hiding the CPUID bit, or VM_CR can be written although it is locked.
 * Who had it: hypervisors that pass the CPUID bit and forget VM_CR; Linux KVM ignored SVMDIS of its guests until 2021.
 * Rules: NB (see n00_nested); APM "VM_CR MSR". Runs where drover was started with nested=locked. */
#include "tests/guest/guest.h"

#define MSR_VM_CR 0xc0010114u
#define EFER_SVME (1ul << 12)

SCENARIO(m00_locked, "SVM that firmware has locked off", SCN_DROVER | SCN_NESTED)
{
	uint64_t v = 0, efer = 0;

	if (env.intel)
		scenario_skip("SVM only: this is an Intel CPU");
	if (!env.nested || !env.amd || try_rdmsr(MSR_VM_CR, &v) != NO_FAULT || !(v & 8))
		scenario_skip("SVM is not locked off in this VM");
	check_eq("NB.locked.vm_cr", "SVMDIS and LOCK", v, 0x18);
	try_rdmsr(MSR_EFER, &efer);
	check_eq("NB.locked.efer", "EFER.SVME cannot be set", try_wrmsr(MSR_EFER, efer | EFER_SVME), VEC_GP);
	check_eq("NB.locked.kept", "EFER is as it was", (try_rdmsr(MSR_EFER, &v), v), efer);
	check_eq("NB.locked.write", "a write of VM_CR is no fault", try_wrmsr(MSR_VM_CR, 0), NO_FAULT);
	check_eq("NB.locked.still", "and changes nothing", (try_rdmsr(MSR_VM_CR, &v), v), 0x18);
	try_begin();
	__asm__ volatile("1: .byte 0x0f, 0x01, 0xd8\n2:\n" EXTABLE("1b", "2b")::"a"(0x200000ul) : "memory");
	check_eq("NB.locked.vmrun", "VMRUN is no instruction", try_end(), VEC_UD);
}
