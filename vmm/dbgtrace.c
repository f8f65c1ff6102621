/* SPDX-License-Identifier: MIT */
/* The trace that the pictures are drawn from. It sees each world switch by standing in for the backend's run(), each MOV DR and DEBUGCTL access by
 * dbg_cpu.listen, and what software does to a guest's view by comparing that with what it was. */
#include "vmm/dbgtrace.h"

#include <stddef.h>

#include "arch/lib/log.h"
#include "arch/lib/panic.h"
#include "arch/lib/string.h"
#include "arch/x86/dbg_hw.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/percpu.h"
#include "arch/x86/pmem.h"
#include "vmm/backend.h"
#include "vmm/trace.h"
#include "vmm/vmm.h"

enum what { TRIP, SET, SYNC, VIEW };
enum who { BY_HOST, BY_ENTER, BY_LEAVE, BY_DB, BY_GUEST, BY_SWITCH, BY_LAB, BY_DEBUGGER, BY_FILTER }; /* the first four as enum dbg_asker */

struct regs {
	uint32_t dr6, dr7, debugctl, spare;
};

/* An entry with its exit, or an access. What is written for each exit is written by straight code: see traced_run(). */
struct dbg_event {
	uint64_t tsc;
	uint64_t rip; /* access: the old value */
	uint64_t new; /* access */
	struct meta {
		uint8_t what, level, vm, state; /* enum what, vcpu.level, vm.id, enum dbg_state */
		uint8_t reg, who;               /* access */
		bool known, of_host;            /* access: the old value is; the registers are the host's own. Trip: `out` is not `in`; DEBUGCTL by software */
	} meta;
	struct regs in;
	uint32_t fast_exits; /* of the vcpu, before the entry: one more before the next entry tells that this exit was fast */
	uint64_t exit_tsc, exit_rip, info;
	struct {
		uint8_t kind, level, len, spare;
		uint32_t code;
	} exit; /* as struct exit begins */
	struct regs out;
};
_Static_assert(offsetof(struct exit, kind) == 0 && offsetof(struct exit, hw_reason) == 4, "traced_run copies the first 8 bytes");

struct ring {
	struct dbg_event *next, *end, *last;
	void (*run)(struct vcpu *v, struct cpu *c);
	/* Of the vcpu that ran last: its view, what its control block and DR6 were left with. */
	const struct vcpu *seen;
	uint64_t dr6, dr7, debugctl;
	struct regs left;
	struct meta meta;
	/* Of a LIVE guest's last exit: what it left is its view, which a slow exit reads into memory. */
	bool was_live;
	struct regs was;
	uint32_t fast_exits;
	uint8_t level;
	bool quiet;            /* hardware has nothing of the guest's that could change while it runs */
	bool holding;          /* an access behind the exit is in `held`: the exit comes first */
	struct dbg_event held;
	const struct backend *be; /* the real one */
	enum dbgtrace_mode mode;
	uint64_t laps, lost;
	/* What is known of the registers of this CPU, by DBG_REG_*. */
	uint64_t hw[DBG_NR_REGS];
	bool known[DBG_NR_REGS];
	char names[VMM_MAX_MODULES][VM_NAME_MAX];
	struct dbg_event spare, e[DBGTRACE_EVENTS];
};

static struct backend traced;

static __attribute__((noinline)) void wrap(struct ring *r)
{
	if (r->mode == DBGTRACE_LAST) {
		r->next = r->e;
		r->laps++;
		return;
	}
	if (r->end == &r->spare + 1)
		r->lost++;
	r->next = &r->spare;
	r->end = &r->spare + 1;
}

static inline struct dbg_event *put(struct ring *r)
{
	struct dbg_event *e = r->next;

	r->last = e;
	r->next = e + 1;
	if (__builtin_expect(r->next == r->end, 0))
		wrap(r);
	return e;
}

static void access(struct ring *r, const struct vcpu *v, enum what what, enum who who, unsigned reg, uint64_t old, uint64_t new, bool known)
{
	*put(r) = (struct dbg_event){ .tsc = rdtsc(), .rip = old, .new = new,
				      .meta = { (uint8_t)what, v ? v->level : 0, v ? (uint8_t)v->vm->id : 0, 0, (uint8_t)reg, (uint8_t)who, known, !v } };
}

/* ---- The guest's view ---- */

/* Does the control block have DEBUGCTL for this vcpu? */
static bool has_debugctl(const struct ring *r, const struct vcpu *v)
{
	return (r->be->dbg_caps & DBG_CAP_VM_DEBUGCTL) || v->dbg.vm_lbrv;
}

static void look(struct ring *r, const struct vcpu *v)
{
	struct dbg_now now;

	r->be->dbg_now(v, &now);
	r->left.dr6 = (uint32_t)(r->be->dbg_caps & DBG_CAP_VM_DR6 ? now.dr6 : hw_peek_dr6());
	r->left.dr7 = (uint32_t)now.dr7;
	r->left.debugctl = (uint32_t)(has_debugctl(r, v) ? now.debugctl : r->hw[DBG_REG_DEBUGCTL]);
}

/* Who has changed the view between two entries: not told by whom, but by what there was to do. */
static enum who changer(const struct ring *r, const struct vcpu *v)
{
	if (v->level != r->level)
		return BY_SWITCH;
	if ((v->inject.type != EVENT_NONE && v->inject.vector == VEC_DB) || (v->exit.kind == EXITK_EXCEPTION && v->exit.u.exc.vector == VEC_DB))
		return BY_DB;
	return v->exit.kind == EXITK_HYPERCALL ? BY_LAB : BY_GUEST;
}

static void compare(struct ring *r, const struct vcpu *v, unsigned reg, uint64_t *known, uint64_t now)
{
	if (*known != now)
		access(r, v, VIEW, changer(r, v), reg, *known, now, true);
	*known = now;
}

static void read_out(struct ring *r, const struct vcpu *v, unsigned reg, uint64_t *known, uint32_t left)
{
	if (*known != left)
		access(r, v, SYNC, BY_LEAVE, reg, *known, left, true);
	*known = left;
}

/* leaving: the plan that reads a LIVE guest's registers is on its way, so that the view in memory is none yet. */
static void catch_up(struct ring *r, const struct vcpu *v, bool leaving)
{
	if (r->seen != v || v->exits == 0) { /* it may lie where one of an earlier VM did */
		r->seen = v;
		r->was_live = false;
		r->level = v->level;
		r->dr6 = v->dbg.dr6;
		r->dr7 = v->dbg.dr7;
		r->debugctl = v->dbg.debugctl;
		str_copy(r->names[v->vm->id % VMM_MAX_MODULES], VM_NAME_MAX, v->vm->name);
		look(r, v);
	}
	if (r->was_live) {
		if (r->fast_exits != (uint32_t)v->fast_exits)
			return; /* it still owns them */
		r->was_live = false;
		read_out(r, v, 6, &r->dr6, r->was.dr6);
		read_out(r, v, 7, &r->dr7, r->was.dr7);
		if (has_debugctl(r, v))
			read_out(r, v, DBG_REG_DEBUGCTL, &r->debugctl, (uint32_t)r->debugctl & r->was.debugctl);
	}
	if (leaving)
		return;
	compare(r, v, 6, &r->dr6, v->dbg.dr6);
	compare(r, v, 7, &r->dr7, v->dbg.dr7);
	compare(r, v, DBG_REG_DEBUGCTL, &r->debugctl, v->dbg.debugctl);
}

/* ---- Accesses ---- */

/* The bracket of DEBUGCTL lies inside run(): what comes before the entry has to stand before its event, what comes behind the exit behind that. */
static void bracket(struct ring *r, const struct vcpu *v, enum who who, uint64_t value)
{
	struct dbg_event entry = *r->last;

	if (who == BY_ENTER) {
		r->next = r->last;
		access(r, NULL, SET, who, DBG_REG_DEBUGCTL, r->hw[DBG_REG_DEBUGCTL], value, r->known[DBG_REG_DEBUGCTL]);
		if (!has_debugctl(r, v))
			entry.in.debugctl = (uint32_t)value;
		entry.tsc = rdtsc(); /* the order of the lines is that of the stamps */
		*put(r) = entry;
	} else {
		r->held = (struct dbg_event){ .tsc = rdtsc(), .rip = r->hw[DBG_REG_DEBUGCTL], .new = value,
					      .meta = { SET, 0, 0, 0, DBG_REG_DEBUGCTL, (uint8_t)who, r->known[DBG_REG_DEBUGCTL], true } };
		r->holding = true;
		r->quiet = false; /* after() is asked for */
	}
}

/* Its exit has not been written: what stands there is of the lap before. */
static bool inside_run(const struct ring *r)
{
	return r->seen && r->last->meta.what == TRIP && r->last->exit_tsc < r->last->tsc;
}

static void listen(struct dbg_cpu *c, unsigned reg, bool write, uint64_t value)
{
	struct ring *r = c->trace;
	const struct vcpu *v = this_cpu()->vcpu;
	enum who who = (enum who)c->asker;

	if (v && inside_run(r)) {
		if (write && reg == DBG_REG_DEBUGCTL)
			bracket(r, v, who, value);
		/* Else the exit is being decoded: a look, which changes nothing; or PVM's bracket of DR7, which its entry and its exit tell. */
	} else if (v && who != BY_HOST) {
		catch_up(r, v, who == BY_LEAVE);
		if (write)
			access(r, who == BY_LEAVE ? NULL : v, SET, who, reg, r->hw[reg], value, r->known[reg]);
		else if (reg < 4)
			access(r, v, SYNC, who, reg, v->dbg.dr[reg], value, true);
	} else if (write || value != r->hw[reg]) {
		access(r, NULL, write ? SET : SYNC, BY_HOST, reg, r->hw[reg], value, r->known[reg]);
	}
	r->hw[reg] = value;
	r->known[reg] = true;
	if (reg == DBG_REG_DEBUGCTL && r->seen && !has_debugctl(r, r->seen))
		r->left.debugctl = (uint32_t)value;
	if (reg == 6 && !(r->be->dbg_caps & DBG_CAP_VM_DR6))
		r->left.dr6 = (uint32_t)value;
}

/* ---- World switches ---- */

static void field(struct ring *r, const struct vcpu *v, enum who who, unsigned reg, uint32_t *left, uint64_t value)
{
	if (*left != value)
		access(r, v, SET, who, reg, *left, value, true);
	*left = (uint32_t)value;
}

/* Rules P03, P08: hardware has fewer slots armed than the guest. */
static bool filtered(const struct ring *r, const struct vcpu *v)
{
	return r->be->ring3 && ((v->dbg.vm_dr7 ^ v->dbg.dr7) & ~DR7_GD);
}

static bool quiet(const struct vcpu *v)
{
	return v->dbg.state == DBG_IDLE && v->dbg.vm_debugctl == 0;
}

/* Something is not as it was at the last exit: the view, the vcpu, the level, or what the plan has left for the control block, which run() commits.
 * A switch of levels makes the block's fields unknown, so that it is there, too. */
static __attribute__((noinline)) void before(struct ring *r, const struct vcpu *v)
{
	bool back = v->inject.type != EVENT_NONE && v->inject.vector == VEC_DB && r->meta.state == DBG_LIVE && r->last->meta.what == TRIP;
	enum who who = back ? BY_DB : BY_ENTER; /* a #DB that goes straight back in */

	catch_up(r, v, false);
	if (v->level != r->level)
		look(r, v);
	if (v->dbg.vm_dirty) {
		if (r->be->dbg_caps & DBG_CAP_VM_DR6)
			field(r, v, who, 6, &r->left.dr6, v->dbg.vm_dr6);
		field(r, v, v->dbg.held ? BY_DEBUGGER : filtered(r, v) ? BY_FILTER : who, 7, &r->left.dr7, v->dbg.vm_dr7);
		if (has_debugctl(r, v))
			field(r, v, who, DBG_REG_DEBUGCTL, &r->left.debugctl, v->dbg.vm_debugctl);
		else
			r->left.debugctl = (uint32_t)r->hw[DBG_REG_DEBUGCTL];
	}
	r->level = v->level;
	r->quiet = quiet(v);
	r->meta = (struct meta){ TRIP, v->level, (uint8_t)v->vm->id, v->dbg.state, 0, 0, false, v->dbg.soft };
}

static __attribute__((noinline)) void after(struct ring *r, const struct vcpu *v, struct dbg_event *e)
{
	uint32_t debugctl = e->in.debugctl;

	look(r, v);
	e->meta.known = true;
	e->out = r->left;
	if (!has_debugctl(r, v))
		e->out.debugctl = debugctl; /* what it ran with: the bracket has put the host's back */
	r->was_live = r->meta.state == DBG_LIVE;
	r->was = r->left;
	r->fast_exits = e->fast_exits;
	if (r->holding) { /* the exit has its place before it, and is written there next */
		if (r->held.tsc < v->exit.tsc)
			r->held.tsc = v->exit.tsc;
		*put(r) = r->held;
		r->holding = false;
		r->quiet = quiet(v);
	}
}

static void traced_run(struct vcpu *v, struct cpu *c)
{
	struct ring *r = c->dbg.trace;
	struct dbg_event *e;

	if (__builtin_expect(r->seen != v || r->dr6 != v->dbg.dr6 || v->dbg.vm_dirty, 0))
		before(r, v);
	e = put(r);
	e->tsc = rdtsc();
	e->rip = v->rip;
	e->meta = r->meta;
	e->in = r->left;
	e->fast_exits = (uint32_t)v->fast_exits;
	r->run(v, c);
	e = r->last;
	if (__builtin_expect((uint32_t)v->exit.dr6 != r->left.dr6 || !r->quiet, 0))
		after(r, v, e);
	e->exit_tsc = v->exit.tsc;
	e->exit_rip = v->rip;
	e->info = v->exit.hw_info;
	__builtin_memcpy(&e->exit, &v->exit, 8);
}

const struct backend *dbgtrace_start(const struct backend *be, struct cpu *c, enum dbgtrace_mode mode)
{
	struct ring *r = pmem_alloc(sizeof(*r), PAGE_SIZE);

	if (!r)
		panic("no memory for the trace");
	memset(r, 0, sizeof(*r));
	r->next = r->last = r->e;
	r->end = r->e + DBGTRACE_EVENTS;
	r->mode = mode;
	r->be = be;
	r->run = be->run;
	r->known[DBG_REG_DEBUGCTL] = true; /* dbg_host_init left it 0 */
	traced = *be;
	traced.run = traced_run;
	c->dbg.trace = r;
	c->dbg.listen = listen;
	return &traced;
}

/* ---- Printing ---- */

static const char *const state_names[] = { [DBG_IDLE] = "idle", [DBG_ARMED] = "armed", [DBG_LIVE] = "live" };
static const char *const who_names[] = { "host", "enter", "leave", "db", "guest", "switch", "lab", "debugger", "filter" };
static const char *const reg_names[DBG_NR_REGS] = { "DR0", "DR1", "DR2", "DR3", "DR4", "DR5", "DR6", "DR7", "DEBUGCTL", "MASK0", "MASK1", "MASK2", "MASK3" };
static const char *const verbs[] = { [SET] = "Set", [SYNC] = "Sync", [VIEW] = "View" };

static void begin_line(unsigned cpu, uint64_t tsc)
{
	log_printf("drover: trace: [%u] %lu: ", cpu, tsc);
}

static void print_regs(const struct dbg_event *e, uint64_t rip, const struct regs *regs)
{
	log_printf("rip 0x%lx state %s dr6 0x%x dr7 0x%x debugctl 0x%x", rip, state_names[e->meta.state], regs->dr6, regs->dr7, regs->debugctl);
}

/* fast: the exit was. */
static void print_trip(const struct dbg_event *e, unsigned cpu, const char *vm, bool fast)
{
	char reason[24];

	begin_line(cpu, e->tsc);
	log_printf("kvm_entry: vm %s level %u ", vm, e->meta.level + 1u);
	print_regs(e, e->rip, &e->in);
	log_printf("%s\n", e->meta.of_host ? " stepped" : "");
	str_copy(reason, sizeof(reason), exit_name((enum exit_kind)e->exit.kind));
	for (char *p = reason; *p; p++)
		if (*p == ' ')
			*p = '_';
	begin_line(cpu, e->exit_tsc);
	log_printf("kvm_exit: vm %s level %u reason %s code 0x%x info 0x%lx ", vm, e->meta.level + 1u, reason, e->exit.code, e->info);
	print_regs(e, e->exit_rip, e->meta.known ? &e->out : &e->in);
	log_printf("%s%s\n", fast ? " fast" : "", e->meta.of_host ? " stepped" : "");
}

static void print_access(const struct dbg_event *e, unsigned cpu, const char *vm)
{
	const struct meta *m = &e->meta;

	begin_line(cpu, e->tsc);
	log_printf("%s DRs: vm %s level %u by %s %s ", verbs[m->what], m->of_host ? "-" : vm, m->of_host ? 0u : m->level + 1u, who_names[m->who], reg_names[m->reg]);
	if (m->known)
		log_printf("0x%lx -> 0x%lx\n", e->rip, e->new);
	else
		log_printf("- -> 0x%lx\n", e->new);
}

/* The i-th event that the ring still has, or NULL behind the last. */
static const struct dbg_event *nth(const struct ring *r, uint64_t i)
{
	bool full = r->laps || r->next == &r->spare || r->next == &r->spare + 1;
	uint64_t n = full ? DBGTRACE_EVENTS : (uint64_t)(r->next - r->e), first = r->laps ? (uint64_t)(r->next - r->e) : 0;

	return i < n ? &r->e[(first + i) % DBGTRACE_EVENTS] : NULL;
}

static bool was_fast(const struct ring *r, uint64_t i)
{
	const struct dbg_event *e = nth(r, i), *next;

	for (uint64_t k = i + 1; (next = nth(r, k)) != NULL; k++)
		if (next->meta.what == TRIP && next->meta.vm == e->meta.vm)
			return next->fast_exits != e->fast_exits;
	return false;
}

bool dbgtrace_print(const struct cpu *c, unsigned max)
{
	const struct ring *r = c->dbg.trace;
	const struct dbg_event *e;
	uint64_t lines = 0, n = 0, first, lost;

	if (!r)
		return false;
	lost = r->mode == DBGTRACE_LAST && r->laps ? (r->laps - 1) * DBGTRACE_EVENTS + (uint64_t)(r->next - r->e) : r->lost;
	while (nth(r, n))
		n++;
	first = n > max ? n - max : 0;
	for (uint64_t i = first; (e = nth(r, i)) != NULL; i++)
		lines += e->meta.what == TRIP ? 2 : 1;
	log_printf("drover: trace: begin cpu %u: %lu events, %lu lost\n", c->id, lines, lost + first);
	for (uint64_t i = first; (e = nth(r, i)) != NULL; i++) {
		if (e->meta.what == TRIP)
			print_trip(e, c->id, r->names[e->meta.vm % VMM_MAX_MODULES], was_fast(r, i));
		else
			print_access(e, c->id, r->names[e->meta.vm % VMM_MAX_MODULES]);
	}
	log_printf("drover: trace: end cpu %u\n", c->id);
	return true;
}
