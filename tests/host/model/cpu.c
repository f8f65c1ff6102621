/* SPDX-License-Identifier: MIT */
/* The live state of the software CPU, its operation log, and what must hold at each operation of the host. */
#include "model/cpu.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "arch/x86/dbg_switch.h"
#include "arch/x86/insn.h"
#include "arch/x86/percpu.h"
#include "model/ring3.h"
#include "tap.h"

struct sw_cpu sw;
static struct cpu the_cpu;

struct cpu *this_cpu(void)
{
	return &the_cpu;
}

void sw_reset(bool amd, struct ref_cpu phys)
{
	memset(&sw, 0, sizeof(sw));
	sw.amd = amd;
	sw.phys = phys;
	sw.dr6 = 0xffff0ff0;
	sw.dr7 = sw.want_dr7 = 0x400;
	sw.gif = true;
}

void sw_log(enum sw_op op, unsigned n, uint64_t v)
{
	sw_ring3_window((op == OP_WR_DR && n == 7) || op == OP_ENTER || op == OP_EXIT);
	if (sw.nr_log < SW_LOG)
		sw.log[sw.nr_log++] = (struct sw_logged){ .op = (uint8_t)op, .n = (uint8_t)n, .v = v };
}

/* ---- Invariants ---- */

static const struct {
	const char *id, *text;
} rules[RULE_NR] = {
	[RULE_H01] = { "H01", "#DB is intercepted" },
	[RULE_H02] = { "H02", "#AC is intercepted" },
	[RULE_H12] = { "H12", "no DR is touched, and nothing of the guest loaded, while interrupts are on" },
	[RULE_H04] = { "H04", "no address register changes under an armed DR7" },
	[RULE_H05] = { "H05", "the host's breakpoints come back whole, DR7 last" },
	[RULE_H06] = { "H06", "the host never sees the guest's DR6" },
	[RULE_H07] = { "H07", "DR6 is only written with values that it can hold" },
	[RULE_H08] = { "H08", "host breakpoints are off in the guest, the guest's off in the host" },
	[RULE_H11] = { "H11", "a guest that owns DR6 finds in it what it left there" },
	[RULE_H14] = { "H14", "each armed slot has the guest's own address" },
	[RULE_H15] = { "H15", "a guest that owns DR0-3 finds its own in them" },
	[RULE_S02] = { "S02", "DR6 has its reset value in a guest that does not own it, where an exit tells causes by it" },
	[RULE_H17] = { "H17", "address masks are the guest's in the guest, 0 under a breakpoint of the host" },
	[RULE_S07] = { "S07", "the guest runs with its own DEBUGCTL" },
	[RULE_V05] = { "V05", "the host finds its DEBUGCTL after each exit" },
	[RULE_V07] = { "V07", "no entry with a debug field that fails the entry checks" },
	[RULE_V08] = { "V08", "no entry with reserved bits in the pending debug exceptions" },
	[RULE_P01] = { "P01", "a guest runs in ring 3, and never owns a debug register" },
	[RULE_P02] = { "P02", "GD is never in hardware" },
	[RULE_P03] = { "P03", "no slot is armed that could hit outside of the guest's addresses" },
	[RULE_P04] = { "P04", "of a slot that is not armed nothing stays, the others are the guest's" },
	[RULE_P06] = { "P06", "DR7 is the last thing before an entry, and off first behind an exit" },
	[RULE_P08] = { "P08", "no breakpoint on ports is in hardware" },
	[RULE_P11] = { "P11", "DR6 has its reset value at an entry" },
	[RULE_P15] = { "P15", "a #DB that the guest made in the host is noted, and nothing of it stays" },
	[RULE_P18] = { "P18", "a handler is entered without TF" },
	[RULE_P21] = { "P21", "the host's slot is not ring 3's" },
	[RULE_V09] = { "V09", "under a shadow the pending step agrees with TF and BTF" },
};

void sw_broken(enum sw_rule r, const char *fmt, ...)
{
	va_list ap;

	if (!sw.strict || sw.broken[r]++)
		return;
	va_start(ap, fmt);
	vsnprintf(sw.first[r], sizeof(sw.first[r]), fmt, ap);
	va_end(ap);
}

void sw_report(const char *what)
{
	char id[80];
	bool all = sw.entries > 0;

	for (unsigned r = 0; r < RULE_NR; r++) {
		if (!sw.broken[r])
			continue;
		snprintf(id, sizeof(id), "%s.%s", rules[r].id, what);
		if (tap_instead)
			tap_case(tap_instead, sw.broken[r], 0, "%s: %s", id, sw.first[r]);
		all = tap_eq(sw.broken[r], 0, id, "%s: %s", rules[r].text, sw.first[r]);
	}
	if (all) {
		snprintf(id, sizeof(id), "rules.%s", what);
		tap_ok(true, id, "the invariants held at every operation (%llu entries)", (unsigned long long)sw.entries);
	} else if (!sw.entries) {
		tap_ok(false, what, "the scenario entered a guest");
	}
}

/* Host mode: whatever DR7 arms must be what the host asked for. */
static void check_host_armed(void)
{
	for (unsigned i = 0; i < 4; i++) {
		if (!ref_enabled(sw.dr7, i))
			continue;
		if (sw.mask[i])
			sw_broken(RULE_H17, "the host's slot %u is armed under mask 0x%x", i, sw.mask[i]);
		if (!ref_enabled(sw.want_dr7, i) || sw.dr[i] != sw.want_dr[i])
			sw_broken(RULE_H08, "slot %u at 0x%llx is armed in the host", i, (unsigned long long)sw.dr[i]);
	}
}

/* Interrupts are on: host code of any kind runs. */
static void check_window(void)
{
	if (the_cpu.dbg.guest_dr_loaded)
		sw_broken(RULE_H12, "interrupts open while a guest's DR0-3 are loaded");
	sw.windows++;
	if (sw.dr6 != 0xffff0ff0)
		sw_broken(RULE_H06, "DR6=0x%llx when interrupts open", (unsigned long long)sw.dr6);
	if (sw.dr7 != sw.want_dr7)
		sw_broken(RULE_H05, "DR7=0x%llx, the host wants 0x%llx", (unsigned long long)sw.dr7, (unsigned long long)sw.want_dr7);
	for (unsigned i = 0; i < 4; i++)
		if (ref_enabled(sw.want_dr7, i) && sw.dr[i] != sw.want_dr[i])
			sw_broken(RULE_H05, "DR%u=0x%llx, the host wants 0x%llx", i, (unsigned long long)sw.dr[i], (unsigned long long)sw.want_dr[i]);
	if (sw.debugctl != sw.want_debugctl)
		sw_broken(RULE_V05, "DEBUGCTL=0x%llx, the host wants 0x%llx", (unsigned long long)sw.debugctl, (unsigned long long)sw.want_debugctl);
}

/* Its own, and on VMX what belongs to the host (V18). A #DB that is about to be injected has cleared LBR and BTF. */
static void check_debugctl(const struct sw_guest *g, const struct sw_ctl *ctl)
{
	uint64_t want = g->true_debugctl & ~(ctl->inject && ctl->inject_vector == 1 ? SW_LBR | SW_BTF : 0);

	if (!sw.amd && !sw.ring3)
		want |= sw.want_debugctl & SW_FREEZE;
	if (sw.debugctl != want)
		sw_broken(RULE_S07, "the guest runs with DEBUGCTL=0x%llx, not 0x%llx", (unsigned long long)sw.debugctl, (unsigned long long)want);
}

void sw_entered(struct sw_guest *g, const struct sw_ctl *ctl)
{
	uint64_t dr7;

	sw_note_emulated(g);
	dr7 = sw_want_dr7(g);
	sw.guest = true;
	sw.entries++;
	sw_log(OP_ENTER, 0, sw.dr7);
	check_debugctl(g, ctl);
	/* A #DB that is about to be injected has not cleared the truth's GD yet. */
	if (ctl->ring3)
		sw_ring3_entered(g, ctl);
	else if ((sw.dr7 ^ dr7) & ~(ctl->inject ? 0x2000ull : 0))
		sw_broken(RULE_H08, "the guest runs with DR7=0x%llx, its own is 0x%llx", (unsigned long long)sw.dr7, (unsigned long long)dr7);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t want = sw_want_dr(g, i);

		if (ref_enabled(sw.dr7, i) && sw.dr[i] != want)
			sw_broken(RULE_H14, "slot %u is armed at 0x%llx, the guest's is 0x%llx", i, (unsigned long long)sw.dr[i],
				  (unsigned long long)want);
		if (ref_enabled(sw.dr7, i) && sw.mask[i] != (g->held_slots >> i & 1 ? 0 : g->true_mask[i]))
			sw_broken(RULE_H17, "slot %u has mask 0x%x, the guest's is 0x%x", i, sw.mask[i], g->true_mask[i]);
		if (!ctl->dr && sw.dr[i] != g->true_dr[i])
			sw_broken(RULE_H15, "DR%u=0x%llx can be read, the guest's is 0x%llx", i, (unsigned long long)sw.dr[i],
				  (unsigned long long)g->true_dr[i]);
	}
	if (ctl->dr && ctl->db_applied && !ctl->ring3 && sw.dr6 != 0xffff0ff0)
		sw_broken(RULE_S02, "DR6=0x%llx at the entry", (unsigned long long)sw.dr6);
	if (!ctl->dr && g->true_dr6_known) {
		uint64_t want = g->true_dr6;

		if (ctl->inject && ctl->inject_vector == 1)
			want = sw_dr6_after(want, g->raised, sw.phys);
		if (sw.dr6 != want)
			sw_broken(RULE_H11, "DR6=0x%llx, the guest's is 0x%llx", (unsigned long long)sw.dr6, (unsigned long long)want);
	}
}

/* ---- The host's instructions ---- */

uint64_t sw_mov_from_dr(unsigned n);
void sw_mov_to_dr(unsigned n, uint64_t v);

uint64_t sw_mov_from_dr(unsigned n)
{
	sw_log(OP_RD_DR, n, 0);
	return n < 4 ? sw.dr[n] : n == 6 ? sw.dr6 : sw.dr7;
}

void sw_mov_to_dr(unsigned n, uint64_t v)
{
	sw_log(OP_WR_DR, n, v);
	if (n < 4) {
		if (sw.dr7 & 0xff)
			sw_broken(RULE_H04, "DR%u is written while DR7=0x%llx", n, (unsigned long long)sw.dr7);
		sw.dr[n] = v;
	} else if (n == 6) {
		if (v != ref_dr6_written(v, sw.phys))
			sw_broken(RULE_H07, "DR6 is written with 0x%llx", (unsigned long long)v);
		sw.dr6 = ref_dr6_written(v, sw.phys);
	} else {
		if ((v & 0xff) && sw.dr6 != 0xffff0ff0)
			sw_broken(RULE_H05, "DR7 is armed while DR6=0x%llx", (unsigned long long)sw.dr6);
		sw.dr7 = ref_dr7_written(v, sw.phys);
		sw_ring3_armed();
	}
	if (!sw.ring3 || !the_cpu.dbg.guest_dr_loaded) /* else it is armed for the guest outside of it for a moment (P06) */
		check_host_armed();
}

uint64_t sw_host_access(enum ref_access a, uint64_t addr, unsigned len)
{
	uint32_t hits = sw_live_hits(a, addr, len, false);

	if (!hits)
		return 0;
	sw.host_db++;
	sw.dr6 = ref_dr6_after(sw.dr6, hits, sw.phys);
	return dbg_host_db(&the_cpu.dbg);
}

void clgi(void)
{
	sw_log(OP_CLGI, 0, 0);
	sw_host_branch();
	sw.gif = false;
}

void stgi(void)
{
	sw_log(OP_STGI, 0, 0);
	sw_host_branch();
	if (sw.debugctl != sw.want_debugctl)
		sw_broken(RULE_V05, "DEBUGCTL=0x%llx when NMIs open, the host wants 0x%llx", (unsigned long long)sw.debugctl,
			  (unsigned long long)sw.want_debugctl);
	sw.gif = true;
}

void irq_disable(void)
{
	sw_log(OP_IRQ_OFF, 0, 0);
	sw_host_branch();
	sw.irqs = false;
}

void irq_enable(void)
{
	sw_log(OP_IRQ_ON, 0, 0);
	sw.irqs = true;
	sw_host_branch();
	check_window();
	if (sw.interrupt && sw.entries >= sw.interrupt_after) {
		void (*fn)(void) = sw.interrupt;

		sw.interrupt = NULL;
		fn();
	}
}
