/* SPDX-License-Identifier: MIT */
/* Symptom: after ICEBP a debugger sees the breakpoint of an earlier #DB again, or a cause that it had kept is gone.
 * Cause: each #DB writes B0-3 anew, but AMD's ICEBP leaves them alone; a hypervisor that emulates ICEBP has to know its vendor.
 * Who had it: the difference is told in a comment of Xen's debug.c; Linux KVM has one path for both.
 * Rule: A27. Learn and record: a machine that differs from its vendor's line here is news. */
#include "tests/guest/guest.h"

CODE64(a27_plain, ".byte 0xf1; nop;" DONE)
CODE64(a27_tf, ".byte 0xf1; nop;" DONE)

SCENARIO(a27_icebp_b, "ICEBP: Intel clears B0-3, AMD keeps them", 0)
{
	static const uint32_t old[] = { DR6_B1, DR6_B0 | DR6_B1 | DR6_B2 | DR6_B3, DR6_BS | DR6_B3 };

	for (unsigned cpl = 0; cpl < 4; cpl += 3)
		FOR_FX(k)
			for (unsigned i = 0; i < 3; i++) {
				struct run r = { .code = a27_plain, .cpl = cpl };
				uint32_t keep = env.amd ? old[i] : old[i] & DR6_BS;

				write_dr6(DR6_INIT | old[i]);
				fx(k);
				run_code(&r);
				check_trace(fmt("A27.%x.%u.%s", old[i], cpl, fx_name(k)), "one #DB; DR6 by vendor", r.code,
					    fmt("DB+1/%x", DR6_INIT | keep));
			}
	/* What AMD keeps, the next step's #DB clears (A12). */
	struct run r = { .code = a27_tf, .rflags = FL_TF };

	db.keep_dr6 = true;
	write_dr6(DR6_INIT | DR6_B1);
	run_code(&r);
	check_trace("A27.step", "then a step", r.code, env.amd ? "DB+1/ffff0ff2;DB+2/ffff4ff0" : "DB+1/ffff0ff0;DB+2/ffff4ff0");
}
