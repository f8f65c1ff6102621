/* SPDX-License-Identifier: MIT */
/* Symptom: a nested guest reads or writes an MSR of the host's: its hypervisor has let it through, and so has L0.
 * Cause: of two bitmaps one is used, not both. What the hypervisor lets through is L0's to judge, as if the hypervisor itself had tried.
 * Rules: N22, N06; NV = nested VMX as the SDM tells it. */
#include "tests/guest/l1_vmx.h"

CODE64(n22_read, "rdmsr; nop;" VMX_END)
CODE64(n22_write, "wrmsr; rdmsr; nop;" VMX_END)
CODE64(n22_out, "outb %al, $0x80; inb $0x80, %al;" VMX_END)

static uint8_t ports[8192] __attribute__((aligned(4096)));

static void through(uint32_t msr, const char *id, unsigned vector)
{
	struct vmx_l2 r = { .code = n22_read, .exceptions = 1u << VEC_GP, .regs.rcx = msr };

	vmx_run(&r);
	check_eq(fmt("N22.%s", id), "let through: as for the hypervisor", r.exit == VX_EXC ? r.vector : NO_FAULT, vector);
	r = (struct vmx_l2){ .code = n22_read, .exceptions = 1u << VEC_GP, .regs.rcx = msr, .want = VW_MSR };
	vmx_run(&r);
	check_eq(fmt("N22.%s.exit", id), "not let through: an exit", r.reason, 31);
}

static void with_ports(struct vmx_l2 *r)
{
	(void)r;
	vf_change(VF_PROC, 0, 1u << 25);
	vf_set(VF_IO_A, (uint64_t)ports);
	vf_set(VF_IO_B, (uint64_t)ports + 4096);
}

static void io(void)
{
	struct vmx_l2 r = { .code = n22_out, .want = VW_IO };

	vmx_run(&r);
	check_eq("NV.io", "I/O is an exit to who asks for all", r.exit, VX_IO);
	check_eq("NV.io.qual", "port, size, immediate", r.payload, 0x80ul << 16 | 1 << 6);
	r = (struct vmx_l2){ .code = n22_out, .tune = with_ports };
	vmx_run(&r);
	check_eq("NV.io.open", "ports by a bitmap: open", r.exit, VX_HLT);
	ports[0x80 / 8] = 1;
	vmx_run(&r);
	check_eq("NV.io.closed", "closed", r.exit, VX_IO);
	ports[0x80 / 8] = 0;
}

SCENARIO(n22_bitmaps, "MSRs and ports of a nested guest: both hypervisors are asked", SCN_NESTED)
{
	uint64_t v, own = try_rdmsr(MSR_DEBUGCTL, &v);
	struct vmx_l2 r = { .code = n22_write, .regs = { .rcx = MSR_LSTAR, .rax = 0x1234 } }, no_map = { .code = n22_read }, basic = no_map;

	vmx_start();
	through(MSR_DEBUGCTL, "debugctl", (unsigned)own);
	through(0x680, "lbr", try_rdmsr(0x680, &v));
	through(MSR_EFER, "efer", NO_FAULT);
	try_rdmsr(0x480, &v);
	basic.regs.rcx = 0x480;
	vmx_run(&basic);
	check_eq("N22.value", "the nested guest reads its hypervisor's CPU, not the host's", basic.regs.rdx << 32 | basic.regs.rax, v);
	no_map.regs.rcx = 0x12345678;
	vmx_run(&no_map);
	check_eq("N22.unknown", "an MSR that no bitmap covers: an exit, always", no_map.reason, 31);
	vmx_run(&r);
	try_rdmsr(MSR_LSTAR, &v);
	check_eq("N22.lstar", "an MSR that no control block has is one for all levels", v, 0x1234);
	io();
	vmx_stop();
}
