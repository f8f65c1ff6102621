/* SPDX-License-Identifier: MIT */
/* Pages of a VM's memory that it cannot fetch instructions from while they are closed, whichever way it maps them: a debugger's breakpoints lie there, and no
 * byte of them has been changed. Reads and writes are the guest's own affair. */
#ifndef VMM_GUARD_H
#define VMM_GUARD_H

#include "vmm/backend.h"
#include "vmm/vm.h"

/* Is the page of this guest-physical address one of them? */
static inline bool guard_has(const struct vm *vm, uint64_t gpa)
{
	for (unsigned i = 0; i < vm->guard.nr; i++)
		if ((vm->guard.page[i] ^ gpa) < 4096)
			return true;
	return false;
}

/* And closed: a leaf that maps it must not be executable. */
static inline bool guard_closed(const struct vm *vm, uint64_t gpa)
{
	return !vm->guard.open && guard_has(vm, gpa);
}

/* A leaf of 2 MiB at this guest-physical address would hold one of them, so that it must be in smaller ones, open or closed. */
static inline bool guard_within(const struct vm *vm, uint64_t gpa)
{
	for (unsigned i = 0; i < vm->guard.nr; i++)
		if ((vm->guard.page[i] ^ gpa) >> 21 == 0)
			return true;
	return false;
}

/* A second-level leaf of 4 KiB for the page at this guest-physical address: not executable while that is closed. */
static inline uint64_t guard_leaf(const struct vm *vm, uint64_t gpa, uint64_t leaf)
{
	const struct slat_format *f = vm->be->slat;

	return guard_closed(vm, gpa) ? (leaf & ~f->exec) | f->noexec : leaf;
}

/* Exactly these pages from now on, closed; nr <= GUARD_MAX. gpa: of pages of RAM, each once. False: out of memory for tables; then there are none. Not while it
 * runs, as the next one; but that may be called with interrupts off, before an entry. */
bool guard_set(struct vcpu *v, const uint64_t *gpa, unsigned nr);
/* All open, or all closed. Who opens them watches each instruction, until they are closed. */
void guard_open(struct vcpu *v, bool open);

#endif
