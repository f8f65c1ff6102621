/* SPDX-License-Identifier: MIT */
/* What gdb has asked to be inserted (Z0 to Z4), in all VMs that it sees. */
#ifndef VMM_GDB_BREAKS_H
#define VMM_GDB_BREAKS_H

#include "vmm/vcpu.h"

enum { BREAK_SOFT, BREAK_EXEC, BREAK_WRITE, BREAK_READ, BREAK_ACCESS, BREAK_KINDS }; /* RSP's types */

/* NULL: done. Else why not, by name: the reply; "": no such kind here. first: a vcpu of the ring. len: bytes, 1 to 32, of a code breakpoint any; at most 64 are
 * kept. A watchpoint takes as many slots as its aligned pieces of 1, 2, 4 and 8 bytes are. There is no slot type that looks at reads only: BREAK_READ is refused, and gdb takes BREAK_ACCESS. */
const char *breaks_set(struct vcpu *first, unsigned kind, uint64_t addr, uint64_t len);
/* NULL also for one that is not there. */
const char *breaks_clear(struct vcpu *first, unsigned kind, uint64_t addr, uint64_t len);
/* All of them, in all VMs of the ring. */
void breaks_clear_all(struct vcpu *first);
/* A VM that begins while they are inserted gets them, too. */
void breaks_follow(struct vcpu *v);
/* The last refusal, or "". */
const char *breaks_refused(void);

#endif
