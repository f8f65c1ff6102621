/* SPDX-License-Identifier: MIT */
/* MOV DR and the intercepted exceptions. The policy is dbg.c's; here is only what it means for the guest's next entry. */
#include "vmm/exits.h"

#include "arch/x86/def/cr.h"
#include "arch/x86/def/exitcode.h"
#include "arch/x86/def/seg.h"
#include "vmm/backend.h"
#include "vmm/debugger.h"
#include "vmm/fetch.h"

struct operands {
	unsigned len, dr, gpr;
};

/* Where hardware does not tell all of them: decoded. False: other bytes are there by now, and the guest runs them. */
static bool find_operands(struct vcpu *v, struct operands *o)
{
	const struct exit *e = &v->exit;
	struct decoded d;

	if (e->len && e->u.dr.gpr != 0xff && !e->u.dr.low) {
		*o = (struct operands){ e->len, e->u.dr.dr, e->u.dr.gpr };
		return true;
	}
	if (!fetch_decode(v, DEC_MOV_DR, DEC_MOV_DR, &d))
		return false;
	*o = (struct operands){ d.len, d.reg, d.gpr };
	return true;
}

/* By software: the policy keeps the registers from the guest, or a debugger has some of them (Z02). All faults but the value's have been ruled out. */
static void emulate(struct vcpu *v, const struct operands *o, const struct dbg_ctx *ctx)
{
	uint64_t value = 0;

	if (!v->exit.u.dr.write) {
		dbg_mov_from_dr(&v->dbg, o->dr, ctx, &value);
		v->r[o->gpr] = value;
	} else if (dbg_mov_to_dr(&v->dbg, o->dr, ctx, v->r[o->gpr]) != DBG_OK) {
		vcpu_raise(v, VEC_GP, true, 0);
		return;
	} else if (v->debugger.nr) {
		debugger_armed(v);
	}
	vcpu_skip(v, o->len);
}

/* The guest's registers are in v->dbg here (rule H12), so GD and DE are judged on true values. A permitted access makes the vcpu the owner of the
 * registers, and runs again (rule H10), unless the policy has it emulated. */
void exit_dr(struct vcpu *v)
{
	bool live = dbg_may_go_live(&v->dbg);
	struct operands o = { .dr = v->exit.u.dr.dr };
	struct dbg_ctx ctx;

	if (!live && !find_operands(v, &o))
		return;
	vcpu_need(v, VST_CR | VST_CS);
	ctx = (struct dbg_ctx){
		.cpl = (uint8_t)vcpu_cpl(v), .real = !(v->st.cr0 & CR0_PE), .long64 = vcpu_long64(v), .cr4 = v->st.cr4,
	};
	switch (dbg_check_access(&v->dbg, o.dr, &ctx)) {
	case DBG_UD:
		vcpu_raise(v, VEC_UD, false, 0);
		return;
	case DBG_GP:
		vcpu_raise(v, VEC_GP, true, 0);
		return;
	case DBG_DB:
		vcpu_raise_db(v, &(struct dbg_record){ .payload = (uint32_t)DR6_BD, .cls = DBG_FAULT, .level = (uint8_t)v->level });
		return;
	case DBG_OK:
		if (!live) {
			emulate(v, &o, &ctx);
			return;
		}
		dbg_go_live(&v->dbg);
		v->rflags |= RFLAGS_RF; /* its exec breakpoint has fired already, if it has one (rule V15) */
		return;
	}
}

/* ICEBP is a trap, but where its exit is fault-like RIP still is at it (rule V14): skipped here, without the step of a skipped instruction. */
static bool skip_icebp(struct vcpu *v)
{
	unsigned len = v->exit.len ? v->exit.len : fetch_insn_len_slow(v, DEC_ICEBP);
	uint64_t rip = v->rip + len;

	if (!len)
		return false;
	v->rip = vcpu_long64(v) ? rip : rip & 0xffffffff;
	v->rflags &= ~RFLAGS_RF;
	vcpu_clear_shadow(v);
	return true;
}

/* What a debugger's slots caused is its own, and the guest never hears of it (Z04); what is left is the guest's. */
static void intercepted_db(struct vcpu *v, struct dbg_record r)
{
	uint32_t theirs = dbg_route(&v->dbg, &r.payload);

	if (theirs)
		vcpu_debugger_hit(v, theirs);
	if (!theirs || r.payload || r.cls == DBG_ICEBP)
		vcpu_raise_db(v, &r);
	else if (r.cls == DBG_FAULT && v->debugger.stop == STOP_NONE) /* gdb steps over its own by itself, and RF shows in frames */
		v->rflags |= RFLAGS_RF; /* its instruction has not run yet, and is not to hit again */
}

/* All exceptions exit during a step (step.c), and always from ring 3 (PVM): the guest gets what it would have got, with the RFLAGS that it has. */
static void caught(struct vcpu *v)
{
	const struct exit *e = &v->exit;

	v->step.caught = false;
	if (e->u.exc.vector == VEC_BP || e->u.exc.vector == VEC_OF) { /* behind a MOV SS, where step.c does not see them coming; PVM's are EXITK_RING */
		v->exception = (struct event){ .type = EVENT_SOFT_EXC, .vector = e->u.exc.vector, .len = e->len ? e->len : 1 };
		v->event_pending = true;
	} else if (e->u.exc.vector == VEC_PF) {
		vcpu_raise_pf(v, e->u.exc.cr2, e->u.exc.error);
	} else {
		vcpu_raise(v, e->u.exc.vector, e->u.exc.has_error, e->u.exc.error);
	}
}

void exit_exception(struct vcpu *v)
{
	const struct exit *e = &v->exit;

	switch (e->u.exc.vector) {
	case VEC_DB:
		if (e->u.exc.db.cls != DBG_ICEBP || skip_icebp(v))
			intercepted_db(v, e->u.exc.db);
		return;
	case VEC_AC: /* always 0: the guest gets what it would have got (rule H02) */
		vcpu_raise(v, VEC_AC, true, 0);
		return;
	default:
		if (e->u.exc.vector == VEC_BP && (v->debugger.catch_int3 || !(v->step.caught || v->be->ring3))) {
			v->step.caught = false;
			if (!v->be->ring3)
				debugger_int3(v);
			else if (!debugger_takes(v))
				v->be->emulate(v);
			return;
		}
		if (v->step.caught || (v->be->dbg_caps & DBG_CAP_RING3)) {
			caught(v);
			return;
		}
		vcpu_stop(v, EXIT_UNHANDLED, "exception %u that nobody intercepts, rip=0x%lx", e->u.exc.vector, v->rip);
	}
}
