/* SPDX-License-Identifier: MIT */
/* Two owners of four slots: whatever the guest enables, its breakpoints are in hardware in its own slots, and the debugger has what is left. */
#include "arch/x86/def/dr.h"
#include "both.h"
#include "vmm/debugger.h"

static const uint8_t types[] = { 0 /* exec */, DR_LEN_4 << 2 | DR_RW_WRITE, DR_LEN_8 << 2 | DR_RW_ACCESS, DR_LEN_1 << 2 | DR_RW_WRITE };

struct matrix {
	struct tap_set guest, debugger, homes, refused, data;
};

static void guest_arms(struct vcpu *v, unsigned slots)
{
	v->dbg.dr7 = DR7_INIT;
	for (unsigned i = 0; i < 4; i++) {
		v->dbg.dr[i] = 0x9000 + i;
		if (slots >> i & 1)
			v->dbg.dr7 |= DR7_G(i) | (uint64_t)DR_RW_WRITE << (16 + 4 * i);
	}
	dbg_settle(&v->dbg);
}

static void look(struct matrix *x, struct vcpu *v, unsigned slots, unsigned want, const char *when)
{
	uint64_t dr7 = dbg_eff_dr7(&v->dbg);
	unsigned homeless = 0, homed = 0, seen = 0;
	bool data_waits = false, exec_has = false;

	for (unsigned i = 0; i < 4; i++)
		if (slots >> i & 1)
			tap_case(&x->guest, (dr7 & DR7_G(i)) && dbg_eff_dr(&v->dbg, i) == 0x9000 + i && DR7_RW(dr7, i) == DR_RW_WRITE, true, "%s, guest %x, slot %u", when, slots, i);
	for (unsigned k = 0; k < DEBUGGER_BPS; k++) {
		const struct debugger_bp *b = &v->debugger.bp[k];
		bool exec = (b->rw_len & 3) == DR_RW_EXEC;

		if (!b->owner)
			continue;
		homeless += b->slot < 0;
		homed += b->slot >= 0;
		data_waits |= b->slot < 0 && !exec;
		exec_has |= b->slot >= 0 && exec;
		if (b->slot < 0)
			continue;
		tap_case(&x->debugger, (dr7 & DR7_G(b->slot)) && dbg_eff_dr(&v->dbg, (unsigned)b->slot) == b->addr && DR7_RW(dr7, b->slot) == (b->rw_len & 3u) &&
			 !(seen >> b->slot & 1), true, "%s, guest %x, slot %d", when, slots, b->slot);
		seen |= 1u << b->slot;
	}
	tap_case(&x->homes, homed, want < 4 - debugger_count(slots) ? want : 4 - debugger_count(slots), "%s, guest %x, of %u", when, slots, want);
	tap_case(&x->homes, v->debugger.stepping, homeless > 0, "%s, guest %x: stepped", when, slots);
	tap_case(&x->data, data_waits && exec_has, false, "%s, guest %x", when, slots);
}

/* The debugger sets `want` breakpoints while the guest has `first`, then the guest changes to `then`, and back. */
static void one(struct matrix *x, struct vcpu *v, unsigned first, unsigned then, unsigned want)
{
	unsigned room = 4 - debugger_count(first);

	guest_arms(v, first);
	for (unsigned k = 0; k < want; k++)
		tap_case(&x->refused, debugger_set(v, DEBUGGER_GDB, 0x5000 + k * 8, types[(k + want) % 4], DEBUGGER_ANY), k < room, "guest %x, the %u.", first, k + 1);
	want = want < room ? want : room;
	look(x, v, first, want, "set");
	guest_arms(v, then);
	debugger_fit(v);
	look(x, v, then, want, "the guest arms");
	guest_arms(v, 0);
	debugger_fit(v);
	look(x, v, 0, want, "and disarms");
	debugger_clear_all(v, DEBUGGER_GDB);
	tap_case(&x->homes, v->dbg.held | v->debugger.nr | v->debugger.stepping | v->dbg.watched, 0, "cleared");
}

BOTH(Z01_two_owners)
{
	static const struct gop ops[] = { { G_CPUID } };
	struct matrix x = { { .id = "" } };
	struct machine m;
	struct vcpu *v;

	if (!machine_start(&m, amd, plain) || !(v = machine_add(&m, OPS(ops), OPS(show_dr67))))
		return;
	for (unsigned first = 0; first < 16; first++)
		for (unsigned then = 0; then < 16; then++)
			for (unsigned want = 1; want <= 4; want++)
				one(&x, v, first, then, want);
	x.guest.id = id(amd, "Z01.owners.guest");
	tap_end(&x.guest, "what the guest enables is in hardware, in its slot, at its address");
	x.debugger.id = id(amd, "Z01.owners.debugger");
	tap_end(&x.debugger, "the debugger's are in the others, one each");
	x.homes.id = id(amd, "Z01.owners.homes");
	tap_end(&x.homes, "as many as there is room for; the rest is stepped for, and nothing is left behind");
	x.refused.id = id(amd, "Z01.owners.free");
	tap_end(&x.refused, "the debugger gets free slots only");
	x.data.id = id(amd, "Z01.owners.data");
	tap_end(&x.data, "no code breakpoint has a slot that a watchpoint wants");
	machine_stop(&m);
}

/* One that was there before comes back without a slot, a new one does not. The lab's and gdb's do not mix. */
BOTH(Z01_again)
{
	static const struct gop ops[] = { { G_CPUID } };
	struct machine m;
	struct vcpu *v;

	if (!machine_start(&m, amd, plain) || !(v = machine_add(&m, OPS(ops), OPS(show_dr67))))
		return;
	guest_arms(v, 15);
	tap_ok(!debugger_set(v, DEBUGGER_GDB, 0x5000, 1, DEBUGGER_ANY), id(amd, "Z01.full"), "a guest that holds four slots leaves none");
	tap_ok(debugger_set(v, DEBUGGER_GDB, 0x5000, 1, DEBUGGER_AGAIN) && v->debugger.homeless == 1, id(amd, "Z01.back"), "but one that was there is stepped for");
	guest_arms(v, 0);
	debugger_fit(v);
	tap_ok(debugger_set(v, DEBUGGER_LAB, 0x6000, 1, v->debugger.bp[0].slot), id(amd, "Z01.lab"), "the lab can have the very slot that gdb has");
	tap_eq(debugger_count(v->dbg.held), 2, id(amd, "Z01.lab.moved"), "and gdb's moves");
	tap_eq(debugger_hit(v, v->dbg.held), 1u << v->debugger.bp[1].slot, id(amd, "Z04.owner"), "a hit of both: the lab's is left");
	tap_eq(v->debugger.stop, STOP_WRITE, id(amd, "Z04.stop"), "and gdb's is a stop");
	debugger_clear_all(v, DEBUGGER_LAB);
	tap_eq(debugger_count(v->dbg.held), 1, id(amd, "Z01.lab.gone"), "the lab's go alone");
	machine_stop(&m);
}
