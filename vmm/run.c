/* SPDX-License-Identifier: MIT */
/* The run loop. Outer: once per trip to the slow path, debug registers change hands. Inner: per entry, loads none of them
 * again (rule H11); only a #DB that goes straight back in changes the live DR6. */
#include "vmm/run.h"

#include "arch/lib/log.h"
#include "arch/x86/dbg_switch.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/exitcode.h"
#include "arch/x86/def/hypercall.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/insn.h"
#include "arch/x86/lapic.h"
#include "arch/x86/tsc.h"
#include "vmm/apic.h"
#include "vmm/debugger.h"
#include "vmm/fetch.h"
#include "vmm/fpu.h"
#include "vmm/gdb/gdb.h"
#include "vmm/step.h"
#include "vmm/trace.h"

#define SLICE_US 10000u

/* ---- Inner loop ---- */

/* A call that asks for nothing but a trip round the inner loop. With TF a step is due, which the slow path delivers. */
static inline bool fast_hypercall(struct vcpu *v)
{
	unsigned len;

	if (!v->vm->lab || v->level || (v->rflags & RFLAGS_TF) || vcpu_cpl(v) != 0)
		return false;
	len = fetch_insn_len(v, DEC_VMMCALL); /* VMX tells the length */
	if (!len)
		return false; /* the slow path will find it, and the next one will be fast */
	if (*v->live.shadow & 1) {
		vcpu_need(v, VST_SHADOW);
		if (v->st.pending_dbg)
			return false; /* MOV SS before it has hit a breakpoint: a trap is due (V12) */
	}
	v->r[GPR_RAX] = 0;
	vcpu_skip(v, len);
	return true;
}

/* Rule H10: the guest owns its registers and nothing else waits, so its #DB goes straight back in, and it keeps them. ICEBP has an RIP to be
 * moved and is rare: slow path. */
static inline bool fast_db(struct vcpu *v, struct cpu *c)
{
	const struct exit *e = &v->exit;

	if (e->u.exc.vector != VEC_DB || v->dbg.state != DBG_LIVE || e->u.exc.db.cls == DBG_ICEBP || e->vectoring.type != EVENT_NONE ||
	    v->exception.type != EVENT_NONE || v->level || v->step.on)
		return false;
	/* What hardware has in the control block is newer than vm_*, and a change of one of them commits them all. */
	if (!(v->be->dbg_caps & DBG_CAP_DB_APPLIED) || v->dbg.debugctl) {
		v->be->fetch(v, VST_DBG);
		v->st_valid |= VST_DBG;
	}
	dbg_reflect_live(v->be->dbg_caps, &c->dbg, &v->dbg, &e->u.exc.db);
	v->inject.type = EVENT_FAULT;
	v->inject.vector = VEC_DB;
	v->inject.has_error = false;
	v->inject.reinjected = false;
	return true;
}

/* True: enter again. Never beyond the slice, so that a storm cannot keep the host from its events (rule H03). */
static inline bool run_fast(struct vcpu *v, struct cpu *c)
{
	bool again;

	if (__builtin_expect(v->exit.kind == EXITK_EXCEPTION, 0))
		again = v->exit.tsc < c->slice_end_tsc && fast_db(v, c);
	else if (__builtin_expect(v->exit.kind == EXITK_HYPERCALL && v->r[GPR_RAX] == HC_LAB_FAST, 0))
		again = v->exit.tsc < c->slice_end_tsc && fast_hypercall(v);
	else
		return false;
	if (again) {
		v->fast_exits++;
		trace_fast(v);
	}
	return again;
}

/* ---- Outer loop ---- */

static __attribute__((noinline)) unsigned debug_enter(struct vcpu *v, struct cpu *c)
{
	unsigned ops;

	if (v->debugger.nr)
		debugger_fit(v);
	if (step_wanted(v))
		step_enter(v);
	ops = dbg_plan_enter(v->be->dbg_caps, &c->dbg, &v->dbg);
	if (ops)
		dbg_do_enter(ops, v->be->dbg_caps, &c->dbg, &v->dbg);
	return ops;
}

static __attribute__((noinline)) void debug_leave(struct vcpu *v, struct cpu *c)
{
	unsigned ops = dbg_plan_leave(v->be->dbg_caps, &c->dbg, &v->dbg, v->exit.dr6);
	uint64_t debugctl = v->dbg.debugctl;

	if (!ops)
		return;
	if (ops & DBG_OP_VM_FETCH) {
		v->be->fetch(v, VST_DBG);
		v->st_valid |= VST_DBG;
	}
	dbg_do_leave(ops, v->be->dbg_caps, &c->dbg, &v->dbg);
	/* If hardware has cleared LBR and BTF for a #DB that was intercepted, the guest has them until it is delivered (E13): a debugger's never is. */
	if (v->exit.kind == EXITK_EXCEPTION && v->exit.u.exc.vector == VEC_DB)
		v->dbg.debugctl = debugctl;
}

/* One trip: until an exit needs the slow path. Interrupts are off; on return the debug registers are the host's again. */
static inline void run_once(struct vcpu *v, struct cpu *c)
{
	unsigned ops = 0;
	bool idle;

	event_select(v);
	idle = dbg_idle(&c->dbg, &v->dbg);
	if (__builtin_expect(!idle, 0))
		ops = debug_enter(v, c);
	do {
		v->be->run(v, c);
		v->exits++;
		trace_stamp(v, ops);
	} while (run_fast(v, c));
	if (__builtin_expect(!idle || v->exit.dr6 != DR6_INIT || dbg_armed(c->dbg.dr7), 0)) {
		debug_leave(v, c);
		if (v->step.on)
			step_leave(v);
	}
}

static void account(struct vcpu *v, uint64_t now)
{
	v->run_tsc += now - v->since_tsc;
	v->since_tsc = now;
}

static void check_budget(struct vcpu *v)
{
	if (v->run_tsc > v->budget_tsc)
		vcpu_stop(v, EXIT_BUDGET, "budget of %u ms used up after %lu exits, rip=0x%lx", v->vm->budget_ms, v->exits, v->rip);
}

static void new_slice(struct vcpu *v, struct cpu *c, uint64_t now)
{
	v->slice_end = now + tsc_from_us(SLICE_US);
	c->slice_end_tsc = v->slice_end;
}

void run_timer(struct vcpu *v)
{
	struct cpu *c = this_cpu();

	if (v->apic.expiry == VLAPIC_NEVER)
		return;
	if (v->apic.expiry < c->slice_end_tsc)
		c->slice_end_tsc = v->apic.expiry;
	lapic_alarm(v->apic.expiry);
}

static __attribute__((noinline)) void end_of_slice(struct vcpu *v, struct cpu *c)
{
	uint64_t now = rdtsc();

	account(v, now);
	check_budget(v);
	apic_tick(v, now);
	if (now >= v->slice_end) {
		new_slice(v, c, now);
		if (run_peer(v))
			vcpu_leave(v);
	} else {
		c->slice_end_tsc = v->slice_end;
	}
	if (!v->leave)
		run_timer(v);
}

/* Debuggers, who are asked at the end of each slice, and whenever one of theirs was hit or a step is over. The guest's budget stands still meanwhile. */
static __attribute__((noinline)) void ask_debuggers(struct vcpu *v)
{
	if (!v->stopped)
		debugger_boundary(v);
	if (!gdb_on)
		return;
	account(v, rdtsc());
	while (gdb_turn(v)) {
		if (!v->debugger.step || v->stopped || v->halted || v->debugger.frozen || !step_software(v))
			break;
		debugger_stepped(v);
	}
	v->since_tsc = rdtsc();
}

static __attribute__((noinline)) void begin(struct vcpu *v, struct cpu *c)
{
	v->leave = false;
	if (!v->started) {
		v->started = true;
		log_printf("drover: vm %s: first entry tsc=%lu\n", v->vm->name, rdtsc());
		if (gdb_on)
			gdb_begin(v);
	}
	v->since_tsc = rdtsc(); /* not the time that gdb took */
	apic_tick(v, v->since_tsc);
	new_slice(v, c, v->since_tsc);
	run_timer(v);
}

static __attribute__((noinline)) void run_vcpu(struct vcpu *v, struct cpu *c)
{
	begin(v, c);
	if (v->leave)
		return; /* gdb has ended or frozen it before its first entry */
	for (;;) {
		irq_disable();
		run_once(v, c);
		irq_enable(); /* every time, so that the host's tick comes however fast the guest exits */
		exit_handle(v);
		if (__builtin_expect(v->exit.tsc >= c->slice_end_tsc, 0)) {
			ask_debuggers(v);
			if (!v->leave)
				end_of_slice(v, c);
			if (v->leave)
				break;
		}
	}
	account(v, rdtsc());
}

/* ---- Groups ---- */

bool run_timer_wakes(const struct vcpu *v)
{
	return event_irq_open(v) && vlapic_will_wake(&v->apic);
}

/* Ends a HLT for which the timer has come. */
static bool can_run(struct vcpu *p, uint64_t now)
{
	if (p->stopped || p->debugger.frozen)
		return false;
	if (!p->halted)
		return true;
	apic_tick(p, now);
	if (!event_irq_open(p) || event_irq(p) < 0)
		return false;
	p->halted = false;
	return true;
}

struct vcpu *run_peer(struct vcpu *v)
{
	for (struct vcpu *p = v->peer; p != v; p = p->peer)
		if (can_run(p, p->halted ? rdtsc() : 0))
			return p;
	return NULL;
}

/* All that are left have halted: sleeps until the timer of one is due, which can then run. The time counts for each of them, so that a timer that never
 * comes ends with the budget. NULL: nobody waits for one. */
static __attribute__((noinline)) struct vcpu *wait_for_timer(struct vcpu *v)
{
	for (;;) {
		uint64_t start = rdtsc(), due = VLAPIC_NEVER, gone;
		struct vcpu *p = v;

		do {
			if (can_run(p, start))
				return p;
			if (!p->stopped && !p->debugger.frozen && run_timer_wakes(p) && p->apic.expiry < due)
				due = p->apic.expiry;
			p = p->peer;
		} while (p != v);
		if (due == VLAPIC_NEVER)
			return NULL;
		irq_disable();
		lapic_alarm(due);
		irq_enable_and_hlt();
		if (gdb_on)
			start += gdb_idle(v);
		gone = rdtsc() - start;
		do {
			p->run_tsc += p->stopped || p->debugger.frozen ? 0 : gone;
			check_budget(p);
			p = p->peer;
		} while (p != v);
	}
}

bool run_frozen_peer(struct vcpu *v)
{
	for (struct vcpu *p = v->peer; p != v; p = p->peer)
		if (!p->stopped && p->debugger.frozen)
			return true;
	return false;
}

/* Nobody can run but those that gdb holds: they go on, so that no guest ends for gdb's sake. False: there are none. */
static bool thaw(struct vcpu *v)
{
	bool any = v->debugger.frozen || run_frozen_peer(v);
	struct vcpu *p = v;

	do {
		p->debugger.frozen = false;
		p = p->peer;
	} while (p != v);
	return any;
}

/* What hardware does not switch per entry changes hands here, and only when the vcpu changes (rule H15). */
static void put(struct cpu *c)
{
	struct vcpu *old = c->vcpu;

	if (!old)
		return;
	irq_disable();
	old->be->vcpu_put(old, c);
	fpu_save(old);
	c->vcpu = NULL;
	irq_enable();
}

static void load(struct vcpu *v, struct cpu *c)
{
	if (c->vcpu == v)
		return;
	put(c);
	irq_disable();
	fpu_load(v);
	v->be->vcpu_load(v, c);
	v->trace = trace_ring(c);
	c->vcpu = v;
	irq_enable();
}

void run_group(struct vcpu *first, struct cpu *c)
{
	struct vcpu *v = first, *next;

	for (;;) {
		load(v, c);
		run_vcpu(v, c);
		next = run_peer(v);
		if (!next && (v->stopped || v->halted || v->debugger.frozen)) {
			next = wait_for_timer(v);
			if (!next && thaw(v))
				next = wait_for_timer(v);
			if (!next)
				break;
		}
		if (next)
			v = next;
	}
	put(c);
	/* Halted ones that waited for a peer: nobody is left who could wake them. */
	for (v = first;;) {
		if (!v->stopped)
			vcpu_stop(v, EXIT_HALTED, "halted with nothing left to wake it, rip=0x%lx", v->rip);
		v = v->peer;
		if (v == first)
			break;
	}
}
