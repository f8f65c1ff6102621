/* SPDX-License-Identifier: MIT */
/* trace=on: a ring of entries, exits and accesses of the debug registers, printed after the run. Off: nobody is called, and no exit costs anything more. */
#ifndef VMM_DBGTRACE_H
#define VMM_DBGTRACE_H

#include <stdbool.h>

struct backend;
struct cpu;

enum dbgtrace_mode {
	DBGTRACE_OFF,
	DBGTRACE_LAST,  /* trace=on: the last DBGTRACE_EVENTS events, an entry and its exit being one */
	DBGTRACE_FIRST, /* trace=first: the first ones */
};

#define DBGTRACE_EVENTS 1536u

/* From here on this CPU's accesses are recorded, and a VM that is made with the backend returned (instead of be) has its entries and exits recorded.
 * Panics when there is no memory for the ring. Once, before any VM is made. */
const struct backend *dbgtrace_start(const struct backend *be, struct cpu *c, enum dbgtrace_mode mode);
/* Logs the last max events, oldest first, between two marker lines; the format stands in tests/run/dbgtrace.py. False: there is no trace. */
bool dbgtrace_print(const struct cpu *c, unsigned max);

#endif
