/* SPDX-License-Identifier: MIT */
/* Symptom: an exec breakpoint on CPUID fires twice, or again and again.
 * Cause: hardware saves RF=0 with an instruction exit, and the hypervisor re-enters on the same instruction (lazy debug
 * registers) or moves RIP and leaves RF set, so that the breakpoint behind it is missed.
 * Who had it: Linux KVM for a MOV DR that is re-executed (V15); Xen's guest_eip update before it cleared RF.
 * Rules: E11, E06, A18, V15. */
#include "tests/guest/guest.h"

struct insn {
	const char *name;
	uint8_t bytes[3];
	uint8_t len;
	bool user;
	uint64_t rax, rcx, rdx;
};
static const struct insn insns[] = {
	{ "cpuid", { 0x0f, 0xa2 }, 2, true, 0, 0, 0 },
	{ "rdmsr", { 0x0f, 0x32 }, 2, false, 0, MSR_EFER, 0 },
	{ "wrmsr", { 0x0f, 0x30 }, 2, false, 0, MSR_KERNEL_GS_BASE, 0 },
	{ "in", { 0xec }, 1, true, 0, 0, 0x3fd },
	{ "out", { 0xee }, 1, true, 0x5a, 0, 0x3ff },
	{ "wbinvd", { 0x0f, 0x09 }, 2, false, 0, 0, 0 },
	{ "mov-from-dr0", { 0x0f, 0x21, 0xc0 }, 3, false, 0, 0, 0 },
	{ "mov-to-dr3", { 0x0f, 0x23, 0xd8 }, 3, false, 0x1000, 0, 0 },
};

/* A handler that keeps away from debug registers and leaves by an exit: the vCPU comes back intercepting. */
static bool idle_handler(struct trap_frame *f, struct trap_rec *rec)
{
	(void)rec;
	fx(FX_CPUID);
	fx(FX_SLOW);
	f->rflags |= FL_RF;
	return true;
}

static void one(const struct insn *i, unsigned cpl, enum force_exit k)
{
	struct run r = { .code = code_make(i->bytes, i->len), .cpl = cpl, .iopl = cpl };
	const char *id = fmt("%s.%u.%s", i->name, cpl, fx_name(k));

	r.regs = (struct regs){ .rax = i->rax, .rcx = i->rcx, .rdx = i->rdx };
	write_dr1((uint64_t)r.code);
	write_dr2((uint64_t)r.code + i->len);
	write_dr7(DR7_INIT | DR7_BP(1, RW_EXEC, LEN_1));
	fx(k);
	run_code(&r);
	check_trace(fmt("E11.once.%s", id), "exactly one #DB", r.code, "DB+0/ffff0ff2");

	r.regs = (struct regs){ .rax = i->rax, .rcx = i->rcx, .rdx = i->rdx };
	write_dr7(DR7_INIT | DR7_BP(1, RW_EXEC, LEN_1) | DR7_BP(2, RW_EXEC, LEN_1));
	fx(k);
	run_code(&r);
	check_trace(fmt("E11.both.%s", id), "RF is gone behind it: the next breakpoint fires", r.code,
		    fmt("DB+0/ffff0ff2;DB+%x/ffff0ff4", i->len));

	r.regs = (struct regs){ .rax = i->rax, .rcx = i->rcx, .rdx = i->rdx };
	r.rflags = FL_TF;
	write_dr2(0); /* disabled but matching it might show in DR6 (rule A15) */
	write_dr7(DR7_INIT | DR7_BP(1, RW_EXEC, LEN_1));
	fx(k);
	run_code(&r);
	check_trace(fmt("E11.tf.%s", id), "then the step behind it", r.code,
		    fmt("DB+0/ffff0ff2;DB+%x/ffff4ff0;DB+%x/ffff4ff0", i->len, i->len + 1));

	r.regs = (struct regs){ .rax = i->rax, .rcx = i->rcx, .rdx = i->rdx };
	r.rflags = 0;
	db.no_dr_access = true;
	trap_set_hook(VEC_DB, idle_handler);
	fx(k);
	run_code(&r);
	trap_set_hook(VEC_DB, NULL);
	db.no_dr_access = false;
	check_eq(fmt("V15.%s", id), "exactly one #DB when the handler comes back by an exit", trap_log.n, 1);
	write_dr7(DR7_INIT);
	write_dr6(DR6_INIT);
}

SCENARIO(e11_exec_bp_exits, "an exec breakpoint on an instruction that exits fires once", 0)
{
	for (unsigned n = 0; n < sizeof(insns) / sizeof(insns[0]); n++)
		FOR_FX(k)
		{
			one(&insns[n], 0, k);
			if (insns[n].user)
				one(&insns[n], 3, k);
		}
}
