/* SPDX-License-Identifier: MIT */
/* An event on its way into a guest: interrupt, NMI, exception. Payloads are applied at delivery, never at queueing (rule E13). */
#ifndef VMM_EVENT_H
#define VMM_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86/dbg.h"
#include "arch/x86/def/seg.h"

enum event_type {
	EVENT_NONE,
	EVENT_INTR,    /* external interrupt */
	EVENT_NMI,
	EVENT_FAULT,   /* hardware exception (faults, and #DB of every class: both vendors inject it as type 3) */
	EVENT_SOFT_INT,  /* INT n, seen in IDT-vectoring info, or queued by what carries it out (PVM) */
	EVENT_PRIV_SOFT, /* ICEBP, ditto */
	EVENT_SOFT_EXC,  /* INT3, INTO, ditto (step.c too) */
	EVENT_TRIPLE,    /* of a nested guest, found by drover: an exit to its hypervisor (nested.h), never injected */
};

struct event {
	uint8_t type; /* enum event_type */
	uint8_t vector;
	uint8_t level;
	uint8_t len;     /* instruction length for the soft types, bytes */
	bool has_error;
	bool reinjected; /* was already under way when an exit cut it short: no second merge (rule E16) */
	uint32_t error;
	struct dbg_record db; /* vector 1 only */
	uint64_t cr2;         /* vector 14 only */
};

/* A debug exception. INT 1 has the vector only: nothing of DR6 and DR7 is its. */
static inline bool event_is_db(const struct event *e)
{
	return e->type == EVENT_FAULT && e->vector == VEC_DB;
}

#endif
