/* SPDX-License-Identifier: MIT */
/* AMD's breakpoint address masks: they are the guest's own, in hardware and where drover matches, and nobody else's breakpoint is widened by them. */
#include "arch/x86/def/cr.h"
#include "arch/x86/def/hypercall.h"
#include "both.h"

#define MASK0 0xc0011027
#define MASK1 0xc0011019
#define MASK3 0xc001101b

TEST(H17_own_mask)
{
	static const struct gop ops[] = { WM(MASK0, 0xff), RM(MASK0), WR(0, 0x5000), WR(7, 0x10402), { G_STORE, .a = 0x5010, .n = 1 }, { G_STORE, .a = 0x5100, .n = 1 },
					  HC(HC_LAB_SLOW), { G_STORE, .a = 0x50f0, .n = 4 }, { G_STORE, .a = 0x5100, .n = 4 }, WM(MASK0, 0), { G_STORE, .a = 0x5010, .n = 1 },
					  { G_STORE, .a = 0x5000, .n = 1 }, RM(MASK0) };
	struct machine m;

	if (!run_full(&m, true, "H17.own", OPS(ops), OPS(show_all)))
		return;
	tap_eq(machine_recs(&m, 0, R_DB), 3, "H17.hits", "two hits under the mask, by the owner and by an armed guest, and one without");
	machine_stop(&m);
}

/* XSA-444 (B39): the mask of the vcpu before widens a breakpoint of this one, by up to 4 GiB. */
TEST(H17_peer)
{
	static const struct gop a[] = { WM(MASK0, 0xfff), WM(MASK3, 0xff), WR(0, 0x5000), WR(7, 0x10402), { G_STORE, .a = 0x5004, .n = 1 }, HC(HC_LAB_YIELD),
					{ G_STORE, .a = 0x5ff0, .n = 1 }, HC(HC_LAB_YIELD), HC(HC_LAB_SLOW) };
	static const struct gop b[] = { RM(MASK0), WR(0, 0x6000), WR(7, 0x10402), { G_STORE, .a = 0x6010, .n = 1 }, HC(HC_LAB_YIELD), { G_STORE, .a = 0x6010, .n = 1 },
					{ G_STORE, .a = 0x6000, .n = 1 }, RM(MASK3) };
	struct machine m;

	if (!machine_start(&m, true, full(true)))
		return;
	machine_add(&m, OPS(a), OPS(show_dr67));
	machine_add(&m, OPS(b), OPS(show_dr67));
	machine_run(&m);
	tap_eq(machine_recs(&m, 0, R_DB), 2, "H17.peer_own", "the guest with the mask: its two hits");
	tap_eq(machine_recs(&m, 1, R_DB), 1, "H17.peer", "the other one: only its own address");
	machine_same_as_bare(&m, 0, "H17.peer_a");
	machine_same_as_bare(&m, 1, "H17.peer_b");
	sw_report("peer_mask");
	machine_stop(&m);
}

TEST(H17_host)
{
	static const struct gop ops[] = { WM(MASK1, 0xfff), WR(1, 0x7000), WR(7, 0x100408), { G_STORE, .a = 0x7010, .n = 1 }, HC(HC_LAB_SLOW), { G_STORE, .a = 0x7020, .n = 1 },
					  { G_CPUID } };
	struct machine m;

	if (!machine_start(&m, true, full(true)))
		return;
	machine_host_bp(&m, 1, 0x9000, 1);
	machine_add(&m, OPS(ops), OPS(show_dr67));
	machine_run(&m);
	machine_same_as_bare(&m, 0, "H17.host_bare");
	tap_eq(sw_host_access(REF_WRITE, 0x9010, 1), 0, "H17.host", "a guest's mask does not widen the host's breakpoint");
	tap_ok(sw_host_access(REF_WRITE, 0x9000, 1) != 0, "H17.host_fires", "which fires where it is");
	sw_report("host_mask");
	machine_stop(&m);
	if (!machine_start(&m, true, full(true)))
		return;
	machine_add(&m, OPS(ops), OPS(show_dr67));
	machine_run(&m);
	machine_host_bp(&m, 1, 0x9000, 1); /* the masks are still the guest's */
	tap_eq(sw_host_access(REF_WRITE, 0x9010, 1), 0, "H17.host_later", "nor one that is set later");
	sw_report("host_later");
	machine_stop(&m);
}

/* drover itself reads memory for OUTS. */
TEST(H17_emulated)
{
	static const struct gop ops[] = { WM(MASK1, 0xff0), WR(1, 0x5002), WR(7, 0x00300408), { G_OUTS, .a = 0x80, .b = 0x5452, .n = 1 }, { G_OUTS, .a = 0x80, .b = 0x5452, .n = 2 },
					  { G_OUTS, .a = 0x80, .b = 0x6002, .n = 1 } };
	struct machine m;

	if (!run_full(&m, true, "H17.emulated", OPS(ops), OPS(show_dr67)))
		return;
	tap_eq(machine_recs(&m, 0, R_DB), 2, "H17.emulated_hits", "an emulated access is matched under the mask");
	machine_stop(&m);
}

TEST(H17_msrs)
{
	static const struct gop ops[] = { WM(MASK0, 0xfff), WM(MASK0, 0x1000), WM(MASK3, 0x1ffffffff), WM(MASK1 + 3, 0), RM(MASK3), RM(MASK0) };
	struct machine m;

	for (unsigned k = 0; k < 3; k++) {
		struct ref_cpu cpu = full(true);

		cpu.masks = k > 0;
		cpu.masks32 = k > 1;
		if (!machine_start(&m, true, cpu) || !machine_add(&m, OPS(ops), OPS(show_dr67)))
			return;
		machine_run(&m);
		tap_eq(machine_recs(&m, 0, R_EXC), k == 0 ? 6 : k == 1 ? 3 : 2, "H17.gp", "a mask beyond the CPU's width faults, and so does each one of a CPU without");
		machine_same_as_bare(&m, 0, "H17.msrs");
		machine_stop(&m);
	}
}

TEST(H17_match)
{
	static const uint32_t masks[] = { 0, 1, 7, 0xff, 0xfff, 0x10, 0x808, 0xfffff000, 0x80000001 };
	static const enum dbg_access ours[] = { DBG_ACCESS_EXEC, DBG_ACCESS_READ, DBG_ACCESS_WRITE, DBG_ACCESS_IO };
	static const enum ref_access theirs[] = { REF_FETCH, REF_READ, REF_WRITE, REF_PORT };
	struct tap_set s = { .id = "H17.match" };
	uint64_t seed = 17;

	for (unsigned n = 0; n < 400000; n++) {
		uint32_t mask = masks[rnd(&seed) % 9];
		uint64_t dr = 0x12345000 + rnd(&seed) % 64, addr = dr ^ (rnd(&seed) & (rnd(&seed) % 2 ? mask : 0x1f));
		uint64_t dr7 = rnd(&seed) & 0xffff0000;
		unsigned slot = rnd(&seed) % 4, k = rnd(&seed) % 4, len = 1u << rnd(&seed) % 4;

		tap_case(&s, dbg_slot_matches_masked(dr, dr7, slot, mask, ours[k], addr, len, CR4_DE),
			 sw_match(dr, dr7, slot, mask, theirs[k], addr, len, true), "dr=0x%llx mask=0x%x addr=0x%llx len=%u dr7=0x%llx access %u", (unsigned long long)dr,
			 mask, (unsigned long long)addr, len, (unsigned long long)dr7, k);
	}
	tap_end(&s, "match under a mask, against the comparison of bit after bit");
}

TEST(Z08_masks)
{
	struct dbg_vcpu v = { .mask = { 1, 2, 3, 4 }, .dr7 = 0x400 };

	dbg_vcpu_reset(&v);
	tap_eq(v.mask[0] | v.mask[1] | v.mask[2] | v.mask[3], 0, "Z08.masks", "RESET zeroes the masks");
}
