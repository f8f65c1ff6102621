/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor that intercepts MOV DR does not see its guest's programs try it; or L0's own laziness shows through.
 * Cause: on VMX the exit outranks the privilege check and General Detect, so L0 must ask the nested hypervisor's control first, and make the checks
 * only when it does not want the exit.
 * Rules: N09, V01. */
#include "tests/guest/l1_vmx.h"

CODE64(n09_user, "nop; n09_user_dr: mov %dr0, %rax;" VMX_END_USER)
CODE64(n09_kernel, "mov $0x77, %eax; mov %rax, %dr2; mov %dr2, %rbx;" VMX_END)
CODE64(n09_undefined, "mov %dr4, %rax;" VMX_END)

static void theirs(const char *id, const void *code, unsigned cpl, uint64_t qual, uint64_t at, uint64_t dr7)
{
	struct vmx_l2 r = { .code = code, .cpl = cpl, .want = VW_DR, .dr7 = dr7, .exceptions = 1u << VEC_GP | 1u << VEC_UD | 1u << VEC_DB };

	vmx_run(&r);
	check_eq(fmt("N09.%s", id), "MOV DR is an exit to who asked for it", r.exit, VX_DR);
	check_eq(fmt("N09.%s.qual", id), "register, direction, operand", r.payload, qual);
	check_eq(fmt("N09.%s.rip", id), "at the instruction", r.rip - (uint64_t)code, at);
}

static void ours(void)
{
	struct vmx_l2 r = { .code = n09_user, .cpl = 3, .exceptions = 1u << VEC_GP };

	vmx_run(&r);
	check_eq("N09.fault", "not asked for, CPL 3: #GP", r.exit == VX_EXC ? r.vector : 0x100 + r.exit, VEC_GP);
	check_eq("N09.fault.error", "error code 0", r.error, 0);
	check_eq("N09.fault.rip", "at the instruction", r.rip - (uint64_t)n09_user, 1);
	r = (struct vmx_l2){ .code = n09_kernel };
	vmx_run(&r);
	check_eq("N09.silent", "not asked for, CPL 0: no exit", r.exit, VX_HLT);
	check_eq("N09.silent.value", "and it works", r.regs.rbx, 0x77);
	check_eq("N09.silent.shared", "for all levels", read_dr2(), 0x77);
	debug_state_reset();
}

/* The registers are the nested guest's when it asks again, and so they are when its hypervisor turns the exit on in between. */
static void live_then_asked(void)
{
	struct vmx_l2 r = { .code = n09_kernel };

	vmx_run(&r);
	vf_change(VF_PROC, 0, VC_PROC_MOV_DR);
	r.rip = (uint64_t)n09_kernel;
	vmx_resume(&r);
	check_eq("N09.later", "the exit turned on after the nested guest has used the registers", r.exit, VX_DR);
	debug_state_reset();
}

SCENARIO(n09_mov_dr, "MOV DR of a nested guest is its hypervisor's iff it asked", SCN_NESTED)
{
	uint64_t cr4 = read_cr4();

	vmx_start();
	theirs("user", n09_user, 3, 0x10, 1, 0);
	theirs("kernel", n09_kernel, 0, 0x02, 5, 0);
	theirs("gd", n09_kernel, 0, 0x02, 5, DR7_INIT | DR7_GD);
	write_cr4(read_cr4() | CR4_DE);
	theirs("de", n09_undefined, 0, 0x14, 0, 0);
	write_cr4(read_cr4() & ~CR4_DE);
	ours();
	live_then_asked();
	vmx_stop();
	write_cr4(cr4);
}
