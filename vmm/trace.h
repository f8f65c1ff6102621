/* SPDX-License-Identifier: MIT */
/* The always-on ring of the last exits of a CPU. */
#ifndef VMM_TRACE_H
#define VMM_TRACE_H

#include "vmm/vcpu.h"

struct cpu;

/* Before the handler. Straight code, about 20 instructions. ops: the plan of the outer entry; fast: goes round the inner loop. */
static inline void trace_stamp(struct vcpu *v, unsigned ops)
{
	struct trace_ring *t = v->trace;
	struct trace_entry *e = &t->e[t->head++ % TRACE_ENTRIES];

	e->tsc = v->exit.tsc;
	e->rip = v->rip;
	e->hw_reason = v->exit.hw_reason;
	e->kind = v->exit.kind;
	e->plan_enter = (uint8_t)ops;
	e->fast = 0;
	e->level = v->exit.level;
	e->info = v->exit.hw_info;
}

static inline void trace_fast(struct vcpu *v)
{
	v->trace->e[(v->trace->head - 1) % TRACE_ENTRIES].fast = 1;
}

struct trace_ring *trace_ring(const struct cpu *c);
/* Logs the last exits, oldest first, with times relative to the last one. */
void trace_dump(const struct trace_ring *t, unsigned max);
/* What a panic and a failed entry print: registers of the vcpu, the last exits, the control block, its audit. */
void trace_dump_vcpu(struct vcpu *v);
/* Registers the dumper of panics. */
void trace_init(void);

#endif
