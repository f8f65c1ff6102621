/* SPDX-License-Identifier: MIT */
/* Symptom: a nested guest runs with its hypervisor's breakpoints, or without those that it is to inherit.
 * Cause: L0 ignores the entry control "load debug controls", one way or the other. DR0-3 and DR6 are in no control block: all levels share them.
 * Who had it: Linux KVM until 2996fca0690f. Rules: N03, N08, N20; mutation B47. */
#include "tests/guest/l1_vmx.h"

CODE64(n03_read, "mov %dr7, %rax; mov %dr0, %rbx; mov %dr3, %rcx; mov %dr6, %rdx;" VMX_END)
CODE64(n03_write, "mov $0x1111, %eax; mov %rax, %dr1; mov $0xffff0ff2, %eax; mov %rax, %dr6;" VMX_END)
CODE64(n03_twice, "mov %dr6, %rax; nop;" VMX_END " mov %dr6, %rax;" VMX_END)

static uint64_t l1_dr7;
static bool load;

static void tune(struct vmx_l2 *r)
{
	(void)r;
	vf_change(VF_ENTRY, VC_ENTRY_LOAD_DEBUG, load ? VC_ENTRY_LOAD_DEBUG : 0);
	write_dr7(l1_dr7); /* last before the entry */
}

static void load_or_inherit(bool set_load, uint64_t expected)
{
	const char *how = set_load ? "load" : "inherit";
	struct vmx_l2 r = { .code = n03_read, .dr7 = 0x404, .tune = tune };

	load = set_load;
	l1_dr7 = 0x402;
	write_dr0((uint64_t)watch_buf);
	write_dr3(0x333);
	write_dr6(DR6_INIT | DR6_B3);
	vmx_run(&r);
	check_eq(fmt("N03.%s", how), "DR7 of the nested guest", r.regs.rax, expected);
	check_eq(fmt("N08.%s.dr0", how), "DR0 is its hypervisor's", r.regs.rbx, (uint64_t)watch_buf);
	check_eq(fmt("N08.%s.dr3", how), "DR3 too", r.regs.rcx, 0x333);
	check_eq(fmt("N08.%s.dr6", how), "DR6 too", r.regs.rdx, DR6_INIT | DR6_B3);
	check_eq(fmt("N08.%s.kept", how), "and the exit leaves it", read_dr6(), DR6_INIT | DR6_B3);
	debug_state_reset();
}

static void back(void)
{
	struct vmx_l2 r = { .code = n03_write };

	vmx_run(&r);
	check_eq("N08.back.dr1", "what the nested guest writes to DR1 its hypervisor reads", read_dr1(), 0x1111);
	check_eq("N08.back.dr6", "and to DR6", read_dr6(), DR6_INIT | DR6_B1);
	debug_state_reset();
}

/* Each exit and each entry with another DR6: none of them is to bring an old one back (source document 0, nested). */
static void many(void)
{
	struct vmx_l2 r = { .code = n03_twice };
	unsigned wrong = 0;

	vmx_run(&r);
	for (unsigned i = 0; i < 200; i++) {
		write_dr6(DR6_INIT | (i & 15));
		for (unsigned k = 0; k < i % 3; k++)
			fx(FX_FAST);
		r.rip = (uint64_t)n03_twice;
		vmx_resume(&r);
		wrong += r.regs.rax != (DR6_INIT | (i & 15));
	}
	check_eq("N20.dr6", "DR6 written, then VMRESUME, 200 times: the nested guest reads what was written", wrong, 0);
	debug_state_reset();
}

SCENARIO(n03_load_debug, "debug controls are loaded or inherited; DR0-3 and DR6 are shared", SCN_NESTED)
{
	vmx_start();
	load_or_inherit(true, 0x404);
	load_or_inherit(false, 0x402);
	back();
	many();
	vmx_stop();
}
