/* SPDX-License-Identifier: MIT */
/* Symptom: a breakpoint on an instruction that page-faults fires again when the fault is resolved; or one behind a trap is skipped.
 * Cause: the RF that is pushed depends on the class: a fault pushes 1 (its instruction runs again), a trap 0 (what follows has not been
 * looked at), a #DB what RF was. What a hypervisor raises itself has to follow.
 * Who had it: Linux KVM's emulator (5623f751bd9c); others push RFLAGS as the exit found it.
 * Rules: A28, E07. */
#include "tests/guest/guest.h"

CODE64(a28_ud2, "ud2;" DONE)
CODE64(a28_gp, "mov %ecx, %fs;" DONE)
CODE64(a28_gp_hlt, "hlt;" DONE)
CODE64(a28_gp_dr, "mov %dr6, %rax;" DONE)
CODE64(a28_gp_msr, "rdmsr;" DONE)
CODE64(a28_ud_vmload, ".byte 0x0f, 0x01, 0xda;" DONE)
CODE64(a28_ud_vmptrld, ".byte 0x0f, 0xc7, 0x33;" DONE)
CODE64(a28_pf, "movb (%rbx), %al;" DONE)
CODE64(a28_pf_outs, "outsb;" DONE)
CODE64(a28_de, "div %ecx;" DONE)
CODE64(a28_int3, "int3; nop;" DONE)
CODE64(a28_int80, "int $0x80; nop;" DONE)
CODE64(a28_icebp, ".byte 0xf1; nop;" DONE)
CODE64(a28_nop, "nop;" DONE)
CODE64(a28_cpuid, "cpuid;" DONE)
CODE64(a28_store, "movb %al, watch_buf; nop;" DONE)
CODE64(a28_movdr, "mov %dr0, %rax;" DONE)

#define HOLE 0x7f8000000000 /* canonical, mapped by nobody */

struct image {
	const char *name, *code;
	unsigned vec, cpls; /* cpls: 1 = ring 0, 2 = ring 3 */
	uint64_t rflags, want;
	uint32_t dr7;
	uint64_t rcx;
};

static const struct image cases[] = {
	{ "ud2", a28_ud2, VEC_UD, 3, 0, FL_RF, 0, 0 },
	{ "gp", a28_gp, VEC_GP, 3, 0, FL_RF, 0, 0x7ff8 },
	{ "gp.hlt", a28_gp_hlt, VEC_GP, 2, 0, FL_RF, 0, 0 },
	{ "gp.movdr", a28_gp_dr, VEC_GP, 2, 0, FL_RF, 0, 0 },
	{ "gp.rdmsr", a28_gp_msr, VEC_GP, 2, 0, FL_RF, 0, 0x10 },
	{ "gp.rdmsr-none", a28_gp_msr, VEC_GP, 1, 0, FL_RF, 0, 0x4fff0000 },
	{ "pf", a28_pf, VEC_PF, 3, 0, FL_RF, 0, 0 },
	{ "pf.outs", a28_pf_outs, VEC_PF, 3, 0, FL_RF, 0, 0 },
	{ "de", a28_de, VEC_DE, 3, 0, FL_RF, 0, 0 },
	{ "int3", a28_int3, VEC_BP, 3, 0, 0, 0, 0 },
	{ "int80", a28_int80, VEC_INT80, 3, 0, 0, 0, 0 },
	{ "icebp", a28_icebp, VEC_DB, 3, 0, 0, 0, 0 },
	{ "step", a28_nop, VEC_DB, 3, FL_TF, 0, 0, 0 },
	{ "step.cpuid", a28_cpuid, VEC_DB, 3, FL_TF, 0, 0, 0 },
	/* RF is for the one instruction: it is gone behind it. */
	{ "step.rf", a28_nop, VEC_DB, 3, FL_TF | FL_RF, 0, 0, 0 },
	{ "step.cpuid.rf", a28_cpuid, VEC_DB, 3, FL_TF | FL_RF, 0, 0, 0 },
	{ "data", a28_store, VEC_DB, 3, 0, 0, DR7_BP(0, RW_WRITE, LEN_1), 0 },
	{ "exec", a28_nop, VEC_DB, 3, 0, 0, DR7_BP(1, RW_EXEC, LEN_1), 0 },
	{ "exec.cpuid", a28_cpuid, VEC_DB, 3, 0, 0, DR7_BP(1, RW_EXEC, LEN_1), 0 },
	{ "gd", a28_movdr, VEC_DB, 1, 0, 0, DR7_GD, 0 },
	{ "gd.rf", a28_movdr, VEC_DB, 1, FL_RF, FL_RF, DR7_GD, 0 },
};

static void one(const struct image *c, unsigned cpl, enum force_exit k)
{
	struct run r = { .code = c->code, .cpl = cpl, .iopl = cpl, .rflags = c->rflags, .resume = 1 << VEC_BP };

	r.allow = 1 << VEC_UD | 1 << VEC_GP | 1 << VEC_PF | 1 << VEC_DE;
	r.regs = (struct regs){ .rbx = HOLE, .rsi = HOLE, .rcx = c->rcx, .rdx = 0x3ff };
	write_dr0((uint64_t)watch_buf);
	write_dr1((uint64_t)c->code);
	fx(k);
	write_dr7(DR7_INIT | c->dr7);
	if (!(c->dr7 & DR7_GD))
		fx(k);
	run_code(&r);
	write_dr7(DR7_INIT);
	if (trap_nth(c->vec, 0)->vec == NO_FAULT)
		check_trace(fmt("A28.%s.%u.%s", c->name, cpl, fx_name(k)), "the exception came", c->code, "it");
	else
		check_eq(fmt("A28.%s.%u.%s", c->name, cpl, fx_name(k)), "RF as pushed", trap_nth(c->vec, 0)->rflags & FL_RF, c->want);
}

/* #UD of an instruction that always exits: VMLOAD on AMD, VMPTRLD on Intel. */
static void virtualization(enum force_exit k)
{
	struct run r = { .code = env.amd ? a28_ud_vmload : a28_ud_vmptrld, .allow = 1 << VEC_UD, .regs = { .rbx = (uint64_t)watch_buf } };

	if (!env.drover)
		return;
	fx(k);
	run_code(&r);
	check_eq(fmt("A28.ud.virt.%s", fx_name(k)), "RF as pushed", trap_nth(VEC_UD, 0)->rflags & FL_RF, FL_RF);
}

SCENARIO(a28_pushed_rf, "faults push RF=1, traps 0, #DBs what it was", 0)
{
	FOR_FX(k)
	{
		for (unsigned cpl = 0; cpl < 4; cpl += 3)
			for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
				if (cases[i].cpls & (cpl ? 2 : 1))
					one(&cases[i], cpl, k);
		virtualization(k);
	}
}
