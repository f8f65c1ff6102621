/* SPDX-License-Identifier: MIT */
/* The one function that decides which event a guest gets next. The #DB's effects on DR6, DR7 and DEBUGCTL happen here, not at queueing (E13). */
#include "vmm/run.h"

#include "arch/x86/def/cr.h"
#include "arch/x86/def/exitcode.h"
#include "arch/x86/def/seg.h"

/* What comes past the APIC, as from an 8259, is first. */
int event_irq(const struct vcpu *v)
{
	for (int i = 3; i >= 0; i--)
		if (v->irq_pending[i])
			return i * 64 + 63 - __builtin_clzll(v->irq_pending[i]);
	return vlapic_irq(&v->apic);
}

bool event_irq_open(const struct vcpu *v)
{
	return v->level && v->be->nested->irq_open ? v->be->nested->irq_open(v) : v->rflags & RFLAGS_IF;
}

void event_take_irq(struct vcpu *v, uint8_t vector)
{
	if (v->irq_pending[0] | v->irq_pending[1] | v->irq_pending[2] | v->irq_pending[3])
		v->irq_pending[vector / 64] &= ~(1ull << vector % 64);
	else
		vlapic_ack(&v->apic, vector);
}

/* A trap of an emulated instruction: hardware raises it at the entry, in its place among NMI, SMI and MTF, and it comes back as an intercepted #DB,
 * which is then delivered (V13). Nothing else may be injected by that entry: it would drop the trap. */
static bool raise_pending(struct vcpu *v)
{
	if (!(v->be->dbg_caps & DBG_CAP_PENDING) || !v->exception.db.emulated)
		return false;
	v->st.pending_dbg = v->exception.db.payload;
	vcpu_dirty(v, VST_SHADOW);
	v->exception.type = EVENT_NONE;
	return true;
}

static void deliver_exception(struct vcpu *v)
{
	v->inject = v->exception;
	v->exception.type = EVENT_NONE;
	if (event_is_db(&v->inject))
		dbg_deliver(&v->dbg, &v->inject.db);
	else if (v->inject.type == EVENT_FAULT)
		v->rflags |= RFLAGS_RF; /* a fault pushes it set, or its instruction would hit its breakpoint again; #DB as it is (A28) */
	if (v->inject.has_error) {
		vcpu_need(v, VST_CR);
		v->inject.has_error = (v->st.cr0 & CR0_PE) != 0; /* real mode pushes none, and the entry checks of VMX insist on it */
	}
}

/* The ladder of rules.md, section 0, as far as this machine model has its rungs: an event that an exit cut short (rule E16: what it does to
 * DR6 was done the first time), then the exception or trap #DB, NMI, interrupt. One per entry; a window is asked for when more waits. */
void event_select_slow(struct vcpu *v)
{
	bool intr_window = false, nmi_window = false, busy = true;
	int irq;

	if (v->level && v->be->nested->event(v))
		v->event_pending = true; /* what waits is the guest hypervisor's, at its own level now */
	if (v->exception.type == EVENT_TRIPLE) { /* which has not asked for that exit */
		v->exception.type = EVENT_NONE;
		vcpu_stop(v, EXIT_TRIPLE, "triple fault of a guest's guest, rip=0x%lx", v->rip);
	}

	irq = (v->held & VCPU_HELD_INTR) || v->debugger.step ? -1 : event_irq(v); /* a debugger's step lands in no handler of them (Z06) */
	vcpu_need(v, VST_SHADOW);
	if (v->exit.vectoring.type != EVENT_NONE) {
		v->inject = v->exit.vectoring;
		v->inject.reinjected = true;
		v->exit.vectoring.type = EVENT_NONE;
	} else if (v->exception.type != EVENT_NONE) {
		if (v->exception.vector != VEC_DB || !raise_pending(v))
			deliver_exception(v);
	} else {
		busy = false;
	}
	if (v->nmi_pending && !(v->held & VCPU_HELD_NMI) && !v->debugger.step) {
		if (!busy && !v->st.nmi_blocked && !v->st.shadow) {
			v->inject = (struct event){ .type = EVENT_NMI, .vector = VEC_NMI };
			v->nmi_pending = false;
			busy = true;
		} else {
			nmi_window = true;
		}
	}
	if (irq >= 0) {
		if (!busy && (v->rflags & RFLAGS_IF) && !v->st.shadow) {
			v->inject = (struct event){ .type = EVENT_INTR, .vector = (uint8_t)irq };
			event_take_irq(v, (uint8_t)irq);
			intr_window = event_irq(v) >= 0;
		} else {
			intr_window = true;
		}
	}
	if (intr_window != v->want_intr_window || nmi_window != v->want_nmi_window) {
		v->want_intr_window = intr_window;
		v->want_nmi_window = nmi_window;
		vcpu_dirty(v, VST_CTL);
	}
	v->event_pending = v->exception.type != EVENT_NONE || (v->nmi_pending && !(v->held & VCPU_HELD_NMI)) || intr_window;
}
