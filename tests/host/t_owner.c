/* SPDX-License-Identifier: MIT */
/* Ownership: what going LIVE costs, two vcpus on one CPU, intercepted #DBs in each state, emulated instructions, general detect, reset. */
#include "arch/x86/dbg_switch.h"
#include "arch/x86/def/dr.h"
#include "arch/x86/def/hypercall.h"
#include "both.h"
#include "vmm/run.h"

/* One script on one machine, compared with bare hardware; the caller looks closer and stops the machine. */
static bool run_one(struct machine *m, bool amd, const char *name, const struct gop *ops, unsigned nr, const struct gop *handler, unsigned nr_handler)
{
	if (!machine_start(m, amd, plain) || !machine_add(m, ops, nr, handler, nr_handler))
		return false;
	machine_host_bp(m, 3, 0x5000, 0xd); /* so that each invariant can break in each scenario */
	machine_host_debugctl(m, 0x41);
	sw.nr_log = 0;
	machine_run(m);
	machine_same_as_bare(m, 0, id(amd, name));
	sw_report(id(amd, name));
	return true;
}

static uint64_t dr_rec(const struct machine *m, unsigned vm, unsigned i)
{
	const struct rec *r = machine_rec(m, vm, R_DR, i);

	return r ? r->a : 0xbad;
}

BOTH(H09_four_writes)
{
	static const struct gop ops[] = { WR(0, 0x11111), WR(1, 0x22222), WR(2, 0x33333), WR(3, 0x44444), HC(HC_LAB_SLOW), RD(0), RD(1), RD(2), RD(3) };
	struct machine m;
	unsigned dr_exits = 0;

	if (!run_one(&m, amd, "H09.four", OPS(ops), OPS(show_dr67)))
		return;
	for (int i = machine_find(0, OP_EXIT, -1); i >= 0; i = machine_find((unsigned)i + 1, OP_EXIT, -1))
		dr_exits += amd ? (sw.log[i].v & ~0x1full) == 0x20 : sw.log[i].v == 29;
	tap_eq(dr_exits, 2, id(amd, "H09.exits"), "four writes one exit, four reads after a slow exit one more");
	tap_ok(dr_rec(&m, 0, 0) == 0x11111 && dr_rec(&m, 0, 3) == 0x44444, id(amd, "H10.values"), "values survive the slow exit");
	machine_stop(&m);
}

BOTH(H15_two_vcpus)
{
	static const struct gop a[] = { WR(0, 0xa0a0), WR(3, 0xa3a3), WR(6, 0xffff4ff1), WR(7, 0x10401), HC(HC_LAB_YIELD), RD(0), RD(3), RD(6), RD(7),
					HC(HC_LAB_YIELD), { G_STORE, .a = 0xa0a0, .n = 1 }, { G_STORE, .a = 0xb0b0, .n = 1 }, HC(HC_LAB_YIELD), RD(0) };
	static const struct gop b[] = { RD(0), RD(3), RD(6), WR(0, 0xb0b0), WR(7, 0x10402), { G_STORE, .a = 0xa0a0, .n = 1 }, HC(HC_LAB_YIELD), RD(0), RD(6),
					{ G_STORE, .a = 0xb0b0, .n = 1 }, HC(HC_LAB_YIELD), RD(6), RD(7) };
	struct machine m;

	if (!machine_start(&m, amd, plain))
		return;
	machine_add(&m, OPS(a), OPS(show_dr67));
	machine_add(&m, OPS(b), OPS(show_dr67));
	machine_host_bp(&m, 3, 0xb0b0, 1);
	machine_run(&m);
	tap_eq(dr_rec(&m, 1, 0), 0, id(amd, "H15.first_read"), "the second guest's DR0 is 0, whatever the first one has there");
	tap_eq(dr_rec(&m, 1, 2), 0xffff0ff0, id(amd, "H15.dr6"), "and its DR6 has no cause in it");
	machine_same_as_bare(&m, 0, id(amd, "H15.a"));
	machine_same_as_bare(&m, 1, id(amd, "H15.b"));
	sw_report(id(amd, "two_vcpus"));
	machine_stop(&m);
}

/* B bits of slots that are not enabled: an IDLE guest must not learn what the host, or the vcpu before it, has in DR0-3. */
BOTH(A15_no_leak)
{
	/* Types without enables: the slots compare, and nothing is armed. */
	static const struct gop ops[] = { WR(7, 0x33330400), HC(HC_LAB_SLOW), { G_POPF, .a = 1 }, { G_STORE, .a = 0x5000, .n = 4 }, { G_CPUID },
					  { G_STORE, .a = 0x7000, .n = 4 }, { G_POPF } };
	struct machine m;
	uint64_t seen = 0;

	if (!machine_start(&m, amd, plain))
		return;
	sw.shows_disabled = true;
	machine_add(&m, OPS(ops), OPS(show_dr67));
	machine_host_bp(&m, 0, 0x5000, 0xd);
	machine_host_bp(&m, 1, 0x7000, 0xd);
	machine_run(&m);
	for (unsigned i = 0; machine_rec(&m, 0, R_DR, i); i++)
		if (machine_rec(&m, 0, R_DR, i)->n == 6)
			seen |= dr_rec(&m, 0, i);
	tap_eq(seen & 0x400f, 0x4000, id(amd, "A15.leak"), "steps over addresses that others watch show BS and no B bit");
	sw_report(id(amd, "disabled_slots"));
	machine_stop(&m);
}

/* ---- #DB in each state ---- */

BOTH(S02_exact_payload)
{
	/* DR6 holds old causes, the guest does not own its registers: only the new hit is added. */
	static const struct gop ops[] = { WR(0, 0x5000), WR(7, 0x10401), WR(6, 0xffff4ff8), HC(HC_LAB_SLOW), { G_STORE, .a = 0x5000, .n = 1 }, { G_NOP } };
	struct machine m;

	if (!run_one(&m, amd, "S02.armed", OPS(ops), OPS(show_dr67)))
		return;
	tap_eq(dr_rec(&m, 0, 0), 0xffff4ff1, id(amd, "S02.dr6"), "BS stays, B3 goes, B0 comes");
	machine_stop(&m);
}

BOTH(H10_reflected_live)
{
	static const struct gop gd_off[] = { RD(7), RD(6), WR(6, 0xffff0ff0), WR(7, 0x10401) };
	static const struct gop ops2[] = { WR(0, 0x5000), WR(1, 0x5001), WR(7, 0x110405), WR(6, 0xffff2ff0), { G_STORE, .a = 0x5000, .n = 1 },
					   { G_STORE, .a = 0x5001, .n = 1 }, { G_POPF, .a = 1 }, { G_STORE, .a = 0x5000, .n = 1 }, { G_POPF }, RD(6), RD(7) };
	struct machine m;

	if (!run_one(&m, amd, "H10.reflect", OPS(ops2), OPS(show_dr67)))
		return;
	tap_eq(dr_rec(&m, 0, 0), 0xffff2ff1, id(amd, "S04.live"), "LIVE with an old BD: BD+B0");
	tap_eq(dr_rec(&m, 0, 2), 0xffff2ff2, id(amd, "S04.next"), "then BD+B1");
	tap_eq(dr_rec(&m, 0, 4), 0xffff6ff1, id(amd, "A34.one"), "a stepped hit is one #DB: BD+BS+B0");
	tap_eq(m.vm[0]->vcpu->fast_exits, machine_recs(&m, 0, R_DB), id(amd, "H10.fast"), "each #DB of the owner was reflected in the inner loop");
	machine_stop(&m);
	/* GD: the access after it traps, in the handler it is off (A10, A11). */
	static const struct gop gd[] = { WR(0, 0x5000), WR(7, 0x12401), RD(0), RD(1) };

	if (!run_one(&m, amd, "A11.gd", OPS(gd), OPS(gd_off)))
		return;
	tap_eq(machine_recs(&m, 0, R_DB), 1, id(amd, "A10.once"), "General Detect traps once, and the access is made after it");
	tap_eq(dr_rec(&m, 0, 0), 0x10401, id(amd, "A11.dr7"), "GD is off in the handler");
	tap_eq(dr_rec(&m, 0, 1), 0xffff2ff0, id(amd, "A10.dr6"), "DR6 has BD");
	machine_stop(&m);
}

/* GD set, and the first access after a slow exit: VMX exits on the access before GD is looked at (V01), SVM after (S06). */
BOTH(V01_gd_not_live)
{
	static const struct gop ops[] = { WR(7, 0x2400), HC(HC_LAB_SLOW), RD(0), RD(7) };
	static const struct gop stepped[] = { WR(7, 0x2400), HC(HC_LAB_SLOW), { G_POPF, .a = 1 }, { G_CPUID }, { G_POPF }, RD(7) };
	struct machine m;

	if (!run_one(&m, amd, "V01.gd", OPS(ops), OPS(show_dr67)))
		return;
	tap_eq(dr_rec(&m, 0, 0), 0xffff2ff0, id(amd, "V01.dr6"), "BD, in a guest that does not own its registers");
	machine_stop(&m);
	if (!run_one(&m, amd, "A11.step", OPS(stepped), OPS(show_dr67)))
		return;
	tap_eq(dr_rec(&m, 0, 1), 0x400, id(amd, "A11.any"), "a step clears GD too");
	machine_stop(&m);
}

BOTH(A26_icebp)
{
	static const struct gop ops[] = { { G_POPF, .a = 1 }, { G_ICEBP }, { G_POPF }, { G_ICEBP }, WR(7, 0x2400), { G_ICEBP }, RD(7) };
	struct machine m;

	if (!run_one(&m, amd, "V14.icebp", OPS(ops), OPS(show_dr67)))
		return;
	tap_eq(rec_of(&m, R_DB, 0), G_MAIN + 2, id(amd, "A26.rip"), "the return address is behind it");
	machine_stop(&m);
}

/* AMD's ICEBP is a #DB that drover would not hear of. GD, LBR and BTF, which it clears, stay off whatever its handler does to make drover load them again; and
 * DR6 is left alone, where Intel's has B0-3 rewritten. */
BOTH(S14_icebp)
{
	static const struct gop gd[] = { WR(6, 0xffff0ffb), WR(7, 0x2400), HC(HC_LAB_SLOW), { G_ICEBP }, RD(7), RD(6) };
	static const struct gop btf[] = { WM(DEBUGCTL_MSR, 3), HC(HC_LAB_SLOW), { G_ICEBP }, TF_ON, { G_NOP }, RM(DEBUGCTL_MSR), { G_JMP }, TF_OFF };
	static const struct gop handler[] = { RM(DEBUGCTL_MSR), WM(DEBUGCTL_MSR, 0), HC(HC_LAB_SLOW), RD(7), RD(6) };
	struct machine m;

	if (!run_full(&m, amd, "A11.icebp", OPS(gd), OPS(handler)))
		return;
	tap_eq(machine_recs(&m, 0, R_DB), 1, id(amd, "A11.once"), "GD is off for its handler, which may read DR7");
	tap_eq(rec_of(&m, R_DR, 1), amd ? 0xffff0ffb : 0xffff0ff0, id(amd, "A27.dr6"), "AMD keeps B0-3, Intel has none of them for it");
	machine_stop(&m);
	if (!run_full(&m, amd, "A31.icebp", OPS(btf), OPS(handler)))
		return;
	tap_eq(rec_of(&m, R_MSR, 0), 0, id(amd, "A31.off"), "LBR and BTF are off");
	machine_stop(&m);
}

/* ---- Code breakpoints, emulated instructions ---- */

BOTH(V15_code_bp_on_mov_dr)
{
	/* nop nop; mov dr0 (3 bytes each) ...: the slot's address is that of an access which exits and is run again. */
	static const struct gop on_dr[] = { WR(1, G_MAIN + 9), WR(7, 0x404), HC(HC_LAB_SLOW), RD(0), { G_NOP } };
	static const struct gop on_cpuid[] = { WR(1, G_MAIN + 9), WR(7, 0x404), HC(HC_LAB_SLOW), { G_CPUID }, { G_NOP } };
	static const struct gop none[] = { { G_NOP } };
	struct machine m;

	if (!run_one(&m, amd, "V15.mov_dr", OPS(on_dr), OPS(none)))
		return;
	tap_eq(machine_recs(&m, 0, R_DB), 1, id(amd, "V15.once"), "the breakpoint on a MOV DR that is run again fires once");
	machine_stop(&m);
	if (!run_one(&m, amd, "E11.cpuid", OPS(on_cpuid), OPS(none)))
		return;
	tap_eq(machine_recs(&m, 0, R_DB), 1, id(amd, "E11.once"), "on an emulated instruction too");
	machine_stop(&m);
}

BOTH(E01_step_emulated)
{
	static const struct gop ops[] = { { G_POPF, .a = 1 }, { G_CPUID }, HC(HC_LAB_FAST), HC(HC_NOP), { G_OUT, .a = 0x80 }, { G_IN, .a = 0x80 }, { G_WRMSR, .a = 1 },
					  { G_RDMSR }, { G_WRMSR, .a = 1u << 7 }, { G_POPF } };
	struct machine m;

	if (!run_one(&m, amd, "E01.step", OPS(ops), OPS(show_dr67)))
		return;
	tap_eq(machine_recs(&m, 0, R_DB), 8, id(amd, "E01.count"), "one step for each emulated instruction, fast path included");
	tap_eq(machine_recs(&m, 0, R_EXC), 1, id(amd, "H20.gp"), "a bad bit of DEBUGCTL is #GP");
	machine_stop(&m);
}

BOTH(E09_io_breakpoint)
{
	static const struct gop ops[] = { WR(2, 0x80), WR(7, 0x02000410), { G_OUT, .a = 0x80 }, { G_OUT, .a = 0x81 }, { G_POPF, .a = 1 }, { G_IN, .a = 0x80 }, { G_POPF } };
	struct machine m;

	for (unsigned de = 0; de < 2; de++) {
		if (!machine_start(&m, amd, plain) || !machine_add(&m, OPS(ops), OPS(show_dr67)))
			return;
		m.vm[0]->vcpu->st.cr4 |= de ? 8 : 0;
		machine_run(&m);
		machine_same_as_bare(&m, 0, id(amd, de ? "E09.de" : "A17.no_de"));
		if (de)
			tap_eq(dr_rec(&m, 0, 2), 0xffff4ff4, id(amd, "E10.io"), "a stepped IN of a watched port is one #DB with BS and B2");
		machine_stop(&m);
	}
}

BOTH(A06_aliases)
{
	static const struct gop ops[] = { WR(4, 0xffff0ff1), RD(6), RD(4), WR(5, 0x401), RD(7), RD(5), HC(HC_LAB_SLOW), RD(4) };
	struct machine m;

	for (unsigned de = 0; de < 2; de++) {
		unsigned ud = 0;

		if (!machine_start(&m, amd, plain) || !machine_add(&m, OPS(ops), OPS(show_dr67)))
			return;
		m.vm[0]->vcpu->st.cr4 |= de ? 8 : 0;
		machine_run(&m);
		machine_same_as_bare(&m, 0, id(amd, de ? "A07.de" : "A06.alias"));
		for (unsigned i = 0; machine_rec(&m, 0, R_EXC, i); i++)
			ud += machine_rec(&m, 0, R_EXC, i)->a == 6;
		if (!amd) /* SVM's hardware sees to it before it exits */
			tap_eq(ud, de ? 5 : 0, de ? "A07.ud" : "A06.none", "#UD only with CR4.DE, first and later accesses alike");
		machine_stop(&m);
	}
}

BOTH(A24_step_over_hlt)
{
	static const struct gop ops[] = { { G_POPF, .a = 1 }, { G_HLT }, { G_POPF } };
	struct machine m;

	if (!run_one(&m, amd, "A24.hlt", OPS(ops), OPS(show_dr67)))
		return;
	tap_eq(machine_recs(&m, 0, R_DB), 2, id(amd, "A24.woken"), "a step wakes from HLT, and the next instruction is stepped too");
	machine_stop(&m);
}

BOTH(A19_data_breakpoints)
{
	static const struct gop ops[] = { WR(0, 0x5001), WR(1, 0x5008), WR(7, 0xb1d040a), { G_STORE, .a = 0x5000, .n = 4 }, HC(HC_LAB_SLOW), { G_STORE, .a = 0x5000, .n = 4 },
					  { G_LOAD, .a = 0x500a, .n = 1 }, { G_CPUID }, { G_LOAD, .a = 0x500c, .n = 2 }, { G_NOP } };
	struct machine m;

	if (!run_one(&m, amd, "A19.data", OPS(ops), OPS(show_dr67)))
		return;
	tap_ok(machine_recs(&m, 0, R_DB) > 1, id(amd, "A19.hits"), "the breakpoints hit, owning the registers and not (%u)", machine_recs(&m, 0, R_DB));
	machine_stop(&m);
}

BOTH(S01_across_exits)
{
	struct gop ops[64];
	unsigned n = 0, reads = 0;
	struct machine m;

	for (unsigned i = 0; n + 8 < 64; i++, reads += 2) {
		ops[n++] = (struct gop)WR(6, 0xffff0ff0 | i % 16);
		ops[n++] = (struct gop)WR(7, 0x400 | (i * 37 & 0xff));
		ops[n++] = i % 3 ? (struct gop)HC(HC_LAB_SLOW) : (struct gop){ G_CPUID };
		ops[n++] = (struct gop)RD(6);
		ops[n++] = (struct gop)RD(7);
		if (i % 4 == 3) { /* software changes DR6: it has to reach hardware */
			ops[n++] = (struct gop){ G_POPF, .a = 1 };
			ops[n++] = (struct gop){ G_CPUID };
			ops[n++] = (struct gop){ G_POPF };
		}
	}
	if (!run_one(&m, amd, "S01.patterns", ops, n, OPS(show_dr67)))
		return;
	tap_eq(machine_recs(&m, 0, R_DR), reads + 2 * machine_recs(&m, 0, R_DB), id(amd, "S01.reads"), "DR6 and DR7 were read back after each exit");
	machine_stop(&m);
}

/* An exit cut a #DB's delivery short: it is injected again, and its causes are not merged a second time. */
BOTH(E16_requeued)
{
	static const struct gop ops[] = { { G_NOP } };
	struct machine m;
	struct vcpu *v;

	if (!machine_start(&m, amd, plain))
		return;
	v = machine_add(&m, OPS(ops), OPS(show_dr67));
	machine_run(&m);
	v->dbg.dr6 = 0xffff0ff5;
	v->dbg.dr7 = 0x2405;
	v->exit.vectoring = (struct event){ .type = EVENT_FAULT, .vector = 1 };
	event_select(v);
	tap_ok(v->inject.type == EVENT_FAULT && v->inject.vector == 1, id(amd, "E16.again"), "the event is injected again");
	tap_eq(v->dbg.dr6, 0xffff0ff5, id(amd, "E16.dr6"), "its B bits are still there");
	tap_eq(v->dbg.dr7, 0x2405, id(amd, "E16.gd"), "and a GD that was set since is not cleared");
	machine_stop(&m);
}

/* ---- H03: a storm of #DBs does not keep the host from its events ---- */

BOTH(H03_slice)
{
	struct gop ops[80];
	struct machine m;
	unsigned n = 0;
	uint64_t windows;

	ops[n++] = (struct gop)WR(0, 0x5000);
	ops[n++] = (struct gop)WR(7, 0x10401);
	while (n < 80)
		ops[n++] = (struct gop){ G_STORE, .a = 0x5000, .n = 1 };
	static const struct gop none[] = { { G_NOP } };

	if (!machine_start(&m, amd, plain) || !machine_add(&m, ops, n, OPS(none)))
		return;
	sw.tsc_step = 2000000; /* a slice is 10 ms = 10^7 ticks */
	machine_run(&m);
	windows = sw.windows;
	tap_ok(windows > 10, id(amd, "H03.windows"), "78 #DBs of the owner: interrupts were open %llu times", (unsigned long long)windows);
	machine_same_as_bare(&m, 0, id(amd, "H03.bare"));
	sw_report(id(amd, "H03.storm"));
	machine_stop(&m);
}

/* ---- Z08 ---- */

BOTH(Z08_lab_reset)
{
	/* Armed and owning; after the reset (to the instruction behind it) all registers read as after RESET. */
	static struct gop ops[] = { WR(0, 0x5000), WR(6, 0xffff4ff1), WR(7, 0x10401), { G_HC, .a = HC_LAB_RESET, .b = G_MAIN + 12 }, RD(0), RD(6), RD(7),
				    { G_STORE, .a = 0x5000, .n = 1 } };
	struct machine m;

	if (!machine_start(&m, amd, plain) || !machine_add(&m, OPS(ops), OPS(show_dr67)))
		return;
	sw.strict = false; /* the script's own truth does not know of the reset */
	machine_run(&m);
	tap_eq(dr_rec(&m, 0, 0), 0, id(amd, "Z08.dr0"), "DR0 after a reset");
	tap_eq(dr_rec(&m, 0, 1), 0xffff0ff0, id(amd, "Z08.dr6"), "DR6 after a reset");
	tap_eq(dr_rec(&m, 0, 2), 0x400, id(amd, "Z08.dr7"), "DR7 after a reset");
	tap_eq(machine_recs(&m, 0, R_DB), 0, id(amd, "Z08.disarmed"), "the old breakpoint is gone");
	machine_stop(&m);
}
