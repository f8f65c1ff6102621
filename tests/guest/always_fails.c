/* SPDX-License-Identifier: MIT */
/* For the runner's own test: one check of each outcome, so that a runner which passes everything is caught. */
#include "tests/guest/guest.h"

SCENARIO(always_fails, "one pass, one fail, one skip, one error", SCN_BY_NAME)
{
	check("Z00.pass", "passes", true);
	check_eq("Z00.fail", "fails", 1, 2);
	check_skip("Z00.skip", "is skipped", "on purpose");
	check_error("Z00.error", "could not run", "on purpose");
}
