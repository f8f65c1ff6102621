/* SPDX-License-Identifier: MIT */
/* Symptom: ring 3 reads or writes the kernel's debug registers, or MOV DR there raises the wrong vector.
 * Cause: on VMX the MOV-DR exit outranks the privilege check, so that software must make it.
 * Who had it: hypervisors without the check in their exit handler; the order is in Linux KVM's handle_dr().
 * Rules: A08, V01 (#UD before CPL #GP before GD). On the first access after an exit, and on a later one. */
#include "tests/guest/guest.h"

static bool user_mov(unsigned n, bool to, bool compat, enum force_exit k)
{
	uint8_t b[] = { 0x0f, to ? 0x23 : 0x21, (uint8_t)(0xc0 | n << 3) };
	struct run r = { .code = code_make(b, 3), .cpl = 3, .compat = compat,
			 .allow = 1 << VEC_GP | 1 << VEC_UD, .regs = { .rax = 0x55 } };

	fx(k);
	run_code(&r);
	return r.end == VEC_GP && r.end_rip == (uint64_t)r.code && r.regs.rax == 0x55 && trap_log.n == 1 && trap_log.rec[0].err == 0;
}

static void order(enum force_exit k)
{
	static const uint8_t mov_dr4[] = { 0x0f, 0x21, 0xe0 }, mov_dr0[] = { 0x0f, 0x21, 0xc0 };
	struct run r = { .code = code_make(mov_dr4, 3), .cpl = 3, .allow = 1 << VEC_GP | 1 << VEC_UD };
	const char *s = fx_name(k);
	uint64_t v;

	write_cr4(read_cr4() | CR4_DE);
	fx(k);
	run_code(&r);
	check_trace(fmt("V01.ud-before-cpl.%s", s), "ring 3, DR4, DE: #UD", r.code, "UD+0");
	write_cr4(read_cr4() & ~CR4_DE);
	r.code = code_make(mov_dr0, 3);
	write_dr7(DR7_INIT | DR7_GD);
	fx(k);
	run_code(&r);
	check_trace(fmt("V01.cpl-before-gd.%s", s), "ring 3, GD: #GP", r.code, "GP+0(0)");
	check_eq(fmt("V01.gd-stays.%s", s), "and GD is still set", try_mov_from_dr(0, &v), VEC_DB);
}

SCENARIO(a08_dr_user, "MOV DR in ring 3 is #GP(0) and does nothing", 0)
{
	FOR_FX(k)
	{
		uint64_t ok = 0;

		write_dr0(0x1000);
		write_dr1(0x1001);
		write_dr2(0x1002);
		write_dr3(0x1003);
		for (unsigned n = 0; n < 8; n++)
			for (unsigned m = 0; m < 4; m++)
				ok |= (uint64_t)user_mov(n, m & 1, m & 2, k) << (4 * n + m);
		/* Hex digit n: register n; its bits: from, to, from in 32-bit code, to in 32-bit code. */
		check_eq(fmt("A08.mov.%s", fx_name(k)), "#GP(0) at the instruction, once", ok, 0xffffffff);
		fx(k);
		check_eq(fmt("A08.addresses.%s", fx_name(k)), "DR0-3 are kept",
			 read_dr0() | read_dr1() << 16 | read_dr2() << 32 | read_dr3() << 48, 0x1003100210011000);
		check_eq(fmt("A08.dr6.%s", fx_name(k)), "DR6 is kept", read_dr6(), DR6_INIT);
		check_eq(fmt("A08.dr7.%s", fx_name(k)), "DR7 is kept", read_dr7(), DR7_INIT);
		order(k);
	}
}
