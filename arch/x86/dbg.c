/* SPDX-License-Identifier: MIT */
/* The debug-state policy for all backends. Pure: decides from its arguments, touches no hardware, calls nobody. */
#include "arch/x86/dbg.h"

#include "arch/x86/def/cr.h"

/* Every bit that a payload can have: DR6's event bits in positive polarity. Bit 12 lives in VMX's fields only and never reaches DR6 (V04). */
#define PAYLOAD_BITS (DR6_B_ALL | DR6_BLD | DR6_BD | DR6_BS | DR6_BT | DR6_RTM)

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
	return (uint32_t)((dr6 ^ DR6_INIT) & PAYLOAD_BITS);
}

/* VMX's qualification has DR6's layout in positive polarity, but BT is not defined there: a task switch exits before its T-bit trap. */
uint32_t dbg_payload_from_qual(uint64_t qual)
{
	return (uint32_t)(qual & PAYLOAD_BITS & ~DR6_BT);
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

uint32_t dbg_bp_hit(const struct dbg_vcpu *v, enum dbg_access access, uint64_t addr, unsigned len, uint64_t cr4)
{
	uint32_t hit = 0;

	for (unsigned i = 0; i < 4; i++)
		if ((v->dr7 & DR7_ENABLE(i)) && dbg_slot_matches(v->dr[i], v->dr7, i, access, addr, len, cr4))
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

void dbg_deliver(struct dbg_vcpu *v, const struct dbg_record *r)
{
	v->dr6 = dbg_dr6_merge(v->dr6, r->payload & ~b_of_disabled(v->dr7), v->feat);
	v->dr7 &= ~DR7_GD; /* on every #DB, not only on General Detect's own (A11) */
	v->debugctl &= ~(DEBUGCTL_LBR | DEBUGCTL_BTF);
}

uint32_t dbg_retire(const struct dbg_vcpu *v, uint64_t rflags, uint32_t io_or_data)
{
	uint32_t payload = io_or_data & (uint32_t)DR6_B_ALL;

	(void)v;
	if (rflags & RFLAGS_TF)
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
			v->state = dbg_armed(v->dr7) ? DBG_ARMED : DBG_IDLE;
	}
	return DBG_OK;
}

/* ---- DEBUGCTL ---- */

bool dbg_wrmsr_debugctl(struct dbg_vcpu *v, uint64_t value)
{
	/* AMD: bits 5:2 were "performance pin control", and old guests write them: ignored (S10). Intel: what the host refuses to run a guest with
	 * (TR, BTS, BTINT and whatever is not announced) is refused here and nowhere else (H20). LBR and BTF are dropped, not refused, so that
	 * a guest which tries them unasked keeps running; reading back tells it that they are not there. */
	uint64_t dropped = v->feat & DBG_FEAT_AMD ? 0x3f : DEBUGCTL_LBR | DEBUGCTL_BTF;

	if (value & ~dropped)
		return false;
	v->debugctl = 0;
	return true;
}

/* ---- Reset ---- */

void dbg_vcpu_reset(struct dbg_vcpu *v)
{
	for (unsigned i = 0; i < 4; i++)
		v->dr[i] = 0;
	v->dr6 = DR6_INIT; /* never 0: that would claim a bus lock and a transaction (H07) */
	v->dr7 = DR7_INIT;
	v->debugctl = 0;
	v->state = DBG_IDLE;
}

void dbg_cpu_reset(struct dbg_cpu *c)
{
	for (unsigned i = 0; i < 4; i++)
		c->dr[i] = 0;
	c->dr7 = DR7_INIT;
	c->debugctl = 0;
	c->guest_dr_loaded = false;
}

void dbg_go_live(struct dbg_vcpu *v)
{
	v->state = DBG_LIVE;
}

/* ---- Plans ---- */

/* What DR6 the control block is to hold: the guest's own only while it owns the registers. Otherwise DR6_INIT, so that the value after
 * an exit is the exact payload (S02, H13). */
static uint64_t want_vm_dr6(const struct dbg_vcpu *v)
{
	return v->state == DBG_LIVE ? v->dr6 : DR6_INIT;
}

unsigned dbg_plan_enter(unsigned caps, const struct dbg_cpu *c, const struct dbg_vcpu *v)
{
	unsigned ops = 0;
	bool host_armed = dbg_armed(c->dr7);

	if (host_armed && (v->state != DBG_IDLE || !(caps & DBG_CAP_VM_DR7)))
		ops |= DBG_OP_HOST_OFF;
	if (v->state != DBG_IDLE)
		ops |= DBG_OP_LOAD_DR03;
	if (v->state == DBG_LIVE && !(caps & DBG_CAP_VM_DR6))
		ops |= DBG_OP_LOAD_DR6;
	if (v->vm_dr7 != v->dr7 || v->vm_intercept != (v->state != DBG_LIVE) || ((caps & DBG_CAP_VM_DR6) && v->vm_dr6 != want_vm_dr6(v)))
		ops |= DBG_OP_VM_FIELDS;
	return ops;
}

unsigned dbg_plan_leave(unsigned caps, const struct dbg_cpu *c, const struct dbg_vcpu *v, uint64_t exit_dr6)
{
	unsigned ops = 0;

	if (v->state == DBG_LIVE) {
		ops |= DBG_OP_SAVE_DR03 | DBG_OP_VM_FETCH;
		if (!(caps & DBG_CAP_VM_DR6))
			ops |= DBG_OP_SAVE_DR6;
	}
	if ((caps & DBG_CAP_VM_DR6) && dbg_dr6_needs_reset(exit_dr6))
		ops |= DBG_OP_RESET_DR6;
	if (v->state != DBG_IDLE)
		ops |= DBG_OP_RELEASE;
	if (dbg_armed(c->dr7)) {
		ops |= DBG_OP_HOST_DR7;
		if (v->state != DBG_IDLE)
			ops |= DBG_OP_HOST_DR03;
	}
	return ops;
}

/* Fields that the executor is to hand to the backend. Kept here because the values are policy. */
void dbg_vm_fields(unsigned caps, struct dbg_vcpu *v)
{
	v->vm_dr6 = caps & DBG_CAP_VM_DR6 ? want_vm_dr6(v) : DR6_INIT; /* not there: always the same, so that the run loop need not ask */
	v->vm_dr7 = v->dr7;
	v->vm_intercept = v->state != DBG_LIVE;
	v->vm_dirty = true;
}

void dbg_vm_fields_taken(unsigned caps, struct dbg_vcpu *v)
{
	if (caps & DBG_CAP_VM_DR6)
		v->dr6 = v->vm_dr6;
	v->dr7 = v->vm_dr7;
}

void dbg_end_live(struct dbg_vcpu *v)
{
	v->state = dbg_armed(v->dr7) ? DBG_ARMED : DBG_IDLE;
}

void dbg_vm_fields_unknown(struct dbg_vcpu *v)
{
	v->vm_dr6 = ~DR6_INIT;
	v->vm_dr7 = 0; /* bit 10 is always 1 in a real value, so this never equals one */
}
