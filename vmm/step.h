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

/* Would INT n, INT3 or INTO at RIP be #GP for its gate's DPL? Injected it would not, or be told behind it. */
bool step_gate_refuses(struct vcpu *v, uint8_t vector);

/* Between runs, for a debugger's step: the instruction at RIP was one that software carries out, and is over. False: it has to run. */
bool step_software(struct vcpu *v);
/* The run loop's, interrupts off. enter: behind the selection of an event, before the plan. leave: behind an exit of a step, before anybody looks at it. */
void step_enter(struct vcpu *v);
void step_leave(struct vcpu *v);

/* Behind a step whose TF was hidden. PUSHF has put that on the stack, where nobody has looked yet: taken off there. */
void step_clear_pushed_tf(struct vcpu *v);
/* The B bits of its payload that are causes of their own, and no others. An exec breakpoint that matches behind the step is the next instruction's, which will
 * find it, unless RF is set. */
uint32_t step_data_hits(const struct vcpu *v, uint32_t payload);

#endif
