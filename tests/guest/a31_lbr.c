/* SPDX-License-Identifier: MIT */
/* Symptom: a debugger reads who called, and sees its own handler.
 * Cause: the #DB does not stop the recording of branches, so that the handler's own ones fill the records.
 * Who had it: Xen until 81a28f1400; Linux KVM does not clear LBR.
 * Rules: A31, S13. Needs records that work: drover's `debugctl=emulate`, or silicon. */
#include "tests/guest/guest.h"

#define MSR_BR_FROM 0x1dbu
#define MSR_INT_FROM 0x1ddu
#define MSR_TOS 0x1c9u
#define ON "mov $0x1d9, %ecx; mov $1, %eax; xor %edx, %edx; wrmsr;"
#define OFF "mov $0x1d9, %ecx; xor %eax, %eax; xor %edx, %edx; wrmsr;"

CODE64(a31_jump, ON ".globl a31_from; a31_from: jmp 1f; nop; .globl a31_to; a31_to: 1: nop;" OFF DONE)
CODE64(a31_cond, ON "test %esp, %esp; .globl a31_cfrom; a31_cfrom: jnz 1f; nop; .globl a31_cto; a31_cto: 1: jz 2f; nop; 2:" OFF DONE)
CODE64(a31_int, ON ".globl a31_n; a31_n: int $0x80; .globl a31_back; a31_back:" OFF DONE)
CODE64(a31_flags, ON "pushfq; pop %rbx; pushfw; popw %si; push $0x202; popfq; pushfq; pop %rdi;" OFF DONE)
CODE64(a31_step, "jmp 1f; nop; .globl a31_sto; a31_sto: 1: nop;" DONE)
LABEL(a31_from);
LABEL(a31_to);
LABEL(a31_cfrom);
LABEL(a31_cto);
LABEL(a31_n);
LABEL(a31_back);
LABEL(a31_sto);
LABEL(trap_iret); /* of the runtime's handlers */

/* The newest record: AMD has one, Intel a stack of them. */
static void newest(uint64_t *from, uint64_t *to)
{
	uint64_t tos = 0;

	*from = *to = ~0ul;
	if (env.amd) {
		try_rdmsr(MSR_BR_FROM, from);
		try_rdmsr(MSR_BR_FROM + 1, to);
		return;
	}
	try_rdmsr(MSR_TOS, &tos);
	try_rdmsr(0x680 + (uint32_t)tos, from);
	try_rdmsr(0x6c0 + (uint32_t)tos, to);
	*from = (uint64_t)((int64_t)(*from << 16) >> 16); /* upper bits: flags of the record */
}

static void expect(const char *id, const char *desc, const char *from, const char *to)
{
	uint64_t f, t;

	newest(&f, &t);
	check_eq(fmt("%s.from", id), desc, f, (uint64_t)from);
	check_eq(fmt("%s.to", id), desc, t, (uint64_t)to);
}

static void run(const char *code)
{
	struct run r = { .code = code };

	run_code(&r);
	if (code != a31_flags)
		return;
	check_eq("A31.flags", "PUSHF while branches are recorded shows no TF", (r.regs.rbx | r.regs.rsi | r.regs.rdi) & FL_TF, 0);
	check_eq("A31.popf", "POPF sets what it sets", r.regs.rdi & FL_IF, FL_IF);
}

static void records(void)
{
	run(a31_jump);
	expect("A31.jump", "a jump", a31_from, a31_to);
	run(a31_cond);
	expect("A31.cond", "the branch that was taken, not the one that was not", a31_cfrom, a31_cto);
	run(a31_flags);
}

/* The last branch before OFF is the handler's IRET. */
static void interrupts(void)
{
	uint64_t f, t;

	run(a31_int);
	newest(&f, &t);
	check_eq("A31.iret", "a software interrupt's handler comes back", t - (uint64_t)a31_back, 0);
	check("A31.iret.from", "by its IRET", f == (uint64_t)trap_iret);
	check_eq("A31.log.n", "which has run once", trap_count(VEC_INT80), 1);
	check_eq("A31.log", "and its frame has no TF", trap_count(VEC_INT80) ? trap_nth(VEC_INT80, 0)->rflags & FL_TF : 1, 0);
}

static void cleared(void)
{
	struct run r = { .code = a31_step, .rflags = FL_TF };

	db.read_debugctl = true;
	try_wrmsr(MSR_DEBUGCTL, DEBUGCTL_LBR);
	run_code(&r);
	check_trace("A31.step", "stepped as ever", a31_step, "DB+3/ffff4ff0;DB+4/ffff4ff0");
	check_eq("A31.cleared", "the #DB has cleared LBR", trap_nth(VEC_DB, 0)->debugctl, 0);
	expect("A31.kept", "and the records are those from before it", a31_step, a31_sto);
}

SCENARIO(a31_lbr, "branches are recorded until a #DB", 0)
{
	if (!debugctl_acts())
		scenario_skip("DEBUGCTL does nothing here");
	records();
	interrupts();
	cleared();
	if (env.amd)
		check_eq("S13.write", "AMD's records cannot be written", try_wrmsr(MSR_BR_FROM, 0), VEC_GP);
}
