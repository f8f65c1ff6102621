/* SPDX-License-Identifier: MIT */
/* Symptom: a code breakpoint of a nested guest on an instruction that exits comes twice, or as a trap behind it.
 * Cause: its payload looks like a watchpoint's. L0 must carry the class; a fault is not to wait in the pending-debug field, it comes again with its
 * instruction.
 * Who had it: Linux KVM has the flaw and says so in a comment (source document 3). Rules: N15, N10, V15. */
#include "tests/guest/l1_vmx.h"

CODE64(n15_cpuid, "nop; .globl n15_cpuid_at; n15_cpuid_at: cpuid; nop;" VMX_END)
CODE64(n15_out, "mov $0x80, %edx; .globl n15_out_at; n15_out_at: outb %al, %dx; nop;" VMX_END)
CODE64(n15_dr, "nop; .globl n15_dr_at; n15_dr_at: mov %dr2, %rax; nop;" VMX_END)
LABEL(n15_cpuid_at);
LABEL(n15_out_at);
LABEL(n15_dr_at);

static void one(const char *id, const void *code, const void *at, unsigned then)
{
	struct vmx_l2 r = { .code = code, .exceptions = 1u << VEC_DB, .dr7 = DR7_INIT | DR7_BP(0, RW_EXEC, LEN_1) };

	write_dr0((uint64_t)at);
	vmx_run(&r);
	check_eq(fmt("N15.%s", id), "a code breakpoint is an exit", r.exit == VX_EXC ? r.vector : 0x100 + r.exit, VEC_DB);
	check_eq(fmt("N15.%s.payload", id), "B0", r.payload, DR6_B0);
	check_eq(fmt("N15.%s.rip", id), "at its instruction", r.rip, (uint64_t)at);
	check_eq(fmt("N15.%s.pending", id), "nothing is pending", vf(VF_PENDING), 0);
	vmx_resume(&r);
	check_eq(fmt("N15.%s.again", id), "without RF it comes again", r.exit == VX_EXC ? r.rip : 0, (uint64_t)at);
	r.rflags |= FL_RF;
	vmx_resume(&r);
	check_eq(fmt("N15.%s.rf", id), "with RF the instruction runs", r.exit, then);
	debug_state_reset();
}

/* L0 carries the OUT out: no second hit, and the step behind it is a trap. */
static void stepped(void)
{
	struct vmx_l2 r = { .code = n15_out, .exceptions = 1u << VEC_DB, .dr7 = DR7_INIT | DR7_BP(0, RW_EXEC, LEN_1) };

	write_dr0((uint64_t)n15_out_at);
	vmx_run(&r);
	r.rflags |= FL_RF | FL_TF;
	vmx_resume(&r);
	check_eq("N15.step", "a step over the OUT", r.exit == VX_EXC ? r.payload : 0, DR6_BS);
	check_eq("N15.step.rip", "RIP behind it", r.rip, (uint64_t)n15_out_at + 1);
	check_eq("N15.step.rf", "RF is off", r.rflags & FL_RF, 0);
	check_eq("N15.step.pending", "nothing is pending", vf(VF_PENDING), 0);
	debug_state_reset();
}

SCENARIO(n15_code_bp, "a code breakpoint of a nested guest on an instruction that exits", SCN_NESTED)
{
	vmx_start();
	one("cpuid", n15_cpuid, n15_cpuid_at, VX_CPUID);
	one("out", n15_out, n15_out_at, VX_HLT);
	one("mov-dr", n15_dr, n15_dr_at, VX_HLT);
	stepped();
	vmx_stop();
}
