/* SPDX-License-Identifier: MIT */
/* Symptom: the guest's #DB handler recurses on its own first MOV DR until its stack is gone.
 * Cause: GD is cleared by every #DB delivery, not only by the GD #DB; a hypervisor that injects must do it itself.
 * Who had it: Xen until 81a28f1400; Jailhouse and hvpp still.
 * Rules: A11, V02, V03, S05. */
#include "tests/guest/guest.h"

#define GD (DR7_INIT | DR7_GD)

CODE64(a11_nop, "nop; nop;" DONE)
CODE64(a11_store, "movb $1, (%rbx); nop;" DONE)
CODE64(a11_icebp, ".byte 0xf1; nop;" DONE)
CODE64(a11_cpuid, "cpuid; nop;" DONE)
CODE64(a11_out, "outb %al, $0x80; nop;" DONE)

struct cause {
	const char *name, *want;
	const char *code;
	uint64_t dr7, rflags;
	unsigned cpl;
};

static uint64_t kept_dr7;
static uint64_t kept_fault;

/* Writes a register that its hypervisor switches along with DR7, before its first MOV DR. */
static bool kept_hook(struct trap_frame *f, struct trap_rec *rec)
{
	(void)f;
	(void)rec;
	try_wrmsr(MSR_DEBUGCTL, 0);
	kept_fault = (uint64_t)try_mov_from_dr(7, &kept_dr7);
	return true;
}

/* An ICEBP that hardware delivers has cleared GD without an exit: what the hypervisor remembers of DR7 is stale, and must not be loaded again. */
static void kept(const char *id, const char *code)
{
	struct run r = { .code = code };

	trap_set_hook(VEC_DB, kept_hook);
	db.no_dr_access = true;
	write_dr7(GD);
	fx(FX_CPUID);
	kept_dr7 = 0;
	run_code(&r);
	check_eq(fmt("A11.kept.%s", id), "the handler may read DR7 after a WRMSR", kept_fault, NO_FAULT);
	check_eq(fmt("A11.kept.dr7.%s", id), "GD stays off", kept_dr7, DR7_INIT);
	trap_set_hook(VEC_DB, NULL);
	db.no_dr_access = false;
	write_dr7(DR7_INIT);
}

SCENARIO(a11_gd_cleared, "every #DB finds DR7.GD cleared in its handler", 0)
{
	static const struct cause c[] = {
		{ "step", "DB+1/ffff4ff0;DB+2/ffff4ff0", a11_nop, GD, FL_TF, 0 },
		{ "step.user", "DB+1/ffff4ff0;DB+2/ffff4ff0", a11_nop, GD, FL_TF, 3 },
		{ "step-cpuid", "DB+2/ffff4ff0;DB+3/ffff4ff0", a11_cpuid, GD, FL_TF, 0 },
		{ "step-out", "DB+2/ffff4ff0;DB+3/ffff4ff0", a11_out, GD, FL_TF, 0 },
		{ "exec", "DB+0/ffff0ff1", a11_nop, GD | DR7_BP(0, RW_EXEC, LEN_1), 0, 0 },
		{ "exec.user", "DB+0/ffff0ff1", a11_nop, GD | DR7_BP(0, RW_EXEC, LEN_1), 0, 3 },
		{ "exec-cpuid", "DB+0/ffff0ff1", a11_cpuid, GD | DR7_BP(0, RW_EXEC, LEN_1), 0, 0 },
		{ "data", "DB+3/ffff0ff2", a11_store, GD | DR7_BP(1, RW_WRITE, LEN_1), 0, 0 },
		{ "data.user", "DB+3/ffff0ff2", a11_store, GD | DR7_BP(1, RW_WRITE, LEN_1), 0, 3 },
		{ "icebp", "DB+1/ffff0ff0", a11_icebp, GD, 0, 0 },
		{ "icebp.user", "DB+1/ffff0ff0", a11_icebp, GD, 0, 3 },
	};

	FOR_FX(k)
		for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
			struct run r = { .code = c[i].code, .cpl = c[i].cpl, .rflags = c[i].rflags };
			const char *id = fmt("%s.%s", c[i].name, fx_name(k));

			r.regs.rbx = (uint64_t)watch_buf;
			write_dr0((uint64_t)c[i].code);
			write_dr1((uint64_t)watch_buf);
			write_dr6(DR6_INIT);
			write_dr7(c[i].dr7);
			fx(k);
			run_code(&r);
			check_trace(fmt("A11.%s", id), "the #DBs", r.code, c[i].want);
			check_eq(fmt("A11.dr7.%s", id), "DR7 as the first handler reads it", trap_nth(VEC_DB, 0)->dr7,
				 c[i].dr7 & ~(uint64_t)DR7_GD);
			fx(k);
			check_eq(fmt("A11.after.%s", id), "DR7 afterwards", (trap_clear(), read_dr7()), c[i].dr7 & ~(uint64_t)DR7_GD);
			write_dr7(DR7_INIT);
		}
	if (env.debugctl)
		kept("icebp", a11_icebp);
	else
		check_skip("A11.kept.icebp", "the handler may read DR7 after a WRMSR", "no DEBUGCTL here");
}
