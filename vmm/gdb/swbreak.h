/* SPDX-License-Identifier: MIT */
/* Software breakpoints: INT3 over the first byte of an instruction in a guest's memory. What gdb reads there is the guest's own byte. */
#ifndef VMM_GDB_SWBREAK_H
#define VMM_GDB_SWBREAK_H

#include "vmm/vcpu.h"

#define SWBREAK_MAX 32

/* At a linear address of what the vcpu runs, which is not running. set: false: no RAM there, or the table is full. One that is there already is kept. */
bool swbreak_set(struct vcpu *v, uint64_t lin);
void swbreak_clear(struct vcpu *v, uint64_t lin);
/* All of a VM's; NULL: of all VMs. The guest's bytes are back, unless the guest has written others over the INT3. */
void swbreak_clear_all(const struct vm *vm);
/* Is one of them there? By where the address leads, so that an alias of the page counts. */
bool swbreak_at(struct vcpu *v, uint64_t lin);

/* n bytes have been copied from guest memory at host pointer p: the guest's own bytes instead of INT3s. */
void swbreak_hide(const uint8_t *p, uint8_t *copy, size_t n);
/* n bytes go to guest memory at p: breakpoints among them stay, over the new bytes. */
void swbreak_write(uint8_t *p, const uint8_t *from, size_t n);

#endif
