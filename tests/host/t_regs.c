/* SPDX-License-Identifier: MIT */
/* Register values: what DR6 and DR7 read back, how a #DB changes DR6, delivery. Exhaustive against the bitwise reference. */
#include "arch/x86/dbg.h"
#include "arch/x86/def/cr.h"
#include "model/ref.h"
#include "tap.h"

#define NR_FEAT 8

static struct ref_cpu cpu_of(unsigned feat)
{
	return (struct ref_cpu){ .rtm = feat & DBG_FEAT_RTM, .bld = feat & DBG_FEAT_BLD, .amd = feat & DBG_FEAT_AMD };
}

/* The nine bits of DR6 that mean something, scattered from a counter. */
static uint64_t spread(unsigned n)
{
	static const uint8_t at[9] = { 0, 1, 2, 3, 11, 13, 14, 15, 16 };
	uint64_t v = 0;

	for (unsigned i = 0; i < 9; i++)
		v |= (uint64_t)(n >> i & 1) << at[i];
	return v;
}

TEST(A01_dr6_reads_back)
{
	struct tap_set all = { .id = "A01.fix" };

	/* The values that the rule names. */
	tap_eq(dbg_dr6_fix(0, 0), 0xffff0ff0, "A01.zero", "DR6 written 0");
	tap_eq(dbg_dr6_fix(0, DBG_FEAT_RTM), 0xfffe0ff0, "A01.zero_rtm", "DR6 written 0, RTM");
	tap_eq(dbg_dr6_fix(0, DBG_FEAT_BLD), 0xffff07f0, "A01.zero_bld", "DR6 written 0, bus lock detect");
	tap_eq(dbg_dr6_fix(0, DBG_FEAT_RTM | DBG_FEAT_BLD), 0xfffe07f0, "A01.zero_both", "DR6 written 0, both");
	tap_eq(dbg_dr6_fix(0xffffffff, 0), 0xffffefff, "A01.ones", "DR6 written ~0");
	for (unsigned feat = 0; feat < NR_FEAT; feat++)
		for (unsigned n = 0; n < 1u << 17; n++) {
			uint64_t v = n | (n & 1 ? 0xfffe0000 : 0);

			tap_case(&all, dbg_dr6_fix(v, feat), ref_dr6_written(v, cpu_of(feat)), "feat=%u v=0x%llx", feat, (unsigned long long)v);
		}
	tap_end(&all, "DR6 after a write, every value of 16:0");
}

TEST(A02_dr7_reads_back)
{
	struct tap_set all = { .id = "A02.fix" };

	tap_eq(dbg_dr7_fix(0, 0), 0x400, "A02.zero", "DR7 written 0");
	tap_eq(dbg_dr7_fix(0xffffdfff, 0), 0xffff07ff, "A02.ones", "DR7 written ~GD");
	tap_eq(dbg_dr7_fix(0xffffdfff, DBG_FEAT_RTM), 0xffff0fff, "A02.ones_rtm", "DR7 written ~GD, RTM");
	for (unsigned feat = 0; feat < NR_FEAT; feat++)
		for (uint64_t n = 0; n < 1u << 16; n++) {
			uint64_t v = n | (n * 0x9e37) << 16 % 32;

			v &= 0xffffffff;
			tap_case(&all, dbg_dr7_fix(v, feat), ref_dr7_written(v, cpu_of(feat)), "feat=%u v=0x%llx", feat, (unsigned long long)v);
		}
	tap_end(&all, "DR7 after a write, every value of 15:0");
}

TEST(A12_merge)
{
	struct tap_set all = { .id = "A12.merge" }, twice = { .id = "S04.idempotent" }, bit12 = { .id = "V04.bit12" };

	for (unsigned feat = 0; feat < NR_FEAT; feat++)
		for (unsigned o = 0; o < 512; o++)
			for (unsigned p = 0; p < 512; p++) {
				uint64_t old = ref_dr6_written(0xffff0ff0 ^ spread(o), cpu_of(feat));
				uint32_t payload = (uint32_t)spread(p);
				uint64_t got = dbg_dr6_merge(old, payload, feat);

				tap_case(&all, got, ref_dr6_after(old, payload, cpu_of(feat)), "feat=%u old=0x%llx payload=0x%x", feat,
					 (unsigned long long)old, payload);
				tap_case(&bit12, dbg_dr6_merge(old, payload | 1u << 12, feat), got, "feat=%u old=0x%llx payload=0x%x", feat,
					 (unsigned long long)old, payload);
				/* What hardware merged is merged again from what it left (SVM, LIVE): nothing may change. */
				tap_case(&twice, dbg_dr6_merge(got, dbg_payload_from_dr6(got), feat), got, "feat=%u old=0x%llx payload=0x%x", feat,
					 (unsigned long long)old, payload);
			}
	tap_end(&all, "DR6 after a #DB: 2^9 old x 2^9 causes x features");
	tap_end(&bit12, "bit 12 of a payload never reaches DR6");
	tap_end(&twice, "merging what hardware has merged changes nothing");
}

TEST(A12_examples)
{
	tap_eq(dbg_dr6_merge(0xffff4ff2, 0x4, 0), 0xffff4ff4, "A12.sticky", "BS+B1, then a hit of slot 2");
	tap_eq(dbg_dr6_merge(0xffff07f0, 0x4000, DBG_FEAT_BLD), 0xffff47f0, "A13.kept", "BLD that software cleared stays cleared over a step");
	tap_eq(dbg_dr6_merge(0xffff0ff0, 0x4000, DBG_FEAT_BLD), 0xffff4ff0, "A13.not_set", "and a step alone does not report a bus lock");
	tap_eq(dbg_dr6_merge(0xffff0ff0, 0x800, DBG_FEAT_BLD), 0xffff07f0, "A13.cleared", "a bus lock clears BLD");
	tap_eq(dbg_dr6_merge(0xfffe0ff0, 0x4000, DBG_FEAT_RTM), 0xffff4ff0, "A14.set", "a step sets RTM again");
	tap_eq(dbg_dr6_merge(0xffff0ff0, 0x10001, DBG_FEAT_RTM), 0xfffe0ff1, "A14.rtm", "a #DB in a transaction clears RTM");
	tap_eq(dbg_dr6_merge(0xffff0ff1, 0x10000, 0), 0xffff0ff0, "A14.none", "no RTM: the bit stays 1");
}

TEST(V04_payloads)
{
	struct tap_set q = { .id = "V04.qualification" }, x = { .id = "S02.xor" };
	uint64_t seed = 4;

	for (unsigned i = 0; i < 200000; i++) {
		uint64_t v = rnd(&seed);

		/* B0-3, BLD, BD, BS, RTM and nothing else. */
		tap_case(&q, dbg_payload_from_qual(v), v & 0x1680f, "qualification 0x%llx", (unsigned long long)v);
	}
	for (unsigned p = 0; p < 512; p++) {
		uint32_t payload = (uint32_t)spread(p);

		tap_case(&x, dbg_payload_from_dr6(ref_dr6_after(0xffff0ff0, payload, cpu_of(3))), payload, "payload 0x%x", payload);
	}
	tap_end(&q, "payload from an exit qualification with garbage in it");
	tap_end(&x, "DR6 after an exit, started from its reset value, is the payload");
	tap_eq(dbg_payload_from_dr6(0xffff0ff0), 0, "S02.none", "the reset value is no payload");
}

TEST(A11_deliver)
{
	struct dbg_vcpu v = { .dr6 = 0xffff0ff2, .dr7 = 0x2402, .debugctl = 0xc3, .feat = DBG_FEAT_RTM };
	struct dbg_record step = { .payload = 0x4000, .cls = DBG_TRAP };

	dbg_deliver(&v, &step);
	tap_eq(v.dr6, 0xffff4ff0, "V02.dr6", "a delivered step: BS, old B1 gone");
	tap_eq(v.dr7, 0x402, "A11.gd", "GD goes with every #DB, breakpoints stay");
	tap_eq(v.debugctl, 0xc0, "A31.debugctl", "LBR and BTF go, the rest stays");
	v.dr7 = 0x400;
	dbg_deliver(&v, &step);
	tap_eq(v.dr6, 0xffff4ff0, "S04.again", "the same #DB merged twice (hardware did it first)");
}

/* A breakpoint that is not enabled may set its B bit in hardware. DR0-3 of an IDLE vcpu hold somebody else's addresses. */
TEST(A15_disabled_slot)
{
	struct dbg_vcpu v = { .dr6 = 0xffff0ff0, .dr7 = 0x404 };
	struct dbg_record r = { .payload = 0x4003, .cls = DBG_TRAP };

	dbg_deliver(&v, &r);
	tap_eq(v.dr6 & 2, 2, "A15.enabled", "slot 1 is enabled: B1");
	tap_eq(v.dr6 & 1, 0, "A15.disabled", "slot 0 is not: its B bit, that another owner's address may have caused, is not shown");
	tap_eq(v.dr6 & 0x4000, 0x4000, "A15.rest", "the other causes are");
}

TEST(E01_retire)
{
	struct dbg_vcpu v = { .dr7 = 0x400 };
	struct tap_set all = { .id = "E10.retire" };

	tap_eq(dbg_retire(&v, 0x102, 0), 0x4000, "E01.tf", "TF at the start: BS");
	tap_eq(dbg_retire(&v, 0x2, 0), 0, "E01.none", "no TF, no hit: nothing to raise");
	for (unsigned hits = 0; hits < 16; hits++)
		for (unsigned tf = 0; tf < 2; tf++)
			tap_case(&all, dbg_retire(&v, tf << 8 | 0x10202, hits), hits | tf << 14, "hits=%u tf=%u", hits, tf);
	tap_end(&all, "all causes of one instruction in one payload (A34)");
}

TEST(S10_debugctl)
{
	struct tap_set amd = { .id = "S10.sweep" }, intel = { .id = "V17.sweep" }, kept = { .id = "H20.unchanged" };

	for (unsigned bit = 0; bit < 64; bit++)
		for (unsigned vendor = 0; vendor < 2; vendor++) {
			struct dbg_vcpu v = { .feat = vendor ? DBG_FEAT_AMD : 0 };
			bool ok = dbg_wrmsr_debugctl(&v, 1ull << bit);

			tap_case(vendor ? &amd : &intel, ok, vendor ? bit < 6 : bit < 2, "bit %u", bit);
			tap_case(&kept, v.debugctl, 0, "bit %u", bit);
		}
	tap_end(&amd, "AMD: 5:0 are dropped, all others fault");
	tap_end(&intel, "Intel: LBR and BTF are dropped; BTS, TR, BTINT and all others fault");
	tap_end(&kept, "nothing of it is virtualized: reads 0 after either");
	struct dbg_vcpu v = { .feat = DBG_FEAT_AMD };

	tap_ok(dbg_wrmsr_debugctl(&v, 0x3c), "S10.pins", "the old pin control bits 5:2 are ignored");
	tap_ok(!dbg_wrmsr_debugctl(&v, 0x41), "S10.mixed", "one bad bit makes the whole write fault");
}

TEST(Z08_reset)
{
	struct dbg_vcpu v = { .dr = { 1, 2, 3, 4 }, .dr6 = 0, .dr7 = ~0ull, .debugctl = 3, .state = DBG_LIVE, .feat = DBG_FEAT_AMD };
	struct dbg_cpu c = { .dr = { 1, 2, 3, 4 }, .dr7 = ~0ull, .debugctl = 3, .guest_dr_loaded = true };
	struct tap_set drs = { .id = "Z08.dr03" };

	dbg_vcpu_reset(&v);
	dbg_cpu_reset(&c);
	for (unsigned i = 0; i < 4; i++) {
		tap_case(&drs, v.dr[i], 0, "guest DR%u", i);
		tap_case(&drs, c.dr[i], 0, "host DR%u", i);
	}
	tap_end(&drs, "RESET zeroes DR0-3");
	tap_eq(v.dr6, 0xffff0ff0, "H07.guest", "DR6 after RESET is not 0");
	tap_eq(v.dr7, 0x400, "Z08.dr7", "DR7 after RESET");
	tap_eq(v.debugctl, 0, "Z08.debugctl", "DEBUGCTL after RESET");
	tap_eq(v.state, DBG_IDLE, "Z08.state", "nothing is armed: IDLE");
	tap_eq(v.feat, DBG_FEAT_AMD, "Z08.feat", "the CPU model stays");
	tap_eq(c.dr7, 0x400, "Z08.host", "host DR7 likewise");
	tap_eq(c.debugctl, 0, "Z08.host_debugctl", "host DEBUGCTL shadow likewise");
}
