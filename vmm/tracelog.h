/* SPDX-License-Identifier: MIT */
/* `trace=on`: a long record of entries, exits and every access to debug registers and DEBUGCTL, printed when the VMs have ended. Off it costs nothing: the
 * entries go through a backend of its own, and the accesses test one pointer. */
#ifndef VMM_TRACELOG_H
#define VMM_TRACELOG_H

#include "vmm/backend.h"

extern bool tracelog_on;

/* Makes the ring of this CPU and turns the trace on. Returns the backend that the VMs are to run on: be, whose entries are recorded. Without memory for the
 * ring: be itself, and a word in the log. */
const struct backend *tracelog_init(const struct backend *be);

/* A guest's access that drover has carried out. what: DBG_TRACE_*; only while tracelog_on. */
void tracelog_guest(const struct vcpu *v, unsigned what, uint64_t old, uint64_t new);

/* Prints the last max records, oldest first, as text like that of KVM's trace points; forget: and begins anew. */
void tracelog_print(unsigned max, bool forget);

#endif
