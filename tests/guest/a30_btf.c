/* SPDX-License-Identifier: MIT */
/* Symptom: a debugger that steps from branch to branch is stopped at each instruction, or at none; or DEBUGCTL.BTF stays on for the next step.
 * Cause: BTF is ignored or dropped, or nobody clears it with the #DB. An instruction that a hypervisor carries out is no branch.
 * Who had it: Linux KVM takes the bit and does not step by it (d0eac42f5cec drops it on AMD); Xen's emulator until 14a6be89ec.
 * Rules: A30, E05. Needs a BTF that works: drover's `debugctl=emulate`, or silicon. */
#include "tests/guest/guest.h"

CODE64(a30_jump, "nop; nop; jmp 1f; nop; 1: nop; nop;" DONE)
CODE64(a30_flow, "xor %eax, %eax; jnz 1f; jz 1f; nop; 1: call 2f; nop;" DONE "2: nop; ret;")
CODE64(a30_loop, "mov $3, %ecx; 1: loop 1b; jrcxz 2f; nop; 2: nop;" DONE)
CODE64(a30_exits, "cpuid; nop; cpuid;" DONE)
CODE64(a30_next, "test %rsp, %rsp; jz 1f; 1: jnz 2f; 2: nop;" DONE)
CODE64(a30_int, "int $0x80; nop; jmp 1f; nop; 1: nop;" DONE)
CODE64(a30_pushf, "pushfq; pop %rax; nop;" DONE)
CODE32(a30_flow32, "jmp 1f; nop; 1: call 2f; nop;" DONE "2: ret;")

static bool again(struct trap_frame *f, struct trap_rec *rec)
{
	(void)f;
	(void)rec;
	try_wrmsr(MSR_DEBUGCTL, DEBUGCTL_BTF);
	return false;
}

static void one(const char *name, const char *code, bool compat, bool rearm, uint64_t rflags, const char *want)
{
	for (unsigned cpl = 0; cpl < 4; cpl += 3) {
		struct run r = { .code = code, .cpl = cpl, .compat = compat, .rflags = rflags };

		trap_set_hook(VEC_DB, rearm ? again : NULL);
		try_wrmsr(MSR_DEBUGCTL, DEBUGCTL_BTF);
		run_code(&r);
		try_wrmsr(MSR_DEBUGCTL, 0);
		trap_set_hook(VEC_DB, NULL);
		check_trace(fmt("A30.%s.%u", name, cpl), "the #DBs", code, want);
		if (code == a30_pushf)
			check_eq(fmt("A30.tf.%s.%u", name, cpl), "PUSHF shows no TF that is not there", r.regs.rax & FL_TF, rflags & FL_TF);
	}
}

SCENARIO(a30_btf, "BTF steps from branch to branch", 0)
{
	if (!debugctl_acts())
		scenario_skip("DEBUGCTL does nothing here");
	one("notf", a30_flow, false, false, 0, "none");
	one("pushf", a30_pushf, false, false, 0, "none");
	db.read_debugctl = true;
	one("once", a30_jump, false, false, FL_TF, "DB+5/ffff4ff0;DB+6/ffff4ff0;DB+7/ffff4ff0");
	check_eq("A30.cleared", "the #DB has cleared BTF", trap_nth(VEC_DB, 0)->debugctl, 0);
	one("flow", a30_flow, false, true, FL_TF, "DB+7/ffff4ff0;DB+f/ffff4ff0;DB+c/ffff4ff0");
	one("flow32", a30_flow32, true, true, FL_TF, "DB+3/ffff4ff0;DB+b/ffff4ff0;DB+8/ffff4ff0");
	one("loop", a30_loop, false, true, FL_TF, "DB+5/ffff4ff0;DB+5/ffff4ff0;DB+a/ffff4ff0");
	one("next", a30_next, false, true, FL_TF, "DB+7/ffff4ff0");
	one("int", a30_int, false, true, FL_TF, "I80+2;DB+6/ffff4ff0");
	one("stepped", a30_pushf, false, true, FL_TF, "none");
	one("exits", a30_exits, false, true, FL_TF, "none");
}
