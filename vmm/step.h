/* SPDX-License-Identifier: MIT */
/* Running what a vcpu runs one instruction at a time, unseen by it: by RFLAGS.TF, which is drover's then and never shows. For DEBUGCTL by software
 * (`debugctl=emulate`), and for a debugger outside of the guest. */
#ifndef VMM_STEP_H
#define VMM_STEP_H

#include "arch/x86/dbg.h"
#include "vmm/vcpu.h"

/* Does the vcpu have to be stepped, for its DEBUGCTL (of what runs: a nested guest's may be its own, M08) or for a debugger? */
static inline bool step_wanted(const struct vcpu *v)
{
	return (v->dbg.soft && v->dbg.debugctl) || v->debugger.stepping;
}

/* Between runs, for a debugger's step: the instruction at RIP was one that software carries out, and is over. False: it has to run. */
bool step_software(struct vcpu *v);
/* The run loop's, interrupts off. enter: behind the selection of an event, before the plan. leave: behind an exit of a step, before anybody looks at it. */
void step_enter(struct vcpu *v);
void step_leave(struct vcpu *v);

#endif
