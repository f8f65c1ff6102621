/* SPDX-License-Identifier: MIT */
/* Per-CPU data, reached through GS from day one; there is one CPU running for now, the others are parked. */
#ifndef ARCH_X86_PERCPU_H
#define ARCH_X86_PERCPU_H

#include <stdint.h>

#include "arch/x86/dbg.h"

struct vcpu;

/* Offsets that assembly uses are asserted in percpu.c. The struct lies at GS:0. */
struct cpu {
	struct cpu *self;           /* at offset 0, so that this_cpu() is one load */
	uint32_t id;                /* 0.. in order of discovery */
	uint32_t apic_id;
	volatile uint64_t ticks;    /* host timer interrupts since boot */
	uint64_t slice_end_tsc;     /* the inner loop goes out to the outer one at this TSC value (rule H03) */
	struct vcpu *vcpu;          /* whose state is loaded, or NULL */
	struct dbg_cpu dbg;         /* the host's own debug state, and who owns the registers now */
};

#ifndef DROVER_HOSTED
static inline struct cpu *this_cpu(void)
{
	struct cpu *c;

	__asm__("mov %%gs:0, %0" : "=r"(c)); /* not volatile: a CPU does not change under us */
	return c;
}
#else
struct cpu *this_cpu(void); /* host tests provide it */
#endif

#endif
