/* SPDX-License-Identifier: MIT */
/* Events through the guest's IDT, as a CPU in IA-32e mode delivers them: SDM "64-Bit Mode Exceptions and Interrupts", checks in the order of "INT n". */
#include "arch/x86/pvm/emul.h"

#include "arch/lib/string.h"
#include "arch/x86/def/cr.h"

#define GATE_BYTES 16u
#define GATE_INTR 14u
#define GATE_TRAP 15u
#define TSS_RSP0 4u
#define TSS_IST1 36u

struct delivery {
	const struct event *e;
	bool soft;
	uint32_t ext;    /* error codes' bit 0: not a software interrupt */
	uint64_t gate[2];
	struct seg cs;
	unsigned cpl;    /* of the handler */
	uint64_t rsp;    /* of the handler, before the frame */
	uint64_t rip;    /* to be pushed */
	uint64_t frame[6];
	unsigned words;
};

static bool refuse(struct vcpu *v, uint8_t vec, uint32_t error)
{
	vcpu_raise(v, vec, true, error);
	return false;
}

/* The gate and whom it is for. */
static bool read_gate(struct vcpu *v, struct delivery *d)
{
	uint32_t error = d->e->vector * 8u + 2;
	unsigned type;

	vcpu_need(v, VST_DESC);
	if (d->e->vector * GATE_BYTES + GATE_BYTES - 1 > v->st.idtr.limit)
		return refuse(v, VEC_GP, error | d->ext);
	if (!pvm_read(v, v->st.idtr.base + d->e->vector * GATE_BYTES, d->gate, GATE_BYTES, PVM_SUPER))
		return false;
	type = (unsigned)(d->gate[0] >> 40 & 0x1f);
	if (type != GATE_INTR && type != GATE_TRAP)
		return refuse(v, VEC_GP, error | d->ext);
	if (d->soft && pvm_desc_dpl(d->gate[0]) < v->st.cpl)
		return refuse(v, VEC_GP, error);
	if (!(d->gate[0] & PVM_DESC_P))
		return refuse(v, VEC_NP, error | d->ext);
	return true;
}

static uint64_t gate_rip(const struct delivery *d)
{
	return (d->gate[0] & 0xffff) | (d->gate[0] >> 32 & 0xffff0000) | d->gate[1] << 32;
}

static bool read_code(struct vcpu *v, struct delivery *d)
{
	uint16_t sel = (uint16_t)(d->gate[0] >> 16);
	uint32_t error = (sel & 0xfffcu) | d->ext;
	uint64_t c[2] = { 0 };
	unsigned dpl;

	if (pvm_null(sel))
		return refuse(v, VEC_GP, d->ext);
	switch (pvm_desc_read(v, sel, 8, c)) {
	case PVM_DESC_NONE: return refuse(v, VEC_GP, error);
	case PVM_DESC_FAULT: return false;
	}
	dpl = pvm_desc_dpl(c[0]);
	if (!pvm_is_code(c[0]) || dpl > v->st.cpl || (!(c[0] & PVM_DESC_CONF) && dpl != 0 && dpl != 3)) /* rings 1 and 2 are not there */
		return refuse(v, VEC_GP, error);
	if (!(c[0] & PVM_DESC_P))
		return refuse(v, VEC_NP, error);
	if (!(c[0] & PVM_DESC_L) || (c[0] & PVM_DESC_DB))
		return refuse(v, VEC_GP, error);
	d->cpl = c[0] & PVM_DESC_CONF ? v->st.cpl : dpl;
	return pvm_desc_load(v, sel, c[0], VEC_NP, (uint16_t)((sel & ~3u) | d->cpl), &d->cs);
}

/* The handler's stack: by IST, by RSP0 on a change of privilege, or the one that is in use, each aligned to 16 bytes. */
static bool find_stack(struct vcpu *v, struct delivery *d)
{
	const struct seg *tr = &v->st.seg[SEG_TR];
	unsigned ist = (unsigned)(d->gate[0] >> 32 & 7), at;

	vcpu_need(v, VST_SEG);
	d->rsp = v->r[GPR_RSP];
	if (ist || d->cpl != v->st.cpl) {
		at = ist ? TSS_IST1 + 8 * (ist - 1) : TSS_RSP0 + 8 * d->cpl;
		if (at + 7 > tr->limit)
			return refuse(v, VEC_TS, (tr->sel & 0xfffcu) | d->ext);
		if (!pvm_read(v, tr->base + at, &d->rsp, 8, PVM_SUPER))
			return false;
	}
	d->rsp &= ~15ull;
	if (is_canonical(d->rsp) && is_canonical(d->rsp - 1) && is_canonical(d->rsp - 48))
		return true;
	return refuse(v, VEC_SS, d->ext);
}

/* RF: a fault's is set already (event.c); a software interrupt pushes 0, since RF was cleared when it began (SDM "Instruction-Breakpoint Exception
 * Condition"). */
static void make_frame(const struct vcpu *v, struct delivery *d)
{
	unsigned n = 0;

	if (d->e->has_error)
		d->frame[n++] = d->e->error;
	d->frame[n++] = d->rip;
	d->frame[n++] = v->st.seg[SEG_CS].sel;
	d->frame[n++] = d->soft ? v->rflags & ~RFLAGS_RF : v->rflags;
	d->frame[n++] = v->r[GPR_RSP];
	d->frame[n++] = v->st.seg[SEG_SS].sel;
	d->words = n;
}

/* All of it or nothing, with the handler's rights. A CPU pushes downwards, so that the upper of two pages faults first, at its lowest word. */
static bool push_frame(struct vcpu *v, struct delivery *d)
{
	uint64_t bottom = d->rsp - 8ull * d->words, edge = (d->rsp - 1) & ~4095ull;
	uint8_t cpl = v->st.cpl;
	bool ok;

	v->st.cpl = (uint8_t)d->cpl;
	vcpu_dirty(v, VST_CS);
	ok = (bottom >= edge || (pvm_touch_write(v, d->rsp - 8, 8) && pvm_touch_write(v, edge - 8, 8))) &&
	     pvm_write(v, bottom, d->frame, 8ull * d->words, PVM_AT_CPL);
	if (!ok && bottom >= edge)
		v->exception.cr2 = d->rsp - 8;
	v->st.cpl = cpl;
	return ok;
}

static bool deliver(struct vcpu *v, struct delivery *d)
{
	if (!read_gate(v, d) || !read_code(v, d) || !find_stack(v, d))
		return false;
	if (!is_canonical(gate_rip(d)))
		return refuse(v, VEC_GP, d->ext);
	make_frame(v, d);
	return push_frame(v, d);
}

/* Nothing can fault any more. */
static void enter_handler(struct vcpu *v, const struct delivery *d)
{
	unsigned type = (unsigned)(d->gate[0] >> 40 & 0xf);

	v->rip = gate_rip(d);
	v->r[GPR_RSP] = d->rsp - 8ull * d->words;
	v->rflags &= ~(RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM | (type == GATE_INTR ? RFLAGS_IF : 0)); /* P18 */
	v->st.seg[SEG_CS] = d->cs;
	if (d->cpl != v->st.cpl)
		v->st.seg[SEG_SS] = (struct seg){ .sel = (uint16_t)d->cpl, .ar = SEG_AR_UNUSABLE | d->cpl << SEG_AR_DPL_SHIFT };
	vcpu_dirty(v, VST_CS);
	if (d->cpl != v->st.cpl)
		pvm_set_cpl(v, d->cpl);
}

void pvm_raise_hits(struct vcpu *v, uint32_t hits)
{
	uint32_t theirs = dbg_route(&v->dbg, &hits);

	if (theirs)
		vcpu_debugger_hit(v, theirs);
	if (hits)
		vcpu_raise_db(v, &(struct dbg_record){ .payload = hits, .cls = DBG_TRAP, .level = (uint8_t)v->level, .emulated = true });
}

/* What a CPU has done by the time that the handler runs. A #DB that MOV SS has held back comes behind a software interrupt, and is lost with any
 * other event (A25). */
static void delivered(struct vcpu *v, const struct delivery *d)
{
	uint32_t hits;

	vcpu_need(v, VST_SHADOW);
	hits = d->soft ? v->st.pending_dbg : 0;
	vcpu_clear_shadow(v);
	hits |= pvm_hits(v, true, d->rsp - 8ull * d->words, 8ull * d->words);
	if (d->e->type == EVENT_NMI) {
		v->st.nmi_blocked = true;
		vcpu_dirty(v, VST_SHADOW);
	}
	enter_handler(v, d);
	pvm_raise_hits(v, hits);
}

static void set_cr2(struct vcpu *v, uint64_t cr2)
{
	v->st.cr2 = cr2;
	vcpu_dirty(v, VST_CR2);
}

/* The fault f of a delivery, with the event it was of: the two combine (#DF, shutdown), or f comes alone and the event is lost. */
static void failed(struct vcpu *v, const struct event *e, const struct event *f)
{
	vcpu_clear_shadow(v);
	v->exit.vectoring = *e;
	if (f->type == EVENT_FAULT && f->vector == VEC_PF) {
		set_cr2(v, f->cr2); /* also where the two make a #DF */
		vcpu_raise_pf(v, f->cr2, f->error);
	} else if (f->type != EVENT_NONE) {
		vcpu_raise(v, f->vector, f->has_error, f->error);
	}
	v->exit.vectoring.type = EVENT_NONE;
}

bool pvm_deliver(struct vcpu *v)
{
	struct event e = v->inject, waiting = v->exception, f;
	struct delivery d = { .e = &e };

	v->inject.type = EVENT_NONE;
	v->exception.type = EVENT_NONE; /* what is queued from here on is a fault of the delivery */
	v->exit.vectoring.type = EVENT_NONE;
	vcpu_need(v, VST_CS | VST_CR);
	d.soft = e.type == EVENT_SOFT_INT || e.type == EVENT_SOFT_EXC;
	d.ext = !d.soft;
	d.rip = d.soft ? v->rip + e.len : v->rip;
	if (d.soft && !vcpu_long64(v))
		d.rip &= 0xffffffff;
	if (e.type == EVENT_FAULT && e.vector == VEC_PF)
		set_cr2(v, e.cr2);
	pvm_gdt_begin(v);
	if (deliver(v, &d)) {
		v->exception = waiting;
		v->event_pending |= waiting.type != EVENT_NONE;
		delivered(v, &d);
		pvm_gdt_end(v);
		return true;
	}
	pvm_gdt_end(v);
	f = v->exception;
	v->exception = waiting;
	failed(v, &e, &f);
	return false;
}

/* RIP stays at it: it is the fault's, if the guest's gate does not let it in. */
void pvm_soft_int(struct vcpu *v, uint8_t vector, unsigned len, bool int_n)
{
	v->exception = (struct event){ .type = int_n ? EVENT_SOFT_INT : EVENT_SOFT_EXC, .vector = vector, .len = (uint8_t)len };
	v->event_pending = true;
}

/* ---- I/O permissions ---- */

bool pvm_io_allowed(struct vcpu *v, uint16_t port, unsigned size)
{
	const struct seg *tr = &v->st.seg[SEG_TR];
	uint16_t base = 0, bits = 0;

	vcpu_need(v, VST_CS | VST_SEG);
	if (v->st.cpl <= vcpu_iopl(v))
		return true;
	if (tr->limit < 103)
		return refuse(v, VEC_GP, 0);
	if (!pvm_read(v, tr->base + 102, &base, 2, PVM_SUPER))
		return false;
	if (base + port / 8u + 1 > tr->limit)
		return refuse(v, VEC_GP, 0);
	if (!pvm_read(v, tr->base + base + port / 8u, &bits, 2, PVM_SUPER))
		return false;
	if (bits >> port % 8 & ((1u << size) - 1))
		return refuse(v, VEC_GP, 0);
	return true;
}
