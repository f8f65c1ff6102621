/* SPDX-License-Identifier: MIT */
/* Page by page, since neighbours need not lie side by side. */
#include "vmm/gdb/mem.h"

#include "vmm/swbreak.h"
#include "vmm/gmem.h"
#include "vmm/peek.h"

static size_t part_of(uint64_t addr, size_t n)
{
	size_t room = 4096 - (addr & 4095);

	return n < room ? n : room;
}

size_t gdb_read(struct vcpu *v, uint64_t addr, bool phys, void *dst, size_t n)
{
	size_t done = 0;

	while (done < n) {
		size_t part = part_of(addr + done, n - done);
		const uint8_t *p = phys ? gmem_ptr(v->vm, (struct gpa){ addr + done }, part) : peek_ptr(v, addr + done, part);

		if (!p)
			break;
		memcpy((uint8_t *)dst + done, p, part);
		swbreak_hide(p, (uint8_t *)dst + done, part);
		done += part;
	}
	return done;
}

bool gdb_write(struct vcpu *v, uint64_t addr, const void *src, size_t n)
{
	size_t part;

	for (size_t i = 0; i < n; i += part) {
		part = part_of(addr + i, n - i);
		if (!peek_ptr(v, addr + i, part))
			return false;
	}
	for (size_t i = 0; i < n; i += part) {
		part = part_of(addr + i, n - i);
		swbreak_write(peek_ptr(v, addr + i, part), (const uint8_t *)src + i, part);
	}
	return true;
}
