/* SPDX-License-Identifier: MIT */
/* The gdb stub: gdb's remote serial protocol on a line of its own. Its threads are the vcpus of the group that runs; when one of them stops, all do. */
#ifndef VMM_GDB_GDB_H
#define VMM_GDB_GDB_H

#include "vmm/vcpu.h"

/* The line. take: the next character, -1: none has come; never waits. send: waits until it is out, or nobody reads it. */
struct gdb_port {
	int (*take)(void);
	void (*send)(const char *s, size_t n);
};

extern bool gdb_on; /* there is a line */

/* wait: the first VM does not begin before a gdb has come. */
void gdb_init(const struct gdb_port *port, bool wait);

/* ---- The run loop's; all with interrupts on, between two runs, and only while gdb_on ---- */

/* Before a vcpu's first entry. */
void gdb_begin(struct vcpu *v);
/* Behind an exit, at the latest at the end of a slice: has gdb something to say, or v to tell? Comes back when the guest is to go on. True: v had stopped,
 * and gdb has let it go on: ask again, behind a step that software carries out. What time passes, with either result, is not the guest's. */
bool gdb_turn(struct vcpu *v);
/* All that could run have halted, v is one of them. Returns the TSC ticks that gdb took. */
uint64_t gdb_idle(struct vcpu *v);
/* This VM is going away. All are over; gdb is told the low byte of this exit code. */
void gdb_vm_gone(const struct vm *vm);
void gdb_end(unsigned code);

#endif
