/* SPDX-License-Identifier: MIT */
/* What a guest wrote while it owned the registers survives each exit, whichever path the exit takes.
 *
 * Symptom: a guest reads back an old breakpoint address, or another vCPU's. Cause: the exit went to the slow path without reading
 * the live registers first, or the registers were loaded again from a copy that was never refreshed (Xen 3cdac28056: DR6 written to
 * hardware while the state was lazy, and lost).
 * Rules: H10, S01 (DR6 and DR7 patterns); mutations B01 and B27. */
#include "tests/guest/guest.h"

#define ROUNDS 1000

struct drs {
	uint64_t v[6]; /* DR0-3, DR6, DR7 */
};
static const char *const reg_name[6] = { "dr0", "dr1", "dr2", "dr3", "dr6", "dr7" };

/* Distinct values each round; DR7 enables nothing, so that no address can hit, but carries each type and length bit in turn. */
static struct drs make(uint64_t i)
{
	struct drs d;

	for (unsigned n = 0; n < 4; n++)
		d.v[n] = (i * 0x9e3779b97f4a7c15ull) ^ (0x1111111111111111ull * (n + 1));
	d.v[4] = DR6_INIT | (i & 0xf) | (i & 0x10 ? DR6_BS : 0) | (i & 0x20 ? DR6_BD : 0) | (i & 0x40 ? DR6_BT : 0);
	d.v[5] = DR7_INIT | (i & 1 ? DR7_GE : 0) | (i & 2 ? DR7_LE : 0) | DR7_RWLEN(i % 4, i % 4 == 2 ? RW_RDWR : i % 4, (i / 4) % 4);
	if ((d.v[5] >> (16 + 4 * (i % 4)) & 3) == RW_EXEC)
		d.v[5] &= 0xffff; /* exec takes length 1 only */
	return d;
}

static void put(const struct drs *d)
{
	write_dr0(d->v[0]);
	write_dr1(d->v[1]);
	write_dr2(d->v[2]);
	write_dr3(d->v[3]);
	write_dr6(d->v[4]);
	write_dr7(d->v[5]);
}

static struct drs get(void)
{
	struct drs d;

	d.v[0] = read_dr0();
	d.v[1] = read_dr1();
	d.v[2] = read_dr2();
	d.v[3] = read_dr3();
	d.v[4] = read_dr6();
	d.v[5] = read_dr7();
	return d;
}

static void rounds(enum force_exit k)
{
	struct drs want = { 0 }, got = { 0 };

	for (unsigned i = 0; i < ROUNDS; i++) {
		bool same = true;

		want = make(i);
		put(&want);
		fx(k);
		if (i % 8 == 0)
			fx(FX_CPUID);
		got = get();
		for (unsigned n = 0; n < 6; n++)
			same &= got.v[n] == want.v[n];
		if (!same)
			break;
	}
	for (unsigned n = 0; n < 6; n++)
		check_eq(fmt("%s.%s.%s", n < 4 ? "H10" : "S01", reg_name[n], fx_name(k)), "written, exit, read back, 1000 times", got.v[n],
			 want.v[n]);
}

SCENARIO(h10_live_sync, "DR0-3, DR6 and DR7 read back what was written, through exits of each kind", 0)
{
	for (enum force_exit k = FX_NONE; k < FX_NR; k++)
		if (fx_available(k))
			rounds(k);
}
