/* SPDX-License-Identifier: MIT */
/* Guest-physical memory: checked access, and address types that do not mix. */
#ifndef VMM_GMEM_H
#define VMM_GMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/lib/string.h"
#include "vmm/vm.h"

struct gpa { uint64_t v; }; /* guest-physical */
struct gva { uint64_t v; }; /* guest-linear */
struct hpa { uint64_t v; }; /* host-physical */

/* Host pointer to n bytes of guest memory; NULL when not all of them are RAM of this VM. */
static inline uint8_t *gmem_ptr(const struct vm *vm, struct gpa a, uint64_t n)
{
	return range_ok(a.v, n, vm->ram_size) ? vm->ram + a.v : NULL;
}

/* False: not RAM; nothing was copied. */
bool gmem_read(const struct vm *vm, struct gpa a, void *dst, size_t n);
bool gmem_write(const struct vm *vm, struct gpa a, const void *src, size_t n);

#endif
