/* SPDX-License-Identifier: MIT */
/* VM B of `isolation`: its first use of each register comes when VM A has patterns in all of them, so it must find none of those; then
 * it keeps its own.
 * Rules: H15, H17, Z08. See isolation.c for the bugs. */
#include "tests/guest/iso_state.h"

#define ROUNDS 24
#define YIELDS_FIRST 20

SCENARIO(peer, "VM B of two: clean at the start, its own afterwards", SCN_BY_NAME | SCN_LAB)
{
	unsigned round;

	iso_init();
	/* VM A's time slice may end before it has put its first patterns: let it. This VM has touched none of that state so far. */
	for (round = 0; round < YIELDS_FIRST; round++)
		if (hypercall(HC_LAB_YIELD, 0, 0, 0) != 0)
			scenario_skip("no second VM in this group");
	iso_check_fresh();
	for (round = 0; round < ROUNDS; round++) {
		uint32_t seed = 2 * round + 0x41;

		iso_put(seed);
		if (hypercall(HC_LAB_YIELD, 0, 0, 0) != 0)
			break;
		iso_compare(seed);
	}
	iso_report();
	check_eq("H15.rounds", "the other VM was there all the time", round, ROUNDS);
}
