/* SPDX-License-Identifier: MIT */
/* Hypercalls: HC_NOP for everybody, the lab's for VMs that were started with the flag `lab`. See arch/x86/def/hypercall.h. */
#include "vmm/exits.h"

#include "arch/lib/log.h"
#include "arch/x86/dbg_hw.h"
#include "arch/x86/dbg_switch.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/exitcode.h"
#include "arch/x86/def/hypercall.h"
#include "arch/x86/insn.h"
#include "arch/x86/percpu.h"
#include "vmm/debugger.h"
#include "vmm/fetch.h"
#include "vmm/gva.h"
#include "vmm/run.h"
#include "vmm/snapshot.h"

static volatile uint8_t host_buf[64] __attribute__((aligned(64)));

static uint64_t host_bp(struct dbg_cpu *d, const uint64_t *r)
{
	bool ok = true;

	irq_disable();
	if (r[GPR_RDX] == ~0ull)
		dbg_host_clear_bps(d);
	else
		ok = r[GPR_RDX] < 4 && r[GPR_RCX] < 16 && dbg_host_set_bp(d, (unsigned)r[GPR_RDX], r[GPR_RBX], (unsigned)r[GPR_RCX]);
	irq_enable();
	return ok ? 0 : HC_EINVAL;
}

static uint64_t host_debugctl(struct dbg_cpu *d, uint64_t value)
{
	bool ok;

	irq_disable();
	ok = dbg_host_set_debugctl(d, value);
	irq_enable();
	return ok ? 0 : HC_ENODEV;
}

static uint64_t host_debugctl_read(struct dbg_cpu *d)
{
	uint64_t v;

	return d->has_debugctl && hw_try_read_debugctl(d, &v) ? v : HC_ENODEV;
}

static uint64_t count(struct vcpu *v, struct dbg_cpu *d, uint64_t which, bool reset)
{
	static const uint8_t dbg_of[] = { [LAB_DR_READS] = DBG_COUNT_DR_READ, [LAB_DR_WRITES] = DBG_COUNT_DR_WRITE,
					  [LAB_DEBUGCTL_READS] = DBG_COUNT_DEBUGCTL_READ, [LAB_DEBUGCTL_WRITES] = DBG_COUNT_DEBUGCTL_WRITE,
					  [LAB_MASK_WRITES] = DBG_COUNT_MASK_WRITE };
	uint64_t n;

	if (which >= LAB_NR_COUNTERS)
		return HC_EINVAL;
	if (which == LAB_EXITS || which == LAB_FAST_EXITS) {
		uint64_t now = which == LAB_EXITS ? v->exits : v->fast_exits, *base = &v->count_base[which - LAB_EXITS];

		n = now - *base;
		if (reset)
			*base = now;
		return n;
	}
	if (which == LAB_BUS_LOCKS || which == LAB_MOVES) {
		uint64_t *own = which == LAB_MOVES ? &v->moves : &v->bus_locks;

		n = *own;
		if (reset)
			*own = 0;
		return n;
	}
	n = d->count[dbg_of[which]];
	if (reset)
		d->count[dbg_of[which]] = 0;
	return n;
}

static uint64_t inject(struct vcpu *v, uint64_t what, uint64_t vector)
{
	if (what == LAB_NMI) {
		v->nmi_pending = true;
	} else if (what == LAB_IRQ) {
		if (vector < 32 || vector > 255)
			return HC_EINVAL;
		v->irq_pending[vector / 64] |= 1ull << vector % 64;
	} else {
		return HC_EINVAL;
	}
	v->event_pending = true;
	return 0;
}

static uint64_t yield(struct vcpu *v)
{
	if (!run_peer(v))
		return run_frozen_peer(v) ? 0 : HC_ENODEV;
	vcpu_leave(v);
	return 0;
}

static uint64_t host_state(struct dbg_cpu *d, uint64_t which)
{
	if (which > 4)
		return HC_EINVAL;
	return hw_read_dr(d, which == 0 ? 7 : (unsigned)which - 1);
}

/* The #DB is a trap: it has been taken when touch8() is over. */
static uint64_t host_touch(struct dbg_cpu *d, uint64_t slot)
{
	uint64_t before = d->host_db, start = (uint64_t)(uintptr_t)host_buf;

	if (slot > 3)
		return HC_EINVAL;
	if (d->dr[slot] < start || d->dr[slot] - start >= sizeof(host_buf))
		return HC_EINVAL;
	touch8((const volatile uint8_t *)(uintptr_t)d->dr[slot]);
	return d->host_db != before ? d->host_db_dr6 : 0;
}

static uint64_t host_db(struct dbg_cpu *d, bool reset)
{
	uint64_t n = d->host_db;

	if (reset)
		d->host_db = 0;
	return n;
}

/* Debug state and events as after RESET; the mode stays, so that the guest can go on and look. */
static void lab_reset(struct vcpu *v)
{
	uint64_t rip = v->r[GPR_RBX], rsp = v->r[GPR_RCX];

	snapshot_wipe(v);
	v->rip = rip;
	v->r[GPR_RSP] = rsp;
	v->rflags = RFLAGS_BIT1;
}

static uint64_t debugger(struct vcpu *v)
{
	const uint64_t *r = v->r;

	if (r[GPR_RDX] == ~0ull) {
		debugger_clear_all(v, DEBUGGER_LAB);
		return 0;
	}
	return r[GPR_RDX] < 4 && r[GPR_RCX] < 16 && debugger_set(v, DEBUGGER_LAB, r[GPR_RBX], (unsigned)r[GPR_RCX], (int)r[GPR_RDX]) ? 0 : HC_EINVAL;
}

static uint64_t debugger_hits(struct vcpu *v, uint64_t what)
{
	uint64_t n = v->debugger_hits;

	if (what > 2)
		return HC_EINVAL;
	if (what == 2)
		return v->debugger_dr6;
	if (what == 1)
		v->debugger_hits = 0;
	return n;
}

/* ---- Snapshots ---- */

static uint8_t levels[3 * 4096] __attribute__((aligned(4096))); /* of a hypervisor's levels; one CPU runs guests */

static size_t levels_size(const struct vcpu *v)
{
	size_t n = v->nested ? v->be->nested->state_size : 0;

	return n <= sizeof(levels) ? n : 0;
}

/* As if the vcpu were carried to another machine at this very boundary. */
static void carry_over(struct vcpu *v, struct dbg_snapshot *s)
{
	snapshot_save(v, s);
	if (levels_size(v))
		v->be->nested->save(v, levels);
	snapshot_wipe(v);
	if (levels_size(v))
		v->be->nested->restore(v, levels);
	snapshot_restore(v, s);
	v->moves++;
}

/* The call is over, its trap waits. */
static void migrate(struct vcpu *v, struct dbg_snapshot *s, unsigned len)
{
	v->r[GPR_RAX] = 0;
	vcpu_skip(v, len);
	carry_over(v, s);
}

void lab_migrate_l2(struct vcpu *v)
{
	struct dbg_snapshot s;

	if (!v->level || v->exit.vectoring.type != EVENT_NONE)
		return; /* an event under way is in no snapshot */
	v->migrate_l2 = false;
	carry_over(v, &s);
}

static enum gva_status snapshot_copy(struct vcpu *v, uint64_t at, void *state, size_t n, bool to_guest)
{
	enum gva_status st = GVA_OK;
	uint8_t *p = state;

	for (size_t i = 0; i < n && st == GVA_OK; i += 8)
		st = to_guest ? gva_write(v, (struct gva){ at + i }, p + i, 8) : gva_read(v, (struct gva){ at + i }, p + i, 8);
	return st;
}

static bool not_there(struct vcpu *v, uint64_t at, enum gva_status st)
{
	if (st == GVA_OK)
		return false;
	v->r[GPR_RAX] = HC_LAB_SNAPSHOT; /* the call runs again after the guest's #PF */
	if (st == GVA_NO_MEMORY)
		vcpu_stop(v, EXIT_BADMEM, "touched memory that it does not have: snapshot at linear=0x%lx rip=0x%lx", at, v->rip);
	return true;
}

/* False: the call is over, or a fault has been seen to. */
static bool snapshot_levels(struct vcpu *v, unsigned len)
{
	uint64_t save = v->r[GPR_RBX] == LAB_NESTED_SAVE, at = v->r[GPR_RCX];
	enum gva_status st = GVA_OK;
	const char *bad;

	v->r[GPR_RAX] = HC_EINVAL;
	if (!levels_size(v) || v->r[GPR_RDX] != levels_size(v) || at % 4096)
		return true;
	for (size_t i = 0; save && st == GVA_OK && i < levels_size(v); i += 4096)
		st = gva_probe_write(v, (struct gva){ at + i }, 1);
	if (!save)
		st = snapshot_copy(v, at, levels, levels_size(v), false);
	if (not_there(v, at, st))
		return false;
	bad = save ? NULL : v->be->nested->check(v, levels);
	if (bad) {
		log_printf("drover: vm %s: snapshot refused: %s\n", v->vm->name, bad);
		return true;
	}
	if (!save) {
		v->be->nested->restore(v, levels);
		v->r[GPR_RAX] = 1;
		return false;
	}
	v->r[GPR_RAX] = 0;
	vcpu_skip(v, len);
	v->be->nested->save(v, levels);
	snapshot_copy(v, at, levels, levels_size(v), true);
	return false;
}

/* True: RAX is set and the call is to be retired; else that, or a fault on the buffer, has been seen to. */
static bool snapshot(struct vcpu *v, unsigned len)
{
	struct dbg_snapshot s;
	uint64_t op = v->r[GPR_RBX], at = v->r[GPR_RCX];
	const char *bad;
	enum gva_status st; /* the buffer lies in one page, so a probe of its first byte is one of all */

	if (op == LAB_NESTED_SAVE || op == LAB_NESTED_RESTORE)
		return snapshot_levels(v, len);
	if (op == LAB_MIGRATE_L2) {
		v->migrate_l2 = v->nested != NULL;
		v->r[GPR_RAX] = v->nested ? 0 : HC_EINVAL;
		return true;
	}
	v->r[GPR_RAX] = HC_EINVAL;
	if (v->r[GPR_RDX] != sizeof(s) || op > LAB_MIGRATE || at % 4096 > 4096 - sizeof(s))
		return true;
	st = op == LAB_RESTORE ? snapshot_copy(v, at, &s, sizeof(s), false) : gva_probe_write(v, (struct gva){ at }, 1);
	if (not_there(v, at, st))
		return false;
	if (op == LAB_RESTORE) {
		bad = snapshot_check(v, &s);
		if (bad) {
			log_printf("drover: vm %s: snapshot refused: %s\n", v->vm->name, bad);
			return true;
		}
		snapshot_restore(v, &s);
	} else if (op == LAB_SAVE) {
		snapshot_save(v, &s);
	} else {
		migrate(v, &s, len);
	}
	if (op != LAB_RESTORE)
		snapshot_copy(v, at, &s, sizeof(s), true);
	v->r[GPR_RAX] = 0;
	return op != LAB_MIGRATE;
}

static uint64_t lab_call(struct vcpu *v, uint64_t nr)
{
	struct dbg_cpu *d = &this_cpu()->dbg;
	const uint64_t *r = v->r;

	switch (nr) {
	case HC_NOP: case HC_LAB_FAST: case HC_LAB_SLOW: return 0;
	case HC_LAB_HOST_BP: return host_bp(d, r);
	case HC_LAB_HOST_DR6: return hw_read_dr(d, 6);
	case HC_LAB_HOST_DEBUGCTL: return host_debugctl(d, r[GPR_RBX]);
	case HC_LAB_HOST_DEBUGCTL_RD: return host_debugctl_read(d);
	case HC_LAB_OPEN_DEBUGCTL:
		v->debugctl_open = r[GPR_RBX] != 0;
		vcpu_dirty(v, VST_CTL);
		return 0;
	case HC_LAB_COUNT: return count(v, d, r[GPR_RBX], r[GPR_RCX] == 1);
	case HC_LAB_YIELD: return yield(v);
	case HC_LAB_INJECT: return inject(v, r[GPR_RBX], r[GPR_RCX]);
	case HC_LAB_HOST_STATE: return host_state(d, r[GPR_RBX]);
	case HC_LAB_HOST_TOUCH: return host_touch(d, r[GPR_RBX]);
	case HC_LAB_HOST_BUF: return (uint64_t)(uintptr_t)host_buf;
	case HC_LAB_HOST_DB: return host_db(d, r[GPR_RBX] == 1);
	case HC_LAB_DEBUGGER: return debugger(v);
	case HC_LAB_DEBUGGER_HITS: return debugger_hits(v, r[GPR_RBX]);
	case HC_LAB_POLICY: return v->dbg.policy;
	case HC_LAB_AUDIT: return v->be->audit(v);
	default: return HC_ENOSYS;
	}
}

static __attribute__((noinline)) void other_hypercall(struct vcpu *v, unsigned len)
{
	uint64_t nr = v->r[GPR_RAX];

	if (vcpu_cpl(v) != 0 || (!v->vm->lab && nr != HC_NOP)) {
		v->r[GPR_RAX] = HC_ENOSYS;
	} else if (nr == HC_LAB_RESET) {
		lab_reset(v);
		return;
	} else if (nr == HC_LAB_SNAPSHOT) {
		if (snapshot(v, len))
			vcpu_skip_slow(v, len, 0); /* what was restored counts: the control block's shadow is old */
		return;
	} else {
		v->r[GPR_RAX] = lab_call(v, nr);
	}
	vcpu_skip(v, len);
}

static inline void hypercall(struct vcpu *v, unsigned len)
{
	if (__builtin_expect(v->r[GPR_RAX] != HC_NOP || *v->live.cpl != 0, 0)) {
		other_hypercall(v, len);
		return;
	}
	v->r[GPR_RAX] = 0;
	vcpu_skip(v, len);
}

static __attribute__((noinline)) void hypercall_slow(struct vcpu *v)
{
	unsigned len = fetch_insn_len_slow(v, DEC_VMMCALL);

	if (len)
		hypercall(v, len);
}

void exit_hypercall(struct vcpu *v)
{
	unsigned len = fetch_insn_len(v, DEC_VMMCALL); /* VMX tells the length of its VMCALL */

	if (__builtin_expect(len != 0, 1))
		hypercall(v, len);
	else
		hypercall_slow(v);
}
