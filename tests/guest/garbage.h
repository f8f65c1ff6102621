/* SPDX-License-Identifier: MIT */
/* Random values for scenarios that feed a hypervisor nonsense: by `seed=` of the guest's command line, else fixed, so that each run is the same. */
#ifndef TESTS_GUEST_GARBAGE_H
#define TESTS_GUEST_GARBAGE_H

#include "tests/guest/guest.h"

static uint64_t garbage_state;

static inline void garbage_begin(void)
{
	garbage_state = env.seed * 0x2545f4914f6cdd1d ^ 0x9e3779b97f4a7c15;
	if (!garbage_state)
		garbage_state = 1;
}

static inline uint64_t rnd(void)
{
	garbage_state ^= garbage_state << 13;
	garbage_state ^= garbage_state >> 7;
	garbage_state ^= garbage_state << 17;
	return garbage_state * 0x2545f4914f6cdd1d >> 8; /* the low bits of a xorshift alone follow each other */
}

/* Below n. */
static inline unsigned pick(unsigned n)
{
	return (unsigned)(rnd() >> 8) % n;
}

/* What a field may hold: bits, ends, an address in this guest's memory, behind it, or anything. old: what it held. */
static inline uint64_t garbage(uint64_t old)
{
	switch (pick(8)) {
	case 0: return 0;
	case 1: return ~0ul;
	case 2: return 1ul << pick(64);
	case 3: case 4: return old ^ 1ul << pick(64);
	case 5: return rnd() % env.mem_bytes;
	case 6: return env.mem_bytes + (rnd() & 0xffffff000);
	default: return rnd() << 9 ^ rnd();
	}
}

#endif
