/* SPDX-License-Identifier: MIT */
/* Executes dbg.c's plans: every MOV DR and DEBUGCTL write that a world switch makes, in order. Host tests run this file on a software CPU. */
#include "arch/x86/dbg_switch.h"

#include "arch/x86/dbg_hw.h"

static void put_dr(struct dbg_cpu *c, unsigned i, uint64_t v)
{
	hw_write_dr(c, i, v);
	c->hw_dr[i] = v;
}

static void load_dr03(struct dbg_cpu *c, const uint64_t dr[4])
{
	for (unsigned i = 0; i < 4; i++)
		put_dr(c, i, dr[i]);
}

/* A debugger's slots among them, or (cached policy) only those that hardware does not hold. */
static void load_guest_dr03(struct dbg_cpu *c, const struct dbg_vcpu *v)
{
	for (unsigned i = 0; i < 4; i++)
		if (v->policy != DBG_CACHED || v->state != DBG_LIVE || c->hw_dr[i] != v->dr[i])
			put_dr(c, i, dbg_eff_dr(v, i));
}

static void put_mask(struct dbg_cpu *c, unsigned i, uint32_t mask)
{
	if (c->hw_mask[i] == mask)
		return;
	hw_write_mask(c, i, mask);
	c->hw_mask[i] = mask;
}

static void zero_masks(struct dbg_cpu *c)
{
	for (unsigned i = 0; i < 4; i++)
		put_mask(c, i, 0);
}

void dbg_do_enter(unsigned ops, unsigned caps, struct dbg_cpu *c, struct dbg_vcpu *v)
{
	c->who = DBG_BY_ENTER;
	if (ops & DBG_OP_HOST_OFF)
		hw_write_dr(c, 7, DR7_INIT); /* before any address changes: a host slot must not match a guest's address (H04) */
	if (ops & DBG_OP_LOAD_MASKS)
		for (unsigned i = 0; i < 4; i++)
			put_mask(c, i, dbg_eff_mask(v, i));
	if (ops & DBG_OP_TAKE)
		c->guest_dr_loaded = true;
	if (ops & DBG_OP_LOAD_DR03)
		load_guest_dr03(c, v);
	if (ops & DBG_OP_LOAD_DR6)
		hw_write_dr(c, 6, v->dr6); /* here, and nowhere in the inner loop (H11) */
	if (ops & DBG_OP_VM_FIELDS)
		dbg_vm_fields(caps, c, v);
	c->who = DBG_BY_HOST;
}

void dbg_do_leave(unsigned ops, unsigned caps, struct dbg_cpu *c, struct dbg_vcpu *v)
{
	c->who = DBG_BY_LEAVE;
	if (ops & DBG_OP_SAVE_DR03)
		for (unsigned i = 0; i < 4; i++)
			v->dr[i] = c->hw_dr[i] = hw_read_dr(c, i);
	if (ops & DBG_OP_VM_FETCH)
		dbg_vm_fields_taken(caps, v);
	if (ops & DBG_OP_SAVE_DR6) {
		v->dr6 = hw_read_dr(c, 6);
		if (dbg_dr6_needs_reset(v->dr6))
			ops |= DBG_OP_RESET_DR6;
	}
	if (ops & DBG_OP_HOST_MASKS)
		zero_masks(c);
	if (ops & DBG_OP_HOST_DR03)
		load_dr03(c, c->dr);
	if (ops & DBG_OP_RESET_DR6) {
		hw_write_dr(c, 6, DR6_INIT);
		if (caps & DBG_CAP_VM_DR6)
			dbg_vm_fields_unknown(v);
	}
	if (ops & DBG_OP_RELEASE)
		c->guest_dr_loaded = false;
	dbg_settle(v);
	if (ops & DBG_OP_HOST_DR7)
		hw_write_dr(c, 7, c->dr7); /* last: from here on the host can trap (H05) */
	c->who = DBG_BY_HOST;
}

void dbg_reflect_live(unsigned caps, struct dbg_cpu *c, struct dbg_vcpu *v, const struct dbg_record *r)
{
	uint64_t old, new;

	if (v->debugctl & (DEBUGCTL_LBR | DEBUGCTL_BTF)) {
		v->debugctl &= ~(DEBUGCTL_LBR | DEBUGCTL_BTF);
		v->vm_debugctl &= ~(DEBUGCTL_LBR | DEBUGCTL_BTF);
		v->vm_dirty = true;
	}
	if (caps & DBG_CAP_DB_APPLIED)
		return;
	c->who = DBG_BY_REFLECT;
	old = hw_read_dr(c, 6);
	new = dbg_dr6_merge(old, r->payload, v->feat);
	if (new != old)
		hw_write_dr(c, 6, new);
	c->who = DBG_BY_HOST;
	if (v->vm_dr7 & DR7_GD) {
		v->vm_dr7 &= ~DR7_GD;
		v->vm_dirty = true;
	}
}

void dbg_debugctl_before(struct dbg_cpu *c)
{
	hw_write_debugctl(c, 0);
}

void dbg_debugctl_after(struct dbg_cpu *c)
{
	uint64_t v;

	do {
		v = c->debugctl;
		hw_write_debugctl(c, v);
	} while (*(volatile uint64_t *)&c->debugctl != v); /* an NMI has set another in between */
}

/* ---- The host's own debug state ---- */

void dbg_host_init(struct dbg_cpu *c)
{
	uint64_t v;

	dbg_cpu_reset(c);
	hw_write_dr(c, 7, DR7_INIT); /* off first: firmware may have left anything in the others */
	for (unsigned i = 0; i < 4; i++)
		put_dr(c, i, 0);
	hw_write_dr(c, 6, DR6_INIT);
	c->has_masks = hw_has_masks();
	for (unsigned i = 0; c->has_masks && i < 4; i++) { /* one that another user of the machine left would widen breakpoints (H17) */
		hw_write_mask(c, i, 0);
		c->hw_mask[i] = 0;
	}
	c->has_debugctl = hw_try_read_debugctl(c, &v);
	if (c->has_debugctl && v != 0)
		hw_write_debugctl(c, 0);
}

/* A host breakpoint takes effect at once unless a guest's addresses are loaded: then dbg_do_leave arms it. */
static void host_apply(struct dbg_cpu *c)
{
	if (c->guest_dr_loaded)
		return;
	hw_write_dr(c, 7, DR7_INIT);
	zero_masks(c);
	load_dr03(c, c->dr);
	hw_write_dr(c, 7, c->dr7);
}

bool dbg_host_set_bp(struct dbg_cpu *c, unsigned slot, uint64_t addr, unsigned rw_len)
{
	if (slot > 3 || rw_len > 15)
		return false;
	c->dr[slot] = addr;
	c->dr7 = (c->dr7 & ~DR7_RWLEN(slot)) | DR7_G(slot) | (uint64_t)rw_len << (16 + slot * 4);
	host_apply(c);
	return true;
}

void dbg_host_clear_bps(struct dbg_cpu *c)
{
	for (unsigned i = 0; i < 4; i++)
		c->dr[i] = 0;
	c->dr7 = DR7_INIT;
	host_apply(c);
}

bool dbg_host_set_debugctl(struct dbg_cpu *c, uint64_t v)
{
	if ((v & ~c->debugctl & DEBUGCTL_LBR) && c->lbr_wanted)
		c->lbr_wanted(); /* a guest's records may be in the registers, which it is to find again without the host's among them */
	if (!c->has_debugctl || !hw_try_write_debugctl(c, v))
		return false;
	if (hw_read_debugctl(c) == v) {
		c->debugctl = v;
		c->owned_debugctl = v & DEBUGCTL_FREEZE_IN_SMM;
		return true;
	}
	hw_write_debugctl(c, c->debugctl); /* an emulator that swallows the write */
	return false;
}

uint64_t dbg_host_db(struct dbg_cpu *c)
{
	uint64_t dr7 = hw_read_dr(c, 7), dr6 = DR6_INIT;

	/* What is armed now, not what the host wants armed: an NMI may bring a #DB in the middle of a plan. */
	if (dbg_armed(dr7))
		hw_write_dr(c, 7, DR7_INIT);
	/* While a guest's registers are loaded no breakpoint of the host's can hit. A #DB without a cause (an ICEBP) changes nothing, and the DR6 may be
	 * the guest's, which it is to find again. */
	if (!c->guest_dr_loaded) {
		dr6 = hw_read_dr(c, 6);
		if (dbg_dr6_needs_reset(dr6))
			hw_write_dr(c, 6, DR6_INIT);
	}
	c->host_db++;
	c->host_db_dr6 = dr6;
	if (dbg_armed(dr7))
		hw_write_dr(c, 7, dr7);
	return dr6;
}
