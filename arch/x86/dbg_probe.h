/* SPDX-License-Identifier: MIT */
/* What this CPU's DEBUGCTL does, tried out: some emulators and hypervisors only store its bits, and a guest must not be promised more. */
#ifndef ARCH_X86_DBG_PROBE_H
#define ARCH_X86_DBG_PROBE_H

#include "arch/x86/dbg.h"

/* At bring-up, after dbg_host_init() and traps_init(), before anything hooks #DB: fills c->can. Leaves DEBUGCTL 0 and DR6 DR6_INIT. */
void dbg_probe(struct dbg_cpu *c);

#endif
