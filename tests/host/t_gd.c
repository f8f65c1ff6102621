/* SPDX-License-Identifier: MIT */
/* General Detect and faults: where hardware raises them and where drover does, one result; what hardware leaves behind at an exit. */
#include "arch/x86/dbg_switch.h"
#include "arch/x86/def/dr.h"
#include "arch/x86/def/hypercall.h"
#include "arch/x86/def/seg.h"
#include "both.h"
#include "vmm/run.h"
#include "vmm/snapshot.h"

#define GD 0x2000u
#define RF 0x10000u

/* SVM: the #DB of GD comes before the intercept of MOV DR, and the VMCB has BD already and GD no more. VMX: the exit comes first, drover judges. */
BOTH(S05_general_detect)
{
	static const struct gop ops[] = { WR(0, 0x5000), WR(6, 0xffff8ff8), WR(7, 0x12401), HC(HC_LAB_SLOW), RD(0), RD(7) };
	struct machine m;

	if (!machine_start(&m, amd, plain) || !machine_add(&m, OPS(ops), OPS(show_dr67)))
		return;
	machine_run(&m);
	machine_same_as_bare(&m, 0, id(amd, "S05.bare"));
	tap_eq(machine_recs(&m, 0, R_DB), 1, id(amd, "S06.once"), "GD and an exiting MOV DR: one #DB, by hardware or by drover");
	tap_eq(rec_of(&m, R_DB, 0), m.g[0].at[4], id(amd, "S06.fault"), "at the MOV DR, which runs afterwards");
	tap_eq(rec_of(&m, R_DR, 0), 0xffffaff0, id(amd, "S05.dr6"), "BD is new, BT is kept, B3 is gone");
	tap_eq(rec_of(&m, R_DR, 1), 0x10401, id(amd, "S05.gd"), "GD is off in its handler");
	tap_eq(rec_of(&m, R_DR, 2), 0x5000, id(amd, "S06.value"), "and the access goes through");
	machine_stop(&m);
}

/* With TF on: a fault is no boundary, so there is no step of the MOV DR that did not run. */
BOTH(E07_no_step)
{
	static const struct gop ops[] = { WR(7, 0x2400), HC(HC_LAB_SLOW), TF_ON, RD(0), { G_NOP } };
	static const struct gop handler[] = { RD(6), WR(6, 0xffff0ff0), WR(7, 0x400) };
	struct machine m;
	unsigned lone = 0;

	if (tap_instead || !machine_start(&m, amd, plain))
		return;
	machine_policy = DBG_TRAPPED; /* each MOV DR is emulated */
	machine_add(&m, OPS(ops), OPS(handler));
	machine_policy = DBG_LAZY;
	machine_run(&m);
	machine_same_as_bare(&m, 0, id(amd, "E07.bare"));
	for (unsigned i = 0; machine_rec(&m, 0, R_DR, i); i++)
		lone += rec_of(&m, R_DR, i) == (0xffff0ff0 | GD);
	tap_eq(lone, 1, id(amd, "E07.alone"), "General Detect comes without a step");
	machine_stop(&m);
}

/* DR6's other bits are merged as for any #DB: BLD, which software has cleared, stays as it is. */
BOTH(E12_merge)
{
	static const struct gop ops[] = { WR(6, 0xffff07f0), WR(7, 0x2400), HC(HC_LAB_SLOW), RD(0) };
	struct machine m;

	if (!run_full(&m, amd, "E12.bare", OPS(ops), OPS(show_dr67)))
		return;
	tap_eq(rec_of(&m, R_DR, 0), 0xffff27f0, id(amd, "E12.bld"), "BD, and BLD as it was");
	machine_stop(&m);
}

/* A vcpu with breakpoints that does not own its registers: its DR6 is in memory, hardware's is clean. */
BOTH(H13_armed)
{
	static const struct gop ops[] = { WR(0, 0x5000), WR(7, 0x10401), WR(6, 0xffff4ff8), HC(HC_LAB_SLOW), { G_CPUID }, { G_STORE, .a = 0x5000, .n = 1 } };
	struct machine m;
	int slow;

	if (tap_instead || !machine_start(&m, amd, plain) || !machine_add(&m, OPS(ops), OPS(show_dr67)))
		return;
	sw.nr_log = 0;
	machine_run(&m);
	machine_same_as_bare(&m, 0, id(amd, "H13.bare"));
	tap_eq(rec_of(&m, R_DR, 0), 0xffff4ff1, id(amd, "H13.dr6"), "the hit alone is new");
	slow = machine_find(0, OP_RD_DR, 0); /* leaving: it owned them */
	tap_ok(slow >= 0, id(amd, "H13.left"), "the registers were read back");
	for (int i = machine_find((unsigned)slow, OP_WR_DR, 6); i >= 0; i = machine_find((unsigned)i + 1, OP_WR_DR, 6))
		if (sw.log[i].v != DR6_INIT && sw.log[i].v != 0xffff4ff1)
			slow = -1;
	tap_ok(slow >= 0, id(amd, "H13.not_loaded"), "and the old DR6 never went into the register again");
	machine_stop(&m);
}

/* An exit switches the host's breakpoints off and puts nothing back: the addresses and DR6 are software's to restore. */
BOTH(S19_exit)
{
	static const struct gop ops[] = { WR(1, 0x6000), WR(2, 0x7000), WR(7, 0x01100414), { G_STORE, .a = 0x6000, .n = 1 }, HC(HC_LAB_SLOW), { G_CPUID }, RD(7),
					  { G_STORE, .a = 0x6000, .n = 1 } }; /* it leaves with a DR6 of its own */
	struct machine m;

	if (!machine_start(&m, amd, plain))
		return;
	machine_host_bp(&m, 2, 0x5000, 0xd);
	machine_add(&m, OPS(ops), OPS(show_dr67));
	machine_run(&m);
	tap_eq(sw.dr7, sw.want_dr7, id(amd, "S19.dr7"), "host DR7 is back");
	tap_eq(sw.dr[2], 0x5000, id(amd, "S19.dr2"), "as is the address");
	tap_eq(sw.dr6, DR6_INIT, id(amd, "S19.dr6"), "DR6 is clean");
	tap_eq(sw_host_access(REF_WRITE, 0x5001, 1), 0xffff0ff4, id(amd, "S19.fires"), "and the breakpoint fires");
	machine_stop(&m);
}

/* What MOV SS held back is part of the #DB of the instruction behind it: no bit of the field is lost. */
TEST(V12_retired_bits)
{
	struct dbg_vcpu v = { .dr7 = DR7_INIT };
	uint32_t bits = (uint32_t)(DR6_BLD | 5);

	dbg_vcpu_reset(&v);
	tap_eq(dbg_retire(&v, 0, bits), bits, "V12.bld", "a bus lock and two hits, no step");
	tap_eq(dbg_retire(&v, 0x100, (uint32_t)DR6_RTM | GD | 1), 0x4001, "V12.others", "bits that nothing can hold back are not let through");
}

/* What is pushed with a fault that drover raises: RF, since the instruction runs again. With a #DB what RF was. */
BOTH(A28_pushed_rf)
{
	static const struct gop ops[] = { { G_CPUID } };
	struct machine m;
	struct vcpu *v;

	if (!machine_start(&m, amd, plain))
		return;
	v = machine_add(&m, OPS(ops), OPS(show_dr67));
	v->rflags &= ~(uint64_t)RF;
	vcpu_raise_db(v, &(struct dbg_record){ .payload = GD, .cls = DBG_FAULT });
	event_select(v);
	tap_eq(v->rflags & RF, 0, id(amd, "A28.db"), "a #DB: as it was, 0");
	tap_ok(v->inject.type == EVENT_FAULT && v->inject.vector == VEC_DB, id(amd, "A28.injected"), "it is what comes next");
	v->inject.type = EVENT_NONE;
	v->rflags |= RF;
	vcpu_raise_db(v, &(struct dbg_record){ .payload = GD, .cls = DBG_FAULT });
	event_select(v);
	tap_eq(v->rflags & RF, RF, id(amd, "A28.db_kept"), "or 1");
	v->inject.type = EVENT_NONE;
	v->rflags &= ~(uint64_t)RF;
	vcpu_raise(v, VEC_GP, true, 0);
	event_select(v);
	tap_eq(v->rflags & RF, RF, id(amd, "A28.gp"), "a #GP: 1");
	v->inject.type = EVENT_NONE;
	machine_stop(&m);
}

/* Hardware refuses to enter with upper halves; whoever brings them from outside is refused first. */
BOTH(S18_restore)
{
	static const struct gop ops[] = { { G_CPUID } };
	struct machine m;
	struct dbg_snapshot s;
	struct vcpu *v;

	if (!machine_start(&m, amd, plain))
		return;
	v = machine_add(&m, OPS(ops), OPS(show_dr67));
	snapshot_save(v, &s);
	tap_ok(!snapshot_check(v, &s), id(amd, "S18.good"), "what was saved may come back");
	s.dr7 |= 1ull << 32;
	tap_ok(snapshot_check(v, &s) != NULL, id(amd, "S18.dr7"), "with an upper half of DR7 it may not");
	s.dr7 = (uint32_t)s.dr7;
	s.dr6 |= 1ull << 63;
	tap_ok(snapshot_check(v, &s) != NULL, id(amd, "S18.dr6"), "nor with one of DR6");
	machine_stop(&m);
}
