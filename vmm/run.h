/* SPDX-License-Identifier: MIT */
/* Running vcpus: the outer and inner loop, groups that share a CPU, what an exit handler may ask for. */
#ifndef VMM_RUN_H
#define VMM_RUN_H

#include "vmm/backend.h"

/* Runs the vcpus of one group (a ring by vcpu.peer) on this CPU until all have stopped. Interrupts are on before and after. */
void run_group(struct vcpu *first, struct cpu *c);

/* event_select() when something waits. */
void event_select_slow(struct vcpu *v);

/* The interrupt that the CPU would take if IF and shadows let it, the lab's or the APIC's, or -1; and its acknowledgement. */
int event_irq(const struct vcpu *v);
void event_take_irq(struct vcpu *v, uint8_t vector);

/* Chooses what the next entry injects. Once per outer entry. */
static inline void event_select(struct vcpu *v)
{
	if (__builtin_expect(v->event_pending | v->exit.vectoring.type, 0))
		event_select_slow(v);
}

/* The exit in v->exit, with host interrupts open and the debug state in v->dbg. */
void exit_handle(struct vcpu *v);

/* The guest's APIC timer has been set, or the host's timer has come: the next exit is in time for it. For the vcpu that runs on this CPU. */
void run_timer(struct vcpu *v);

/* Would an interrupt end a HLT of what runs? */
bool event_irq_open(const struct vcpu *v);

/* Will its APIC timer end a HLT? */
bool run_timer_wakes(const struct vcpu *v);

/* Another vcpu of the group that can run, or NULL. */
struct vcpu *run_peer(struct vcpu *v);
/* Is there one that could if gdb did not hold it? */
bool run_frozen_peer(struct vcpu *v);

#endif
