/* SPDX-License-Identifier: MIT */
/* The always-on ring of the last exits of a CPU. */
#ifndef VMM_TRACE_H
#define VMM_TRACE_H

#include "vmm/vcpu.h"

struct cpu;

/* Before the handler. Straight code, at most 20 instructions. ops: the plan of the outer entry. */
static inline void trace_stamp(struct vcpu *v, unsigned ops)
{
	struct trace_ring *t = v->trace;
	struct trace_entry *e = &t->e[t->head++ % TRACE_ENTRIES];

	e->tsc = v->exit.tsc;
	e->rip = v->rip;
	e->info = v->exit.hw_info;
	__builtin_memcpy(&e->kind, &v->exit, 8);
	e->plan_enter = (uint8_t)ops;
}
_Static_assert(offsetof(struct exit, kind) == 0 && offsetof(struct exit, level) == 1 && offsetof(struct exit, len) == 2 &&
		       offsetof(struct exit, hw_reason) == 4 && offsetof(struct trace_entry, kind) % 8 == 0 &&
		       offsetof(struct trace_entry, hw_reason) == offsetof(struct trace_entry, kind) + 4, "trace_stamp copies the first 8 bytes");

static inline void trace_fast(struct vcpu *v)
{
	v->trace->e[(v->trace->head - 1) % TRACE_ENTRIES].plan_enter |= TRACE_FAST;
}

/* The ring of this CPU, made when it is first asked for; panics when there is no memory for it. */
struct trace_ring *trace_ring(const struct cpu *c);
/* Logs the last exits, oldest first, with times relative to the last one. */
void trace_dump(const struct trace_ring *t, unsigned max);
/* What a panic and a failed entry print: registers of the vcpu, the last exits, the control block, its audit. */
void trace_dump_vcpu(struct vcpu *v);
/* Registers the dumper of panics. */
void trace_init(void);

#endif
