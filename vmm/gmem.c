/* SPDX-License-Identifier: MIT */
/* Checked copies from and to guest-physical memory. */
#include "vmm/gmem.h"

bool gmem_read(const struct vm *vm, struct gpa a, void *dst, size_t n)
{
	const uint8_t *p = gmem_ptr(vm, a, n);

	if (!p)
		return false;
	memcpy(dst, p, n);
	return true;
}

bool gmem_write(const struct vm *vm, struct gpa a, const void *src, size_t n)
{
	uint8_t *p = gmem_ptr(vm, a, n);

	if (!p)
		return false;
	memcpy(p, src, n);
	return true;
}
