/* SPDX-License-Identifier: MIT */
/* MOV DR and the intercepted exceptions. The policy is dbg.c's; here is only what it means for the guest's next entry. */
#include "vmm/exits.h"

#include "arch/x86/def/cr.h"
#include "arch/x86/def/exitcode.h"
#include "arch/x86/def/seg.h"
#include "vmm/fetch.h"

/* By software: the policy keeps the registers from the guest, or a debugger has some of them (Z02). RIP moves on, so the step and RF are done here. */
static void emulate(struct vcpu *v, const struct dbg_ctx *ctx)
{
	unsigned len = v->exit.len, gpr = v->exit.u.dr.gpr;
	struct decoded d;
	uint64_t value;

	if (!len || gpr == 0xff) {
		if (!fetch_decode(v, DEC_MOV_DR, DEC_MOV_DR, &d))
			return; /* other bytes are there by now: the guest runs them */
		len = d.len;
		gpr = d.gpr;
	}
	if (!v->exit.u.dr.write) {
		if (dbg_mov_from_dr(&v->dbg, v->exit.u.dr.dr, ctx, &value) == DBG_OK)
			v->r[gpr] = value;
	} else if (dbg_mov_to_dr(&v->dbg, v->exit.u.dr.dr, ctx, v->r[gpr]) != DBG_OK) {
		vcpu_raise(v, VEC_GP, true, 0); /* the value's upper half: the other faults have been ruled out */
		return;
	}
	vcpu_skip(v, len);
}

/* The guest's registers are in v->dbg here (rule H12), so GD and DE are judged on true values. A permitted access makes the vcpu the owner of the
 * registers, and runs again (rule H10), unless the policy has it emulated. */
void exit_dr(struct vcpu *v)
{
	struct dbg_ctx ctx;

	vcpu_need(v, VST_CR | VST_CS);
	ctx = (struct dbg_ctx){
		.cpl = (uint8_t)vcpu_cpl(v), .real = !(v->st.cr0 & CR0_PE), .long64 = vcpu_long64(v), .cr4 = v->st.cr4,
	};
	switch (dbg_check_access(&v->dbg, v->exit.u.dr.dr, &ctx)) {
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
		if (!dbg_may_go_live(&v->dbg)) {
			emulate(v, &ctx);
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
	else if (r.cls == DBG_FAULT)
		v->rflags |= RFLAGS_RF; /* its instruction has not run yet, and is not to hit again */
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
		vcpu_stop(v, EXIT_UNHANDLED, "exception %u that nobody intercepts, rip=0x%lx", e->u.exc.vector, v->rip);
	}
}
