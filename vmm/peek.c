/* SPDX-License-Identifier: MIT */
/* Page walks that ask for no rights. */
#include "vmm/peek.h"

#include "vmm/gva.h"

uint8_t *peek_ptr(struct vcpu *v, uint64_t lin, size_t n)
{
	struct walk_result r;
	bool missed = v->miss.valid, there;
	uint8_t *p = NULL;

	there = gva_walk(v, (struct gva){ lin }, 0, &r);
	if (there || ((r.error & WALK_P) && !(r.error & WALK_RSVD)))
		p = gva_phys(v, r.pa, n);
	v->miss.valid = missed; /* a hole that we meet is nobody's exit */
	return p;
}

bool peek(struct vcpu *v, uint64_t lin, void *dst, size_t n)
{
	uint8_t *to = dst;

	while (n > 0) {
		size_t room = 4096 - (lin & 4095), part = n < room ? n : room;
		const uint8_t *p = peek_ptr(v, lin, part);

		if (!p)
			return false;
		memcpy(to, p, part);
		to += part;
		lin += part;
		n -= part;
	}
	return true;
}
