/* SPDX-License-Identifier: MIT */
/* The four policies of ownership: every script of the other tests under each of them, and what each costs. */
#include "arch/x86/def/dr.h"
#include "arch/x86/def/hypercall.h"
#include "both.h"

static void again(unsigned policy, const char *name)
{
	struct tap_set set = { .id = name };

	machine_policy = policy;
	tap_instead = &set;
	tap_run_again("_vmx");
	tap_run_again("_svm");
	tap_instead = NULL;
	machine_policy = DBG_LAZY;
	tap_case(&set, set.cases >= 150, true, "few comparisons: %llu", (unsigned long long)set.cases);
	tap_end(&set, "each script of each test, random ones too: the records of bare hardware, and all invariants");
}

TEST(H09_eager_again)
{
	again(DBG_EAGER, "H09.eager");
}

TEST(H09_cached_again)
{
	again(DBG_CACHED, "H09.cached");
}

TEST(H09_trapped_again)
{
	again(DBG_TRAPPED, "H09.trapped");
}

/* ---- Costs ---- */

static bool start(struct machine *m, bool amd, unsigned policy, const struct gop *ops, unsigned nr)
{
	if (tap_instead || !machine_start(m, amd, full(amd)))
		return false;
	machine_policy = policy;
	machine_add(m, ops, nr, OPS(show_dr67));
	machine_policy = DBG_LAZY;
	machine_run(m);
	machine_same_as_bare(m, 0, id(amd, "H09.cost"));
	sw_report(id(amd, "cost"));
	return true;
}

BOTH(H09_cost_lazy)
{
	static const struct gop ops[] = { { G_CPUID }, HC(HC_LAB_FAST), { G_OUT, .a = 0x80 }, HC(HC_LAB_SLOW), { G_CPUID }, { G_PUSHF } };
	struct machine m;

	if (!start(&m, amd, DBG_LAZY, OPS(ops)))
		return;
	tap_eq(machine_count(0, sw.nr_log, OP_WR_DR, -1) + machine_count(0, sw.nr_log, OP_RD_DR, -1), 0, id(amd, "H09.lazy_idle"), "idle: no access to a DR");
	machine_stop(&m);
}

BOTH(H09_cost_trapped)
{
	static const struct gop ops[] = { WR(0, 0x5000), WR(1, 0x6000), RD(0), RD(1), WR(6, 0xffff0ff1), RD(6), HC(HC_LAB_FAST), RD(6), RD(7) };
	struct machine m;
	unsigned dr_exits = 0;

	if (!start(&m, amd, DBG_TRAPPED, OPS(ops)))
		return;
	for (int i = machine_find(0, OP_EXIT, -1); i >= 0; i = machine_find((unsigned)i + 1, OP_EXIT, -1))
		dr_exits += amd ? (sw.log[i].v & ~0x1full) == 0x20 : sw.log[i].v == 29;
	tap_eq(dr_exits, 8, id(amd, "H09.trapped_exits"), "trapped: each of eight MOV DR exits");
	tap_eq(machine_count(0, sw.nr_log, OP_WR_DR, -1) + machine_count(0, sw.nr_log, OP_RD_DR, -1), 0, id(amd, "H09.trapped_never"), "and it never owns one");
	machine_stop(&m);
}

BOTH(H09_cost_cached)
{
	static const struct gop ops[] = { WR(0, 0x5000), WR(3, 0x6000), WR(7, 0x10402), HC(HC_LAB_SLOW), HC(HC_LAB_SLOW), { G_CPUID }, HC(HC_LAB_SLOW), { G_PUSHF } };
	struct machine m;

	if (!start(&m, amd, DBG_CACHED, OPS(ops)))
		return;
	tap_eq(machine_count(0, sw.nr_log, OP_WR_DR, -1), 0, id(amd, "H09.cached_writes"), "cached: what the registers hold is not written, on %u entries",
	       machine_count(0, sw.nr_log, OP_ENTER, -1));
	tap_eq(m.vm[0]->vcpu->dbg.dr[3], 0x6000, id(amd, "H09.cached_value"), "and read back");
	machine_stop(&m);
}

BOTH(H09_cost_eager)
{
	static const struct gop ops[] = { { G_CPUID }, HC(HC_LAB_SLOW), HC(HC_LAB_FAST), HC(HC_LAB_FAST), { G_CPUID }, { G_PUSHF } };
	struct machine m;
	unsigned outer, writes;

	if (!start(&m, amd, DBG_EAGER, OPS(ops)))
		return;
	outer = machine_count(0, sw.nr_log, OP_IRQ_ON, -1) - 2; /* load and put open interrupts too */
	writes = machine_count(0, sw.nr_log, OP_WR_DR, -1);
	tap_ok(writes >= outer * 10 && writes <= outer * 11, id(amd, "H09.eager_bound"), "eager: %u writes for %u trips, at most 11 each", writes, outer);
	tap_eq(machine_count(0, sw.nr_log, OP_ENTER, -1) - outer, 2, id(amd, "H11.eager"), "none for the two fast exits");
	machine_stop(&m);
}
