/* SPDX-License-Identifier: MIT */
/* A guest's own DEBUGCTL: stepping by branches, branch records, bus-lock traps; and the host's, which no guest sees or changes. */
#include "arch/x86/dbg_switch.h"
#include "arch/x86/def/dr.h"
#include "arch/x86/def/hypercall.h"
#include "both.h"

/* ---- BTF ---- */

BOTH(A30_btf)
{
	static const struct gop ops[] = { WM(DEBUGCTL_MSR, 2), RM(DEBUGCTL_MSR), TF_ON, { G_NOP }, { G_NOP }, { G_JMP }, { G_NOP }, TF_OFF, RM(DEBUGCTL_MSR) };
	struct machine m;

	for (unsigned clears = 0; clears < 2; clears++) {
		if (!machine_start(&m, amd, full(amd)) || !machine_add(&m, OPS(ops), OPS(show_all)))
			return;
		sw.clears_debugctl = clears;
		machine_run(&m);
		machine_same_as_bare(&m, 0, id(amd, "A30.bare"));
		tap_eq(rec_of(&m, R_MSR, 0), 2, id(amd, "A30.kept"), "BTF reads back");
		tap_eq(rec_of(&m, R_DB, 0), m.g[0].at[6], id(amd, "A30.branch"), "the first step is the jump's");
		tap_eq(rec_of(&m, R_MSR, 1), 0, id(amd, "A30.cleared"), "and in its handler BTF is off");
		tap_eq(machine_recs(&m, 0, R_DB), 3, id(amd, "A30.then"), "so that the next instructions are stepped again");
		sw_report(id(amd, "btf"));
		machine_stop(&m);
	}
}

/* No emulated instruction is a branch. */
BOTH(E05_emulated)
{
	static const struct gop ops[] = { WM(DEBUGCTL_MSR, 2), TF_ON, { G_CPUID }, { G_OUT, .a = 0x80 }, RM(DEBUGCTL_MSR), HC(HC_LAB_FAST), { G_CPUID }, { G_JMP }, TF_OFF };
	struct machine m;

	if (!run_full(&m, amd, "E05.bare", OPS(ops), OPS(show_all)))
		return;
	tap_eq(machine_recs(&m, 0, R_DB), 2, id(amd, "E05.count"), "with BTF no emulated instruction is stepped, the jump is");
	tap_eq(rec_of(&m, R_DB, 0), m.g[0].at[8], id(amd, "E05.jump"), "at its target");
	machine_stop(&m);
}

/* The owner's #DBs, in the inner loop. */
BOTH(A31_reflected)
{
	static const struct gop ops[] = { WR(0, 0x5000), WR(7, 0x10402), WM(DEBUGCTL_MSR, 3), RD(6), { G_JMP }, { G_STORE, .a = 0x5000, .n = 1 }, RM(DEBUGCTL_MSR), { G_JMP },
					  RM(DEBUGCTL_MSR) };
	static const struct gop none[] = { { G_NOP } };
	struct machine m;

	if (!run_full(&m, amd, "A31.bare", OPS(ops), OPS(none)))
		return;
	tap_eq(rec_of(&m, R_MSR, 0), 0, id(amd, "A31.live"), "a #DB that goes straight back in clears LBR and BTF");
	machine_stop(&m);
}

/* ---- Branch records ---- */

BOTH(A31_records)
{
	static const struct gop ops_amd[] = { WM(DEBUGCTL_MSR, 1), { G_JMP }, { G_CPUID }, RM(0x1db), RM(0x1dc), TF_ON, { G_NOP }, TF_OFF, RM(0x1db), { G_JMP }, RM(0x1db) };
	static const struct gop ops_intel[] = { WM(0x1c8, 0x10), WM(DEBUGCTL_MSR, 1), { G_JMP }, { G_CPUID }, { G_JMP }, RM(0x1c9), RM(0x681), RM(0x6c1), RM(0x682), RM(0x68f),
						TF_ON, { G_NOP }, TF_OFF, RM(0x682), { G_JMP }, RM(0x1c9), RM(0x1c8), RM(0x690) };
	struct machine m;

	for (unsigned host = 0; host < 2; host++) {
		if (!machine_start(&m, amd, full(amd)))
			return;
		machine_host_debugctl(&m, host); /* the host records branches too */
		machine_add(&m, amd ? ops_amd : ops_intel, amd ? 11 : 18, OPS(show_all));
		machine_run(&m);
		machine_same_as_bare(&m, 0, id(amd, host ? "V23.host_too" : "S12.records"));
		sw_report(id(amd, "records"));
		machine_stop(&m);
	}
}

/* Records of the host, or of the guest before, cannot be read: by one that has used none, and by one that has. */
BOTH(V23_no_leak)
{
	static const struct gop a_amd[] = { WM(DEBUGCTL_MSR, 1), { G_JMP }, HC(HC_LAB_YIELD), RM(0x1db), RM(0x1dc), HC(HC_LAB_YIELD) };
	static const struct gop b_amd[] = { RM(0x1db), RM(0x1dc), WM(DEBUGCTL_MSR, 1), RM(0x1db), RM(0x1dc), HC(HC_LAB_YIELD), { G_JMP }, RM(0x1db) };
	static const struct gop a_intel[] = { WM(DEBUGCTL_MSR, 1), { G_JMP }, HC(HC_LAB_YIELD), RM(0x681), RM(0x6c1), HC(HC_LAB_YIELD) };
	static const struct gop b_intel[] = { RM(0x681), RM(0x6c1), WM(DEBUGCTL_MSR, 1), RM(0x681), RM(0x6c2), HC(HC_LAB_YIELD), { G_JMP }, RM(0x681) };
	struct machine m;

	if (!machine_start(&m, amd, full(amd)))
		return;
	machine_host_debugctl(&m, 1);
	machine_add(&m, amd ? a_amd : a_intel, 6, OPS(show_all));
	machine_add(&m, amd ? b_amd : b_intel, 8, OPS(show_all));
	machine_run(&m);
	machine_same_as_bare(&m, 0, id(amd, "V23.first"));
	machine_same_as_bare(&m, 1, id(amd, "V23.second"));
	sw_report(id(amd, "no_leak"));
	machine_stop(&m);
}

static struct machine *running;

static uint64_t began_at;

static void host_records(void)
{
	began_at = sw.entries;
	machine_host_debugctl(running, 1);
}

/* The host begins to record while the CPU still holds the guest's records. */
BOTH(V23_host_begins)
{
	static const struct gop ops[] = { WM(DEBUGCTL_MSR, 1), { G_JMP }, { G_CPUID }, { G_CPUID }, { G_CPUID }, RM(0x1db), RM(0x1c9), RM(0x681), RM(0x682), RM(0x6c2) };
	struct machine m;

	if (!machine_start(&m, amd, full(amd)))
		return;
	running = &m;
	machine_add(&m, OPS(ops), OPS(show_all));
	sw.interrupt = NULL;
	sw.interrupt_after = 4;
	sw.interrupt = host_records;
	machine_run(&m);
	tap_ok(!sw.interrupt && began_at < sw.entries && m.cpu->dbg.debugctl == 1, id(amd, "V23.began"), "the host began in the middle: entry %llu of %llu",
	       (unsigned long long)began_at, (unsigned long long)sw.entries);
	machine_same_as_bare(&m, 0, id(amd, "V23.begins"));
	sw_report(id(amd, "host_begins"));
	machine_stop(&m);
}

BOTH(S13_read_only)
{
	static const struct gop ops[] = { WM(0x1db, 1), WM(0x1dc, 0), RM(0x1db), WM(0x1de, 5), WM(0x690, 0), RM(0x6d0) };
	struct machine m;

	if (!run_full(&m, amd, "S13.bare", OPS(ops), OPS(show_all)))
		return;
	tap_eq(machine_recs(&m, 0, R_EXC), amd ? 5 : 6, id(amd, "S13.gp"), "records that are read-only, or are not there, fault");
	machine_stop(&m);
	if (!machine_start(&m, amd, plain) || !machine_add(&m, OPS(ops), OPS(show_all)))
		return;
	machine_run(&m);
	machine_same_as_bare(&m, 0, id(amd, "S13.plain"));
	machine_stop(&m);
}

/* LBR virtualization is on for a guest with bits in DEBUGCTL, and for no other; while it is, nobody writes the MSR (S08). */
BOTH(S12_lbrv)
{
	static const struct gop idle[] = { { G_CPUID }, HC(HC_LAB_SLOW), RM(DEBUGCTL_MSR) };
	static const struct gop used[] = { WM(DEBUGCTL_MSR, 1), { G_CPUID }, HC(HC_LAB_SLOW), { G_JMP }, HC(HC_LAB_FAST), { G_CPUID }, { G_PUSHF } };
	struct machine m;
	unsigned entries;

	for (unsigned on = 0; on < 2; on++) {
		if (!machine_start(&m, amd, full(amd)))
			return;
		machine_host_debugctl(&m, 0x40);
		machine_add(&m, on ? used : idle, on ? 7 : 3, OPS(show_all));
		sw.nr_log = 0;
		machine_run(&m);
		entries = machine_count(0, sw.nr_log, OP_ENTER, -1);
		if (amd)
			tap_eq(m.vm[0]->vcpu->dbg.vm_lbrv, on, on ? "S12.on" : "S12.off", "LBR virtualization is on just for a guest that uses it");
		tap_eq(machine_count(0, sw.nr_log, OP_WR_DEBUGCTL, -1), !amd ? entries : on ? 2 : 2 * entries, id(amd, on ? "S08.lbrv" : "S08.without"),
		       "writes of DEBUGCTL on %u entries", entries);
		machine_same_as_bare(&m, 0, id(amd, on ? "S07.lbrv" : "S07.without"));
		sw_report(id(amd, on ? "lbrv" : "no_lbrv"));
		machine_stop(&m);
	}
}

/* ---- Bus locks ---- */

BOTH(A33_bus_lock)
{
	static const struct gop ops[] = { { G_SPLIT_LOCK }, WM(DEBUGCTL_MSR, 4), RM(DEBUGCTL_MSR), { G_SPLIT_LOCK }, { G_NOP }, RM(DEBUGCTL_MSR), TF_ON, { G_SPLIT_LOCK }, TF_OFF };
	static const struct gop handler[] = { RD(6), WR(6, 0xffff0ff0) };
	struct machine m;

	if (!run_full(&m, amd, "A33.bare", OPS(ops), OPS(handler)))
		return;
	tap_eq(machine_recs(&m, 0, R_DB), 3, id(amd, "A33.count"), "a trap for each bus lock with the bit on, and one for the POPF");
	tap_eq(rec_of(&m, R_DR, 0), 0xffff07f0, id(amd, "A33.bld"), "BLD is 0");
	tap_eq(rec_of(&m, R_DR, 1), 0xffff47f0, id(amd, "A34.bld_bs"), "together with a step: one #DB");
	tap_eq(rec_of(&m, R_MSR, 1), 4, id(amd, "A33.stays"), "the bit stays on");
	machine_stop(&m);
}

BOTH(S11_agree)
{
	static const struct gop ops[] = { { G_CPUID, .a = 7, .flags = GOP_SHOW }, WM(DEBUGCTL_MSR, 4), RM(DEBUGCTL_MSR) };
	struct machine m;

	for (unsigned k = 0; k < 4; k++) {
		struct ref_cpu cpu = full(amd);

		cpu.bld = k & 1;
		cpu.lbrv = amd && (k & 2);
		if (!machine_start(&m, amd, cpu) || !machine_add(&m, OPS(ops), OPS(show_all)))
			return;
		machine_run(&m);
		tap_eq(rec_of(&m, R_HC, 0) != 0, cpu.bld && (!amd || cpu.lbrv), id(amd, "S11.cpuid"), "CPUID announces it iff it can be given");
		if (rec_of(&m, R_HC, 0) == 1u << 24)
			tap_eq(dbg_dr6_fix(0, m.vm[0]->vcpu->dbg.feat) & DR6_BLD, 0, id(amd, "S11.dr6"), "and then DR6 has the bit");
		machine_same_as_bare(&m, 0, id(amd, "S11.bare"));
		machine_stop(&m);
	}
}

/* buslock=exit: the host is told, once each, and the guest sees nothing. */
TEST(V21_bus_lock_exit)
{
	static const struct gop ops[] = { { G_SPLIT_LOCK }, { G_NOP }, { G_SPLIT_LOCK }, { G_CPUID }, TF_ON, { G_SPLIT_LOCK }, TF_OFF, { G_SPLIT_LOCK } };
	struct ref_cpu cpu = full(false);
	struct machine m;

	cpu.bus_lock_exit = true;
	if (!machine_start(&m, false, cpu))
		return;
	m.bus_lock_exit = true;
	machine_add(&m, OPS(ops), OPS(show_dr67));
	machine_run(&m);
	tap_eq(m.vm[0]->vcpu->bus_locks, 4, "V21.once", "four bus locks, one of them with another exit, are counted once each");
	tap_eq(machine_recs(&m, 0, R_DB), 2, "V21.no_db", "no #DB but the steps");
	machine_same_as_bare(&m, 0, "V21.bare");
	sw_report("bus_lock_exit");
	machine_stop(&m);
}

/* ---- What a guest may write (V17, S10) ---- */

TEST(V17_sweep)
{
	struct tap_set s[2] = { { .id = "V17.table" }, { .id = "S10.table" } }, kept = { .id = "V17.kept" };
	static const unsigned feats[] = { 0, DBG_FEAT_LBR, DBG_FEAT_BTF, DBG_FEAT_BUS_LOCK, DBG_FEAT_LBR | DBG_FEAT_BTF | DBG_FEAT_BUS_LOCK };

	for (unsigned amd = 0; amd < 2; amd++)
		for (unsigned k = 0; k < 5; k++)
			for (unsigned bit = 0; bit < 64; bit++) {
				struct dbg_vcpu v = { .feat = (uint8_t)(feats[k] | (amd ? DBG_FEAT_AMD : 0)), .debugctl = 0 };
				bool given = (bit == 0 && (feats[k] & DBG_FEAT_LBR)) || (bit == 1 && (feats[k] & DBG_FEAT_BTF)) ||
					     (bit == 2 && (feats[k] & DBG_FEAT_BUS_LOCK));
				bool ok = dbg_wrmsr_debugctl(&v, 1ull << bit);

				tap_case(&s[amd], ok, given || bit < (amd ? 6u : 2u), "bit %u feat 0x%x", bit, feats[k]);
				tap_case(&kept, v.debugctl, given ? 1ull << bit : 0, "bit %u feat 0x%x", bit, feats[k]);
			}
	tap_end(&s[0], "Intel: LBR and BTF never fault, the bus-lock bit where it is given, all others do");
	tap_end(&s[1], "AMD: 5:0 never fault, all others do");
	tap_end(&kept, "what is given is kept, what is not is dropped");
}

/* ---- The host's FREEZE_IN_SMM (V18, V19) ---- */

static void freeze(void)
{
	machine_host_debugctl(running, 0x4000);
}

static void unfreeze(void)
{
	machine_host_debugctl(running, 0);
	sw.interrupt_after = 1;
	sw.interrupt = freeze;
}

TEST(V18_freeze_in_smm)
{
	static const struct gop ops[] = { RM(DEBUGCTL_MSR), { G_CPUID }, { G_CPUID }, WM(DEBUGCTL_MSR, 1), RM(DEBUGCTL_MSR), TF_ON, { G_NOP }, TF_OFF, RM(DEBUGCTL_MSR), { G_CPUID },
					  WM(DEBUGCTL_MSR, 0x4000), { G_CPUID }, RM(DEBUGCTL_MSR) };
	struct machine m;

	for (unsigned host = 0; host < 2; host++) {
		if (!machine_start(&m, false, host ? full(false) : plain))
			return;
		running = &m;
		machine_host_debugctl(&m, 0x4000);
		machine_add(&m, OPS(ops), OPS(show_all));
		sw.interrupt_after = 3;
		sw.interrupt = unfreeze;
		machine_run(&m);
		tap_ok(!sw.interrupt && sw.want_debugctl == 0x4000, "V19.changed", "the host's bit went off and on between runs");
		tap_eq(rec_of(&m, R_MSR, 0), 0, "V18.hidden", "the guest never reads it");
		tap_eq(machine_recs(&m, 0, R_EXC), 1, "V18.gp", "nor may it write it");
		machine_same_as_bare(&m, 0, "V18.bare");
		sw_report("freeze");
		machine_stop(&m);
	}
}

/* ---- DR7 in the control block and the guest's view of it (V25); injection changes nothing by itself (V03) ---- */

BOTH(V25_in_step)
{
	static const struct gop ops[] = { WR(0, 0x5000), WR(7, 0x12402), HC(HC_LAB_SLOW), { G_CPUID }, TF_ON, { G_CPUID }, TF_OFF, RD(7), { G_CPUID }, WM(DEBUGCTL_MSR, 3), TF_ON,
					  { G_JMP }, TF_OFF, RM(DEBUGCTL_MSR), { G_CPUID } };
	struct machine m;
	const struct dbg_vcpu *d;

	if (!run_full(&m, amd, "V25.bare", OPS(ops), OPS(show_all)))
		return;
	d = &m.vm[0]->vcpu->dbg;
	m.be->fetch(m.vm[0]->vcpu, VST_DBG);
	tap_eq(d->vm_dr7, d->dr7, id(amd, "V25.dr7"), "the control block's DR7 is the guest's");
	tap_eq(rec_of(&m, R_MSR, 0), 0, id(amd, "V03.debugctl"), "DEBUGCTL as an injected #DB leaves it: cleared by software, before");
	tap_eq(rec_of(&m, R_DR, 0), 0xffff4ff0, id(amd, "V03.dr6"), "DR6 likewise");
	machine_stop(&m);
}

/* DEBUGCTL by software: hardware runs with 0, and what the control block has after an exit says nothing about the guest's. */
TEST(A30_soft)
{
	struct dbg_cpu c = { 0 };
	struct dbg_vcpu v = { .soft = true, .feat = DBG_FEAT_LBR | DBG_FEAT_BTF | DBG_FEAT_BUS_LOCK | DBG_FEAT_BLD, .policy = DBG_TRAPPED };

	dbg_cpu_reset(&c);
	dbg_vcpu_reset(&v);
	tap_ok(dbg_wrmsr_debugctl(&v, 7), "A30.soft.write", "the guest sets all three");
	dbg_vm_fields(DBG_CAP_LBRV | DBG_CAP_VM_DR6, &c, &v);
	tap_eq(v.vm_debugctl, 0, "A30.soft.svm", "SVM runs it with 0");
	tap_eq(v.vm_lbrv, 0, "M08.soft.lbrv", "and without LBR virtualization");
	c.owned_debugctl = DEBUGCTL_FREEZE_IN_SMM;
	dbg_vm_fields(DBG_CAP_VM_DEBUGCTL, &c, &v);
	tap_eq(v.vm_debugctl, DEBUGCTL_FREEZE_IN_SMM, "V18.soft.vmx", "VMX with the host's bits");
	v.vm_debugctl = 0;
	dbg_vm_fields_taken(DBG_CAP_VM_DEBUGCTL, &v);
	tap_eq(v.debugctl, 7, "A30.soft.kept", "the guest's is what it has written");
	dbg_deliver(&v, &(struct dbg_record){ .payload = DR6_BLD, .cls = DBG_TRAP });
	tap_eq(v.debugctl, DEBUGCTL_BUS_LOCK, "A31.soft.cleared", "until a #DB clears LBR and BTF");
	tap_eq(v.dr6, DR6_INIT & ~DR6_BLD, "A33.soft.bld", "whose bus lock is in DR6");
}
