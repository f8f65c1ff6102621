/* SPDX-License-Identifier: MIT */
/* The trace that the pictures are drawn from. It sees each world switch by standing in for the backend's run(), each MOV DR and DEBUGCTL access by
 * dbg_cpu.listen, and what software does to a guest's view by comparing that with what it was. */
#include "vmm/dbgtrace.h"

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

enum what { ENTRY, EXIT, SET, SYNC, VIEW };
enum who { BY_HOST, BY_ENTER, BY_LEAVE, BY_DB, BY_GUEST, BY_SWITCH, BY_LAB }; /* the first four as enum dbg_asker */
enum flag { FAST = 1, STEPPED = 2, OLD_KNOWN = 4, OF_HOST = 8 };

struct dbg_event {
	uint64_t tsc;
	uint64_t rip;     /* access: the old value */
	uint64_t info;    /* access: the new one */
	uint32_t dr6, dr7, debugctl, code;
	uint8_t what, level, vm, flags;
	uint8_t state, kind; /* enum dbg_state, enum exit_kind */
	uint8_t reg, who;
};

struct ring {
	uint64_t head; /* events ever */
	enum dbgtrace_mode mode;
	const struct backend *be; /* the real one */
	/* What is known of the registers of this CPU, by DBG_REG_*. */
	uint64_t hw[DBG_NR_REGS];
	bool known[DBG_NR_REGS];
	/* Of the vcpu that ran last: its view, what its control block was left with, its last exit. */
	const struct vcpu *seen;
	struct dbg_event *exit;
	struct dbg_now left;
	uint64_t dr6, dr7, debugctl;
	uint8_t level;
	bool running;      /* inside run() */
	struct dbg_event held; /* an access behind the exit, which the exit's own event has to come before */
	bool holding;
	struct dbg_event spare;
	char names[VMM_MAX_MODULES][VM_NAME_MAX];
	struct dbg_event e[DBGTRACE_EVENTS];
};

static struct backend traced;

static struct dbg_event *put(struct ring *r)
{
	uint64_t n = r->head++;

	if (n >= DBGTRACE_EVENTS && r->mode == DBGTRACE_FIRST)
		return &r->spare;
	return &r->e[n % DBGTRACE_EVENTS];
}

static void access(struct ring *r, const struct vcpu *v, enum what what, enum who who, unsigned reg, uint64_t old, uint64_t new, unsigned flags)
{
	*put(r) = (struct dbg_event){ .tsc = rdtsc(), .rip = old, .info = new, .what = (uint8_t)what, .who = (uint8_t)who, .reg = (uint8_t)reg,
				  .level = v ? v->level : 0, .vm = v ? (uint8_t)v->vm->id : 0, .flags = (uint8_t)(flags | (v ? 0 : OF_HOST)) };
}

/* ---- The guest's view ---- */

/* Who has changed the view between two entries: not told by whom, but by what there was to do. */
static enum who changer(const struct ring *r, const struct vcpu *v)
{
	if (v->level != r->level)
		return BY_SWITCH;
	if ((v->inject.type != EVENT_NONE && v->inject.vector == VEC_DB) || (v->exit.kind == EXITK_EXCEPTION && v->exit.u.exc.vector == VEC_DB))
		return BY_DB;
	return v->exit.kind == EXITK_HYPERCALL ? BY_LAB : BY_GUEST;
}

static void view_changed(struct ring *r, const struct vcpu *v, unsigned reg, uint64_t *known, uint64_t now, uint64_t left)
{
	bool read_back = r->exit && r->exit->state == DBG_LIVE && now == left && v->level == r->level;

	access(r, v, read_back ? SYNC : VIEW, read_back ? BY_LEAVE : changer(r, v), reg, *known, now, OLD_KNOWN);
	*known = now;
}

static void meet(struct ring *r, const struct vcpu *v)
{
	r->seen = v;
	r->exit = NULL;
	r->level = v->level;
	r->dr6 = v->dbg.dr6;
	r->dr7 = v->dbg.dr7;
	r->debugctl = v->dbg.debugctl;
	str_copy(r->names[v->vm->id % VMM_MAX_MODULES], VM_NAME_MAX, v->vm->name);
	r->be->dbg_now(v, &r->left);
}

static void catch_up(struct ring *r, const struct vcpu *v)
{
	if (r->seen != v)
		meet(r, v);
	if (r->dr6 != v->dbg.dr6)
		view_changed(r, v, 6, &r->dr6, v->dbg.dr6, r->left.dr6);
	if (r->dr7 != v->dbg.dr7)
		view_changed(r, v, 7, &r->dr7, v->dbg.dr7, r->left.dr7);
	if (r->debugctl != v->dbg.debugctl)
		view_changed(r, v, DBG_REG_DEBUGCTL, &r->debugctl, v->dbg.debugctl, r->left.debugctl);
}

/* ---- Accesses ---- */

/* The bracket of DEBUGCTL lies inside run(): what comes before the entry has to stand before its event, what comes behind the exit behind that. */
static void bracket(struct ring *r, const struct vcpu *v, unsigned reg, uint64_t value, unsigned flags)
{
	struct dbg_event *last = r->head <= DBGTRACE_EVENTS || r->mode == DBGTRACE_LAST ? &r->e[(r->head - 1) % DBGTRACE_EVENTS] : &r->spare, entry = *last;

	if (last->what != ENTRY || r->holding)
		return; /* a second write: an NMI's */
	r->head--;
	access(r, NULL, SET, r->running && reg == DBG_REG_DEBUGCTL ? BY_ENTER : BY_HOST, reg, r->hw[reg], value, flags);
	entry.debugctl = v->dbg.vm_lbrv ? entry.debugctl : (uint32_t)value;
	*put(r) = entry;
}

static void listen(struct dbg_cpu *c, unsigned reg, bool write, uint64_t value)
{
	struct ring *r = c->trace;
	const struct vcpu *v = this_cpu()->vcpu;
	unsigned flags = r->known[reg] ? OLD_KNOWN : 0;
	enum who who = (enum who)c->asker;

	if (r->running && write && who == BY_ENTER) {
		bracket(r, v, reg, value, flags);
	} else if (r->running && write) {
		r->held = (struct dbg_event){ .tsc = rdtsc(), .rip = r->hw[reg], .info = value, .what = SET, .who = (uint8_t)who, .reg = (uint8_t)reg,
					  .flags = (uint8_t)(flags | OF_HOST) };
		r->holding = true;
	} else if (v && who != BY_HOST) {
		catch_up(r, v);
		if (write)
			access(r, who == BY_LEAVE ? NULL : v, SET, who, reg, r->hw[reg], value, flags);
		else if (who == BY_LEAVE && reg < 7)
			access(r, v, SYNC, who, reg, reg == 6 ? v->dbg.dr6 : v->dbg.dr[reg & 3], value, OLD_KNOWN);
		if (!write && reg == 6)
			r->dr6 = value; /* on its way to the view */
	} else if (write || value != r->hw[reg]) {
		access(r, NULL, write ? SET : SYNC, BY_HOST, reg, r->hw[reg], value, flags);
	}
	r->hw[reg] = value;
	r->known[reg] = true;
}

/* ---- World switches ---- */

/* What the plan has left for the control block: the next entry commits it. */
static void fields(struct ring *r, const struct vcpu *v)
{
	enum who who = v->inject.type != EVENT_NONE && v->inject.vector == VEC_DB && r->exit && (r->exit->flags & FAST) ? BY_DB : BY_ENTER;

	if ((r->be->dbg_caps & DBG_CAP_VM_DR6) && r->left.dr6 != v->dbg.vm_dr6)
		access(r, v, SET, who, 6, r->left.dr6, v->dbg.vm_dr6, OLD_KNOWN);
	if (r->left.dr7 != v->dbg.vm_dr7)
		access(r, v, SET, who, 7, r->left.dr7, v->dbg.vm_dr7, OLD_KNOWN);
	r->left.dr6 = v->dbg.vm_dr6;
	r->left.dr7 = v->dbg.vm_dr7;
	if ((r->be->dbg_caps & DBG_CAP_VM_DEBUGCTL) || v->dbg.vm_lbrv) {
		if (r->left.debugctl != v->dbg.vm_debugctl)
			access(r, v, SET, who, DBG_REG_DEBUGCTL, r->left.debugctl, v->dbg.vm_debugctl, OLD_KNOWN);
		r->left.debugctl = v->dbg.vm_debugctl;
	}
}

static inline void runs(struct ring *r, const struct vcpu *v, struct dbg_event *e, enum what what)
{
	bool in_block = (r->be->dbg_caps & DBG_CAP_VM_DR6) != 0;

	e->rip = v->rip;
	e->dr6 = (uint32_t)(in_block ? r->left.dr6 : hw_peek_dr6());
	e->dr7 = (uint32_t)r->left.dr7;
	e->debugctl = (uint32_t)((r->be->dbg_caps & DBG_CAP_VM_DEBUGCTL) || v->dbg.vm_lbrv ? r->left.debugctl : r->hw[DBG_REG_DEBUGCTL]);
	e->what = (uint8_t)what;
	e->level = v->level;
	e->vm = (uint8_t)v->vm->id;
	e->state = v->dbg.state;
	e->flags = v->step.on ? STEPPED : 0;
}

static void traced_run(struct vcpu *v, struct cpu *c)
{
	struct ring *r = c->dbg.trace;
	uint32_t debugctl;
	struct dbg_event *e;

	if (r->exit && (v->trace->e[(v->trace->head - 1) % TRACE_ENTRIES].plan_enter & TRACE_FAST))
		r->exit->flags |= FAST;
	catch_up(r, v);
	if (v->dbg.vm_dirty)
		fields(r, v);
	else if (v->level != r->level)
		r->be->dbg_now(v, &r->left);
	r->level = v->level;
	e = put(r);
	runs(r, v, e, ENTRY);
	e->tsc = rdtsc();
	r->running = true;
	r->be->run(v, c);
	r->running = false;
	debugctl = r->e[(r->head - 1) % DBGTRACE_EVENTS].debugctl; /* what it ran with: the bracket has put the host's back */
	r->be->dbg_now(v, &r->left);
	e = put(r);
	runs(r, v, e, EXIT);
	if (!((r->be->dbg_caps & DBG_CAP_VM_DEBUGCTL) || v->dbg.vm_lbrv))
		e->debugctl = debugctl;
	e->tsc = v->exit.tsc;
	e->info = v->exit.hw_info;
	e->code = v->exit.hw_reason;
	e->kind = v->exit.kind;
	r->exit = e;
	if (__builtin_expect(r->holding, 0)) {
		*put(r) = r->held;
		r->holding = false;
	}
}

const struct backend *dbgtrace_start(const struct backend *be, struct cpu *c, enum dbgtrace_mode mode)
{
	struct ring *r = pmem_alloc(sizeof(*r), PAGE_SIZE);

	if (!r)
		panic("no memory for the trace");
	memset(r, 0, sizeof(*r));
	r->mode = mode;
	r->be = be;
	r->known[DBG_REG_DEBUGCTL] = true; /* dbg_host_init left it 0 */
	traced = *be;
	traced.run = traced_run;
	c->dbg.trace = r;
	c->dbg.listen = listen;
	return &traced;
}

/* ---- Printing ---- */

static const char *const state_names[] = { [DBG_IDLE] = "idle", [DBG_ARMED] = "armed", [DBG_LIVE] = "live" };
static const char *const who_names[] = { "host", "enter", "leave", "db", "guest", "switch", "lab" };
static const char *const reg_names[DBG_NR_REGS] = { "DR0", "DR1", "DR2", "DR3", "DR4", "DR5", "DR6", "DR7", "DEBUGCTL", "MASK0", "MASK1", "MASK2", "MASK3" };

static void print_runs(const struct dbg_event *e, const char *vm)
{
	char reason[24];

	if (e->what == EXIT) {
		str_copy(reason, sizeof(reason), exit_name((enum exit_kind)e->kind));
		for (char *p = reason; *p; p++)
			if (*p == ' ')
				*p = '_';
		log_printf("kvm_exit: vm %s level %u reason %s code 0x%x info 0x%lx ", vm, e->level + 1u, reason, e->code, e->info);
	} else {
		log_printf("kvm_entry: vm %s level %u ", vm, e->level + 1u);
	}
	log_printf("rip 0x%lx state %s dr6 0x%x dr7 0x%x debugctl 0x%x%s%s\n", e->rip, state_names[e->state], e->dr6, e->dr7, e->debugctl,
		   e->flags & FAST ? " fast" : "", e->flags & STEPPED ? " stepped" : "");
}

static void print_access(const struct dbg_event *e, const char *vm)
{
	static const char *const verbs[] = { [SET] = "Set", [SYNC] = "Sync", [VIEW] = "View" };

	log_printf("%s DRs: vm %s level %u by %s %s ", verbs[e->what], e->flags & OF_HOST ? "-" : vm, e->flags & OF_HOST ? 0u : e->level + 1u, who_names[e->who],
		   reg_names[e->reg]);
	if (e->flags & OLD_KNOWN)
		log_printf("0x%lx -> 0x%lx\n", e->rip, e->info);
	else
		log_printf("- -> 0x%lx\n", e->info);
}

void dbgtrace_print(const struct cpu *c)
{
	const struct ring *r = c->dbg.trace;
	uint64_t n = r->head < DBGTRACE_EVENTS ? r->head : DBGTRACE_EVENTS, first = r->mode == DBGTRACE_LAST ? r->head - n : 0;

	log_printf("drover: trace: begin cpu %u: %lu events, %lu lost\n", c->id, n, r->head - n);
	for (uint64_t i = first; i < first + n; i++) {
		const struct dbg_event *e = &r->e[i % DBGTRACE_EVENTS];

		log_printf("drover: trace: [%u] %lu: ", c->id, e->tsc);
		if (e->what == ENTRY || e->what == EXIT)
			print_runs(e, r->names[e->vm % VMM_MAX_MODULES]);
		else
			print_access(e, r->names[e->vm % VMM_MAX_MODULES]);
	}
	log_printf("drover: trace: end cpu %u\n", c->id);
}
