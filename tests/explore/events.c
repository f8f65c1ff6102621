/* SPDX-License-Identifier: MIT */
/* World switches as the manuals have them, drover's backends and exit handlers around them as far as they matter here, and all events. */
#include "explore.h"

#include <stdio.h>

#include "arch/x86/dbg_switch.h"
#include "arch/x86/def/seg.h"
#include "vmm/debugger.h"
#include "vmm/step.h"

/* No guest here is stepped: DEBUGCTL is hardware's. */
void step_enter(struct vcpu *v) { (void)v; }
void step_leave(struct vcpu *v) { (void)v; }
void debugger_fit(struct vcpu *v) { (void)v; } /* its slots are held by dbg.c alone */

/* ---- World switches ---- */

static void fetch(struct vcpu *v, uint32_t groups)
{
	struct control_block *b = &w.vm[w.cur];

	(void)groups;
	if (svm()) {
		v->dbg.vm_dr6 = b->dr6;
		v->dbg.vm_dr7 = b->dr7;
		if (v->dbg.vm_lbrv)
			v->dbg.vm_debugctl = b->debugctl;
	} else if (!v->dbg.vm_dirty) {
		v->dbg.vm_dr7 = b->dr7;
		if (b->seen_debugctl)
			v->dbg.vm_debugctl = b->seen_debugctl = b->debugctl;
	}
}

static void commit(struct vcpu *v, struct control_block *b)
{
	if (!v->dbg.vm_dirty)
		return;
	b->dr7 = v->dbg.vm_dr7;
	b->intercept = v->dbg.vm_intercept;
	if (svm()) {
		b->dr6 = v->dbg.vm_dr6;
		if (par.feat & DBG_FEAT_BTF) {
			b->lbr = v->dbg.vm_lbrv;
			b->debugctl = v->dbg.vm_debugctl;
		}
	} else if (b->seen_debugctl != v->dbg.vm_debugctl) {
		b->debugctl = b->seen_debugctl = v->dbg.vm_debugctl;
	}
	v->dbg.vm_dirty = false;
}

/* backend->run() up to the guest's first instruction. */
static void switch_in(struct vcpu *v)
{
	struct control_block *b = &w.vm[w.cur];

	now.window = IN_RUN;
	commit(v, b);
	v->inject.type = EVENT_NONE;
	point();
	now.gif_off = svm();
	if (dbg_debugctl_zero_before(par.be.dbg_caps, &cpu.dbg, &v->dbg))
		dbg_debugctl_before(&cpu.dbg);
	w.dr7 = b->dr7;
	if (svm())
		w.dr6 = b->dr6;
	if (!svm() || b->lbr) {
		w.host_debugctl = w.debugctl;
		w.debugctl = b->debugctl;
	}
	w.guest = true;
}

/* The rest of it. */
static void switch_out(struct vcpu *v)
{
	struct control_block *b = &w.vm[w.cur];

	now.gif_off = svm();
	now.window = IN_RUN;
	w.guest = false;
	b->dr7 = w.dr7;
	w.dr7 = DR7_INIT;
	if (svm()) {
		b->dr6 = w.dr6; /* and it stays in the register (S19) */
		if (b->lbr) {
			b->debugctl = w.debugctl;
			w.debugctl = w.host_debugctl;
		}
	} else {
		b->debugctl = w.debugctl;
		w.debugctl = 0;
		point();
	}
	w.host_debugctl = 0;
	if (dbg_debugctl_restore_after(&cpu.dbg, &v->dbg))
		dbg_debugctl_after(&cpu.dbg);
	now.gif_off = false;
	point();
	v->exit.dr6 = svm() ? b->dr6 : DR6_INIT;
}

/* ---- The outer loop, cut from run.c ---- */

static unsigned plan_enter(unsigned ops)
{
	seen.enter_ops |= ops;
	now.window = IN_PLAN;
	point();
	return ops;
}

static unsigned plan_leave(unsigned ops)
{
	seen.leave_ops |= ops;
	now.window = IN_PLAN;
	point();
	return ops;
}

/* Between a plan and its execution there is a place for an NMI as well. */
#define dbg_plan_enter(...) plan_enter(dbg_plan_enter(__VA_ARGS__))
#define dbg_plan_leave(...) plan_leave(dbg_plan_leave(__VA_ARGS__))
#include "run_parts.h"

void event_select_slow(struct vcpu *v)
{
	if (v->exception.type == EVENT_NONE)
		return;
	v->inject = v->exception;
	v->exception.type = EVENT_NONE;
	dbg_deliver(&v->dbg, &v->inject.db);
}

static bool enter(void)
{
	struct vcpu *v = &vcpus[w.cur];
	uint8_t state = v->dbg.state;

	account_begin();
	now.in_run = true;
	once_before(v, &cpu);
	once_each(v, &cpu);
	switch_in(v);
	now.in_run = false;
	now.gif_off = false;
	if (now.step.nmi == NMI_NONE)
		account_enter(state, v->dbg.dr6);
	return true;
}

static bool again(bool reflect)
{
	struct vcpu *v = &vcpus[w.cur];

	account_begin();
	now.in_run = true;
	switch_out(v);
	if (reflect && !fast_db(v, &cpu))
		return false;
	once_each(v, &cpu);
	switch_in(v);
	now.in_run = false;
	now.gif_off = false;
	if (now.step.nmi == NMI_NONE)
		account_fast(reflect);
	return true;
}

static bool leave(void)
{
	struct vcpu *v = &vcpus[w.cur];
	uint8_t state = v->dbg.state;

	account_begin();
	now.in_run = true;
	switch_out(v);
	once_after(v, &cpu);
	point();
	now.in_run = false;
	if (now.step.nmi == NMI_NONE)
		account_leave(state, w.host_bp, v->exit.dr6);
	check_host_registers();
	return true;
}

/* ---- What a guest does ---- */

static bool raise(struct vcpu *v, uint32_t payload, enum dbg_class cls)
{
	v->exception = (struct event){ .type = EVENT_FAULT, .vector = VEC_DB, .db = { .payload = payload, .cls = (uint8_t)cls } };
	return true;
}

/* On a bare machine. */
static void truth_db(struct truth *t, uint32_t payload)
{
	t->dr6 = merge(t->dr6, payload);
	t->dr7 &= ~DR7_GD;
	t->debugctl &= ~(DEBUGCTL_LBR | DEBUGCTL_BTF);
}

/* An intercepted #DB. mine: what the guest is to see of it. */
static bool debug_exception(uint32_t payload, uint32_t mine, bool fast)
{
	struct vcpu *v = &vcpus[w.cur];
	struct dbg_record *r = &v->exit.u.exc.db;

	v->exit.kind = EXITK_EXCEPTION;
	v->exit.vectoring.type = EVENT_NONE;
	v->exit.u.exc.vector = VEC_DB;
	*r = (struct dbg_record){ .payload = dbg_payload_from_qual(payload) };
	if (svm()) {
		w.dr6 = merge(w.dr6, payload);
		w.dr7 &= ~DR7_GD;
		if (par.db_clears && w.vm[w.cur].lbr)
			w.debugctl &= ~(DEBUGCTL_LBR | DEBUGCTL_BTF);
		r->payload = dbg_payload_from_dr6(w.dr6);
	}
	r->cls = (uint8_t)dbg_class_without_exec(r->payload);
	if (mine)
		truth_db(&w.truth[w.cur], mine);
	if (fast)
		return again(true);
	leave();
	if (!dbg_route(&v->dbg, &r->payload) || r->payload)
		raise(v, r->payload, r->cls);
	return true;
}

static void truth_write(struct truth *t, unsigned n, uint64_t value)
{
	*(n == 0 ? &t->dr0 : n == 6 ? &t->dr6 : &t->dr7) = value;
}

/* exit_dr(). The access that makes the guest LIVE has not happened yet. */
static bool exit_mov_dr(unsigned n, bool write, uint64_t value)
{
	static const struct dbg_ctx ctx = { .long64 = true };
	struct vcpu *v = &vcpus[w.cur];
	struct truth *t = &w.truth[w.cur];
	uint64_t got = 0;

	if (svm() && !(w.vm[w.cur].dr7 & DR7_GD)) {
		v->dbg.dr7 &= ~DR7_GD;
		v->dbg.vm_dr7 &= ~DR7_GD;
	}
	if (dbg_check_access(&v->dbg, n, &ctx) == DBG_DB) {
		truth_db(t, (uint32_t)DR6_BD);
		return raise(v, (uint32_t)DR6_BD, DBG_FAULT);
	}
	if (dbg_may_go_live(&v->dbg)) {
		dbg_go_live(&v->dbg);
		return true;
	}
	if (write) {
		dbg_mov_to_dr(&v->dbg, n, &ctx, value);
		truth_write(t, n, value);
	} else {
		dbg_mov_from_dr(&v->dbg, n, &ctx, &got);
		if (got != (n == 0 ? t->dr0 : n == 6 ? t->dr6 : t->dr7))
			fail(1, "the guest reads DR%u=%lx", n, got);
	}
	return true;
}

static bool mov_dr(unsigned n, bool write, uint64_t value, bool fast)
{
	bool gd = (w.truth[w.cur].dr7 & DR7_GD) != 0;

	if ((w.dr7 & DR7_GD) && (svm() || !w.vm[w.cur].intercept)) /* SVM: the #DB comes before the exit (S06) */
		return debug_exception((uint32_t)DR6_BD, (uint32_t)DR6_BD, fast);
	if (fast)
		return false;
	if (w.vm[w.cur].intercept) {
		leave();
		return exit_mov_dr(n, write, value);
	}
	if (gd)
		fail(3, "MOV DR does not fault in a guest that has set GD");
	if (write) {
		*reg(n) = value;
		truth_write(&w.truth[w.cur], n, value);
	}
	return true;
}

static bool wrmsr_debugctl(uint64_t value)
{
	struct vcpu *v = &vcpus[w.cur];

	if (value == w.truth[w.cur].debugctl || (value && !(par.feat & DBG_FEAT_BTF)))
		return false;
	leave();
	if (!dbg_wrmsr_debugctl(&v->dbg, value))
		fail(1, "WRMSR of DEBUGCTL is refused");
	w.truth[w.cur].debugctl = value;
	return true;
}

static bool wrmsr_mask(uint32_t value)
{
	struct vcpu *v = &vcpus[w.cur];

	if (!(par.feat & DBG_FEAT_MASKS) || value == w.truth[w.cur].mask)
		return false;
	leave();
	dbg_wrmsr_mask(&v->dbg, 0, value);
	w.truth[w.cur].mask = value;
	return true;
}

static bool debug_event(unsigned event)
{
	const struct truth *t = &w.truth[w.cur];
	bool held = vcpus[w.cur].dbg.held != 0;

	switch (event) {
	case EV_HIT_FAST: case EV_HIT_SLOW:
		return (t->dr7 & DR7_ENABLE(0)) && !(held && par.held == 0) && debug_exception(1, 1, event == EV_HIT_FAST);
	case EV_STEP_FAST: case EV_STEP_SLOW: return debug_exception((uint32_t)DR6_BS, (uint32_t)DR6_BS, event == EV_STEP_FAST);
	case EV_GD_FAST: case EV_GD_SLOW: return (t->dr7 & DR7_GD) && mov_dr(6, false, 0, event == EV_GD_FAST);
	default: return held && debug_exception(1u << par.held, 0, false);
	}
}

static bool guest_event(unsigned event)
{
	if (w.cur == 1 && event != EV_SLOW && event != EV_DR7_OFF && event != EV_DR7_ARM)
		return false;
	if (event >= EV_READ_DR0 && event <= EV_DR7_GD && (w.truth[w.cur].dr7 & DR7_GD))
		return false; /* EV_GD_* are these */
	switch (event) {
	case EV_SLOW: case EV_RDMSR: return leave();
	case EV_FAST: return again(false);
	case EV_READ_DR0: return mov_dr(0, false, 0, false);
	case EV_READ_DR6: return mov_dr(6, false, 0, false);
	case EV_READ_DR7: return mov_dr(7, false, 0, false);
	case EV_DR0_ZERO: return mov_dr(0, true, 0, false);
	case EV_DR0_ADDR: return mov_dr(0, true, ADDR_A, false);
	case EV_DR6_INIT: return mov_dr(6, true, DR6_INIT, false);
	case EV_DR6_MARK: return mov_dr(6, true, DR6_INIT | DR6_BS, false);
	case EV_DR7_OFF: return mov_dr(7, true, DR7_INIT, false);
	case EV_DR7_ARM: return mov_dr(7, true, ARM_GUEST, false);
	case EV_DR7_GD: return mov_dr(7, true, ARM_GUEST | DR7_GD, false);
	case EV_CTL_ZERO: return wrmsr_debugctl(0);
	case EV_CTL_SET: return wrmsr_debugctl(GUEST_DEBUGCTL);
	case EV_MASK_ZERO: return wrmsr_mask(0);
	case EV_MASK_SET: return wrmsr_mask(MASK_A);
	default: return debug_event(event);
	}
}

static bool reset(void)
{
	if (w.cur)
		return false;
	dbg_vcpu_reset(&vcpus[0].dbg);
	vcpus[0].exception.type = EVENT_NONE;
	w.truth[0] = (struct truth){ .dr6 = DR6_INIT, .dr7 = DR7_INIT };
	return true;
}

static bool attach(bool on)
{
	struct dbg_vcpu *d = &vcpus[0].dbg;

	if (w.cur || !par.debugger || on == (d->held != 0))
		return false;
	if (on)
		return dbg_hold(d, par.held, ADDR_HELD, RW_LEN_HELD);
	dbg_release_all(d);
	return true;
}

static bool host_event(unsigned event)
{
	switch (event) {
	case EV_SWITCH: w.cur ^= 1; return true;
	case EV_HOST_BP_ON: return set_host_bp(true);
	case EV_HOST_BP_OFF: return set_host_bp(false);
	case EV_HOST_CTL_ON: return set_host_ctl(true);
	case EV_HOST_CTL_OFF: return set_host_ctl(false);
	case EV_HOST_DB: return host_hit(1);
	case EV_ATTACH: return attach(true);
	case EV_DETACH: return attach(false);
	case EV_RESET: return reset();
	default: return enter();
	}
}

bool world_step(struct step s, unsigned *n)
{
	bool ok;

	now.step = s;
	now.points = 0;
	now.window = IN_RUN;
	now.gif_off = now.in_nmi = now.in_run = now.nmi_taken = false;
	vcpus[w.cur].event_pending = vcpus[w.cur].exception.type != EVENT_NONE;
	if ((s.event >= EV_SLOW) != w.guest)
		return false;
	vcpus[w.cur].exit.kind = EXITK_UNKNOWN;
	ok = w.guest ? guest_event(s.event) : host_event(s.event);
	if (!ok || (s.nmi != NMI_NONE && !now.nmi_taken))
		return bad_invariant && (s.nmi == NMI_NONE || now.nmi_taken);
	*n = now.points;
	if (w.guest)
		check_guest();
	else
		check_host();
	seen.events |= 1ull << s.event;
	seen.nmis |= 1ull << s.nmi;
	seen.states[par.policy] |= (uint8_t)(1u << vcpus[w.cur].dbg.state);
	return true;
}

void world_init(void)
{
	w = (struct world){ .dr6 = DR6_INIT, .dr7 = DR7_INIT };
	cpu = (struct cpu){ .self = &cpu };
	now.step = (struct step){ 0 };
	par.be.fetch = fetch;
	for (unsigned i = 0; i < 2; i++) {
		vcpus[i] = (struct vcpu){ .be = &par.be };
		vcpus[i].dbg.policy = par.policy;
		vcpus[i].dbg.feat = par.feat;
		dbg_vcpu_reset(&vcpus[i].dbg); /* as vcpu.c does */
		dbg_vm_fields_unknown(&vcpus[i].dbg);
		if (!svm())
			vcpus[i].dbg.vm_dr6 = DR6_INIT;
		w.truth[i] = (struct truth){ .dr6 = DR6_INIT, .dr7 = DR7_INIT };
	}
	vcpus[1].dbg.dr[0] = w.truth[1].dr0 = ADDR_B; /* it only ever switches its breakpoint on and off */
	dbg_host_init(&cpu.dbg);
}

void world_print(void)
{
	static const char *const states[] = { "IDLE", "ARMED", "LIVE" };

	printf("#      %s %c  DR0=%lx DR1=%lx DR6=%lx DR7=%lx DEBUGCTL=%lx mask=%x  host: bp=%d ctl=%d taken=%d\n", w.guest ? "guest" : "host ",
	       'A' + w.cur, w.dr[0], w.dr[1], w.dr6, w.dr7, w.debugctl, w.mask, w.host_bp, w.host_ctl, cpu.dbg.guest_dr_loaded);
	for (unsigned i = 0; i <= w.cur; i++) {
		const struct dbg_vcpu *d = &vcpus[i].dbg;
		const struct truth *t = &w.truth[i];

		printf("#        %c %-5s dr0=%lx dr6=%lx dr7=%lx debugctl=%lx held=%u vm:%s%s dr6=%lx dr7=%lx debugctl=%lx | block: dr6=%lx dr7=%lx debugctl=%lx | "
		       "truth: dr0=%lx dr6=%lx dr7=%lx debugctl=%lx\n", 'A' + (int)i, states[d->state], d->dr[0], d->dr6, d->dr7, d->debugctl, d->held,
		       d->vm_dirty ? " dirty" : "", d->vm_intercept ? " exits" : "", d->vm_dr6, d->vm_dr7, d->vm_debugctl, w.vm[i].dr6, w.vm[i].dr7,
		       w.vm[i].debugctl, t->dr0, t->dr6, t->dr7, t->debugctl);
	}
}
