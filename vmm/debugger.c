/* SPDX-License-Identifier: MIT */
/* A debugger's breakpoints beside the guest's own. The guest's are always in hardware, in its own slots, so that no guest can tell; what is left over goes
 * to the debugger, watchpoints first, since a code breakpoint can be found by comparing RIP. */
#include "vmm/debugger.h"

#include "arch/x86/def/cr.h"
#include "arch/x86/def/seg.h"
#include "vmm/backend.h"
#include "vmm/fetch.h"
#include "vmm/swbreak.h"
#include "vmm/guard.h"
#include "vmm/peek.h"
#include "vmm/step.h"

static bool is_exec(const struct debugger_bp *b)
{
	return (b->rw_len & 3) == DR_RW_EXEC;
}

static unsigned bytes_of(const struct debugger_bp *b)
{
	static const uint8_t bytes[4] = { [DR_LEN_1] = 1, [DR_LEN_2] = 2, [DR_LEN_8] = 8, [DR_LEN_4] = 4 };

	return bytes[b->rw_len >> 2];
}

unsigned debugger_guest_slots(const struct vcpu *v)
{
	unsigned m = 0;

	for (unsigned i = 0; i < 4; i++)
		if (v->dbg.dr7 & DR7_ENABLE(i))
			m |= 1u << i;
	return m;
}

/* The run loop's short cut sees no reason to ask anybody then; an unknown DR7 is one. */
static void no_short_cut(struct vcpu *v)
{
	dbg_vm_fields_unknown(&v->dbg);
}

static void request_stop(struct vcpu *v, enum debugger_stop why, uint64_t addr)
{
	if (v->debugger.stop == STOP_NONE || v->debugger.stop == STOP_STEP) {
		v->debugger.stop = (uint8_t)why;
		v->debugger.stop_addr = addr;
	}
	this_cpu()->slice_end_tsc = 0; /* the loop looks there */
}

static void update(struct vcpu *v)
{
	struct vcpu_debugger *d = &v->debugger;
	bool watch;

	d->stepping = d->step || d->homeless || d->inside;
	watch = d->nr || d->step || d->inside;
	if (watch != v->dbg.watched)
		dbg_watch(&v->dbg, watch);
	if (d->stepping)
		no_short_cut(v);
}

/* ---- Slots ---- */

static void take_back(struct vcpu *v, struct debugger_bp *b)
{
	if (b->slot >= 0)
		dbg_release(&v->dbg, (unsigned)b->slot);
	b->slot = -1;
}

/* A slot that is free, the one that it had if it can be. */
static void give(struct vcpu *v, struct debugger_bp *b, int wanted)
{
	unsigned taken = v->dbg.held | debugger_guest_slots(v);

	if (wanted < 0 || (taken >> wanted & 1))
		for (wanted = 3; wanted >= 0 && (taken >> wanted & 1);)
			wanted--;
	if (wanted >= 0 && dbg_hold(&v->dbg, (unsigned)wanted, b->addr, b->rw_len))
		b->slot = (int8_t)wanted;
}

static void distribute(struct vcpu *v)
{
	struct vcpu_debugger *d = &v->debugger;
	int8_t had[DEBUGGER_BPS];

	for (unsigned i = 0; i < DEBUGGER_BPS; i++) {
		had[i] = d->bp[i].slot;
		if (d->bp[i].owner)
			take_back(v, &d->bp[i]);
	}
	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < DEBUGGER_BPS; i++)
			if (d->bp[i].owner && is_exec(&d->bp[i]) == (pass == 1))
				give(v, &d->bp[i], had[i]);
	d->homeless = 0;
	for (unsigned i = 0; i < DEBUGGER_BPS; i++)
		d->homeless = (uint8_t)(d->homeless + (d->bp[i].owner && d->bp[i].slot < 0));
}

void debugger_fit(struct vcpu *v)
{
	struct vcpu_debugger *d = &v->debugger;
	unsigned guest = debugger_guest_slots(v), mine = 0;

	for (unsigned i = 0; i < DEBUGGER_BPS; i++)
		if (d->bp[i].owner && d->bp[i].slot >= 0)
			mine |= 1u << d->bp[i].slot;
	if (!(guest & mine) && !d->homeless)
		return;
	distribute(v);
	update(v);
}

static struct debugger_bp *find(struct vcpu *v, enum debugger_owner owner, uint64_t addr, unsigned rw_len)
{
	for (unsigned i = 0; i < DEBUGGER_BPS; i++) {
		struct debugger_bp *b = &v->debugger.bp[i];

		if (b->owner == owner && (owner == DEBUGGER_NOBODY || (b->addr == addr && b->rw_len == rw_len)))
			return b;
	}
	return NULL;
}

static void drop(struct vcpu *v, struct debugger_bp *b)
{
	take_back(v, b);
	b->owner = DEBUGGER_NOBODY;
	v->debugger.nr--;
}

/* Whoever has the slot that is asked for gives way; of the same owner it is replaced. */
static void clear_slot(struct vcpu *v, enum debugger_owner owner, int slot)
{
	for (unsigned i = 0; i < DEBUGGER_BPS; i++) {
		struct debugger_bp *b = &v->debugger.bp[i];

		if (!b->owner || b->slot != slot)
			continue;
		if (b->owner == owner)
			drop(v, b);
		else
			take_back(v, b);
	}
}

bool debugger_set(struct vcpu *v, enum debugger_owner owner, uint64_t addr, unsigned rw_len, int slot)
{
	struct debugger_bp *b;
	unsigned guest = debugger_guest_slots(v);

	if (rw_len > 15 || slot > 3 || (slot >= 0 && (guest >> slot & 1)))
		return false;
	if (slot >= 0)
		clear_slot(v, owner, slot);
	b = find(v, DEBUGGER_NOBODY, 0, 0);
	if (!b || (slot != DEBUGGER_AGAIN && v->debugger.nr + debugger_count(guest) >= 4))
		return false;
	*b = (struct debugger_bp){ .addr = addr, .owner = (uint8_t)owner, .rw_len = (uint8_t)rw_len, .slot = -1 };
	v->debugger.nr++;
	give(v, b, slot);
	distribute(v);
	update(v);
	return true;
}

bool debugger_clear(struct vcpu *v, enum debugger_owner owner, uint64_t addr, unsigned rw_len)
{
	struct debugger_bp *b = find(v, owner, addr, rw_len);

	if (!b)
		return false;
	drop(v, b);
	distribute(v);
	update(v);
	return true;
}

void debugger_clear_all(struct vcpu *v, enum debugger_owner owner)
{
	for (unsigned i = 0; i < DEBUGGER_BPS; i++)
		if (v->debugger.bp[i].owner == owner)
			drop(v, &v->debugger.bp[i]);
	distribute(v);
	update(v);
}

void debugger_step(struct vcpu *v, bool on)
{
	v->debugger.step = on;
	v->event_pending = true; /* what has waited, or has to wait from now on */
	vcpu_dirty(v, VST_CTL);
	update(v);
}

void debugger_catch_int3(struct vcpu *v, bool on)
{
	if (on == v->debugger.catch_int3)
		return;
	v->debugger.catch_int3 = on;
	vcpu_dirty(v, VST_CTL);
}

/* ---- Hits ---- */

static void hit(struct vcpu *v, const struct debugger_bp *b, unsigned bit)
{
	if (b->owner == DEBUGGER_GDB) {
		request_stop(v, is_exec(b) ? STOP_EXEC : (b->rw_len & 3) == DR_RW_WRITE ? STOP_WRITE : STOP_ACCESS, b->addr);
		return;
	}
	v->debugger_hits++;
	v->debugger_dr6 = dbg_dr6_merge(DR6_INIT, bit, v->dbg.feat);
}

uint32_t debugger_hit(struct vcpu *v, uint32_t hits)
{
	for (unsigned i = 0; i < DEBUGGER_BPS; i++) {
		const struct debugger_bp *b = &v->debugger.bp[i];

		if (b->owner == DEBUGGER_GDB && b->slot >= 0 && (hits >> b->slot & 1)) {
			hit(v, b, 0);
			hits &= ~(1u << b->slot);
		}
	}
	return hits;
}

/* ---- Those without a slot ---- */

static uint64_t value_at(struct vcpu *v, const struct debugger_bp *b)
{
	uint64_t x = 0;
	unsigned n = bytes_of(b);

	return peek(v, b->addr & ~(uint64_t)(n - 1), &x, n) ? x : b->value; /* hardware aligns it, too (A16) */
}

static void stands_here(struct vcpu *v)
{
	struct vcpu_debugger *d = &v->debugger;

	d->over = false;
	d->from_rip = v->rip;
	d->from_rcx = v->r[GPR_RCX];
	d->from_level = v->level;
}

static bool has_moved(const struct vcpu *v)
{
	const struct vcpu_debugger *d = &v->debugger;

	return d->over || v->rip != d->from_rip || v->r[GPR_RCX] != d->from_rcx || v->level != d->from_level;
}

void debugger_before(struct vcpu *v)
{
	struct vcpu_debugger *d = &v->debugger;

	if (d->inside && v->level != d->from_level)
		guard_open(v, false); /* at another level's instruction, which nobody has looked at: its fetch will tell */
	stands_here(v);
	for (unsigned i = 0; i < DEBUGGER_BPS; i++)
		if (d->bp[i].owner && d->bp[i].slot < 0 && !is_exec(&d->bp[i]))
			d->bp[i].value = value_at(v, &d->bp[i]);
}

void debugger_armed(struct vcpu *v)
{
	struct vcpu_debugger *d = &v->debugger;

	if (d->stepping)
		return;
	debugger_fit(v);
	if (!d->stepping)
		return;
	debugger_before(v);
	d->over = true; /* MOV DR is */
	this_cpu()->slice_end_tsc = 0;
}

/* An instruction that exits and is carried out by a handler moves RIP, or counts RCX down. */
static bool carried_out(const struct vcpu *v)
{
	const struct vcpu_debugger *d = &v->debugger;

	switch ((enum exit_kind)v->exit.kind) {
	case EXITK_NONE: case EXITK_INTR: case EXITK_NMI: case EXITK_INTR_WINDOW: case EXITK_NMI_WINDOW: case EXITK_TIMER: case EXITK_EXCEPTION:
	case EXITK_TRIPLE: case EXITK_ENTRY_FAIL: case EXITK_UNKNOWN: case EXITK_NR:
		return false;
	default:
		return v->rip != d->from_rip || v->r[GPR_RCX] != d->from_rcx;
	}
}

/* Does nothing come before the instruction at RIP? An interrupt that waits may: it then waits while gdb steps off the breakpoint (Z06), and comes behind it. */
static bool insn_is_next(struct vcpu *v)
{
	vcpu_need(v, VST_SHADOW);
	return v->exit.vectoring.type == EVENT_NONE && v->exception.type == EVENT_NONE && v->inject.type == EVENT_NONE &&
	       (!v->st.pending_dbg || v->st.shadow == SHADOW_MOV_SS);
}

/* With the software breakpoints. True: one is at RIP, which is a stop. */
static bool compare(struct vcpu *v)
{
	if (!(v->debugger.catch_int3 || v->vm->guard.nr) || !swbreak_at(v, vcpu_linear_rip(v)))
		return false;
	request_stop(v, STOP_INT3, 0);
	return true;
}

static void look_for_homeless(struct vcpu *v)
{
	struct vcpu_debugger *d = &v->debugger;
	bool next = insn_is_next(v);
	uint64_t pc = next ? vcpu_linear_rip(v) : 0;

	for (unsigned i = 0; i < DEBUGGER_BPS; i++) {
		struct debugger_bp *b = &d->bp[i];

		if (!b->owner || b->slot >= 0)
			continue;
		if (is_exec(b) ? next && b->addr == pc : value_at(v, b) != b->value)
			hit(v, b, 1u << i);
	}
	if (next)
		compare(v);
}

/* ---- Hidden software breakpoints: pages that are closed to fetches, and open while the guest is stepped there ---- */

/* Guest-physical address of the instruction at RIP; one that is no RAM if it has none. */
static uint64_t pc_phys(struct vcpu *v)
{
	const uint8_t *p = peek_ptr(v, vcpu_linear_rip(v), 1);

	return p ? (uint64_t)(p - v->vm->ram) : ~0ull;
}

bool debugger_guard(struct vcpu *v, const uint64_t *gpa, unsigned nr)
{
	bool ok = guard_set(v, gpa, nr);

	v->debugger.inside = false; /* if it is, its next fetch tells */
	update(v);
	return ok;
}

/* Steps end with the first instruction elsewhere. */
static void stay_or_leave(struct vcpu *v)
{
	bool stay = guard_has(v->vm, pc_phys(v));

	guard_open(v, stay);
	v->debugger.inside = stay;
	update(v);
}

bool debugger_fetch(struct vcpu *v, uint64_t gpa)
{
	if (!guard_has(v->vm, gpa))
		return false;
	if (insn_is_next(v) && compare(v))
		return true;
	if (v->vm->guard.open)
		v->be->flush(v->vm); /* the exit was by a translation that is out of date */
	guard_open(v, true);
	v->debugger.inside = true;
	stands_here(v);
	vcpu_need(v, VST_CR);
	if (!v->dbg.held && !dbg_bp_hit(&v->dbg, DBG_ACCESS_EXEC, vcpu_linear_rip(v), 1, v->st.cr4))
		v->rflags &= ~RFLAGS_RF; /* the exit's, as behind any fault; it is for a breakpoint at RIP, and no frame is to show it (A28) */
	update(v);
	return true;
}

void debugger_delivers(struct vcpu *v)
{
	if (v->debugger.inside)
		guard_open(v, false);
}

bool debugger_meets(struct vcpu *v)
{
	if (v->debugger.catch_int3 && swbreak_at(v, vcpu_linear_rip(v)))
		return true;
	return v->vm->guard.nr && guard_closed(v->vm, pc_phys(v));
}

void debugger_stepped(struct vcpu *v)
{
	request_stop(v, STOP_STEP, 0);
}

void debugger_boundary(struct vcpu *v)
{
	struct vcpu_debugger *d = &v->debugger;
	bool moved;

	if (!d->stepping)
		return;
	moved = has_moved(v);
	if (d->over || carried_out(v) || v->level != d->from_level) {
		d->over = false;
		look_for_homeless(v);
		if (d->step)
			request_stop(v, STOP_STEP, 0);
	}
	if (d->inside && moved) /* one that reaches into the page from the one before, and has not run, needs both */
		stay_or_leave(v);
	no_short_cut(v);
}

/* ---- INT3 ---- */

bool debugger_takes(struct vcpu *v)
{
	if (v->exit.kind != EXITK_EXCEPTION || v->exit.u.exc.vector != VEC_BP || !v->debugger.catch_int3 || !swbreak_at(v, vcpu_linear_rip(v)))
		return false;
	v->step.caught = false;
	request_stop(v, STOP_INT3, 0);
	return true;
}

bool debugger_int3(struct vcpu *v)
{
	struct event e = { .type = EVENT_SOFT_EXC, .vector = VEC_BP, .len = v->exit.len ? v->exit.len : 1 };
	struct flow f;
	unsigned n;
	const uint8_t *p;

	if (debugger_takes(v))
		return true;
	p = fetch_window(v, &n); /* it may have prefixes, and the frame has the RIP behind it */
	if (p && decode_flow(p, n, fetch_decode_mode(v), &f) && f.kind >= FLOW_INT && f.kind <= FLOW_INTO) {
		e = (struct event){ .type = f.kind == FLOW_INT ? EVENT_SOFT_INT : EVENT_SOFT_EXC, .vector = f.vector, .len = f.d.len };
		if (f.kind == FLOW_INTO && !(v->rflags & RFLAGS_OF)) {
			vcpu_skip(v, f.d.len);
			return false;
		}
	}
	if (step_gate_refuses(v, e.vector)) {
		vcpu_raise(v, VEC_GP, true, e.vector * 8u + 2);
		return false;
	}
	vcpu_clear_shadow(v);
	if (e.type == EVENT_SOFT_INT) {
		v->exit.vectoring = e; /* as if the exit had cut it short */
		return false;
	}
	v->exception = e;
	v->event_pending = true;
	return false;
}
