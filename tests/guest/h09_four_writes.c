/* SPDX-License-Identifier: MIT */
/* The first MOV DR hands the registers to the guest; the next ones are free until it leaves for the slow path.
 *
 * Symptom: a debugger in the guest that writes DR0-3 on every context switch runs at a crawl. Cause: each MOV DR exits.
 * Who: KVM until 81908bf44340 (a 40 % loss of time was reported).
 * The figures are those of the lazy policy; under another one (`dbg=`) they are that one's.
 * Rules: H09. */
#include "tests/guest/guest.h"

static void write_all(uint64_t seed)
{
	write_dr0(seed);
	write_dr1(seed + 1);
	write_dr2(seed + 2);
	write_dr3(seed + 3);
}

static bool all_are(uint64_t seed)
{
	return read_dr0() == seed && read_dr1() == seed + 1 && read_dr2() == seed + 2 && read_dr3() == seed + 3;
}

/* Exits between the two readings, the second reading's own left out. A host interrupt can add one: least of several. */
static uint64_t exits_of(void (*fn)(uint64_t), uint64_t seed)
{
	uint64_t best = ~0ull;

	for (unsigned i = 0; i < 8; i++) {
		uint64_t before = hypercall(HC_LAB_COUNT, LAB_EXITS, 0, 0), n;

		fn(seed);
		n = hypercall(HC_LAB_COUNT, LAB_EXITS, 0, 0) - before - 1;
		if (n < best)
			best = n;
	}
	return best;
}

static void nothing(uint64_t seed)
{
	(void)seed;
}

static void write_and_read(uint64_t seed)
{
	write_all(seed);
	write_dr6(DR6_INIT | DR6_B1);
	(void)all_are(seed);
	(void)read_dr6();
	(void)read_dr7();
}

static void write_fast_write(uint64_t seed)
{
	write_all(seed);
	for (unsigned i = 0; i < 3; i++) { /* few, so that one of the tries is over before a host interrupt, with two hypervisors below as well */
		fx(FX_FAST);
		write_all(seed + i);
	}
}

SCENARIO(h09_four_writes, "four DR writes cost one exit", SCN_LAB)
{
	/* Always LIVE: none. Never: each. */
	static const struct { uint8_t four, more, fast; } cost[NR_POLICIES] = {
		[POLICY_LAZY] = { 1, 1, 4 }, [POLICY_EAGER] = { 0, 0, 3 }, [POLICY_CACHED] = { 0, 0, 3 }, [POLICY_TRAPPED] = { 4, 11, 19 },
	};

	check_eq("H09.none", "no access: no exit", exits_of(nothing, 0), 0);
	check_eq("H09.four", "DR0-3 written: one exit", exits_of(write_all, 0x1000), cost[env.policy].four);
	check("H09.four.values", "and they hold what was written", all_are(0x1000));
	check_eq("H09.more", "DR0-3 and DR6 written, all read: one exit", exits_of(write_and_read, 0x2000), cost[env.policy].more);
	check_eq("H09.fast", "three fast exits with writes between them: those three and one", exits_of(write_fast_write, 0x3000),
		 cost[env.policy].fast);
	check("H09.fast.values", "and the registers hold the last", all_are(0x3002));
}
