/* SPDX-License-Identifier: MIT */
/* Symptom: #GP on a debug address that hardware takes.
 * Cause: a canonical check on DR0-3, which have none; a hit just never comes.
 * Who had it: no known hypervisor for long; a check that "looks right" in review.
 * Rule: A04. */
#include "tests/guest/guest.h"

SCENARIO(a04_dr_any_address, "DR0-3 take and keep any 64-bit value", 0)
{
	static const uint64_t v[] = { 0x800000000000, 0xdeadbeefdeadbeef, 0x7fffffffffff0000, ~0ull };

	FOR_FX(k)
	{
		for (unsigned n = 0; n < 4; n++) {
			fx(k);
			check_eq(fmt("A04.write.dr%u.%s", n, fx_name(k)), "no fault", try_mov_to_dr(n, v[n]), NO_FAULT);
		}
		fx(k);
		check_eq(fmt("A04.dr0.%s", fx_name(k)), "reads back the same", read_dr0(), v[0]);
		check_eq(fmt("A04.dr1.%s", fx_name(k)), "reads back the same", read_dr1(), v[1]);
		check_eq(fmt("A04.dr2.%s", fx_name(k)), "reads back the same", read_dr2(), v[2]);
		check_eq(fmt("A04.dr3.%s", fx_name(k)), "reads back the same", read_dr3(), v[3]);
		/* Armed, such a value must neither fault nor fail the next entry. */
		write_dr7(DR7_INIT | DR7_BP(0, RW_WRITE, LEN_1) | DR7_BP(1, RW_EXEC, LEN_1));
		fx(k);
		check_eq(fmt("A04.armed.%s", fx_name(k)), "armed it does no harm",
			 read_dr7(), DR7_INIT | DR7_BP(0, RW_WRITE, LEN_1) | DR7_BP(1, RW_EXEC, LEN_1));
		write_dr7(DR7_INIT);
	}
}
