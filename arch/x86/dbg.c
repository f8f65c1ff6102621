/* SPDX-License-Identifier: MIT */
/* The debug-state policy for all backends. Pure: decides from its arguments, touches no hardware, calls nobody. */
#include "arch/x86/dbg.h"

#include "arch/x86/def/cr.h"

/* ---- Register values ---- */

/* Bits that read as 1 whatever is written. RTM and BLD exist only on CPUs that announce them; elsewhere they are reserved-one (A01). */
static uint64_t dr6_ones(unsigned feat)
{
	uint64_t ones = DR6_INIT;

	if (feat & DBG_FEAT_RTM)
		ones &= ~DR6_RTM;
	if (feat & DBG_FEAT_BLD)
		ones &= ~DR6_BLD;
	return ones;
}

uint64_t dbg_dr6_fix(uint64_t v, unsigned feat)
{
	return ((v & 0xffffffff) | dr6_ones(feat)) & ~DR6_BIT12;
}

uint64_t dbg_dr7_fix(uint64_t v, unsigned feat)
{
	uint64_t zeroes = 0xd000; /* bits 12, 14, 15 */

	if (!(feat & DBG_FEAT_RTM))
		zeroes |= DR7_RTM;
	return ((v & 0xffffffff) & ~zeroes) | DR7_BIT10;
}

/* The manual says that "certain debug exceptions may clear bits 0-3; the remaining contents are never cleared by the processor": B0-3 are
 * rewritten by each #DB (A12), BD/BS/BT pile up until software clears them. RTM is the exception that no manual's prose mentions: every #DB
 * outside a transaction sets it (A14), whereas BLD stays as software left it (A13). */
uint64_t dbg_dr6_merge(uint64_t old, uint32_t payload, unsigned feat)
{
	uint64_t v = (old & ~DR6_B_ALL) | (payload & (DR6_B_ALL | DR6_STICKY)) | DR6_RTM;

	if (payload & DR6_RTM)
		v &= ~DR6_RTM;
	if (payload & DR6_BLD)
		v &= ~DR6_BLD;
	return dbg_dr6_fix(v, feat);
}

uint32_t dbg_payload_from_dr6(uint64_t dr6)
{
	return (uint32_t)((dr6 ^ DR6_INIT) & DBG_PAYLOAD_BITS);
}

/* VMX's qualification has DR6's layout in positive polarity, but BT is not defined there: a task switch exits before its T-bit trap. */
uint32_t dbg_payload_from_qual(uint64_t qual)
{
	return (uint32_t)(qual & DBG_PAYLOAD_BITS & ~DR6_BT);
}

/* The bits that the field may have: B0-3, BLD, BS (and RTM, which drover never raises by itself). */
#define PENDING_BITS ((uint32_t)(DR6_B_ALL | DR6_BLD | DR6_BS))

uint32_t dbg_payload_from_pending(uint64_t field)
{
	return (uint32_t)field & PENDING_BITS;
}

uint64_t dbg_pending_from_payload(uint32_t payload)
{
	return (payload & PENDING_BITS) | (payload & DR6_B_ALL ? DR6_BIT12 : 0);
}

/* ---- Effective registers: the guest's, but for the slots that a debugger holds (Z01, H14) ---- */

uint64_t dbg_eff_dr(const struct dbg_vcpu *v, unsigned slot)
{
	return v->held >> slot & 1 ? v->held_dr[slot] : v->dr[slot];
}

uint64_t dbg_eff_dr7(const struct dbg_vcpu *v)
{
	uint64_t dr7 = v->deaf ? v->dr7 & ~DR7_ENABLE_ALL : v->dr7;

	for (unsigned i = 0; v->held >> i; i++)
		if (v->held >> i & 1)
			dr7 &= ~(DR7_ENABLE(i) | DR7_RWLEN(i));
	return dr7 | v->held_dr7;
}

/* A range that does not wrap and lies in one half: the lower, or the upper below the host's. */
static bool ring3_range_ok(uint64_t first, uint64_t last)
{
	if (last < first)
		return false;
	return last < 0x800000000000ull || (first >= 0xffff800000000000ull && last < DBG_RING3_HOST_BASE);
}

uint64_t dbg_ring3_dr7(const uint64_t dr[4], uint64_t dr7)
{
	dr7 &= ~DR7_GD;
	for (unsigned i = 0; i < 4; i++)
		if (DR7_RW(dr7, i) == DR_RW_IO || !ring3_range_ok(dr[i] & ~7ull, dr[i] + 7))
			dr7 &= ~(DR7_ENABLE(i) | DR7_RWLEN(i));
	return dr7;
}

uint64_t dbg_hw_dr7(unsigned caps, const struct dbg_vcpu *v)
{
	uint64_t dr[4];

	if (!(caps & DBG_CAP_RING3))
		return dbg_eff_dr7(v);
	for (unsigned i = 0; i < 4; i++)
		dr[i] = dbg_eff_dr(v, i);
	return dbg_ring3_dr7(dr, dbg_eff_dr7(v));
}

uint32_t dbg_eff_mask(const struct dbg_vcpu *v, unsigned slot)
{
	return v->held >> slot & 1 ? 0 : v->mask[slot];
}

bool dbg_hold(struct dbg_vcpu *v, unsigned slot, uint64_t addr, unsigned rw_len)
{
	if (slot > 3 || rw_len > 15 || (!(v->held >> slot & 1) && (v->dr7 & DR7_ENABLE(slot))))
		return false;
	v->held |= (uint8_t)(1u << slot);
	v->held_dr[slot] = addr;
	v->held_dr7 = (v->held_dr7 & ~DR7_RWLEN(slot)) | DR7_G(slot) | (uint64_t)rw_len << (16 + slot * 4);
	dbg_settle(v);
	return true;
}

void dbg_release(struct dbg_vcpu *v, unsigned slot)
{
	v->held &= (uint8_t)~(1u << slot);
	v->held_dr7 &= ~(DR7_ENABLE(slot) | DR7_RWLEN(slot));
	dbg_settle(v);
}

void dbg_watch(struct dbg_vcpu *v, bool on)
{
	v->watched = on;
	dbg_settle(v);
}

void dbg_release_all(struct dbg_vcpu *v)
{
	v->held = 0;
	v->held_dr7 = 0;
	dbg_settle(v);
}

/* Hardware may set B bits of slots that match and are not enabled (A15). While the guest does not own DR0-3 these hold the addresses of the host or
 * of the vcpu before, and such a bit would tell the guest what they watch: types in DR7 without enables are all it takes (H15). */
static uint32_t b_of_disabled(uint64_t dr7)
{
	uint32_t b = 0;

	for (unsigned i = 0; i < 4; i++)
		if (!(dr7 & DR7_ENABLE(i)))
			b |= 1u << i;
	return b;
}

uint32_t dbg_route(const struct dbg_vcpu *v, uint32_t *payload)
{
	uint32_t theirs = *payload & v->held;

	*payload &= ~theirs;
	if (theirs)
		*payload &= ~b_of_disabled(v->dr7); /* a slot that only compares is no cause: the guest gets no #DB for it (A15) */
	return theirs;
}

/* ---- Breakpoint match ---- */

bool dbg_slot_matches(uint64_t dr, uint64_t dr7, unsigned i, enum dbg_access access, uint64_t addr, unsigned len, uint64_t cr4)
{
	static const uint8_t bytes[4] = { [DR_LEN_1] = 1, [DR_LEN_2] = 2, [DR_LEN_8] = 8, [DR_LEN_4] = 4 };
	uint64_t size = bytes[DR7_LEN(dr7, i)];
	uint64_t start = dr & ~(size - 1); /* hardware ignores the low bits; software need not align (A16) */

	switch (DR7_RW(dr7, i)) {
	case DR_RW_EXEC:
		/* Matches the first byte of the instruction only, and is undefined with LEN != 1 byte: such a slot never hits. */
		return access == DBG_ACCESS_EXEC && size == 1 && addr == dr;
	case DR_RW_WRITE:
		if (access != DBG_ACCESS_WRITE)
			return false;
		break;
	case DR_RW_IO:
		if (access != DBG_ACCESS_IO || !(cr4 & CR4_DE)) /* A17: without DE the encoding is undefined */
			return false;
		break;
	default:
		if (access != DBG_ACCESS_READ && access != DBG_ACCESS_WRITE)
			return false;
	}
	return addr - start < size || start - addr < len; /* overlap, modulo 2^64 */
}

/* The masked bits of both addresses are set, which makes them equal; a byte at a time, since a mask may have holes. A port has no mask's width. */
bool dbg_slot_matches_masked(uint64_t dr, uint64_t dr7, unsigned i, uint32_t mask, enum dbg_access access, uint64_t addr, unsigned len, uint64_t cr4)
{
	if (!mask || access == DBG_ACCESS_IO)
		return dbg_slot_matches(dr, dr7, i, access, addr, len, cr4);
	for (unsigned b = 0; b < (access == DBG_ACCESS_EXEC ? 1 : len); b++) /* of an instruction its first byte counts */
		if (dbg_slot_matches(dr | mask, dr7, i, access, (addr + b) | mask, 1, cr4))
			return true;
	return false;
}

uint32_t dbg_bp_hit(const struct dbg_vcpu *v, enum dbg_access access, uint64_t addr, unsigned len, uint64_t cr4)
{
	uint64_t dr7 = dbg_eff_dr7(v);
	uint32_t hit = 0;

	for (unsigned i = 0; i < 4; i++)
		if ((dr7 & DR7_ENABLE(i)) && dbg_slot_matches_masked(dbg_eff_dr(v, i), dr7, i, dbg_eff_mask(v, i), access, addr, len, cr4))
			hit |= 1u << i;
	return hit;
}

/* ---- The class of a reported #DB ---- */

unsigned dbg_classify_needs(uint32_t payload, uint64_t dr7)
{
	unsigned need = 0;

	if (payload & (DR6_BD | DR6_BT))
		return 0;
	for (unsigned b = payload & (unsigned)DR6_B_ALL; b; b &= b - 1) {
		unsigned i = (unsigned)__builtin_ctz(b);

		if ((dr7 & DR7_ENABLE(i)) && DR7_RW(dr7, i) == DR_RW_EXEC)
			need |= 1u << i;
	}
	return need;
}

enum dbg_class dbg_classify(uint32_t payload, const uint64_t dr[4], uint64_t dr7, uint64_t rip)
{
	unsigned need = dbg_classify_needs(payload, dr7);

	for (unsigned i = 0; i < 4; i++)
		if ((need & (1u << i)) && dr[i] == rip)
			return DBG_FAULT;
	return dbg_class_without_exec(payload);
}

/* ---- Delivery and retirement ---- */

void dbg_deliver(struct dbg_vcpu *v, const struct dbg_record *r)
{
	/* ICEBP has no cause, and AMD's leaves B0-3 as they are (A27). */
	if (r->cls != DBG_ICEBP || !(v->feat & DBG_FEAT_AMD))
		v->dr6 = dbg_dr6_merge(v->dr6, r->payload & ~b_of_disabled(v->dr7), v->feat);
	v->dr7 &= ~DR7_GD; /* on every #DB, not only on General Detect's own (A11) */
	v->debugctl &= ~(DEBUGCTL_LBR | DEBUGCTL_BTF);
}

uint32_t dbg_retire(const struct dbg_vcpu *v, uint64_t rflags, uint32_t io_or_data)
{
	uint32_t payload = io_or_data & (uint32_t)(DR6_B_ALL | DR6_BLD);

	if ((rflags & RFLAGS_TF) && !(v->debugctl & DEBUGCTL_BTF))
		payload |= (uint32_t)DR6_BS;
	return payload;
}

/* ---- MOV DR by software ---- */

enum dbg_fault dbg_check_access(const struct dbg_vcpu *v, unsigned n, const struct dbg_ctx *ctx)
{
	if (n >= 8)
		return DBG_UD;
	if ((n == 4 || n == 5) && (ctx->cr4 & CR4_DE))
		return DBG_UD;
	if (ctx->cpl > 0 && !ctx->real)
		return DBG_GP;
	if (v->dr7 & DR7_GD)
		return DBG_DB;
	return DBG_OK;
}

/* DR4 and DR5 are other names of DR6 and DR7, with the same checks (A06). */
static unsigned dr_alias(unsigned n)
{
	return n == 4 || n == 5 ? n + 2 : n;
}

enum dbg_fault dbg_mov_from_dr(const struct dbg_vcpu *v, unsigned n, const struct dbg_ctx *ctx, uint64_t *value)
{
	enum dbg_fault f = dbg_check_access(v, n, ctx);
	uint64_t r;

	if (f != DBG_OK)
		return f;
	n = dr_alias(n);
	r = n == 6 ? v->dr6 : n == 7 ? v->dr7 : v->dr[n];
	*value = ctx->long64 ? r : r & 0xffffffff;
	return DBG_OK;
}

enum dbg_fault dbg_mov_to_dr(struct dbg_vcpu *v, unsigned n, const struct dbg_ctx *ctx, uint64_t value)
{
	enum dbg_fault f = dbg_check_access(v, n, ctx);

	if (f != DBG_OK)
		return f;
	n = dr_alias(n);
	if (!ctx->long64)
		value &= 0xffffffff; /* outside 64-bit mode the operand is 32 bits, and DR0-3's upper halves are cleared (A05) */
	if (n >= 6 && value >> 32)
		return DBG_GP; /* never masked (A03) */
	if (n < 4) {
		v->dr[n] = value; /* no canonical check (A04) */
	} else if (n == 6) {
		v->dr6 = dbg_dr6_fix(value, v->feat);
	} else {
		v->dr7 = dbg_dr7_fix(value, v->feat);
		if (v->state != DBG_LIVE)
			dbg_settle(v);
	}
	return DBG_OK;
}

/* ---- DEBUGCTL ---- */

static uint64_t debugctl_given(unsigned feat)
{
	return (feat & DBG_FEAT_LBR ? DEBUGCTL_LBR : 0) | (feat & DBG_FEAT_BTF ? DEBUGCTL_BTF : 0) | (feat & DBG_FEAT_BUS_LOCK ? DEBUGCTL_BUS_LOCK : 0);
}

bool dbg_wrmsr_debugctl(struct dbg_vcpu *v, uint64_t value)
{
	/* AMD: bits 5:2 were "performance pin control", and old guests write them: ignored (S10). Intel: what the host refuses to run a guest with
	 * (TR, BTS, BTINT and whatever is not announced) is refused here and nowhere else (H20). LBR and BTF that cannot be had are dropped, not
	 * refused, so that a guest which tries them unasked keeps running; reading back tells it that they are not there. */
	uint64_t given = debugctl_given(v->feat), dropped = v->feat & DBG_FEAT_AMD ? 0x3f : DEBUGCTL_LBR | DEBUGCTL_BTF;

	if (value & ~(given | dropped))
		return false;
	v->debugctl = value & given;
	return true;
}

/* ---- Address masks ---- */

bool dbg_wrmsr_mask(struct dbg_vcpu *v, unsigned slot, uint64_t value)
{
	if (!(v->feat & DBG_FEAT_MASKS) || value & ~(v->feat & DBG_FEAT_MASKS32 ? 0xffffffffull : 0xfffull))
		return false;
	v->mask[slot] = (uint32_t)value;
	return true;
}

/* ---- Reset ---- */

void dbg_vcpu_reset(struct dbg_vcpu *v)
{
	for (unsigned i = 0; i < 4; i++) {
		v->dr[i] = 0;
		v->mask[i] = 0;
	}
	v->dr6 = DR6_INIT; /* never 0: that would claim a bus lock and a transaction (H07) */
	v->dr7 = DR7_INIT;
	v->debugctl = 0;
	dbg_settle(v); /* a debugger keeps its slots (Z08) */
}

void dbg_cpu_reset(struct dbg_cpu *c)
{
	for (unsigned i = 0; i < 4; i++)
		c->dr[i] = 0;
	c->dr7 = DR7_INIT;
	c->debugctl = 0;
	c->owned_debugctl = 0;
	c->guest_dr_loaded = false;
}

void dbg_go_live(struct dbg_vcpu *v)
{
	v->state = DBG_LIVE;
}

void dbg_settle(struct dbg_vcpu *v)
{
	if (!(v->held | v->watched | v->deaf) && (v->policy == DBG_EAGER || v->policy == DBG_CACHED))
		v->state = DBG_LIVE;
	else
		v->state = dbg_armed(dbg_eff_dr7(v)) ? DBG_ARMED : DBG_IDLE;
}

/* ---- Plans ---- */

/* What DR6 the control block is to hold: the guest's own only while it owns the registers. Otherwise DR6_INIT, so that the value after
 * an exit is the exact payload (S02, H13). */
static uint64_t want_vm_dr6(const struct dbg_vcpu *v)
{
	return v->state == DBG_LIVE ? v->dr6 : DR6_INIT;
}

/* The DEBUGCTL that the guest is to run with, where hardware switches it: its own, and what belongs to the host and must not change (V18, V19). */
static uint64_t want_vm_debugctl(unsigned caps, const struct dbg_cpu *c, const struct dbg_vcpu *v)
{
	return (v->soft ? 0 : v->debugctl) | (caps & DBG_CAP_VM_DEBUGCTL ? c->owned_debugctl : 0);
}

static bool fields_differ(unsigned caps, const struct dbg_cpu *c, const struct dbg_vcpu *v)
{
	return v->vm_dr7 != dbg_hw_dr7(caps, v) || v->vm_intercept != (v->state != DBG_LIVE) || ((caps & DBG_CAP_VM_DR6) && v->vm_dr6 != want_vm_dr6(v)) ||
	       v->vm_debugctl != want_vm_debugctl(caps, c, v);
}

static bool dr03_differ(const struct dbg_cpu *c, const struct dbg_vcpu *v)
{
	return c->hw_dr[0] != v->dr[0] || c->hw_dr[1] != v->dr[1] || c->hw_dr[2] != v->dr[2] || c->hw_dr[3] != v->dr[3];
}

/* Masks of the vcpu before would widen this one's breakpoints, whether or not its own CPUID has masks (H17): the host's capability decides. */
static bool masks_differ(const struct dbg_cpu *c, const struct dbg_vcpu *v)
{
	uint32_t differ = 0;

	for (unsigned i = 0; i < 4; i++)
		differ |= c->hw_mask[i] ^ dbg_eff_mask(v, i);
	return c->has_masks && differ;
}

unsigned dbg_plan_enter(unsigned caps, const struct dbg_cpu *c, const struct dbg_vcpu *v)
{
	unsigned ops = 0;
	bool host_armed = dbg_armed(c->dr7), cached = v->policy == DBG_CACHED && v->state == DBG_LIVE;

	if (host_armed && (v->state != DBG_IDLE || !(caps & DBG_CAP_VM_DR7)))
		ops |= DBG_OP_HOST_OFF;
	if (v->state != DBG_IDLE && masks_differ(c, v))
		ops |= DBG_OP_LOAD_MASKS;
	if (v->state != DBG_IDLE && (!cached || dr03_differ(c, v)))
		ops |= DBG_OP_LOAD_DR03;
	if (v->state == DBG_LIVE && !(caps & DBG_CAP_VM_DR6) && (!cached || dbg_dr6_needs_reset(v->dr6))) /* the register has DR6_INIT between runs */
		ops |= DBG_OP_LOAD_DR6;
	if (v->state != DBG_IDLE)
		ops |= DBG_OP_TAKE;
	if ((v->policy == DBG_EAGER && v->state == DBG_LIVE) || fields_differ(caps, c, v))
		ops |= DBG_OP_VM_FIELDS;
	return ops;
}

unsigned dbg_plan_leave(unsigned caps, const struct dbg_cpu *c, const struct dbg_vcpu *v, uint64_t exit_dr6)
{
	unsigned ops = 0;
	bool eager = v->policy == DBG_EAGER && v->state == DBG_LIVE;

	if (v->state == DBG_LIVE) {
		ops |= DBG_OP_SAVE_DR03 | DBG_OP_VM_FETCH;
		if (!(caps & DBG_CAP_VM_DR6))
			ops |= DBG_OP_SAVE_DR6;
	}
	if (v->debugctl != 0)
		ops |= DBG_OP_VM_FETCH;
	if (eager || ((caps & DBG_CAP_VM_DR6) && dbg_dr6_needs_reset(exit_dr6)))
		ops |= DBG_OP_RESET_DR6;
	if (v->state != DBG_IDLE)
		ops |= DBG_OP_RELEASE;
	if (dbg_armed(c->dr7)) {
		ops |= DBG_OP_HOST_DR7;
		if (c->hw_mask[0] | c->hw_mask[1] | c->hw_mask[2] | c->hw_mask[3])
			ops |= DBG_OP_HOST_MASKS;
		if (v->state != DBG_IDLE)
			ops |= DBG_OP_HOST_DR03;
	}
	if (eager)
		ops |= DBG_OP_HOST_DR7 | DBG_OP_HOST_DR03;
	return ops;
}

/* Fields that the executor is to hand to the backend. Kept here because the values are policy. */
void dbg_vm_fields(unsigned caps, const struct dbg_cpu *c, struct dbg_vcpu *v)
{
	v->vm_dr6 = caps & DBG_CAP_VM_DR6 ? want_vm_dr6(v) : DR6_INIT; /* not there: always the same, so that the run loop need not ask */
	v->vm_dr7 = dbg_hw_dr7(caps, v);
	v->vm_intercept = v->state != DBG_LIVE;
	v->vm_debugctl = want_vm_debugctl(caps, c, v);
	v->vm_lbrv = (caps & DBG_CAP_LBRV) && v->vm_debugctl != 0; /* S12: only for a guest that uses it */
	v->vm_dirty = true;
}

void dbg_vm_fields_taken(unsigned caps, struct dbg_vcpu *v)
{
	if (v->state == DBG_LIVE) {
		if (caps & DBG_CAP_VM_DR6)
			v->dr6 = v->vm_dr6;
		v->dr7 = v->vm_dr7;
	}
	if (!v->soft)
		v->debugctl &= v->vm_debugctl; /* hardware only ever clears: a #DB that it delivered itself has (A30, A31) */
}

void dbg_vm_fields_unknown(struct dbg_vcpu *v)
{
	v->vm_dr6 = ~DR6_INIT;
	v->vm_dr7 = 0; /* bit 10 is always 1 in a real value, so this never equals one */
}
