/* SPDX-License-Identifier: MIT */
/* Symptom: a guest's first instruction finds breakpoints armed, or DR6/DR7 of somebody else.
 * Cause: reset state of DR0-3, DR6, DR7, DEBUGCTL not set up for a new vCPU (DR6 = 0 is the usual one), or the previous
 * owner's values left in the CPU because the registers are switched lazily.
 * Who had it: hypervisors that write DR6 with 0 (Xen until 721da6d41a), and INIT paths that forgot DR0-3.
 * Rules: Z08, H07. The values were taken by the image's first instructions, before anything wrote a debug register. */
#include "tests/guest/guest.h"

SCENARIO(z08_first_insn, "debug registers at the image's first instruction", 0)
{
	for (unsigned n = 0; n < 4; n++)
		check_eq(fmt("Z08.dr%u", n), "is 0 at the first instruction", boot_capture.dr[n], 0);
	check_eq("Z08.dr6", "has its reset value", boot_capture.dr6, DR6_INIT);
	check_eq("Z08.dr7", "has its reset value", boot_capture.dr7, DR7_INIT);
	if (env.debugctl)
		check_eq("Z08.debugctl", "is 0", boot_capture.debugctl, 0);
	else
		check_skip("Z08.debugctl", "is 0", "no DEBUGCTL MSR");
}
