/* SPDX-License-Identifier: MIT */
/* Symptom: MOV to DR6 or DR7 with bits 63:32 set is cut to 32 bits without a word, or the VM fails to enter.
 * Cause: the emulated path masks instead of raising #GP(0).
 * Who had it: Xen until f539ae2706; Linux KVM before kvm_dr6_valid()/kvm_dr7_valid().
 * Rule: A03 (with A06: the aliases DR4 and DR5 check the same). */
#include "tests/guest/guest.h"

SCENARIO(a03_dr_high_bits, "bits 63:32 in DR6 or DR7 are #GP(0), the register keeps its value", 0)
{
	static const unsigned regs[] = { 6, 7, 4, 5 };
	static const unsigned bits[] = { 32, 40, 63 };

	FOR_FX(k)
		for (unsigned r = 0; r < 4; r++) {
			bool is6 = !(regs[r] & 1);
			uint64_t old = is6 ? DR6_INIT | DR6_BS | DR6_B1 : DR7_INIT | DR7_GE;
			unsigned fault = 0, clean = 0, keep = 0; /* one bit per tried bit */

			for (unsigned b = 0; b < 3; b++) {
				is6 ? write_dr6(old) : write_dr7(old);
				trap_clear();
				fx(k);
				fault |= (unsigned)(try_mov_to_dr(regs[r], 1ull << bits[b] | (is6 ? DR6_INIT : DR7_INIT)) == VEC_GP) << b;
				clean |= (unsigned)(trap_log.n == 1 && trap_nth(VEC_GP, 0)->err == 0) << b;
				fx(k);
				keep |= (unsigned)((is6 ? read_dr6() : read_dr7()) == old) << b;
			}
			check_eq(fmt("A03.fault.dr%u.%s", regs[r], fx_name(k)), "#GP for bits 32, 40, 63", fault, 7);
			check_eq(fmt("A03.error.dr%u.%s", regs[r], fx_name(k)), "with error code 0, once", clean, 7);
			check_eq(fmt("A03.keep.dr%u.%s", regs[r], fx_name(k)), "the register keeps its value", keep, 7);
		}
}
