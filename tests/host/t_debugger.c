/* SPDX-License-Identifier: MIT */
/* A debugger's slots: hardware has its breakpoints, the guest sees and gets only its own. */
#include "arch/x86/def/dr.h"
#include "arch/x86/def/hypercall.h"
#include "both.h"

static void release(struct machine *m)
{
	dbg_release_all(&m->vm[0]->vcpu->dbg);
	m->g[0].held_slots = 0;
	m->g[0].held_dr7 = 0;
}

static struct machine *running;

static bool start(struct machine *m, bool amd, const struct gop *ops, unsigned nr)
{
	if (!machine_start(m, amd, full(amd)) || !machine_add(m, ops, nr, OPS(show_all)))
		return false;
	running = m;
	return true;
}

static void finish(struct machine *m, bool amd, const char *name, uint64_t hits)
{
	tap_eq(m->vm[0]->vcpu->debugger_hits, hits, id(amd, name), "the debugger's hits");
	machine_same_as_bare(m, 0, id(amd, name));
	sw_report(id(amd, name));
	machine_stop(m);
}

/* The guest reads and writes its own registers, all of them, and never hears of the debugger. */
BOTH(Z01_own_registers)
{
	static const struct gop ops[] = { RD(1), RD(7), WR(1, 0x1111), RD(1), { G_STORE, .a = 0x5000, .n = 1 }, RD(6), WR(7, 0x10), RD(7), HC(HC_LAB_SLOW),
					  { G_STORE, .a = 0x5000, .n = 4 }, RD(1), RD(6), WR(6, 0xffff0ff8), { G_STORE, .a = 0x5000, .n = 1 }, RD(6), { G_STORE, .a = 0x1111, .n = 1 } };
	struct machine m;

	if (!start(&m, amd, OPS(ops)))
		return;
	tap_ok(machine_hold(&m, 0, 1, 0x5000, 1), id(amd, "Z01.hold"), "a slot that the guest does not use can be had");
	machine_run(&m);
	tap_eq(machine_recs(&m, 0, R_DB), 0, id(amd, "Z04.none"), "no #DB for the guest");
	tap_eq(m.vm[0]->vcpu->debugger_dr6, 0xffff0ff2, id(amd, "Z04.dr6"), "the debugger sees its slot in DR6");
	finish(&m, amd, "Z01.own", 3);
}

/* Both hit by one instruction; a step and a hit; the guest's alone. */
BOTH(E14_both)
{
	static const struct gop ops[] = { WR(0, 0x5000), WR(7, 0x10402), { G_STORE, .a = 0x5000, .n = 1 }, TF_ON, { G_STORE, .a = 0x5002, .n = 1 }, TF_OFF,
					  { G_STORE, .a = 0x5002, .n = 1 }, RD(6), RD(0), HC(HC_LAB_SLOW), { G_STORE, .a = 0x5000, .n = 4 }, WR(7, 0x12402), RD(0) };
	struct machine m;

	if (!start(&m, amd, OPS(ops)))
		return;
	machine_hold(&m, 0, 2, 0x5000, 0xd);
	machine_run(&m);
	tap_eq(rec_of(&m, R_DR, 0), 0xffff0ff1, id(amd, "E14.guest_only"), "both hit: the guest gets a #DB with its own bit");
	finish(&m, amd, "E14.both", 4);
}

BOTH(E14_emulated)
{
	static const struct gop ops[] = { { G_OUT, .a = 0x80 }, { G_OUT, .a = 0x81 }, TF_ON, { G_IN, .a = 0x80 }, TF_OFF, { G_OUTS, .a = 0x81, .b = 0x5000, .n = 1 }, { G_CPUID } };
	struct machine m;

	if (!start(&m, amd, OPS(ops)))
		return;
	m.vm[0]->vcpu->st.cr4 |= 8;
	machine_hold(&m, 0, 0, 0x80, 2);
	machine_hold(&m, 0, 3, 0x5000, 3);
	machine_run(&m);
	tap_eq(rec_of(&m, R_DR, 0), 0xffff4ff0, id(amd, "E14.step"), "a stepped IN of a port that the debugger watches: just BS");
	finish(&m, amd, "E14.emulated", 3);
}

/* AMD's ICEBP clears LBR and BTF without an exit, were it not for its intercept: a hit of the debugger's in its handler must not bring them back. */
BOTH(A31_icebp_then_hit)
{
	static const struct gop ops[] = { WM(DEBUGCTL_MSR, 3), { G_ICEBP }, RM(DEBUGCTL_MSR) }, handler[] = { { G_STORE, .a = 0x5000, .n = 1 }, RM(DEBUGCTL_MSR) };
	struct machine m;

	if (!machine_start(&m, amd, full(amd)) || !machine_add(&m, OPS(ops), OPS(handler)))
		return;
	machine_hold(&m, 0, 1, 0x5000, 1);
	machine_run(&m);
	tap_eq(rec_of(&m, R_MSR, 0), 0, id(amd, "A31.hit"), "LBR and BTF are off behind the debugger's hit");
	finish(&m, amd, "A31.hits", 1);
}

/* A code breakpoint of the debugger's: once, and the instruction runs. */
BOTH(Z04_code)
{
	static const struct gop ops[] = { { G_NOP }, { G_NOP }, { G_CPUID }, { G_PUSHF }, TF_ON, { G_NOP }, TF_OFF };
	struct machine m;

	if (!start(&m, amd, OPS(ops)))
		return;
	machine_hold(&m, 0, 0, m.g[0].at[1], 0);
	machine_hold(&m, 0, 1, m.g[0].at[2], 0);
	machine_hold(&m, 0, 2, m.g[0].at[5], 0);
	machine_run(&m);
	finish(&m, amd, "Z04.code", 3);
}

/* The guest enables the slot too: it is the debugger's, and the guest finds in it what it wrote. Another slot of its works. */
BOTH(Z01_same_slot)
{
	static const struct gop ops[] = { WR(1, 0x6000), WR(2, 0x7000), WR(7, 0x1100428), RD(7), { G_STORE, .a = 0x7000, .n = 1 }, { G_STORE, .a = 0x5000, .n = 1 }, RD(1), RD(6) };
	struct machine m;

	if (!start(&m, amd, OPS(ops)))
		return;
	machine_hold(&m, 0, 1, 0x5000, 1);
	machine_run(&m);
	tap_ok(!dbg_hold(&m.vm[0]->vcpu->dbg, 2, 1, 1), id(amd, "Z01.used"), "a slot that the guest has enabled cannot be had");
	tap_ok(!dbg_hold(&m.vm[0]->vcpu->dbg, 4, 1, 1) && !dbg_hold(&m.vm[0]->vcpu->dbg, 3, 1, 16), id(amd, "Z01.range"), "nor one that is not there");
	finish(&m, amd, "Z01.same", 1);
}

/* Hardware sets B bits of slots that match and are not enabled: of the guest's, at the debugger's address. They are no #DB of the guest's. */
BOTH(A15_with_debugger)
{
	static const struct gop ops[] = { WR(1, 0x5000), WR(6, 0xffff0ff4), WR(7, 0x100400), HC(HC_LAB_SLOW), { G_STORE, .a = 0x5000, .n = 1 }, RD(6) };
	struct machine m;

	if (!start(&m, amd, OPS(ops)))
		return;
	sw.shows_disabled = true;
	machine_hold(&m, 0, 0, 0x5000, 1);
	machine_run(&m);
	tap_eq(machine_recs(&m, 0, R_DB), 0, id(amd, "A15.debugger"), "no #DB for a slot that only compares");
	tap_eq(rec_of(&m, R_DR, 0), 0xffff0ff4, id(amd, "Z04.kept"), "and the guest's DR6 is as it was");
	tap_eq(m.vm[0]->vcpu->debugger_hits, 1, id(amd, "Z04.hit"), "the debugger has its hit");
	machine_stop(&m);
}

static void attach(void)
{
	machine_hold(running, 0, 3, 0x5000, 0xd);
}

static void detach(void)
{
	release(running);
}

static void attach_then_detach(void)
{
	attach();
	sw.interrupt_after = 12;
	sw.interrupt = detach;
}

/* Attached and detached while the guest runs, which owned its registers before. */
BOTH(Z02_mid_run)
{
	static const struct gop ops[] = { WR(0, 0x6000), WR(7, 0x10402), RD(0), { G_STORE, .a = 0x5000, .n = 4 }, HC(HC_LAB_SLOW), { G_CPUID }, { G_CPUID },
					  { G_STORE, .a = 0x5000, .n = 4 }, RD(0), RD(3), WR(3, 0x77), { G_STORE, .a = 0x6000, .n = 1 }, RD(3), { G_CPUID }, { G_CPUID },
					  { G_CPUID }, { G_CPUID }, { G_CPUID }, { G_CPUID }, { G_CPUID }, RD(3), { G_STORE, .a = 0x5000, .n = 4 } };
	struct machine m;

	if (!start(&m, amd, OPS(ops)))
		return;
	sw.interrupt_after = 3;
	sw.interrupt = attach_then_detach;
	machine_run(&m);
	tap_ok(!sw.interrupt && !m.vm[0]->vcpu->dbg.held, id(amd, "Z02.done"), "attached and detached");
	finish(&m, amd, "Z02.mid", 1);
}

/* RESET clears the guest's registers and leaves the debugger's alone. */
BOTH(Z08_survives)
{
	static struct gop ops[] = { WR(0, 0x6000), WR(7, 0x10402), { G_HC, .a = HC_LAB_RESET, .b = G_MAIN + 9 }, RD(7), { G_STORE, .a = 0x6000, .n = 1 },
				    { G_STORE, .a = 0x5000, .n = 1 } };
	struct machine m;

	if (!start(&m, amd, OPS(ops)))
		return;
	machine_hold(&m, 0, 1, 0x5000, 1);
	sw.strict = false; /* the script's own truth does not know of the reset */
	machine_run(&m);
	tap_eq(rec_of(&m, R_DR, 0), 0x400, id(amd, "Z08.guest"), "the guest's DR7 is reset");
	tap_eq(machine_recs(&m, 0, R_DB), 0, id(amd, "Z08.disarmed_too"), "and its breakpoint gone");
	tap_eq(m.vm[0]->vcpu->debugger_hits, 1, id(amd, "Z08.debugger"), "the debugger's still hits");
	machine_stop(&m);
}
