/* SPDX-License-Identifier: MIT */
/* The invariants. I1: a guest sees what bare hardware would show. I2: so does the host. I3: nothing of anybody else is in force in a guest.
 * I4: no register access without need. */
#include "explore.h"

#include <stdarg.h>
#include <stdio.h>

char bad[160];
unsigned bad_invariant;
unsigned wanted_invariants = 0x1e;
struct account acct;

/* The rules of docs/rules.md that each invariant states, here and nowhere else: what a mutant names besides is not proven by it. */
static const char *const rules_of[] = {
	[1] = "A11 A12 A30 E13 H09 H10 H11 H12 H16 Z02 Z04", /* the guest's view */
	[2] = "H04 H05 H06 H08 H12 H16 H17 H19 H21 V05 V06",  /* the host's */
	[3] = "H04 H08 H10 H14 H15 H17 H21 S02 S03 S07 V18 V19", /* in force in a guest */
	[4] = "H06 H11 H13 S08 V06",                          /* no access without need */
};

void invariant_rules(void)
{
	for (unsigned i = 1; i <= 4; i++)
		printf("# I%u stands for %s\n", i, rules_of[i]);
}

void fail(unsigned invariant, const char *fmt, ...)
{
	va_list ap;

	if (bad_invariant || !(wanted_invariants >> invariant & 1))
		return;
	bad_invariant = invariant;
	va_start(ap, fmt);
	vsnprintf(bad, sizeof(bad), fmt, ap);
	va_end(ap);
}

uint64_t host_debugctl(bool on)
{
	return on ? DEBUGCTL_BUS_LOCK | (par.owned && (par.be.dbg_caps & DBG_CAP_VM_DEBUGCTL) ? DEBUGCTL_FREEZE_IN_SMM : 0) : 0;
}

/* The guest's view in memory. A #DB that waits for its delivery has changed the truth already. */
static void check_memory(unsigned i)
{
	const struct dbg_vcpu *d = &vcpus[i].dbg;
	const struct truth *t = &w.truth[i];

	if (vcpus[i].exception.type != EVENT_NONE)
		return;
	if (d->dr[0] != t->dr0 || d->dr[1] != 0)
		fail(1, "guest %c: DR0 in memory is %lx, must be %lx", 'A' + (int)i, d->dr[0], t->dr0);
	if (d->dr6 != t->dr6)
		fail(1, "guest %c: DR6 in memory is %lx, must be %lx", 'A' + (int)i, d->dr6, t->dr6);
	if (d->dr7 != t->dr7)
		fail(1, "guest %c: DR7 in memory is %lx, must be %lx", 'A' + (int)i, d->dr7, t->dr7);
	if (d->debugctl != t->debugctl)
		fail(1, "guest %c: DEBUGCTL in memory is %lx, must be %lx", 'A' + (int)i, d->debugctl, t->debugctl);
	if (d->mask[0] != t->mask)
		fail(1, "guest %c: mask in memory is %x, must be %x", 'A' + (int)i, d->mask[0], t->mask);
}

void check_host_registers(void)
{
	if (w.dr7 != (w.host_bp ? ARM_HOST : DR7_INIT))
		fail(2, "the host runs with DR7=%lx and wants its breakpoint %s", w.dr7, w.host_bp ? "on" : "off");
	if (w.host_bp && (w.dr[0] != ADDR_HOST || w.mask))
		fail(2, "the host's breakpoint is at %lx under mask %x", w.dr[0], w.mask);
	if (w.dr6 != DR6_INIT)
		fail(2, "the host runs with DR6=%lx", w.dr6);
	if (w.debugctl != host_debugctl(w.host_ctl))
		fail(2, "the host runs with DEBUGCTL=%lx, its own is %lx", w.debugctl, host_debugctl(w.host_ctl));
	if (cpu.dbg.guest_dr_loaded)
		fail(2, "the host thinks that a guest's addresses are loaded");
	if (par.policy == DBG_CACHED && (cpu.dbg.hw_dr[0] != w.dr[0] || cpu.dbg.hw_dr[1] != w.dr[1]))
		fail(1, "the cache of DR0-1 has %lx %lx, hardware %lx %lx", cpu.dbg.hw_dr[0], cpu.dbg.hw_dr[1], w.dr[0], w.dr[1]);
	if (cpu.dbg.has_masks && cpu.dbg.hw_mask[0] != w.mask)
		fail(1, "the cache of the mask has %x, hardware %x", cpu.dbg.hw_mask[0], w.mask);
}

void check_host(void)
{
	check_host_registers();
	check_memory(0);
	check_memory(1);
}

/* Also true in the middle of a plan: what is armed is the host's, at its own address. */
void check_point(void)
{
	if ((w.dr7 & DR7_ENABLE_ALL) && (w.dr7 != ARM_HOST || w.dr[0] != ADDR_HOST || w.mask))
		fail(2, "in the host, interrupts off: DR7=%lx is on with DR0=%lx mask=%x", w.dr7, w.dr[0], w.mask);
}

static void check_armed(const struct dbg_vcpu *d, const struct truth *t)
{
	uint64_t held = d->held ? DR7_ENABLE(par.held) | DR7_RWLEN(par.held) : 0;

	if ((w.dr7 & ~held) != (t->dr7 & ~held))
		fail(3, "the guest runs with DR7=%lx, its own is %lx", w.dr7, t->dr7);
	if (d->held && (w.dr7 & held) != (DR7_G(par.held) | (uint64_t)RW_LEN_HELD << (16 + 4 * par.held)))
		fail(3, "the debugger's slot is not on: DR7=%lx", w.dr7);
	if (d->held && w.dr[par.held] != ADDR_HELD)
		fail(3, "the debugger's slot watches %lx", w.dr[par.held]);
	if (!(d->held & 1) && (t->dr7 & DR7_ENABLE(0)) && w.dr[0] != t->dr0)
		fail(3, "the guest's slot 0 watches %lx, its own address is %lx", w.dr[0], t->dr0);
	if (w.dr7 & DR7_ENABLE_ALL) {
		uint32_t mask = d->held & 1 ? 0 : t->mask;

		if (w.mask != mask)
			fail(3, "the guest's slot 0 runs under mask %x, its own is %x", w.mask, mask);
		if (!cpu.dbg.guest_dr_loaded)
			fail(3, "breakpoints are on in the guest, and the host may change DR0-3");
	}
}

void check_guest(void)
{
	const struct dbg_vcpu *d = &vcpus[w.cur].dbg;
	const struct truth *t = &w.truth[w.cur];
	uint64_t owned = host_debugctl(w.host_ctl) & DEBUGCTL_FREEZE_IN_SMM;

	check_armed(d, t);
	if (w.debugctl != (t->debugctl | owned))
		fail(3, "the guest runs with DEBUGCTL=%lx, its own is %lx", w.debugctl, t->debugctl | owned);
	if (w.vm[w.cur].intercept) {
		if ((par.be.dbg_caps & DBG_CAP_VM_DR6) && w.dr6 != DR6_INIT)
			fail(3, "the guest's DR6 is %lx while MOV DR exits: old causes would look new (S02)", w.dr6);
		check_memory(w.cur);
		return;
	}
	if (w.dr[0] != t->dr0 || w.dr[1] != 0)
		fail(w.dr[0] == ADDR_HOST || w.dr[0] == POISON || w.dr[1] ? 3 : 1, "the guest can read DR0-1=%lx %lx, its own are %lx 0", w.dr[0], w.dr[1], t->dr0);
	if (w.dr6 != t->dr6)
		fail(1, "the guest reads DR6=%lx, must be %lx", w.dr6, t->dr6);
	if (w.dr7 != t->dr7)
		fail(1, "the guest reads DR7=%lx, must be %lx", w.dr7, t->dr7);
	if (!cpu.dbg.guest_dr_loaded)
		fail(3, "the guest owns DR0-3, and the host may change them");
}

/* ---- I4 ---- */

void account_begin(void)
{
	acct = (struct account){ 0 };
}

static unsigned writes_03(void)
{
	return acct.dr_write[0] + acct.dr_write[1] + acct.dr_write[2] + acct.dr_write[3];
}

static unsigned reads(void)
{
	return acct.dr_read[0] + acct.dr_read[1] + acct.dr_read[2] + acct.dr_read[3] + acct.dr_read[6] + acct.dr_read[7];
}

static unsigned accesses(void)
{
	return reads() + writes_03() + acct.dr_write[6] + acct.dr_write[7] + acct.mask_write;
}

static void account_ctl(unsigned limit)
{
	if (acct.ctl_read || acct.ctl_write > (w.host_ctl ? limit : 0))
		fail(4, "%u reads, %u writes of DEBUGCTL", acct.ctl_read, acct.ctl_write);
}

void account_enter(uint8_t state, uint64_t dr6)
{
	bool cached = par.policy == DBG_CACHED && state == DBG_LIVE;
	unsigned limit6 = state == DBG_LIVE && !(par.be.dbg_caps & DBG_CAP_VM_DR6) && (!cached || dr6 != DR6_INIT);

	account_ctl(!(par.be.dbg_caps & DBG_CAP_VM_DEBUGCTL));
	if (state == DBG_IDLE && accesses())
		fail(4, "entering an idle guest takes %u register accesses", accesses());
	if (reads())
		fail(4, "entering takes %u reads", reads());
	if (acct.dr_write[6] > limit6)
		fail(4, "entering writes DR6 %u times, %u would do", acct.dr_write[6], limit6);
	if (acct.dr_write[7] > w.host_bp)
		fail(4, "entering writes DR7 %u times, %u would do", acct.dr_write[7], w.host_bp);
	if (writes_03() > 4 || acct.mask_write > 4 || acct.dr_write[0] > 1 || acct.dr_write[1] > 1)
		fail(4, "entering writes DR0-3 %u times, masks %u times", writes_03(), acct.mask_write);
	if (cached && (acct.same[0] | acct.same[1] | acct.same[2] | acct.same[3]))
		fail(4, "entering writes an address that the register has, and the policy is cached");
}

void account_fast(bool reflected)
{
	unsigned limit = reflected && !(par.be.dbg_caps & DBG_CAP_DB_APPLIED) ? 1 : 0;

	account_ctl(1 + !(par.be.dbg_caps & DBG_CAP_VM_DEBUGCTL));
	if (acct.dr_read[6] > limit || acct.dr_write[6] > limit || acct.same[6] || accesses() > acct.dr_read[6] + acct.dr_write[6])
		fail(4, "the inner loop makes %u debug register accesses", accesses());
}

void account_leave(uint8_t state, bool host_armed, uint64_t exit_dr6)
{
	bool eager = par.policy == DBG_EAGER && state == DBG_LIVE;
	bool live6 = state == DBG_LIVE && !(par.be.dbg_caps & DBG_CAP_VM_DR6);

	account_ctl(1);
	if (state == DBG_IDLE && !host_armed && exit_dr6 == DR6_INIT && accesses())
		fail(4, "leaving an idle guest takes %u register accesses", accesses());
	if (state != DBG_LIVE && reads())
		fail(4, "leaving takes %u reads, and the guest owned nothing", reads());
	if (acct.dr_read[6] > live6 || acct.dr_read[0] > 1 || acct.dr_read[1] > 1 || acct.dr_read[7])
		fail(4, "leaving reads a register twice, or for nothing");
	if (acct.dr_write[6] > 1 || (acct.same[6] && !eager))
		fail(4, "leaving writes DR6 %u times, %u of them with what it has", acct.dr_write[6], acct.same[6]);
	if (!eager && !host_armed && (acct.dr_write[7] || writes_03() || acct.mask_write))
		fail(4, "leaving writes breakpoints that the host does not have");
	if (acct.dr_write[7] > 1 || writes_03() > 4 || acct.mask_write > 4)
		fail(4, "leaving writes DR7 %u times, DR0-3 %u times, masks %u times", acct.dr_write[7], writes_03(), acct.mask_write);
}
