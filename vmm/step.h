/* SPDX-License-Identifier: MIT */
/* Running what a vcpu runs one instruction at a time, unseen by it: by RFLAGS.TF, which is drover's then and never shows. For DEBUGCTL by software
 * (`debugctl=emulate`), and for whoever else asks. */
#ifndef VMM_STEP_H
#define VMM_STEP_H

#include "arch/x86/dbg.h"
#include "vmm/vcpu.h"

/* The next entry is to be a step: one instruction, or the delivery of an event up to the handler's first instruction. An instruction that exits and is
 * carried out by software is a step as well. For one entry; step_done() tells, behind the exit, if it has come to its end. */
void step_ask(struct vcpu *v);
/* The step of the last exit is over: an instruction has been carried out by hardware, or an event delivered. False: the instruction has exited, and what it
 * does is software's (vcpu_retired), or it has not begun. */
static inline bool step_done(const struct vcpu *v)
{
	return v->step.done;
}

/* Does the vcpu have to be stepped for its DEBUGCTL? Of what runs: a nested guest's may be its own (M08). */
static inline bool step_wanted(const struct vcpu *v)
{
	return v->step.asked || (v->dbg.soft && v->dbg.debugctl);
}

/* The run loop's, interrupts off. enter: behind the selection of an event, before the plan. leave: behind an exit of a step, before anybody looks at it. */
void step_enter(struct vcpu *v);
void step_leave(struct vcpu *v);

#endif
