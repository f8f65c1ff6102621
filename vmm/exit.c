/* SPDX-License-Identifier: MIT */
/* Dispatch of slow exits. No default: a new kind does not compile until it has its place here. */
#include "vmm/exit.h"

#include "arch/lib/log.h"
#include "arch/x86/def/exitcode.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/insn.h"
#include "vmm/apic.h"
#include "vmm/backend.h"
#include "vmm/cpuid.h"
#include "vmm/debugger.h"
#include "vmm/exits.h"
#include "vmm/fetch.h"
#include "vmm/run.h"
#include "vmm/trace.h"

static bool anything_wakes(struct vcpu *v)
{
	if (v->level && v->be->nested->virq && v->be->nested->virq(v, false) >= 0)
		return true;
	return v->exception.type != EVENT_NONE || v->nmi_pending || (event_irq(v) >= 0 && event_irq_open(v));
}

/* A step trap that is due behind HLT ends it at once (rule A24). Later only the APIC's timer can. */
static __attribute__((noinline)) void exit_hlt(struct vcpu *v)
{
	unsigned len = v->exit.len ? v->exit.len : fetch_insn_len_slow(v, DEC_HLT);

	if (!len)
		return;
	vcpu_skip(v, len);
	apic_tick(v, rdtsc());
	if (anything_wakes(v))
		return;
	if (run_peer(v) || run_frozen_peer(v) || run_timer_wakes(v)) {
		v->halted = true;
		vcpu_leave(v);
		return;
	}
	vcpu_stop(v, EXIT_HALTED, "halted with nothing left to wake it, rip=0x%lx", v->rip);
}

static __attribute__((noinline)) void exit_mem(struct vcpu *v)
{
	const struct exit *e = &v->exit;
	const char *what = e->u.mem.exec ? "fetch" : e->u.mem.write ? "write" : "read";

	if ((e->u.mem.gpa ^ VLAPIC_PA) < 4096 && vlapic_mmio(&v->apic)) {
		apic_mmio(v);
		return;
	}
	if (e->u.mem.exec && debugger_fetch(v, e->u.mem.gpa))
		return;
	if (e->u.mem.linear_valid)
		vcpu_stop(v, EXIT_BADMEM, "touched memory that it does not have: %s at gpa=0x%lx linear=0x%lx rip=0x%lx", what, e->u.mem.gpa,
			  e->u.mem.gla, v->rip);
	else
		vcpu_stop(v, EXIT_BADMEM, "touched memory that it does not have: %s at gpa=0x%lx rip=0x%lx", what, e->u.mem.gpa, v->rip);
}

static void skip_kind(struct vcpu *v, enum decode_kind kind)
{
	unsigned len = v->exit.len ? v->exit.len : fetch_insn_len_slow(v, kind);

	if (len)
		vcpu_skip(v, len);
}

static __attribute__((noinline)) void exit_insn(struct vcpu *v)
{
	switch ((enum insn_kind)v->exit.u.insn.insn) {
	case INSN_INVD: /* nothing of a guest is ever only in a cache that this would lose for it; written back it is as good */
		skip_kind(v, DEC_INVD);
		return;
	case INSN_WBINVD:
		skip_kind(v, DEC_WBINVD);
		return;
	case INSN_PAUSE:
		skip_kind(v, DEC_PAUSE);
		return;
	case INSN_INVLPG:
		v->be->flush(v->vm);
		skip_kind(v, DEC_INVLPG);
		return;
	case INSN_RDPMC: /* no counters, so every index is out of range */
		vcpu_raise(v, VEC_GP, true, 0);
		return;
	case INSN_VMX: case INSN_SVM:
		if (v->nested) {
			v->be->nested->insn(v);
			return;
		}
		vcpu_raise(v, VEC_UD, false, 0);
		return;
	case INSN_MONITOR: case INSN_MWAIT: case INSN_RSM: case INSN_GETSEC: /* CPUID has none of them */
		vcpu_raise(v, VEC_UD, false, 0);
		return;
	case INSN_DESC: case INSN_OTHER:
		vcpu_stop(v, EXIT_UNHANDLED, "an instruction that this machine model does not have (reason 0x%x), rip=0x%lx", v->exit.hw_reason,
			  v->rip);
		return;
	}
}

static __attribute__((noinline)) void broken(struct vcpu *v, const char *what)
{
	uint64_t code = v->exit.kind == EXITK_ENTRY_FAIL ? v->exit.u.fail.code : v->exit.hw_info;

	vcpu_stop(v, EXIT_ENTRY, "%s: reason 0x%x code 0x%lx, rip=0x%lx", what, v->exit.hw_reason, code, v->rip);
	trace_dump_vcpu(v);
}

static __attribute__((noinline)) void stop(struct vcpu *v, enum exit_code code, const char *what)
{
	vcpu_stop(v, code, "%s, rip=0x%lx", what, v->rip);
}

/* VMX, PVM: the exit has taken the NMI from the CPU and blocks others until an IRET, so the host's handler is called the way hardware would. */
static void host_nmi(const struct vcpu *v)
{
	if (v->be->dbg_caps & (DBG_CAP_EXIT_ZEROES_DEBUGCTL | DBG_CAP_RING3))
		raise_nmi();
}

static inline __attribute__((always_inline)) void dispatch(struct vcpu *v)
{
	switch ((enum exit_kind)v->exit.kind) {
	case EXITK_CPUID: cpuid_exit(v); return;
	case EXITK_HYPERCALL: exit_hypercall(v); return;
	case EXITK_MSR: exit_msr(v); return;
	case EXITK_IO: exit_io(v); return;
	case EXITK_EXCEPTION: exit_exception(v); return;
	case EXITK_DR: exit_dr(v); return;
	case EXITK_CR: exit_cr(v); return;
	case EXITK_HLT: exit_hlt(v); return;
	case EXITK_XSETBV: exit_xsetbv(v); return;
	case EXITK_INSN: exit_insn(v); return;
	case EXITK_MEM: exit_mem(v); return;
	case EXITK_NMI: host_nmi(v); return;
	case EXITK_RING: v->be->emulate(v); return;
	case EXITK_INTR: case EXITK_TIMER: run_timer(v); return; /* the host has had its interrupts; the next one in time for the guest's timer */
	case EXITK_NONE: case EXITK_BUS_LOCK: return;
	case EXITK_INTR_WINDOW: case EXITK_NMI_WINDOW:
		v->event_pending = true; /* event_select looks again, and closes the window when nothing waits any more */
		return;
	case EXITK_TASK_SWITCH: stop(v, EXIT_UNHANDLED, "task switch by hardware"); return;
	case EXITK_TRIPLE: stop(v, EXIT_TRIPLE, "triple fault"); return;
	case EXITK_ENTRY_FAIL: broken(v, "hardware refused to enter it"); return;
	case EXITK_UNKNOWN: case EXITK_NR: broken(v, "an exit that nobody asked for"); return;
	}
	__builtin_unreachable(); /* backends take kinds from the enum: saves the table's range check */
}

/* A copy of its own, so that the guest's own exits have nothing to save for it. */
static __attribute__((noinline)) void nested_handle(struct vcpu *v)
{
	if (!debugger_takes(v) && !v->be->nested->exit(v))
		dispatch(v);
	v->step.over = false;
	if (v->migrate_l2)
		lab_migrate_l2(v);
}

void exit_handle(struct vcpu *v)
{
	if (__builtin_expect(v->level != 0, 0))
		nested_handle(v);
	else
		dispatch(v);
}
