/* SPDX-License-Identifier: MIT */
/* STI and MOV SS by software, for whoever steps a guest by a means that their shadow holds off for an instruction. */
#ifndef VMM_INTSHADOW_H
#define VMM_INTSHADOW_H

#include "vmm/vcpu.h"

/* Is the instruction at RIP one that opens a shadow: STI with IF=0, MOV SS from a register? */
bool shadow_next(struct vcpu *v);
/* Carries it out. False: it is none of them, or it would fault, or it is left to hardware (MOV SS: CPL above 0, the LDT, real and virtual-8086 mode; POP SS
 * and memory operands always); nothing has changed. The caller has seen to all that comes before the instruction: events, breakpoints. Between runs,
 * interrupts may be off. */
bool shadow_insn(struct vcpu *v);

#endif
