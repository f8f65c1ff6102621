/* SPDX-License-Identifier: MIT */
/* Symptom: a step over REP OUTSB shows the whole string as one instruction; a breakpoint on it fires for each element.
 * Cause: between two iterations there is a boundary like any other, but RIP stays and RF is 1 in the pushed flags, so that a breakpoint on
 * the instruction does not fire again. An emulator that does many elements at once has no such boundaries.
 * Who had it: Xen until 14a6be89ec (one step for all), Linux KVM still (up to 1024 elements for one exit).
 * Rules: E04, A29, A18. Port 0x3ff (the UART's scratch register) is emulated under drover; MOVS and STOS run natively. */
#include "tests/guest/guest.h"

CODE64(a29_outs, "rep outsb; nop;" DONE)
CODE64(a29_ins, "rep insb; nop;" DONE)
CODE64(a29_movs, "rep movsb; nop;" DONE)
CODE64(a29_stos, "rep stosb; nop;" DONE)
CODE32(a29_outs32, "rep outsb; nop;" DONE)
CODE32(a29_ins32, "rep insb; nop;" DONE)
CODE32(a29_movs32, "rep movsb; nop;" DONE)

static const struct string {
	const char *name, *code;
	bool compat, src, dst;
} cases[] = {
	{ "outs", a29_outs, false, true, false }, { "ins", a29_ins, false, false, true }, { "movs", a29_movs, false, true, true },
	{ "stos", a29_stos, false, false, true }, { "outs32", a29_outs32, true, true, false }, { "ins32", a29_ins32, true, false, true },
	{ "movs32", a29_movs32, true, true, true },
};

static struct run prepare(const struct string *c, unsigned cpl, unsigned n, uint64_t rflags)
{
	struct run r = { .code = c->code, .cpl = cpl, .iopl = cpl, .compat = c->compat, .rflags = rflags };

	r.regs = (struct regs){ .rcx = n, .rsi = (uint64_t)watch_buf, .rdi = (uint64_t)watch_buf + 32, .rdx = 0x3ff };
	write_dr6(DR6_INIT);
	return r;
}

static const char *rf_images(void)
{
	static char out[TRAP_LOG_MAX + 1];

	for (unsigned i = 0; i < trap_log.n; i++)
		out[i] = trap_log.rec[i].rflags & FL_RF ? '1' : '0';
	out[trap_log.n] = 0;
	return out;
}

static void step(const struct string *c, unsigned cpl, enum force_exit k)
{
	const char *id = fmt("%s.%u.%s", c->name, cpl, fx_name(k));
	struct run r = prepare(c, cpl, 4, FL_TF);

	fx(k);
	run_code(&r);
	check_trace(fmt("E04.%s", id), "one #DB for each iteration, at the instruction until the last", r.code,
		    "DB+0/ffff4ff0;DB+0/ffff4ff0;DB+0/ffff4ff0;DB+2/ffff4ff0;DB+3/ffff4ff0");
	check_str(fmt("A29.rf.%s", id), "RF as pushed: 1 between iterations", rf_images(), "11100");
	check_eq(fmt("E04.rcx.%s", id), "RCX ends at 0", r.regs.rcx, 0);
	check_eq(fmt("E04.index.%s", id), "RSI or RDI moved by 4", c->src ? r.regs.rsi - (uint64_t)watch_buf : r.regs.rdi - (uint64_t)watch_buf - 32, 4);
	r = prepare(c, cpl, 4, FL_TF | 0x400 /* DF */);
	r.regs.rsi += 8;
	r.regs.rdi += 8;
	fx(k);
	run_code(&r);
	check_eq(fmt("E04.down.%s", id), "DF=1: down by 4", c->src ? r.regs.rsi - (uint64_t)watch_buf : r.regs.rdi - (uint64_t)watch_buf - 32, 4);
	check_eq(fmt("E04.down.n.%s", id), "as many #DBs", trap_count(VEC_DB), 5);
	r = prepare(c, cpl, 0, FL_TF);
	fx(k);
	run_code(&r);
	check_trace(fmt("E04.none.%s", id), "RCX=0: one step over it", r.code, "DB+2/ffff4ff0;DB+3/ffff4ff0");
	check_eq(fmt("E04.none.index.%s", id), "and nothing moved", c->src ? r.regs.rsi - (uint64_t)watch_buf : r.regs.rdi - (uint64_t)watch_buf - 32, 0);
}

/* An exec breakpoint on the instruction itself: once; the handler sets RF for it. Then traps between iterations must not lose that RF. */
static void exec_once(const struct string *c, unsigned cpl, enum force_exit k)
{
	const char *id = fmt("%s.%u.%s", c->name, cpl, fx_name(k));
	struct run r = prepare(c, cpl, 3, 0);

	write_dr0((uint64_t)c->code);
	write_dr1(c->src ? (uint64_t)watch_buf + 1 : (uint64_t)watch_buf + 33);
	write_dr7(DR7_INIT | DR7_BP(0, RW_EXEC, LEN_1));
	fx(k);
	run_code(&r);
	check_trace(fmt("A29.exec.%s", id), "the breakpoint on it fires once", r.code, "DB+0/ffff0ff1");
	r = prepare(c, cpl, 3, 0);
	write_dr7(DR7_INIT | DR7_BP(0, RW_EXEC, LEN_1) | DR7_BP(1, RW_RDWR, LEN_1));
	fx(k);
	run_code(&r);
	write_dr7(DR7_INIT);
	check_trace(fmt("A29.exec.data.%s", id), "and not again after a data breakpoint of the second iteration", r.code,
		    "DB+0/ffff0ff1;DB+0/ffff0ff2");
}

SCENARIO(a29_rep_steps, "REP: a boundary between iterations, with RF", 0)
{
	for (unsigned cpl = 0; cpl < 4; cpl += 3)
		FOR_FX(k)
			for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
				step(&cases[i], cpl, k);
				exec_once(&cases[i], cpl, k);
			}
}
