/* SPDX-License-Identifier: MIT */
/* Symptom: a kernel's INT 0x80 or breakpoint handler is single-stepped by its user's TF.
 * Cause: INT n, INT3 and INTO clear TF as they deliver; no step trap may follow them.
 * Who had it: emulators that raise the step after every instruction they skip.
 * Rule: A22. */
#include "tests/guest/guest.h"

CODE64(a22_int80, "int $0x80; nop;" DONE)
CODE64(a22_int3, "int3; nop;" DONE)
CODE64(a22_cd03, ".byte 0xcd, 3; nop;" DONE)
CODE32(a22_into, ".byte 0xce; nop;" DONE)

SCENARIO(a22_int_tf, "no step trap after INT n, INT3, INTO", 0)
{
	static const struct {
		const char *name, *code, *want;
		bool compat;
		unsigned vec;
	} c[] = {
		{ "int80", a22_int80, "I80+2;DB+3/ffff4ff0", false, VEC_INT80 },
		{ "int3", a22_int3, "BP+1;DB+2/ffff4ff0", false, VEC_BP },
		{ "cd03", a22_cd03, "BP+2;DB+3/ffff4ff0", false, VEC_BP },
		{ "into", a22_into, "OF+1;DB+2/ffff4ff0", true, VEC_OF },
	};

	for (unsigned cpl = 0; cpl < 4; cpl += 3)
		FOR_FX(k)
			for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
				struct run r = { .code = c[i].code, .cpl = cpl, .compat = c[i].compat, .rflags = FL_TF | 0x800 /* OF */,
						 .resume = 1 << VEC_BP | 1 << VEC_OF };
				const char *id = fmt("%s.%u.%s", c[i].name, cpl, fx_name(k));

				fx(k);
				run_code(&r);
				check_trace(fmt("A22.%s", id), "the handler is not stepped, the next instruction is", r.code, c[i].want);
				check_eq(fmt("A22.tf.%s", id), "the saved flags have TF", trap_nth(c[i].vec, 0)->rflags & FL_TF, FL_TF);
			}
}
