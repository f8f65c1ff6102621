/* SPDX-License-Identifier: MIT */
/* Symptom: MOV of a debug register that does not exist works, or faults with the wrong vector.
 * Cause: exit qualifications name 16 registers; the decode path ignored CR4.DE or REX.R.
 * Who had it: QEMU's SVM (any version, raises the intercept before #UD); the early emulator of KVM.
 * Rules: A07, V01 (#UD outranks GD, and GD stays set). */
#include "tests/guest/guest.h"

/* Bit 2i: MOV to register first + i is #UD; bit 2i + 1: MOV from it is, and leaves its destination. */
static unsigned undefined(unsigned first, unsigned n, enum force_exit k)
{
	unsigned mask = 0;

	for (unsigned i = 0; i < n; i++) {
		uint64_t v = 0x1122334455667788;

		fx(k);
		mask |= (unsigned)(try_mov_to_dr(first + i, 0) == VEC_UD) << 2 * i;
		fx(k);
		mask |= (unsigned)(try_mov_from_dr(first + i, &v) == VEC_UD && v == 0x1122334455667788) << (2 * i + 1);
	}
	return mask;
}

SCENARIO(a07_dr_undefined, "DR4/5 with CR4.DE = 1, and DR8-15 always, are #UD", 0)
{
	uint64_t v;

	FOR_FX(k)
	{
		const char *s = fx_name(k);

		check_eq(fmt("A07.dr8-15.%s", s), "DR8-15", undefined(8, 8, k), 0xffff);
		write_cr4(read_cr4() | CR4_DE);
		check_eq(fmt("A07.de.dr4-5.%s", s), "DR4, DR5 with DE", undefined(4, 2, k), 0xf);
		check_eq(fmt("A07.de.dr8-15.%s", s), "DR8-15 with DE", undefined(8, 8, k), 0xffff);
		write_dr7(DR7_INIT | DR7_GD);
		fx(k);
		check_eq(fmt("V01.ud-before-gd.%s", s), "#UD comes before the GD #DB", try_mov_to_dr(4, 0), VEC_UD);
		check_eq(fmt("V01.gd-stays.%s", s), "GD is still set", try_mov_from_dr(0, &v), VEC_DB);
		write_cr4(read_cr4() & ~CR4_DE);
	}
}
