/* SPDX-License-Identifier: MIT */
/* Symptom: the same MOV DR raises one exception when hardware runs it and another when the hypervisor emulates it.
 * Cause: the checks of the emulated path are in another order.
 * Who had it: Linux KVM, whose emulator checks the value (check_dr_write) before GD, unlike its exit handler.
 * Rules: A09, V01: #UD, then CPL #GP, then GD #DB, then the #GP for the value. The first two pairs: a07, a08. */
#include "tests/guest/guest.h"

SCENARIO(a09_dr_fault_order, "GD #DB comes before #GP for the value", 0)
{
	FOR_FX(k)
		for (unsigned n = 6; n < 8; n++) {
			const char *s = fmt("dr%u.%s", n, fx_name(k));

			write_dr6(DR6_INIT);
			write_dr7(DR7_INIT | DR7_GD);
			trap_clear();
			fx(k);
			check_eq(fmt("A09.gd.%s", s), "GD and a bad value: #DB", try_mov_to_dr(n, 1ull << 40), VEC_DB);
			check_eq(fmt("A09.bd.%s", s), "its DR6", trap_nth(VEC_DB, 0)->dr6, DR6_INIT | DR6_BD);
			fx(k);
			check_eq(fmt("A09.value.%s", s), "GD gone, the bad value: #GP", try_mov_to_dr(n, 1ull << 40), VEC_GP);
			check_eq(fmt("A09.once.%s", s), "one exception each", trap_log.n, 2);
		}
}
