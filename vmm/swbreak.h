/* SPDX-License-Identifier: MIT */
/* Software breakpoints, in a table by where they lie in the host's memory. Hidden ones change nothing there: their pages are guarded
 * (vmm/guard.h), and RIP is compared with the table. The others are INT3s over the first byte of the instruction: fast, and the guest can read them. gdb reads the guest's own byte. */
#ifndef VMM_SWBREAK_H
#define VMM_SWBREAK_H

#include "vmm/vcpu.h"

#define SWBREAK_MAX 32

/* Are those that are set from now on hidden? They are to begin with. */
extern bool swbreak_hidden;

/* At a linear address of what the vcpu runs, which is not running. set: false: no RAM there, the table is full, or out of memory for a
 * guard. One that is there already is kept. */
bool swbreak_set(struct vcpu *v, uint64_t lin);
void swbreak_clear(struct vcpu *v, uint64_t lin);
/* All of a VM's; NULL: of all VMs. Bytes that were INT3 are the guest's again, unless the guest has written others over them. */
void swbreak_clear_all(const struct vm *vm);
/* Is one of them there? By where the address leads, so that an alias of the page counts. */
bool swbreak_at(struct vcpu *v, uint64_t lin);
/* How many a VM has. */
unsigned swbreak_count(const struct vm *vm);

/* n bytes have been copied from guest memory at host pointer p: the guest's own bytes instead of INT3s. */
void swbreak_hide(const uint8_t *p, uint8_t *copy, size_t n);
/* n bytes go to guest memory at p: breakpoints among them stay, over the new bytes. */
void swbreak_write(uint8_t *p, const uint8_t *from, size_t n);

#endif
