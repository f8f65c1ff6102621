/* SPDX-License-Identifier: MIT */
/* Symptom: a debugger stops between MOV SS and the MOV RSP that belongs to it, or loses the watchpoint that MOV SS hit.
 * Cause: MOV SS and POP SS hold the step and the data breakpoint for one instruction; they arrive as one #DB behind it. Intel holds an
 * exec breakpoint on that instruction too, AMD does not.
 * Who had it: operating systems that took it for granted (CVE-2018-8897); Linux KVM (baf67ca8e545) for the exec breakpoint.
 * Rules: A23, A34. */
#include "tests/guest/guest.h"

CODE64(a23_reg, "mov %eax, %ss; nop; nop;" DONE)
CODE64(a23_mem, "movw (%rbx), %ss; nop; nop;" DONE)
CODE64(a23_store, "movw (%rbx), %ss; movb %al, 32(%rbx); nop;" DONE)
CODE32(a23_reg32, "mov %eax, %ss; nop; nop;" DONE)
CODE32(a23_pop, "push %eax; pop %ss; nop; nop;" DONE)
CODE32(a23_pop_mem, "mov %ebx, %esp; pop %ss; nop; nop;" DONE)

struct hold {
	const char *name, *code, *want;
	bool compat, user_only;
	uint64_t rflags;
	uint32_t dr7;
};

#define SS_READ DR7_BP(0, RW_RDWR, LEN_2)
static const struct hold cases[] = {
	{ "tf", a23_reg, "DB+3/ffff4ff0;DB+4/ffff4ff0", false, false, FL_TF, 0 },
	{ "tf32", a23_reg32, "DB+3/ffff4ff0;DB+4/ffff4ff0", true, false, FL_TF, 0 },
	{ "pop", a23_pop, "DB+1/ffff4ff0;DB+3/ffff4ff0;DB+4/ffff4ff0", true, false, FL_TF, 0 },
	{ "data", a23_mem, "DB+3/ffff0ff1", false, false, 0, SS_READ },
	{ "data.tf", a23_mem, "DB+3/ffff4ff1;DB+4/ffff4ff0", false, false, FL_TF, SS_READ },
	{ "data.write", a23_mem, "none", false, false, 0, DR7_BP(0, RW_WRITE, LEN_2) },
	{ "two", a23_store, "DB+5/ffff0ff3", false, false, 0, SS_READ | DR7_BP(1, RW_WRITE, LEN_1) },
	{ "two.tf", a23_store, "DB+5/ffff4ff3;DB+6/ffff4ff0", false, false, FL_TF, SS_READ | DR7_BP(1, RW_WRITE, LEN_1) },
	{ "pop.data", a23_pop_mem, "DB+4/ffff0ff1", true, true, 0, SS_READ },
	{ "pop.data.tf", a23_pop_mem, "DB+2/ffff4ff0;DB+4/ffff4ff1;DB+5/ffff4ff0", true, true, FL_TF, SS_READ },
};

static void one(const struct hold *c, unsigned cpl, enum force_exit k)
{
	uint64_t sel = cpl ? SEL_UDATA : SEL_KDATA;
	struct run r = { .code = c->code, .cpl = cpl, .compat = c->compat, .rflags = c->rflags };

	r.regs.rax = sel;
	r.regs.rbx = (uint64_t)watch_buf;
	*(volatile uint32_t *)watch_buf = (uint32_t)sel;
	write_dr0((uint64_t)watch_buf);
	write_dr1((uint64_t)watch_buf + 32);
	write_dr7(DR7_INIT | c->dr7);
	fx(k);
	run_code(&r);
	write_dr7(DR7_INIT);
	check_trace(fmt("A23.%s.%u.%s", c->name, cpl, fx_name(k)), "the #DBs", c->code, c->want);
}

/* An exec breakpoint on the instruction that MOV SS shadows, and on the one behind that. */
static void exec_bp(unsigned cpl, enum force_exit k)
{
	for (unsigned off = 2; off < 4; off++) {
		struct run r = { .code = a23_reg, .cpl = cpl, .regs = { .rax = cpl ? SEL_UDATA : SEL_KDATA } };

		write_dr0((uint64_t)a23_reg + off);
		write_dr7(DR7_INIT | DR7_BP(0, RW_EXEC, LEN_1));
		fx(k);
		run_code(&r);
		write_dr7(DR7_INIT);
		check_trace(fmt("A23.exec%u.%u.%s", off, cpl, fx_name(k)), "held on Intel only, for one instruction only", a23_reg,
			    off == 3 ? "DB+3/ffff0ff1" : env.intel ? "none" : "DB+2/ffff0ff1");
	}
}

SCENARIO(a23_movss_hold, "MOV SS and POP SS hold #DBs for one instruction", 0)
{
	for (unsigned cpl = 0; cpl < 4; cpl += 3)
		FOR_FX(k)
		{
			for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
				if (cpl || !cases[i].user_only)
					one(&cases[i], cpl, k);
			exec_bp(cpl, k);
		}
}
