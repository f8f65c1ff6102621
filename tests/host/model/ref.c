/* SPDX-License-Identifier: MIT */
/* The reference, written from the tables "Debug Registers" of both manuals, one bit at a time; shares no constant with dbg.c. */
#include "model/ref.h"

/* What each bit of DR6 and DR7 is. W: as written. S: sticky, set by a cause. B: set or cleared by every #DB. N: active low, set by every #DB
 * without the cause. L: active low, cleared by its cause, else left alone. 0, 1: fixed. R: N if the CPU has RTM, else 1. K: L if it has BLD, else 1. */
static const char dr6_kind[33] = "BBBB1111" "111K0SSS" "R1111111" "11111111";
/* T: as written if the CPU has RTM, else 0. */
static const char dr7_kind[33] = "WWWWWWWW" "WW1T0W00" "WWWWWWWW" "WWWWWWWW";

uint64_t ref_dr6_written(uint64_t v, struct ref_cpu c)
{
	uint64_t out = 0;

	for (unsigned i = 0; i < 32; i++) {
		unsigned bit = v >> i & 1;

		switch (dr6_kind[i]) {
		case '0': bit = 0; break;
		case '1': bit = 1; break;
		case 'R': bit = c.rtm ? bit : 1; break;
		case 'K': bit = c.bld ? bit : 1; break;
		}
		out |= (uint64_t)bit << i;
	}
	return out;
}

uint64_t ref_dr7_written(uint64_t v, struct ref_cpu c)
{
	uint64_t out = 0;

	for (unsigned i = 0; i < 32; i++) {
		unsigned bit = v >> i & 1;

		switch (dr7_kind[i]) {
		case '0': bit = 0; break;
		case '1': bit = 1; break;
		case 'T': bit = c.rtm ? bit : 0; break;
		}
		out |= (uint64_t)bit << i;
	}
	return out;
}

uint64_t ref_dr6_after(uint64_t old, uint32_t cause, struct ref_cpu c)
{
	uint64_t out = 0;

	for (unsigned i = 0; i < 32; i++) {
		unsigned was = old >> i & 1, hit = cause >> i & 1, bit = was;

		switch (dr6_kind[i]) {
		case '0': bit = 0; break;
		case '1': bit = 1; break;
		case 'B': bit = hit; break;
		case 'S': bit = was | hit; break;
		case 'R': bit = c.rtm ? !hit : 1; break;
		case 'K': bit = c.bld ? was && !hit : 1; break;
		}
		out |= (uint64_t)bit << i;
	}
	return out;
}

bool ref_enabled(uint64_t dr7, unsigned i)
{
	return (dr7 >> (2 * i) & 1) || (dr7 >> (2 * i + 1) & 1);
}

bool ref_match(uint64_t dr, uint64_t dr7, unsigned i, enum ref_access a, uint64_t addr, unsigned len, bool de)
{
	unsigned rw = dr7 >> (16 + 4 * i) & 3, code = dr7 >> (18 + 4 * i) & 3;
	unsigned size = code == 0 ? 1 : code == 1 ? 2 : code == 2 ? 8 : 4;
	uint64_t start = dr - dr % size;

	switch (rw) {
	case 0: return a == REF_FETCH && code == 0 && addr == dr;
	case 1:
		if (a != REF_WRITE)
			return false;
		break;
	case 2:
		if (a != REF_PORT || !de)
			return false;
		break;
	case 3:
		if (a != REF_READ && a != REF_WRITE)
			return false;
		break;
	}
	for (unsigned x = 0; x < len; x++)
		for (unsigned y = 0; y < size; y++)
			if (addr + x == start + y)
				return true;
	return false;
}
