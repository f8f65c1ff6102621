/* SPDX-License-Identifier: MIT */
/* Symptom: stepping is off by one instruction.
 * Cause: TF is looked at before the instruction: the POPF or IRET that sets it does not trap, the one that clears it does.
 * Who had it: emulators that look at TF afterwards; kvm-unit-tests' singlestep_basic checks it.
 * Rule: A20. */
#include "tests/guest/guest.h"

CODE64(a20_popf, "pushfq; orq $0x100, (%rsp); popfq; .globl a20_first; a20_first: nop; nop;" DONE)
CODE64(a20_clear, "nop; pushfq; andq $~0x100, (%rsp); popfq; .globl a20_cleared; a20_cleared: nop; nop;" DONE)
CODE64(a20_iret, "nop; nop;" DONE)
CODE64(a20_branch, "jmp 1f; nop; 1: call 2f; nop;" DONE "2: ret;")
CODE64(a20_rep, "mov $3, %ecx; mov %rbx, %rdi; cld; rep stosb; nop;" DONE)
CODE32(a20_popf32, "pushfl; orl $0x100, (%esp); popfl; .globl a20_first32; a20_first32: nop; nop;" DONE)
LABEL(a20_first);
LABEL(a20_cleared);
LABEL(a20_first32);

static void one(const char *name, const char *code, const char *base, bool compat, uint64_t rflags, const char *want)
{
	for (unsigned cpl = 0; cpl < 4; cpl += 3)
		FOR_FX(k)
		{
			struct run r = { .code = code, .cpl = cpl, .compat = compat, .rflags = rflags, .regs = { .rbx = (uint64_t)watch_buf } };

			fx(k);
			run_code(&r);
			check_trace(fmt("A20.%s.%u.%s", name, cpl, fx_name(k)), "the #DBs", base, want);
		}
}

SCENARIO(a20_tf_popf, "TF traps after each instruction but the one that set it", 0)
{
	one("popf", a20_popf, a20_first, false, 0, "DB+1/ffff4ff0;DB+2/ffff4ff0");
	one("popf32", a20_popf32, a20_first32, true, 0, "DB+1/ffff4ff0;DB+2/ffff4ff0");
	one("iret", a20_iret, a20_iret, false, FL_TF, "DB+1/ffff4ff0;DB+2/ffff4ff0");
	/* nop, pushf, and, popf are each stepped; pushf is 1 byte, the ANDQ 8, popf 1. */
	one("clear", a20_clear, a20_cleared, false, FL_TF, "DB-a/ffff4ff0;DB-9/ffff4ff0;DB-1/ffff4ff0;DB+0/ffff4ff0");
	one("branch", a20_branch, a20_branch, false, FL_TF, "DB+3/ffff4ff0;DB+b/ffff4ff0;DB+8/ffff4ff0;DB+9/ffff4ff0");
	/* REP: one trap for each iteration, at the instruction until the last. */
	one("rep", a20_rep, a20_rep, false, FL_TF,
	    "DB+5/ffff4ff0;DB+8/ffff4ff0;DB+9/ffff4ff0;DB+9/ffff4ff0;DB+9/ffff4ff0;DB+b/ffff4ff0;DB+c/ffff4ff0");
}
