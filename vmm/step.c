/* SPDX-License-Identifier: MIT */
/* Single steps with a hidden TF, and what they are for: DEBUGCTL.BTF, LBR and bus-lock traps where no hardware has them.
 *
 * Before an entry the instruction at RIP is decoded: which kind of branch it is, which address it locks, what it would do with TF. Then it runs with TF
 * set, and its #DB comes back to drover with the end of the step. Three things would show TF, and none may: RFLAGS on the stack or in R11 (PUSHF is mended
 * afterwards, SYSCALL is carried out here), the frame of a fault (all exceptions exit, and are injected with the RFLAGS that the guest has), the frame of
 * an interrupt or a software interrupt (injected too, with TF as it is; a kick brings control back at the handler's first instruction). */
#include "vmm/step.h"

#include "arch/x86/def/cr.h"
#include "arch/x86/def/pte.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/lapic.h"
#include "vmm/backend.h"
#include "vmm/debugger.h"
#include "vmm/fetch.h"
#include "vmm/gva.h"
#include "vmm/peek.h"
#include "vmm/run.h"
#include "vmm/syscall.h"

#define LINE 64u /* bytes: an access across two of them locks the bus */

/* ---- Branch records ---- */

static void record(struct vcpu *v, uint64_t to, bool event)
{
	if (v->dbg.soft && (v->dbg.debugctl & DEBUGCTL_LBR))
		v->be->lbr_record(v, v->step.from, to, event);
}

/* ---- Before the entry ---- */

/* Of the locked operand. */
static uint64_t operand(struct vcpu *v, const struct flow *f)
{
	const struct decoded *d = &f->d;
	uint64_t add = 0;

	if (f->bits) {
		unsigned shift = d->op_size == 8 ? 6 : d->op_size == 4 ? 5 : 4;
		int64_t bit = (int64_t)(v->r[d->reg] << (64 - 8 * d->op_size)) >> (64 - 8 * d->op_size);

		add = (uint64_t)(bit >> shift) * d->op_size;
	}
	return fetch_operand(v, d, add).v;
}

/* SDM "Bus-Lock Detection", APM "Bus Lock Trap": behind an instruction at CPL above 0. All of a guest's memory is write-back, so only a split access locks
 * the bus. */
static bool locks_bus(struct vcpu *v, const struct flow *f)
{
	return f->lock && v->dbg.soft && (v->dbg.debugctl & DEBUGCTL_BUS_LOCK) && vcpu_cpl(v) > 0 && operand(v, f) % LINE + f->d.op_size > LINE;
}

static bool decode_at(struct vcpu *v, unsigned skip, struct flow *f)
{
	unsigned n;
	const uint8_t *p = fetch_window(v, &n);

	if (p && n > skip && decode_flow(p + skip, n - skip, fetch_decode_mode(v), f))
		return true;
	*f = (struct flow){ .kind = FLOW_NEXT }; /* its fetch faults */
	return false;
}

/* What runs next, and what this step ends with. MOV SS holds the step's trap back (A23): two instructions are one step. */
static void look(struct vcpu *v, struct flow *f)
{
	struct vcpu_step *s = &v->step;
	unsigned first = 0;

	s->from = v->rip;
	decode_at(v, 0, f);
	s->pair = f->kind == FLOW_SS;
	if (s->pair) {
		first = f->d.len;
		s->from += first;
		decode_at(v, first, f);
	}
	s->kind = f->kind;
	s->taken = f->kind == FLOW_JUMP || f->kind == FLOW_IRET ||
		   ((f->kind == FLOW_COND || f->kind == FLOW_LOOP) && flow_taken(f, v->rflags, v->r[GPR_RCX]));
	s->lock = locks_bus(v, f);
}

/* SYSCALL and SYSRET look at the TF that they leave behind (A21), so a hidden one would be lost or seen: carried out by software. False: a case that
 * hardware shall judge, since it faults. */
static bool system_call(struct vcpu *v, const struct flow *f)
{
	struct vcpu_state *st = &v->st;
	bool long64, compat;

	vcpu_need(v, VST_CR | VST_CS | VST_SEG | VST_MSR | VST_SHADOW);
	long64 = vcpu_long64(v);
	/* Compatibility mode: Intel's SYSCALL is #UD, AMD's goes to CSTAR. */
	compat = !long64 && (st->efer & EFER_LMA) && f->kind == FLOW_SYSCALL && (v->dbg.feat & DBG_FEAT_AMD);
	if (!(long64 || compat) || !(st->efer & EFER_SCE) || v->step.pair)
		return false;
	if (f->kind == FLOW_SYSCALL) {
		syscall_enter(v, f->d.len, compat);
	} else {
		if (vcpu_cpl(v) != 0 || !is_canonical(v->r[GPR_RCX]))
			return false;
		syscall_return(v, f->d.op_size == 8);
	}
	record(v, v->rip, false);
	vcpu_clear_shadow(v);
	if (v->rflags & RFLAGS_TF) /* a taken branch: whatever BTF says (A30) */
		vcpu_raise_db(v, &(struct dbg_record){ .payload = (uint32_t)DR6_BS, .cls = DBG_TRAP, .level = v->level, .emulated = true });
	return true;
}

/* AMD's leaves DR6 alone (A27), and is no #DB that anybody could intercept. What each #DB clears it clears (A11, A31). */
static void icebp(struct vcpu *v)
{
	uint64_t dr6 = v->dbg.dr6;
	struct dbg_record r = { .cls = DBG_ICEBP, .level = v->level };

	if (!(v->dbg.feat & DBG_FEAT_AMD)) {
		vcpu_raise_db(v, &r);
		return;
	}
	dbg_deliver(&v->dbg, &r);
	v->dbg.dr6 = dr6;
	v->inject = (struct event){ .type = EVENT_FAULT, .vector = VEC_DB };
}

/* A gate is 16 bytes with EFER.LMA, else 8; its DPL is in bits 6:5 of byte 5. */
bool step_gate_refuses(struct vcpu *v, uint8_t vector)
{
	uint8_t b;

	vcpu_need(v, VST_CR | VST_CS | VST_DESC);
	if (!(v->st.cr0 & CR0_PE) || vcpu_cpl(v) == 0 || !peek(v, v->st.idtr.base + vector * (v->st.efer & EFER_LMA ? 16u : 8u) + 5, &b, 1))
		return false;
	return (b >> 5 & 3) < vcpu_cpl(v);
}

/* INT n, INT3, INTO, ICEBP: pushes RFLAGS, and no trap comes behind it (A22), so it is injected, with RIP at it. As an exception it may be the guest
 * hypervisor's. */
static bool software_interrupt(struct vcpu *v, const struct flow *f)
{
	struct event e = { .type = EVENT_SOFT_EXC, .vector = f->vector, .len = f->d.len };

	if (v->step.pair || (f->kind == FLOW_INTO && !(v->rflags & RFLAGS_OF)))
		return false;
	if (f->kind != FLOW_ICEBP && step_gate_refuses(v, f->vector))
		return false;
	if ((f->kind == FLOW_INT || f->kind == FLOW_ICEBP) && v->level && v->be->nested->traps_int && v->be->nested->traps_int(v, f->kind == FLOW_ICEBP))
		return false;
	v->rflags &= ~RFLAGS_RF; /* of a fetch that has exited (guard.h), or of its own breakpoint: it pushes 0 (A28) */
	switch (f->kind) {
	case FLOW_INT:
		e.type = EVENT_SOFT_INT;
		v->inject = e;
		break;
	case FLOW_ICEBP: /* skipped without a step; RIP is behind it (V14) */
		v->rip += f->d.len;
		icebp(v);
		break;
	default:
		v->exception = e;
		v->event_pending = true;
	}
	vcpu_clear_shadow(v);
	return true;
}

/* True: carried out, or on its way as an event. */
static bool by_software(struct vcpu *v, const struct flow *f)
{
	if (debugger_meets(v))
		return false;
	switch ((enum flow_kind)f->kind) {
	case FLOW_SYSCALL: case FLOW_SYSRET: return system_call(v, f);
	case FLOW_INT: case FLOW_INT3: case FLOW_INTO: case FLOW_ICEBP: return software_interrupt(v, f);
	default: return false;
	}
}

/* An exec breakpoint at RIP is hardware's to find, before the instruction does anything. */
static bool breakpoint_here(struct vcpu *v)
{
	vcpu_need(v, VST_CR | VST_CS);
	return !(v->rflags & RFLAGS_RF) && dbg_bp_hit(&v->dbg, DBG_ACCESS_EXEC, vcpu_linear_rip(v), 1, v->st.cr4);
}

/* VMX insists on BS in the pending-debug field when it enters with TF under STI's shadow, which would be a trap before the instruction (V09, V16). What
 * waits for the end of the shadow waits one step more. */
static void without_shadow(struct vcpu *v)
{
	v->st.shadow = SHADOW_NONE;
	v->want_intr_window = v->want_nmi_window = false;
	v->event_pending = true;
	vcpu_dirty(v, VST_SHADOW | VST_CTL);
}

/* A virtual interrupt of a nested guest is injected too: hardware would deliver it by itself, and push the hidden TF. */
static void virtual_interrupt(struct vcpu *v)
{
	int vector;

	if (!v->level || v->debugger.step || !v->be->nested->virq || v->st.shadow != SHADOW_NONE)
		return;
	vector = v->be->nested->virq(v, true);
	if (vector >= 0)
		v->inject = (struct event){ .type = EVENT_INTR, .vector = (uint8_t)vector };
}

bool step_software(struct vcpu *v)
{
	struct flow f;

	vcpu_need(v, VST_SHADOW);
	if (v->exception.type != EVENT_NONE || v->inject.type != EVENT_NONE || v->exit.vectoring.type != EVENT_NONE || v->st.pending_dbg || v->step.asleep || breakpoint_here(v))
		return false;
	look(v, &f);
	return (f.kind == FLOW_SYSCALL || f.kind == FLOW_SYSRET) && system_call(v, &f);
}

void step_enter(struct vcpu *v)
{
	struct vcpu_step *s = &v->step;
	struct flow f;

	if (v->debugger.stepping) {
		debugger_before(v);
		v->dbg.soft = true; /* by hardware's BTF a step would be many instructions */
	}
	s->on = true;
	s->sti = s->hidden = s->lock = s->taken = false;
	s->from = v->rip;
	s->kind = FLOW_NEXT;
	s->catching = true;
	vcpu_dirty(v, VST_CTL);
	vcpu_need(v, VST_SHADOW);
	s->waiting = v->st.pending_dbg && v->st.shadow != SHADOW_MOV_SS; /* a trap that hardware raises before anything runs */
	if (s->asleep && v->inject.type == EVENT_NONE)
		s->waiting = true;
	if (v->inject.type == EVENT_NONE && !s->waiting)
		virtual_interrupt(v);
	if (v->inject.type == EVENT_NONE && !s->waiting) {
		look(v, &f);
		if (!breakpoint_here(v) && by_software(v, &f)) {
			if (v->level)
				v->event_pending = true; /* its hypervisor may want to know of each instruction (VMX) */
			if (v->inject.type == EVENT_NONE)
				event_select(v);
			if (v->inject.type == EVENT_NONE) {
				vcpu_need(v, VST_SHADOW);
				s->waiting = v->st.pending_dbg;
				v->debugger.over = !s->waiting && v->rip != s->from;
				lapic_kick(); /* nothing is to run in this entry */
				s->from = v->rip;
				s->kicked = true;
				s->quiet = true;
				return;
			}
		}
	}
	s->quiet = false;
	s->kicked = v->inject.type != EVENT_NONE;
	if (s->kicked) {
		debugger_delivers(v);
		lapic_kick();
	} else if (!s->waiting && !(s->pair && (f.kind == FLOW_SYSCALL || f.kind == FLOW_SYSRET || f.kind == FLOW_INT || f.kind == FLOW_ICEBP))) {
		s->hidden = !(v->rflags & RFLAGS_TF);
		v->rflags |= RFLAGS_TF;
		s->sti = s->hidden && (v->be->dbg_caps & DBG_CAP_PENDING) && v->st.shadow == SHADOW_STI;
		if (s->sti)
			without_shadow(v);
	}
}

/* ---- Behind the exit ---- */

void step_clear_pushed_tf(struct vcpu *v)
{
	uint64_t a;
	uint8_t b;

	vcpu_need(v, VST_CS | VST_CR);
	a = vcpu_long64(v) ? v->r[GPR_RSP] : (uint32_t)((v->r[GPR_RSP] & bytes_mask(v->st.seg[SEG_SS].ar & SEG_AR_DB ? 4 : 2)) + v->st.seg[SEG_SS].base);
	if (gva_read(v, (struct gva){ a + 1 }, &b, 1) == GVA_OK) {
		b &= (uint8_t)~(RFLAGS_TF >> 8);
		gva_write(v, (struct gva){ a + 1 }, &b, 1);
	}
}

/* The event has been delivered unless an exit has cut it short, which tells of it. */
static void leave_kicked(struct vcpu *v)
{
	struct vcpu_step *s = &v->step;

	s->kicked = false;
	if (v->exit.vectoring.type != EVENT_NONE || v->exit.kind == EXITK_ENTRY_FAIL || s->quiet)
		return;
	v->debugger.over = true;
	record(v, v->rip, true);
}

uint32_t step_data_hits(const struct vcpu *v, uint32_t payload)
{
	uint64_t dr7 = dbg_eff_dr7(&v->dbg);
	uint32_t data = 0;

	for (unsigned i = 0; i < 4; i++)
		if ((dr7 & DR7_ENABLE(i)) && DR7_RW(dr7, i) != DR_RW_EXEC)
			data |= 1u << i;
	return payload & data;
}

/* The instruction has run: its #DB with what the guest is to have of it. True: nothing. */
static bool completed(struct vcpu *v, struct dbg_record *r)
{
	struct vcpu_step *s = &v->step;
	uint32_t payload = r->payload & ~(uint32_t)DR6_BS;
	bool branch_only = v->dbg.soft && (v->dbg.debugctl & DEBUGCTL_BTF);

	if (s->kind == FLOW_PUSHF && s->hidden)
		step_clear_pushed_tf(v);
	if (s->kind != FLOW_POPF && s->kind != FLOW_IRET && s->hidden) /* these have loaded the guest's */
		v->rflags &= ~RFLAGS_TF;
	if (s->taken)
		record(v, v->rip, false);
	if (!s->hidden && (!branch_only || s->taken)) /* A30 */
		payload |= r->payload & (uint32_t)DR6_BS;
	else
		payload = (payload & ~(uint32_t)DR6_B_ALL) | step_data_hits(v, payload);
	if (s->lock)
		payload |= (uint32_t)DR6_BLD; /* A33 */
	r->payload = payload;
	return !payload;
}

void step_leave(struct vcpu *v)
{
	struct vcpu_step *s = &v->step;
	struct exit *e = &v->exit;
	struct dbg_record *r = &e->u.exc.db;
	bool db = e->kind == EXITK_EXCEPTION && e->u.exc.vector == VEC_DB;

	s->on = false;
	s->catching = false;
	if (v->debugger.stepping) {
		v->dbg.soft = v->vm->debugctl_emulate;
		this_cpu()->slice_end_tsc = 0; /* the loop asks the debugger */
	}
	s->caught = e->kind == EXITK_EXCEPTION && !db;
	vcpu_dirty(v, VST_CTL);
	if (s->kicked) {
		leave_kicked(v);
		return;
	}
	if (s->waiting || !db || (!(r->payload & DR6_BS) && r->cls != DBG_TRAP)) { /* it has not run, or exits: its trap is software's */
		if (s->hidden)
			v->rflags &= ~RFLAGS_TF;
		if (s->sti && (e->kind == EXITK_INTR || e->kind == EXITK_NMI || e->kind == EXITK_TIMER || e->kind == EXITK_MEM)) { /* it has not begun */
			vcpu_need(v, VST_SHADOW);
			v->st.shadow = SHADOW_STI;
			vcpu_dirty(v, VST_SHADOW);
		}
		return;
	}
	r->cls = DBG_TRAP;
	v->debugger.over = true;
	if (completed(v, r)) {
		e->kind = EXITK_NONE;
		s->over = v->level != 0; /* what has no exit of its own cannot be a guest hypervisor's */
	}
}
