/* SPDX-License-Identifier: MIT */
/* Symptom: a guest gets round the checks on DR6 and DR7 by naming them DR4 and DR5.
 * Cause: the alias (CR4.DE = 0) handled apart, or not at all.
 * Who had it: small hypervisors (hvpp issue 5); Linux KVM had two copies of the checks.
 * Rules: A06, A10 by the alias. The value checks by the alias are in a03_dr_high_bits. */
#include "tests/guest/guest.h"

SCENARIO(a06_dr4_dr5_alias, "with CR4.DE = 0, DR4 is DR6 and DR5 is DR7", 0)
{
	FOR_FX(k)
	{
		const char *s = fx_name(k);
		uint64_t v = 0;

		fx(k);
		check_eq(fmt("A06.w4.%s", s), "DR4 can be written", try_mov_to_dr(4, DR6_INIT | DR6_BT | DR6_B2), NO_FAULT);
		fx(k);
		check_eq(fmt("A06.r6.%s", s), "DR6 has it", read_dr6(), DR6_INIT | DR6_BT | DR6_B2);
		write_dr6(DR6_INIT | DR6_BS);
		fx(k);
		check_eq(fmt("A06.r4.%s", s), "DR4 reads DR6", (try_mov_from_dr(4, &v), v), DR6_INIT | DR6_BS);
		fx(k);
		check_eq(fmt("A06.w5.%s", s), "DR5 can be written", try_mov_to_dr(5, DR7_GE | DR7_LE), NO_FAULT);
		fx(k);
		check_eq(fmt("A06.r7.%s", s), "DR7 has it, fixed up", read_dr7(), DR7_INIT | DR7_GE | DR7_LE);
		check_eq(fmt("A06.r5.%s", s), "DR5 reads DR7", (try_mov_from_dr(5, &v), v), DR7_INIT | DR7_GE | DR7_LE);
		for (unsigned n = 4; n < 6; n++) {
			trap_clear();
			write_dr6(DR6_INIT);
			write_dr7(DR7_INIT | DR7_GD);
			fx(k);
			check_eq(fmt("A06.gd%u.%s", n, s), "GD guards the alias", try_mov_from_dr(n, &v), VEC_DB);
			check_eq(fmt("A06.gd%u.dr6.%s", n, s), "with BD", trap_nth(VEC_DB, 0)->dr6, DR6_INIT | DR6_BD);
		}
		write_dr7(DR7_INIT);
		write_dr6(DR6_INIT);
	}
}
