/* SPDX-License-Identifier: MIT */
/* The run loop with a real backend on the software CPU: who owns the debug registers when. The first three source documents. */
#include "arch/x86/dbg_switch.h"
#include "arch/x86/def/dr.h"
#include "arch/x86/def/hypercall.h"
#include "both.h"

/* ---- Source document 0: guest DR6 is loaded once, before the inner loop ---- */

BOTH(H11_fast_exits_keep_dr6)
{
	static const struct gop ops[] = { WR(6, 0), HC(HC_LAB_FAST), WR(6, 0xffff0fff), HC(HC_LAB_FAST), RD(6), HC(HC_LAB_FAST), RD(6), HC(HC_LAB_SLOW), RD(6) };
	struct machine m;
	const struct rec *r;

	if (!machine_start(&m, amd, plain))
		return;
	machine_add(&m, OPS(ops), OPS(show_dr67));
	machine_run(&m);
	r = machine_rec(&m, 0, R_DR, 0);
	tap_eq(r ? r->a : 0, 0xffff0fff, id(amd, "H11.dr6"), "DR6 written by the owner, read after a fast exit");
	tap_ok(m.vm[0]->vcpu->fast_exits == 3, id(amd, "H11.fast"), "three fast exits (%lu)", m.vm[0]->vcpu->fast_exits);
	if (!amd)
		tap_eq(machine_count(0, sw.nr_log, OP_WR_DR, 6), 4, "H11.loads", "DR6: one load and one reset per outer entry, no more");
	machine_same_as_bare(&m, 0, id(amd, "H11.bare"));
	sw_report(id(amd, "doc0"));
	machine_stop(&m);
}

/* ---- Source document 1: host DR6 is reset, and only when the guest's was live ---- */

BOTH(H06_reset_only_if_live)
{
	static const struct gop idle[] = { { G_CPUID }, { G_CPUID }, HC(HC_NOP), { G_OUT, .a = 0x80 }, HC(HC_LAB_SLOW) };
	static const struct gop live[] = { WR(6, 0xffff4ff1), HC(HC_LAB_SLOW), { G_CPUID }, { G_CPUID }, HC(HC_NOP), RD(6) };
	struct machine m;
	int last, next, exits;

	if (!machine_start(&m, amd, plain))
		return;
	machine_add(&m, OPS(idle), OPS(show_dr67));
	machine_run(&m);
	tap_eq(machine_count(0, sw.nr_log, OP_WR_DR, -1) + machine_count(0, sw.nr_log, OP_RD_DR, -1), 0, id(amd, "H06.idle"),
	       "idle exits touch no debug register");
	tap_eq(machine_count(0, sw.nr_log, OP_WR_DEBUGCTL, -1) + machine_count(0, sw.nr_log, OP_RD_DEBUGCTL, -1), 0, id(amd, "S08.idle"),
	       "nor DEBUGCTL");
	tap_eq(m.vm[0]->vcpu->dbg.vm_dr6, 0xffff0ff0, id(amd, "H06.known"), "the control block is known to hold nothing: the loop's short cut sees it");
	sw_report(id(amd, "idle"));
	machine_stop(&m);

	if (!machine_start(&m, amd, plain))
		return;
	machine_add(&m, OPS(live), OPS(show_dr67));
	machine_run(&m);
	last = machine_find(0, OP_WR_DR, 6); /* VMX: the load of DR6 comes first */
	if (!amd && last >= 0)
		last = machine_find((unsigned)last + 1, OP_WR_DR, 6);
	tap_ok(last >= 0 && sw.log[last].v == 0xffff0ff0, id(amd, "H06.reset"), "the guest's DR6 leaves the register with its reset value");
	next = last < 0 ? -1 : machine_find((unsigned)last + 1, OP_WR_DR, 6);
	exits = next < 0 ? 0 : (int)machine_count((unsigned)last, (unsigned)next, OP_EXIT, -1);
	tap_ok(exits >= 3, id(amd, "H06.once"), "and is not written again on the %d exits after, until the guest owns it again", exits);
	machine_same_as_bare(&m, 0, id(amd, "H06.bare"));
	sw_report(id(amd, "doc1"));
	machine_stop(&m);
}

/* A step leaves BS in DR6 on hardware that merges before the exit (SVM), and the host must not see it. */
BOTH(H06_intercepted_step)
{
	static const struct gop ops[] = { { G_POPF, .a = 1 }, { G_NOP }, { G_NOP }, { G_POPF }, { G_CPUID } };
	struct machine m;

	if (!machine_start(&m, amd, plain))
		return;
	machine_add(&m, OPS(ops), OPS(show_dr67));
	machine_run(&m);
	tap_eq(machine_rec(&m, 0, R_DR, 0) ? machine_rec(&m, 0, R_DR, 0)->a : 0, 0xffff4ff0, id(amd, "V02.bs"), "the handler finds BS in DR6");
	tap_eq(machine_recs(&m, 0, R_DB), 3, id(amd, "A20.steps"), "a step after each instruction but the POPF that set TF");
	machine_same_as_bare(&m, 0, id(amd, "A20.bare"));
	sw_report(id(amd, "step"));
	machine_stop(&m);
}

/* ---- Source document 2: DEBUGCTL around the world switch ---- */

static void debugctl_order(bool amd)
{
	int enter = machine_find(0, OP_ENTER, -1), before = machine_find(0, OP_WR_DEBUGCTL, -1);
	int after = enter < 0 ? -1 : machine_find((unsigned)enter, OP_WR_DEBUGCTL, -1);

	if (amd) {
		int clgi_at = machine_find(0, OP_CLGI, -1), stgi_at = enter < 0 ? -1 : machine_find((unsigned)enter, OP_STGI, -1);

		tap_ok(before > clgi_at && before < enter && sw.log[before].v == 0, "S07.zero", "0 is written between CLGI and VMRUN");
		tap_ok(after > enter && after < stgi_at && sw.log[after].v == 0x44, "S07.restore", "the host's value between VMRUN and STGI");
	} else {
		tap_ok(before > enter, "V06.before", "VMX loads 0 itself: no write before the entry");
		tap_ok(after > enter && sw.log[after].v == 0x44, "V05.restore", "the host's value is written after the exit");
	}
}

BOTH(S07_debugctl)
{
	static const struct gop ops[] = { { G_SPLIT_LOCK }, { G_CPUID }, { G_RDMSR }, HC(HC_LAB_FAST), { G_SPLIT_LOCK }, { G_RDMSR } };
	struct machine m;
	unsigned entries;

	if (!machine_start(&m, amd, (struct ref_cpu){ .bld = true }))
		return;
	machine_host_debugctl(&m, 0x44); /* bus-lock trap, and a bit for show */
	sw.nr_log = 0;
	machine_add(&m, OPS(ops), OPS(show_dr67));
	machine_run(&m);
	tap_eq(machine_recs(&m, 0, R_DB), 0, id(amd, "S09.bus_lock"), "the guest's split lock does not trap for the host's bus-lock detection");
	debugctl_order(amd);
	entries = machine_count(0, sw.nr_log, OP_ENTER, -1);
	tap_eq(machine_count(0, sw.nr_log, OP_WR_DEBUGCTL, -1), amd ? 2 * entries : entries, id(amd, "V06.count"),
	       "writes for %u entries with a non-zero host value", entries);
	tap_eq(machine_count(0, sw.nr_log, OP_RD_DEBUGCTL, -1), 0, id(amd, "H16.shadow"), "the MSR is never read: the shadow is");
	machine_same_as_bare(&m, 0, id(amd, "S07.bare"));
	sw_report(id(amd, "doc2"));
	machine_stop(&m);
}

/* An interrupt of the host changes its DEBUGCTL between two entries: the fresh value comes back, not a snapshot. */
BOTH(H16_fresh_value)
{
	struct machine m;
	static const struct gop ops[] = { { G_HC, .a = HC_LAB_OPEN_DEBUGCTL, .b = 1 }, { G_RDMSR }, { G_HC, .a = HC_LAB_HOST_DEBUGCTL, .b = 0x41 }, { G_RDMSR },
					  { G_HC, .a = HC_LAB_HOST_DEBUGCTL_RD, .flags = GOP_SHOW }, { G_HC, .a = HC_LAB_HOST_DEBUGCTL } };
	const struct rec *r;

	if (!machine_start(&m, amd, plain))
		return;
	machine_add(&m, OPS(ops), OPS(show_dr67));
	sw.strict = false; /* the host's wish changes inside the run */
	machine_run(&m);
	r = machine_rec(&m, 0, R_MSR, 1);
	tap_eq(r ? r->a : ~0u, 0, id(amd, "S07.open_rdmsr"), "RDMSR that reaches hardware reads 0 in the guest");
	r = machine_rec(&m, 0, R_HC, 0);
	tap_eq(r ? r->a : ~0u, 0x41, id(amd, "H16.fresh"), "and the host reads its own value, set in between");
	machine_stop(&m);
}

/* A failed entry clobbers DR7 and DEBUGCTL as an exit does. */
BOTH(V26_failed_entry)
{
	static const struct gop ops[] = { { G_CPUID } };
	struct machine m;

	if (!machine_start(&m, amd, plain))
		return;
	machine_host_debugctl(&m, 0x41);
	machine_host_bp(&m, 1, 0x1000, 1);
	machine_add(&m, OPS(ops), OPS(show_dr67));
	sw.fail_next_entry = true;
	machine_run(&m);
	tap_eq(m.vm[0]->vcpu->exit.kind, EXITK_ENTRY_FAIL, id(amd, "V26.kind"), "the entry failed, and is told so");
	tap_eq(sw.debugctl, 0x41, id(amd, "V26.debugctl"), "DEBUGCTL is the host's again");
	tap_eq(sw.dr7, sw.want_dr7, id(amd, "V26.dr7"), "and DR7 is armed again");
	sw.entries++;
	sw_report(id(amd, "failed"));
	machine_stop(&m);
}

/* ---- Host breakpoints ---- */

BOTH(H08_host_breakpoint)
{
	/* The guest uses the address that the host watches: idle, armed elsewhere, and owning its registers. */
	static const struct gop ops[] = {
		{ G_STORE, .a = 0x5000, .n = 4 }, WR(0, 0x6000), WR(7, 0x10402), { G_STORE, .a = 0x5000, .n = 4 }, { G_STORE, .a = 0x6000, .n = 1 },
		HC(HC_LAB_SLOW), { G_STORE, .a = 0x5000, .n = 4 }, HC(HC_LAB_FAST), { G_STORE, .a = 0x6000, .n = 1 }, HC(HC_LAB_SLOW),
		{ G_STORE, .a = 0x5000, .n = 1 },
	};
	struct machine m;

	if (!machine_start(&m, amd, plain))
		return;
	machine_host_bp(&m, 2, 0x5000, 0xd);
	machine_add(&m, OPS(ops), OPS(show_dr67));
	machine_run(&m);
	tap_eq(machine_recs(&m, 0, R_DB), 2, id(amd, "H08.guest"), "the guest has its own two hits and none of the host's");
	tap_eq(sw_host_access(REF_WRITE, 0x6000, 1), 0, id(amd, "H05.only"), "the guest's address traps nothing in the host");
	tap_eq(sw_host_access(REF_WRITE, 0x5000, 1), 0xffff0ff4, id(amd, "H05.fires"), "the host's breakpoint still fires, with a clean DR6");
	tap_eq(sw.dr6, 0xffff0ff0, id(amd, "H19.reset"), "the host's handler resets DR6 at once");
	tap_eq(sw.dr7, sw.want_dr7, id(amd, "H19.rearmed"), "and leaves with its breakpoints on");
	machine_same_as_bare(&m, 0, id(amd, "H08.bare"));
	sw_report(id(amd, "host_bp"));
	machine_stop(&m);
}

/* An ARMED vcpu writes nothing back, and yet its addresses are not the owner's any more: the host's new breakpoint works at once. */
BOTH(H12_released)
{
	static const struct gop ops[] = { WR(0, 0x6000), WR(7, 0x10402), HC(HC_LAB_SLOW), { G_CPUID }, HC(HC_LAB_YIELD) };
	struct machine m;

	if (!machine_start(&m, amd, plain))
		return;
	machine_add(&m, OPS(ops), OPS(show_dr67));
	machine_run(&m);
	tap_eq(m.vm[0]->vcpu->dbg.state, DBG_ARMED, id(amd, "H09.state"), "the vcpu ends ARMED");
	machine_host_bp(&m, 2, 0x5000, 0xd);
	tap_eq(sw_host_access(REF_WRITE, 0x5000, 1), 0xffff0ff4, id(amd, "H12.host_bp"), "a host breakpoint set after its exit fires");
	sw_report(id(amd, "released"));
	machine_stop(&m);
}

/* The host's breakpoint changes while a vcpu's addresses are loaded (an NMI, a debugger): armed only when they are gone. */
TEST(H08_set_while_loaded)
{
	struct dbg_cpu *c = &this_cpu()->dbg;
	struct dbg_vcpu v = { .dr7 = DR7_INIT };

	sw_reset(true, plain);
	dbg_host_init(c);
	dbg_vcpu_reset(&v);
	v.dr[0] = 0x7000;
	v.dr7 = 0x402;
	v.state = DBG_ARMED;
	dbg_do_enter(dbg_plan_enter(DBG_CAP_VM_DR7, c, &v), DBG_CAP_VM_DR7, c, &v);
	tap_eq(sw.dr[0], 0x7000, "H09.armed", "an armed vcpu's addresses are loaded");
	dbg_host_set_bp(c, 0, 0x9000, 1);
	tap_eq(sw.dr7, 0x400, "H08.deferred", "a host breakpoint set meanwhile is not armed yet");
	tap_eq(sw.dr[0], 0x7000, "H08.kept", "and does not overwrite the guest's address");
	dbg_do_leave(dbg_plan_leave(DBG_CAP_VM_DR7, c, &v, 0), DBG_CAP_VM_DR7, c, &v);
	tap_eq(sw.dr[0], 0x9000, "H05.deferred", "on leaving it comes into the register");
	tap_eq(sw.dr7, 0x10402, "H05.armed", "and is armed");
	tap_ok(!dbg_host_set_bp(c, 4, 0, 0) && !dbg_host_set_bp(c, 0, 0, 16), "H05.range", "a slot or a type out of range is refused");
	dbg_host_clear_bps(c);
	tap_eq(sw.dr7, 0x400, "H05.clear", "cleared: DR7 off");
}

TEST(H05_leave_order)
{
	struct dbg_cpu *c = &this_cpu()->dbg;
	struct dbg_vcpu v = { .dr = { 1, 2, 3, 4 }, .dr6 = 0xffff4ff1, .dr7 = 0x401, .state = DBG_LIVE };
	int dr3, dr6, dr7, off, first;

	sw_reset(false, plain);
	dbg_host_init(c);
	dbg_host_set_bp(c, 3, 0x9000, 1);
	sw.nr_log = 0;
	dbg_do_enter(dbg_plan_enter(DBG_CAP_VM_DR7, c, &v), DBG_CAP_VM_DR7, c, &v);
	off = machine_find(0, OP_WR_DR, 7);
	first = machine_find(0, OP_WR_DR, 0);
	tap_ok(off >= 0 && off < first && sw.log[off].v == 0x400, "H04.order", "DR7 off, then the guest's addresses");
	sw.nr_log = 0;
	sw.dr[3] = 0x77; /* the guest writes */
	sw.dr6 = 0xffff2ff1;
	v.vm_dr7 = v.dr7;
	dbg_do_leave(dbg_plan_leave(DBG_CAP_VM_DR7, c, &v, 0), DBG_CAP_VM_DR7, c, &v);
	dr3 = machine_find(0, OP_WR_DR, 3);
	dr6 = machine_find(0, OP_WR_DR, 6);
	dr7 = machine_find(0, OP_WR_DR, 7);
	tap_ok(dr3 >= 0 && dr3 < dr6 && dr6 < dr7, "H05.order", "back: DR0-3, then DR6, then DR7");
	tap_eq(dr6 < 0 ? 0 : sw.log[dr6].v, 0xffff0ff0, "H07.reset", "DR6 with its reset value, not 0");
	tap_eq(v.state, DBG_ARMED, "H10.ends", "LIVE ends as ARMED when something is enabled");
	tap_ok(v.dr[0] == 1 && v.dr[3] == 0x77 && v.dr6 == 0xffff2ff1, "H12.saved", "the guest's values were read back first");
}
