/* SPDX-License-Identifier: MIT */
/* Instructions at random, for tests against Capstone: prefixes, then the first bytes of something that the decoder knows, then anything; in each mode. */
#ifndef RANDOM_INSNS_H
#define RANDOM_INSNS_H

#include <capstone/capstone.h>
#include <string.h>

#include "tap.h"
#include "vmm/decode.h"

struct insn_mix {
	const uint8_t (*starts)[4]; /* how many bytes, and these; 0: none, so that all is random */
	unsigned nr_starts;
	const uint8_t *prefix;
	unsigned nr_prefix, max_prefix; /* to choose from; in front of an instruction at the most */
	uint64_t seed;
	/* What each byte string is asked. */
	void (*one)(csh h, enum decode_mode mode, const uint8_t bytes[16], struct tap_set sets[4]);
	/* Changes the last byte of the start s, or NULL. */
	void (*vary)(const uint8_t s[4], uint8_t *last, uint64_t *seed);
};

/* 60000 per mode. A mode that Capstone does not open is a wrong case of the first set. */
static inline void random_insns(const struct insn_mix *m, struct tap_set sets[4])
{
	static const cs_mode modes[] = { [DECODE_16] = CS_MODE_16, [DECODE_32] = CS_MODE_32, [DECODE_64] = CS_MODE_64 };
	uint64_t seed = m->seed;

	for (enum decode_mode mode = DECODE_16; mode <= DECODE_64; mode++) {
		cs_err opened;
		csh h;

		opened = cs_open(CS_ARCH_X86, modes[mode], &h);
		tap_case(&sets[0], opened, CS_ERR_OK, "Capstone opens mode %u", mode);
		if (opened != CS_ERR_OK)
			return;
		cs_option(h, CS_OPT_DETAIL, CS_OPT_ON);
		for (unsigned i = 0; i < 60000; i++) {
			const uint8_t *s = m->starts[rnd(&seed) % m->nr_starts];
			uint8_t bytes[16];
			unsigned at = 0;

			for (unsigned k = 0; k < 16; k++)
				bytes[k] = (uint8_t)rnd(&seed);
			for (unsigned k = (unsigned)(rnd(&seed) % (m->max_prefix + 1)); k > 0; k--)
				bytes[at++] = m->prefix[rnd(&seed) % m->nr_prefix];
			memcpy(bytes + at, s + 1, s[0]);
			if (m->vary && s[0])
				m->vary(s, &bytes[at + s[0] - 1u], &seed);
			m->one(h, mode, bytes, sets);
		}
		cs_close(&h);
	}
}

#endif
