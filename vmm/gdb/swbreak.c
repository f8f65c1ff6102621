/* SPDX-License-Identifier: MIT */
/* The table of patched bytes, by where they lie in the host's memory. */
#include "vmm/gdb/swbreak.h"

#include "vmm/debugger.h"
#include "vmm/peek.h"
#include "vmm/vm.h"

#define INT3 0xccu

static struct swbreak {
	uint8_t *at; /* NULL: free */
	uint64_t lin;
	struct vm *vm;
	uint8_t saved;
} table[SWBREAK_MAX];

static struct swbreak *find(const uint8_t *at)
{
	for (unsigned i = 0; i < SWBREAK_MAX; i++)
		if (table[i].at == at)
			return &table[i];
	return NULL;
}

static void catch_int3(struct vm *vm)
{
	bool any = false;

	for (unsigned i = 0; i < SWBREAK_MAX; i++)
		any |= table[i].at && table[i].vm == vm;
	debugger_catch_int3(vm->vcpu, any);
}

static void restore(struct swbreak *b)
{
	if (*b->at == INT3)
		*b->at = b->saved; /* else the guest has loaded something else */
	b->at = NULL;
}

bool swbreak_set(struct vcpu *v, uint64_t lin)
{
	uint8_t *p = peek_ptr(v, lin, 1);
	struct swbreak *b;

	if (!p)
		return false;
	if (find(p))
		return true;
	b = find(NULL);
	if (!b)
		return false;
	*b = (struct swbreak){ .at = p, .lin = lin, .vm = v->vm, .saved = *p };
	*p = INT3;
	catch_int3(v->vm);
	return true;
}

void swbreak_clear(struct vcpu *v, uint64_t lin)
{
	for (unsigned i = 0; i < SWBREAK_MAX; i++)
		if (table[i].at && table[i].vm == v->vm && table[i].lin == lin)
			restore(&table[i]);
	catch_int3(v->vm);
}

void swbreak_clear_all(const struct vm *vm)
{
	for (unsigned i = 0; i < SWBREAK_MAX; i++) {
		struct vm *of = table[i].vm;

		if (!table[i].at || (vm && of != vm))
			continue;
		restore(&table[i]);
		catch_int3(of);
	}
}

bool swbreak_at(struct vcpu *v, uint64_t lin)
{
	const uint8_t *p = peek_ptr(v, lin, 1);

	return p && find(p) && *p == INT3;
}

void swbreak_hide(const uint8_t *p, uint8_t *copy, size_t n)
{
	for (unsigned i = 0; i < SWBREAK_MAX; i++)
		if (table[i].at && table[i].at >= p && table[i].at < p + n && *table[i].at == INT3)
			copy[table[i].at - p] = table[i].saved;
}

void swbreak_write(uint8_t *p, const uint8_t *from, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct swbreak *b = find(p + i);

		if (b && p[i] == INT3)
			b->saved = from[i];
		else
			p[i] = from[i];
	}
}
