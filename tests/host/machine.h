/* SPDX-License-Identifier: MIT */
/* A whole machine for a test: the software CPU, a real backend on it, and VMs made by the real machine model, each with a guest script. */
#ifndef MACHINE_H
#define MACHINE_H

#include "arch/x86/percpu.h"
#include "model/cpu.h"
#include "vmm/backend.h"
#include "vmm/vm.h"

#define MAX_VMS 2

struct machine {
	const struct backend *be;
	struct cpu *cpu;
	unsigned nr;
	bool user;                     /* of VMs that are added from now on: with machine_ring3, the script is a user's */
	bool bus_lock_exit;            /* of VMs that are added from now on: their option buslock=exit */
	struct vm *vm[MAX_VMS];
	struct sw_guest g[MAX_VMS];    /* under drover */
	struct sw_guest bare[MAX_VMS]; /* the same script on bare hardware */
};

/* enum dbg_policy of VMs that are added. Only t_policy.c changes it. */
extern unsigned machine_policy;
/* The PVM backend, on a CPU of either vendor. */
extern bool machine_ring3;

/* Brings the CPU and the backend up. False: it failed (and a line says so). */
bool machine_start(struct machine *m, bool amd, struct ref_cpu phys);
/* One more lab VM with this script. */
struct vcpu *machine_add(struct machine *m, const struct gop *ops, unsigned nr, const struct gop *handler, unsigned nr_handler);
/* Runs all VMs, as one group, to their ends, and their scripts on bare hardware. */
void machine_run(struct machine *m);
void machine_stop(struct machine *m);

/* Each record that bare hardware makes, drover's guest has to make too: one line. */
void machine_same_as_bare(struct machine *m, unsigned vm, const char *id);
/* The i-th record of a kind, or NULL. */
const struct rec *machine_rec(const struct machine *m, unsigned vm, enum rec_kind kind, unsigned i);
unsigned machine_recs(const struct machine *m, unsigned vm, enum rec_kind kind);

/* What a test asks of the host in its name, with the software CPU told what is wanted now. */
void machine_host_bp(struct machine *m, unsigned slot, uint64_t addr, unsigned nibble);
void machine_host_debugctl(struct machine *m, uint64_t v);

/* gdb's end of a line: packets that are asked one after the other, each when the one before has been answered. */
struct gdb_line {
	const char *const *ask; /* NULL: nothing more comes */
	char frame[256];
	size_t at, n;
	bool running;           /* a stop is awaited: whoever sees it sets this to false */
	unsigned idle;
};
/* As take of struct gdb_port. A guest that stands, and that nobody would ever let go on, fails a check, which ends the tests. */
int gdb_line_take(struct gdb_line *l);
/* Behind a session of gdb's: the machine is going away (vmm.c). */
void machine_gdb_end(struct machine *m);

/* A debugger of this VM takes a slot; not while it runs. */
bool machine_hold(struct machine *m, unsigned vm, unsigned slot, uint64_t addr, unsigned rw_len);

/* In operation order: index of the first logged operation at or after `from`, or -1. n < 0: any. */
int machine_find(unsigned from, enum sw_op op, int n);
unsigned machine_count(unsigned from, unsigned to, enum sw_op op, int n);

#define OPS(a) a, sizeof(a) / sizeof((a)[0])

#endif
