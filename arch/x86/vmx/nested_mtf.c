/* SPDX-License-Identifier: MIT */
/* Nested VMX: the monitor trap flag. Hardware's where it was seen to work; else the preemption timer, where that was seen to end a guest after exactly one
 * instruction (Bochs): the nested guest runs as it is, with no flag or breakpoint that it could find. Source: SDM "Monitor Trap Flag". */
#include "arch/lib/log.h"
#include "arch/lib/string.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/quirks.h"
#include "arch/x86/vmx/nested.h"
#include "vmm/debugger.h"
#include "vmm/gmem.h"
#include "vmm/run.h"
#include "vmm/intshadow.h"
#include "vmm/step.h"

enum mtf_means nvmx_mtf_means;
static uint64_t step_ticks; /* the timer's value for one instruction */

/* ---- What works: tried, on the nested guest's VMCS before it has one ---- */

#define TRY_AT 0x1000u /* in the VM's memory, which gets its bytes back */
#define TRY_TICKS 8u   /* no larger value is tried */

/* An interrupt of the host's that waits for its IF is an exit before the NOP, and says nothing: it is let in. */
static bool one_nop(struct vcpu *p, uint32_t reason)
{
	for (unsigned i = 0; i < 16; i++) {
		p->rip = TRY_AT;
		p->exception.type = p->inject.type = EVENT_NONE;
		p->be->run(p, this_cpu());
		if (p->exit.kind != EXITK_INTR)
			break;
		irq_enable();
		cpu_pause(); /* STI's shadow */
		irq_disable();
	}
	return p->exit.hw_reason == reason && p->rip == TRY_AT + 1;
}

/* The first entry is a VMLAUNCH, the others are VMRESUMEs: it has to be right for all. */
static bool each_time(struct vcpu *p, uint32_t reason, uint64_t ticks)
{
	for (unsigned i = 0; i < 4; i++) {
		if (ticks)
			vmcs_write(VMCS_PREEMPTION_TIMER, ticks);
		if (!one_nop(p, reason))
			return false;
	}
	return true;
}

static enum mtf_means try(struct vcpu *p)
{
	uint64_t pin = vmcs_read(VMCS_PIN_CTL), proc = vmcs_read(VMCS_PROC_CTL);
	enum mtf_means found = MTF_NONE;

	if (vmx_caps.allowed1[CTL_PROC] & PROC_MTF) {
		vmcs_write(VMCS_PROC_CTL, vmx_hw(p)->proc | PROC_MTF);
		if (each_time(p, R_MTF, 0))
			found = MTF_HW;
		else
			log_printf("drover: nested VMX: the CPU announces the monitor trap flag and does not trap\n");
		vmcs_write(VMCS_PROC_CTL, proc);
	}
	if (found == MTF_NONE && (vmx_caps.allowed1[CTL_PIN] & PIN_TIMER)) {
		vmcs_write(VMCS_PIN_CTL, pin | PIN_TIMER);
		for (uint64_t t = 1; t <= TRY_TICKS && found == MTF_NONE; t++)
			if (each_time(p, R_TIMER, t)) {
				found = MTF_TIMER;
				step_ticks = t;
			}
		vmcs_write(VMCS_PIN_CTL, pin);
	}
	return found;
}

void nvmx_mtf_probe(struct vcpu *v, struct nvmx *n)
{
	static const uint8_t code[TRY_TICKS + 1] = { 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xf4 };
	static const char *const name[] = { "none", "hardware's", "by the preemption timer" };
	static struct vcpu p; /* large */
	static bool done;
	uint8_t was[sizeof(code)], *at = gmem_ptr(v->vm, (struct gpa){ TRY_AT }, sizeof(code));

	if (done || !at)
		return;
	done = true;
	memcpy(was, at, sizeof(was));
	memcpy(at, code, sizeof(code));
	p = (struct vcpu){ .be = v->be, .vm = v->vm, .hw = n->hw2, .live = v->live };
	p.peer = &p;
	irq_disable();
	p.be->vcpu_load(&p, this_cpu());
	vcpu_reset(&p, TRY_AT);
	p.dbg.vm_dr7 = DR7_INIT;
	p.dbg.vm_debugctl = 0;
	p.dbg.vm_intercept = p.dbg.vm_dirty = true;
	one_nop(&p, 0); /* the VMCS has its guest state now */
	nvmx_mtf_means = try(&p);
	p.be->vcpu_put(&p, this_cpu());
	irq_enable();
	n->hw2->host_loads = 0; /* the host-state area is of no load that the others know */
	memcpy(at, was, sizeof(was));
	log_printf("drover: nested VMX: monitor trap flag: %s\n", name[nvmx_mtf_means]);
}

/* ---- Where the nested guest stands ---- */

static bool asked(const struct nvmx *n)
{
	return V12(n, PROC_CTL) & PROC_MTF;
}

/* Does drover look for the boundaries? Always without hardware's flag; and while it steps the nested guest by TF, whose #DB the flag's exit would come before:
 * the step would never end. */
static bool by_hand(const struct vcpu *v)
{
	return nvmx_mtf_means == MTF_TIMER || (nvmx_mtf_means == MTF_HW && step_wanted(v));
}

static void hardware_flag(const struct vcpu *v, struct nvmx *n)
{
	uint32_t want = (n->hw2->proc_or & ~PROC_MTF) | (asked(n) && !step_wanted(v) ? PROC_MTF : 0);

	if (want != n->hw2->proc_or)
		vmcs_write(VMCS_PROC_CTL, n->hw2->proc | want);
	n->hw2->proc_or = want;
}

static void leave(struct vcpu *v, struct nvmx *n)
{
	nvmx_leave(v, n, &(struct l1_exit){ .reason = R_MTF });
}

uint64_t nvmx_mtf_ticks(const struct nvmx *n)
{
	if (n->mtf.state == MTF_OFF || (n->mtf.state == MTF_STEP && nvmx_mtf_means != MTF_TIMER))
		return ~0ull;
	return n->mtf.state == MTF_STEP ? step_ticks : 0;
}

void nvmx_mtf_injected(struct vcpu *v)
{
	struct nvmx *n = nvmx_of(v);

	if (n->mtf.state == MTF_OFF)
		return;
	n->mtf.state = MTF_BEHIND;
	nvmx_timer_arm(v, n);
}

/* Is the trap flag's boundary this exit's? Hardware that has none reports what it finds there: a #DB, or nothing until the timer. */
static bool at_boundary(const struct vcpu *v, const struct nvmx *n)
{
	const struct exit *e = &v->exit;

	if (n->mtf.state == MTF_CHECK)
		return false;
	if (e->kind == EXITK_NONE)
		return v->step.over;
	if (e->kind == EXITK_TIMER) /* but for the timer of the guest hypervisor's own, or a kick, when they leave no time for an instruction */
		return n->mtf.state != MTF_STEP || (nvmx_mtf_means == MTF_TIMER && n->timer_set >= step_ticks && !n->kick);
	if (e->kind != EXITK_EXCEPTION || e->u.exc.vector != VEC_DB)
		return false;
	switch ((enum dbg_class)e->u.exc.db.cls) {
	case DBG_ICEBP: case DBG_TASK:
		return false; /* N14: these come first; the trap flag is behind their delivery */
	case DBG_TRAP:
		return n->mtf.state != MTF_STEP || !n->mtf.waits;
	case DBG_FAULT: /* N13: of the instruction itself: it comes first. A breakpoint on the next one is not due yet, and will be found again */
		return n->mtf.state != MTF_STEP || v->rip != n->mtf.rip || (n->mtf.rflags & RFLAGS_RF);
	}
	return false;
}

/* What of a #DB at the boundary is of the instruction that is over: it waits (N12, N17). */
static void keep_traps(struct vcpu *v)
{
	struct dbg_record r = v->exit.u.exc.db;
	uint32_t theirs;

	for (unsigned i = 0; r.cls == DBG_FAULT && i < 4; i++)
		if (DR7_RW(dbg_eff_dr7(&v->dbg), i) == DR_RW_EXEC) /* a debugger's slots, too */
			r.payload &= ~(1u << i);
	theirs = dbg_route(&v->dbg, &r.payload);
	if (theirs)
		vcpu_debugger_hit(v, theirs);
	r.cls = DBG_TRAP;
	if (r.payload)
		vcpu_raise_db(v, &r);
}

bool nvmx_mtf_exit(struct vcpu *v, struct nvmx *n)
{
	bool boundary = n->mtf.state != MTF_OFF && at_boundary(v, n);
	bool behind = n->mtf.state == MTF_BEHIND && (v->exit.kind == EXITK_INTR || v->exit.kind == EXITK_NMI) && v->exit.vectoring.type == EVENT_NONE;

	n->mtf.state = MTF_OFF;
	if (!asked(n) && !n->mtf.due)
		return false;
	n->mtf.due = n->mtf.due || behind; /* the host's has to be handled first */
	v->event_pending = true; /* nvmx_mtf_event() looks what drover has done */
	n->mtf.handled = v->exit.kind != EXITK_EXCEPTION;
	n->mtf.rip = v->rip;
	n->mtf.rcx = v->r[GPR_RCX];
	if (!boundary)
		return false;
	if (v->exit.kind == EXITK_EXCEPTION)
		keep_traps(v);
	leave(v, n);
	return true;
}

/* Has drover carried out the instruction of the last exit, or one that it does not step, or one round of a string instruction? (N25) */
static bool retired(const struct vcpu *v, const struct nvmx *n)
{
	return (n->mtf.handled || v->step.on) && (v->rip != n->mtf.rip || (v->exit.kind == EXITK_IO && v->r[GPR_RCX] != n->mtf.rcx));
}

bool nvmx_mtf_due(const struct vcpu *v, const struct nvmx *n)
{
	return (asked(n) || n->mtf.due) && (n->mtf.due || retired(v, n));
}

/* STI and MOV SS: the timer is held off by their shadow, the trap flag is not. Only when nothing comes before the instruction. */
static bool needs_software(struct vcpu *v)
{
	uint64_t dr7 = dbg_eff_dr7(&v->dbg);

	if (v->exit.vectoring.type != EVENT_NONE || v->exception.type != EVENT_NONE || v->nmi_pending || event_irq(v) >= 0 ||
	    vmcs_read(VMCS_GUEST_PENDING_DBG))
		return false;
	for (unsigned i = 0; i < 4 && !(v->rflags & RFLAGS_RF); i++)
		if ((dr7 & DR7_ENABLE(i)) && DR7_RW(dr7, i) == DR_RW_EXEC && dbg_eff_dr(&v->dbg, i) == v->rip)
			return false;
	return shadow_next(v);
}

/* The entry that comes: how it is to end. */
static void arm(struct vcpu *v, struct nvmx *n)
{
	uint32_t intr = vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY);

	n->mtf.state = n->mtf.due ? MTF_DUE : n->run_pending && !(intr & (INTR_STI | INTR_MOV_SS)) && needs_software(v) ? MTF_CHECK : MTF_STEP;
	n->mtf.rip = v->rip;
	n->mtf.rflags = v->rflags;
	n->mtf.waits = !(intr & INTR_MOV_SS) && vmcs_read(VMCS_GUEST_PENDING_DBG);
	vmcs_write(VMCS_PIN_CTL, vmcs_read(VMCS_PIN_CTL) | PIN_TIMER);
	nvmx_timer_arm(v, n);
}

bool nvmx_mtf_event(struct vcpu *v, struct nvmx *n)
{
	bool fault = v->exception.type != EVENT_NONE && (v->exception.vector != VEC_DB || v->exception.db.cls != DBG_TRAP);

	if (!asked(n) && !n->mtf.due)
		return false;
	n->mtf.due = nvmx_mtf_due(v, n);
	n->mtf.handled = false;
	if (n->mtf.due && !n->run_pending && !fault && v->exit.vectoring.type == EVENT_NONE) {
		leave(v, n); /* a trap that waits is stored with it (N12) */
		return true;
	}
	if (!by_hand(v))
		return false;
	if (!n->mtf.due && !n->run_pending && needs_software(v) && !debugger_meets(v) && shadow_insn(v)) {
		leave(v, n);
		return true;
	}
	return false;
}

void nvmx_mtf_arm(struct vcpu *v, struct nvmx *n)
{
	if (nvmx_mtf_means == MTF_HW)
		hardware_flag(v, n);
	if (nvmx_mtf_means == MTF_HW && n->mtf.due) { /* SDM "Injection of Pending MTF VM Exits": nothing of the nested guest's comes before it */
		vmcs_write(VMCS_ENTRY_INTR_INFO, VMX_TYPE_OTHER << 8 | INFO_VALID);
		v->held = VCPU_HELD_INTR | VCPU_HELD_NMI;
	} else if (by_hand(v) && (asked(n) || n->mtf.due))
		arm(v, n);
}
