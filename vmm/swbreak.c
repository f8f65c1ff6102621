/* SPDX-License-Identifier: MIT */
/* The table of software breakpoints, hidden and patched. */
#include "vmm/swbreak.h"

#include "vmm/debugger.h"
#include "vmm/peek.h"
#include "vmm/vm.h"

#define INT3 0xccu

static struct swbreak {
	uint8_t *at; /* NULL: free */
	uint64_t lin;
	struct vm *vm;
	bool hidden;
	uint8_t saved; /* unless hidden */
} table[SWBREAK_MAX];

bool swbreak_hidden = true;

static struct swbreak *find(const uint8_t *at)
{
	for (unsigned i = 0; i < SWBREAK_MAX; i++)
		if (table[i].at == at)
			return &table[i];
	return NULL;
}

static bool listed(const uint64_t *page, unsigned n, uint64_t gpa)
{
	while (n > 0)
		if (((page[--n] ^ gpa) & ~4095ull) == 0)
			return true;
	return false;
}

/* What a VM's part of the table asks for: INT3 exits, its pages guarded. False: out of memory for guards. */
static bool apply(struct vm *vm)
{
	uint64_t page[SWBREAK_MAX];
	unsigned n = 0;
	bool int3 = false;

	_Static_assert(SWBREAK_MAX <= GUARD_MAX, "a page each");
	for (unsigned i = 0; i < SWBREAK_MAX; i++) {
		const struct swbreak *b = &table[i];
		if (!b->at || b->vm != vm)
			continue;
		int3 |= !b->hidden;
		if (b->hidden && !listed(page, n, (uint64_t)(b->at - vm->ram)))
			page[n++] = (uint64_t)(b->at - vm->ram);
	}
	debugger_catch_int3(vm->vcpu, int3);
	return debugger_guard(vm->vcpu, page, n);
}

static void restore(struct swbreak *b)
{
	uint8_t *at = b->at;

	b->at = NULL;
	if (!b->hidden && *at == INT3 && !find(at)) /* not by another address, too */
		*at = b->saved; /* else the guest has loaded something else */
}

bool swbreak_set(struct vcpu *v, uint64_t lin)
{
	uint8_t *p = peek_ptr(v, lin, 1);
	struct swbreak *b, *same;

	if (!p)
		return false;
	for (unsigned i = 0; i < SWBREAK_MAX; i++)
		if (table[i].at == p && table[i].lin == lin)
			return true;
	b = find(NULL);
	if (!b)
		return false;
	same = find(p);
	*b = (struct swbreak){ .at = p, .lin = lin, .vm = v->vm, .saved = same ? same->saved : *p, .hidden = same ? same->hidden : swbreak_hidden };
	if (!b->hidden)
		*p = INT3;
	if (apply(v->vm))
		return true;
	b->at = NULL;
	apply(v->vm); /* the others have their tables already */
	return false;
}

void swbreak_clear(struct vcpu *v, uint64_t lin)
{
	for (unsigned i = 0; i < SWBREAK_MAX; i++)
		if (table[i].at && table[i].vm == v->vm && table[i].lin == lin)
			restore(&table[i]);
	apply(v->vm);
}

void swbreak_clear_all(const struct vm *vm)
{
	for (unsigned i = 0; i < SWBREAK_MAX; i++) {
		struct vm *of = table[i].vm;

		if (!table[i].at || (vm && of != vm))
			continue;
		restore(&table[i]);
		apply(of);
	}
}

bool swbreak_at(struct vcpu *v, uint64_t lin)
{
	const uint8_t *p = peek_ptr(v, lin, 1);
	const struct swbreak *b = p ? find(p) : NULL;

	return b && (b->hidden || *p == INT3);
}

unsigned swbreak_count(const struct vm *vm)
{
	unsigned n = 0;

	for (unsigned i = 0; i < SWBREAK_MAX; i++)
		n += table[i].at && table[i].vm == vm;
	return n;
}

void swbreak_hide(const uint8_t *p, uint8_t *copy, size_t n)
{
	for (unsigned i = 0; i < SWBREAK_MAX; i++)
		if (table[i].at && !table[i].hidden && table[i].at >= p && table[i].at < p + n && *table[i].at == INT3)
			copy[table[i].at - p] = table[i].saved;
}

void swbreak_write(uint8_t *p, const uint8_t *from, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool patched = false;

		for (unsigned k = 0; k < SWBREAK_MAX; k++)
			if (table[k].at == p + i && !table[k].hidden && p[i] == INT3) {
				table[k].saved = from[i];
				patched = true;
			}
		if (!patched)
			p[i] = from[i];
	}
}
