/* SPDX-License-Identifier: MIT */
/* The second owner of a guest's debug registers: a debugger outside of it, which is gdb (vmm/gdb) or a lab hypercall. It gets free slots only, and gives
 * one back as soon as the guest arms it (Z01): its breakpoint moves to another, and if none is left it is looked for by stepping. */
#ifndef VMM_DEBUGGER_H
#define VMM_DEBUGGER_H

#include "vmm/vcpu.h"

enum debugger_owner { DEBUGGER_NOBODY, DEBUGGER_LAB, DEBUGGER_GDB };

enum debugger_stop { STOP_NONE, STOP_STEP, STOP_EXEC, STOP_WRITE, STOP_ACCESS, STOP_INT3, STOP_ASKED };

/* Slots of DR0-3 that the guest has enabled, as a mask; how many slots a mask has. */
unsigned debugger_guest_slots(const struct vcpu *v);
static inline unsigned debugger_count(unsigned mask)
{
	return (mask & 1) + (mask >> 1 & 1) + (mask >> 2 & 1) + (mask >> 3 & 1);
}

enum { DEBUGGER_ANY = -1, DEBUGGER_AGAIN = -2 };

/* Sets a breakpoint. addr: linear; rw_len: DR7's nibble; slot: the one that is wanted, or DEBUGGER_ANY, or DEBUGGER_AGAIN: it was there before, and is looked for by
 * stepping if the guest has taken its slot since. False: none is free, or that one is the guest's. Not while the guest runs, as all here but the loop's. */
bool debugger_set(struct vcpu *v, enum debugger_owner owner, uint64_t addr, unsigned rw_len, int slot);
/* Removes one; false: it is not there. All of an owner's. */
bool debugger_clear(struct vcpu *v, enum debugger_owner owner, uint64_t addr, unsigned rw_len);
void debugger_clear_all(struct vcpu *v, enum debugger_owner owner);
/* Stop behind the next instruction, or no more. Interrupts and NMIs wait meanwhile (Z06). */
void debugger_step(struct vcpu *v, bool on);
/* INT3 exits, while there are software breakpoints that are INT3s (Z07). */
void debugger_catch_int3(struct vcpu *v, bool on);
/* The pages where there are hidden ones, guest-physical, each once: nothing of them runs but by steps. False: out of memory, and there are none. */
bool debugger_guard(struct vcpu *v, const uint64_t *gpa, unsigned nr);

/* ---- The loop's ---- */

/* Before each outer entry while there are breakpoints, interrupts off: who has which slot. */
void debugger_fit(struct vcpu *v);
/* Slots that were hit, as a mask. Returns those that are not gdb's; gdb's become a stop. */
uint32_t debugger_hit(struct vcpu *v, uint32_t hits);
/* The guest has written a debug register: who loses a slot by that is looked for from the next instruction on. */
void debugger_armed(struct vcpu *v);
/* Before an entry that is a step, and behind each handler while it is stepped. */
void debugger_before(struct vcpu *v);
void debugger_boundary(struct vcpu *v);
/* The step that was asked for is over. */
void debugger_stepped(struct vcpu *v);
/* INT3 has exited for catch_int3, or with the quirk svm-int3 INT n. True: gdb's breakpoint. False: the guest's own: it is on its way to it (P13), or its gate's #GP
 * is, or INTO has been skipped. */
bool debugger_int3(struct vcpu *v);
/* The same for a nested guest, whose hypervisor may have asked for that exit: false: it is none of gdb's, and nothing has been done. */
bool debugger_takes(struct vcpu *v);

/* A fetch from this guest-physical address has exited. True: from a page with hidden breakpoints: a stop, or it is stepped from here on. */
bool debugger_fetch(struct vcpu *v, uint64_t gpa);
/* Before a step: an event is injected, and nothing is to be fetched unseen behind its delivery. */
void debugger_delivers(struct vcpu *v);
/* Is the instruction at RIP one that the CPU itself has to meet, since a breakpoint may be there that nobody has compared it with? */
bool debugger_meets(struct vcpu *v);

#endif
