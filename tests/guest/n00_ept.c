/* SPDX-License-Identifier: MIT */
/* Symptom: a nested guest reads its hypervisor's memory through a page that was taken from it, or its hypervisor never hears of a page that is missing.
 * Cause: L0 runs it with tables of its own, made from the hypervisor's: rights are lost on the way, or an INVEPT does not reach them.
 * Rules: NV = nested VMX as the SDM tells it ("EPT Violations", "EPT Misconfigurations"). */
#include "tests/guest/l1_vmx.h"

CODE64(n00_ept_rw, "mov (%rbx), %eax; .globl n00_ept_store; n00_ept_store: movl $0x55, (%rbx); nop;" VMX_END)
CODE64(n00_ept_call, "jmp *%rbx;")
LABEL(n00_ept_store);

static uint8_t page[4096] __attribute__((aligned(4096)));

static void violation(const char *id, const struct vmx_l2 *r, const void *at, uint64_t bits, uint64_t addr)
{
	check_eq(fmt("NV.%s", id), "an EPT violation", r->exit, VX_MEM);
	check_eq(fmt("NV.%s.rip", id), "at the instruction", r->rip, (uint64_t)at);
	check_eq(fmt("NV.%s.gpa", id), "the address", r->gpa, addr);
	check_eq(fmt("NV.%s.qual", id), "access, what is allowed, a linear address", r->payload & 0x1bf, bits | 0x180);
}

static void rights(void)
{
	struct vmx_l2 r = { .code = n00_ept_rw, .own_tables = true, .regs.rbx = (uint64_t)page };

	page[0] = 0x11;
	vmx_run(&r);
	check_eq("NV.run", "a nested guest with EPT", r.exit, VX_HLT);
	check_eq("NV.store", "writes its hypervisor's memory", page[0], 0x55);
	vmx_protect(page, 1);
	r.rip = (uint64_t)n00_ept_rw;
	vmx_resume(&r);
	violation("write", &r, n00_ept_store, 2 | 1 << 3, (uint64_t)page);
	vmx_protect(page, 0);
	r.rip = (uint64_t)n00_ept_rw;
	vmx_resume(&r);
	violation("none", &r, n00_ept_rw, 1, (uint64_t)page);
	vmx_protect(page, 7);
	page[0] = 0x33;
	vmx_resume(&r);
	check_eq("NV.back", "given back it goes on", r.exit, VX_HLT);
	check_eq("NV.back.read", "reads", r.regs.rax & 0xff, 0x33);
	check_eq("NV.back.write", "and writes", page[0], 0x55);
	vmx_protect(page, 3);
	page[0] = 0xf4; /* HLT */
	r = (struct vmx_l2){ .code = n00_ept_call, .own_tables = true, .regs.rbx = (uint64_t)page };
	vmx_run(&r); /* builds the tables anew: all is allowed */
	check_eq("NV.exec", "code in a page that may be executed", r.exit == VX_HLT ? r.rip : 0, (uint64_t)page);
	vmx_protect(page, 3);
	r.rip = (uint64_t)n00_ept_call;
	vmx_resume(&r);
	violation("fetch", &r, page, 4 | 3 << 3, (uint64_t)page);
}

static void misconfigured(void)
{
	struct vmx_l2 r = { .code = n00_ept_rw, .own_tables = true, .regs.rbx = (uint64_t)page };

	vmx_run(&r);
	vmx_protect(page, 2); /* write without read */
	r.rip = (uint64_t)n00_ept_rw;
	vmx_resume(&r);
	check_eq("NV.misconfig", "writable but not readable: an EPT misconfiguration", r.reason, 49);
	check_eq("NV.misconfig.gpa", "the address", r.gpa, (uint64_t)page);
}

/* Under drover only: what is there on a bare machine is its firmware's or a device's. */
static void nowhere(void)
{
	struct vmx_l2 r = { .code = n00_ept_rw, .own_tables = true, .regs.rbx = 0xd0000000 };

	if (!env.drover) {
		check_skip("NV.nowhere", "memory that the hypervisor does not have", "bare: something may be there");
		return;
	}
	vmx_run(&r);
	check_eq("NV.nowhere", "memory that the hypervisor does not have: an EPT violation", r.exit, VX_MEM);
	check_eq("NV.nowhere.gpa", "the address", r.gpa, 0xd0000000);
	r = (struct vmx_l2){ .code = n00_ept_rw, .regs.rbx = 0xd0000000 };
	vmx_run(&r);
	check_eq("NV.nowhere.plain", "without EPT: the end of the nested guest, not of the VM", r.exit, VX_SHUTDOWN);
}

SCENARIO(n00_ept, "a nested guest sees memory by its hypervisor's EPT", SCN_NESTED)
{
	vmx_start();
	rights();
	misconfigured();
	nowhere();
	vmx_stop();
}
