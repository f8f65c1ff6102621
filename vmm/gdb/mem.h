/* SPDX-License-Identifier: MIT */
/* Guest memory as gdb sees it: by the guest's own tables, without the INT3s of its software breakpoints. */
#ifndef VMM_GDB_MEM_H
#define VMM_GDB_MEM_H

#include "vmm/vcpu.h"

/* Copies up to n bytes; how many: up to the first that is not mapped or no RAM. Rights are not asked for, accessed and dirty bits stay. phys: the address is
 * guest-physical (of the guest, not of a guest of its own). */
size_t gdb_read(struct vcpu *v, uint64_t addr, bool phys, void *dst, size_t n);
/* All or nothing. False: nothing was written. */
bool gdb_write(struct vcpu *v, uint64_t addr, const void *src, size_t n);

#endif
