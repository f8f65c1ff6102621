/* SPDX-License-Identifier: MIT */
/* Symptom: an operating system's debugger loses the debug registers to somebody else's MOV DR; or DR6 lacks BD.
 * Cause: the hypervisor handles the MOV DR exit (VMX: before the GD check) without looking at GD, or forgets that an
 * intercepted #DB has changed nothing yet.
 * Who had it: Jailhouse, hvpp; covered by kvm-unit-tests' singlestep_with_movss_blocking_and_dr7_gd.
 * Rules: A10, V01, V02, V03. */
#include "tests/guest/guest.h"

SCENARIO(a10_general_detect, "DR7.GD: #DB at the MOV DR, BD set, no effect", 0)
{
	static const unsigned regs[] = { 0, 1, 2, 3, 6, 7 };

	FOR_FX(k)
		for (unsigned i = 0; i < 12; i++) {
			unsigned n = regs[i / 2];
			bool to = i & 1;
			uint8_t b[] = { 0x0f, to ? 0x23 : 0x21, (uint8_t)(0xc0 | n << 3) };
			struct run r = { .code = code_make(b, 3), .regs = { .rax = n == 6 ? DR6_INIT : n == 7 ? DR7_INIT : 0x1234 } };
			const char *id = fmt("dr%u.%s.%s", n, to ? "to" : "from", fx_name(k));
			uint64_t want = to ? r.regs.rax : n == 6 ? DR6_INIT : n == 7 ? DR7_INIT : 0;

			write_dr0(0);
			write_dr1(0);
			write_dr2(0);
			write_dr3(0);
			write_dr6(DR6_INIT);
			write_dr7(DR7_INIT | DR7_GD);
			fx(k);
			run_code(&r);
			/* The handler leaves RIP alone and GD is off by then, so that the second try goes through. */
			check_trace(fmt("A10.%s", id), "one #DB at the instruction", r.code, "DB+0/ffff2ff0");
			check_eq(fmt("A10.retry.%s", id), "the second try does the MOV", r.regs.rax, want);
			check_eq(fmt("A10.gd.%s", id), "GD is off", read_dr7(), DR7_INIT);
		}
	FOR_FX(k)
	{
		uint64_t v = 0x77;

		write_dr1(0x1000);
		write_dr7(DR7_INIT | DR7_GD);
		fx(k);
		check_eq(fmt("A10.write-lost.vec.%s", fx_name(k)), "#DB", try_mov_to_dr(1, 0x2000), VEC_DB);
		check_eq(fmt("A10.write-lost.%s", fx_name(k)), "the MOV did not write", read_dr1(), 0x1000);
		write_dr7(DR7_INIT | DR7_GD);
		fx(k);
		check_eq(fmt("A10.read-lost.vec.%s", fx_name(k)), "#DB", try_mov_from_dr(1, &v), VEC_DB);
		check_eq(fmt("A10.read-lost.%s", fx_name(k)), "the MOV did not read", v, 0x77);
	}
}
