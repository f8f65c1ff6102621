/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor reads an old value of a VMCS field that it has written, or its guest goes on where it was before the write.
 * Cause: L0 lets it at a shadow VMCS, and forgets to copy on one of the ways: entry, exit, VMCLEAR, VMPTRLD.
 * Who had it: Linux KVM in the first years of its shadow VMCS (2013). Rules: NV = nested VMX; VMCS shadowing as the SDM tells it. */
#include "tests/guest/l1_vmx.h"

CODE64(n00_vs, "nop; n00_vs_second: nop;" VMX_END)

SCENARIO(n00_vmcs_shadow, "VMCS fields of a hypervisor, whoever keeps them", SCN_NESTED | SCN_LAB)
{
	struct vmx_l2 r = { .code = n00_vs };
	uint64_t exits, wrong = 0;
	uint32_t *other;

	vmx_start();
	other = vmx_spare();
	vmx_run(&r);
	check_eq("NV.vs.reason", "the exit's reason", vf(VF_REASON), 12);
	check_eq("NV.vs.rip", "and RIP", vf(VF_RIP), (uint64_t)n00_vs + 2);
	vf_set(VF_RIP, (uint64_t)n00_vs + 1);
	vf_set(VF_RFLAGS, FL_FIXED | FL_RF);
	check_eq("NV.vs.written", "what is written is read", vf(VF_RIP), (uint64_t)n00_vs + 1);
	vf_set(VF_EVENT_LEN, 0x123456789);
	check_eq("NV.vs.width", "as wide as the field is", vf(VF_EVENT_LEN), 0x23456789);
	/* Another VMCS in between; it keeps what it has got as well. */
	vmx_clear((uint64_t)other);
	vmx_ptrld((uint64_t)other);
	vf_set(VF_RIP, 0x7777);
	vmx_ptrld(vmx_region());
	check_eq("NV.vs.other", "a VMPTRLD of another one and back", vf(VF_RIP), (uint64_t)n00_vs + 1);
	vmx_clear(vmx_region());
	vmx_ptrld(vmx_region());
	check_eq("NV.vs.clear", "a VMCLEAR and back", vf(VF_RIP), (uint64_t)n00_vs + 1);
	vmx_ptrld((uint64_t)other);
	check_eq("NV.vs.second", "the other one has its own", vf(VF_RIP), 0x7777);
	vmx_ptrld(vmx_region());
	vf_set(VF_RIP, (uint64_t)n00_vs + 1);
	check_eq("NV.vs.launch", "an entry takes what was written", vmx_launch() == VMX_OK ? vf(VF_RIP) : 0, (uint64_t)n00_vs + 2);
	check_eq("NV.vs.rf", "RFLAGS too: RF is used up", vf(VF_RFLAGS) & FL_RF, 0);
	exits = hypercall(HC_LAB_COUNT, LAB_EXITS, 0, 0);
	for (unsigned i = 0; i < 100; i++) {
		vf_set(VF_RIP, i);
		wrong += vf(VF_RIP) != i || vf(VF_REASON) != 12;
	}
	exits = hypercall(HC_LAB_COUNT, LAB_EXITS, 0, 0) - exits;
	check_eq("NV.vs.values", "each as it was written", wrong, 0);
	if (exits >= 300)
		check_skip("NV.vs.exits", "300 accesses without an exit", "the CPU below has no VMCS shadowing");
	else
		check_le("NV.vs.exits", "300 accesses, and no exit for them", exits, 20);
	vmx_stop();
}
