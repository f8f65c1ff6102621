/* SPDX-License-Identifier: MIT */
/* A pool of tables, handed out in order and only ever taken back all at once. */
#include "vmm/demand.h"

#include "arch/lib/string.h"
#include "arch/x86/def/pte.h"
#include "arch/x86/pmem.h"

#define LARGE_SIZE (1ull << 21)

bool demand_init(struct demand *d, unsigned roots, unsigned max, uint64_t table)
{
	*d = (struct demand){ .page = pmem_alloc((size_t)max * PAGE_SIZE, PAGE_SIZE), .roots = roots, .used = roots, .max = max, .table = table };
	return d->page != NULL;
}

void demand_destroy(struct demand *d)
{
	pmem_free(d->page, (size_t)d->max * PAGE_SIZE);
	d->page = NULL;
}

void demand_empty(struct demand *d)
{
	memset(d->page, 0, (size_t)d->roots * PAGE_SIZE);
	d->used = d->roots;
}

static uint64_t *below(struct demand *d, uint64_t *entry, bool *replaced)
{
	uint64_t *t;

	if (*entry && !(*entry & DEMAND_LARGE))
		return phys_to_virt(*entry & PTE_ADDR);
	if (d->used == d->max)
		return NULL;
	t = d->page + (size_t)d->used++ * PTE_ENTRIES;
	memset(t, 0, PAGE_SIZE);
	*replaced |= *entry != 0;
	*entry = virt_to_phys(t) | d->table;
	return t;
}

bool demand_map(struct demand *d, unsigned root, uint64_t addr, uint64_t leaf, bool *replaced)
{
	uint64_t *t = demand_root(d, root), *e = &t[addr >> 39 & 511];
	unsigned shift = 39;

	*replaced = false;
	/* 2 MiB that are there in smaller pages already stay so. */
	while (shift > 12 && !(shift == 21 && (leaf & DEMAND_LARGE) && (!*e || (*e & DEMAND_LARGE)))) {
		t = below(d, e, replaced);
		if (!t)
			return false;
		shift -= 9;
		e = &t[addr >> shift & 511];
	}
	if (shift == 12 && (leaf & DEMAND_LARGE))
		leaf = (leaf & ~DEMAND_LARGE) + (addr & (LARGE_SIZE - PAGE_SIZE));
	*replaced |= *e != 0;
	*e = leaf;
	return true;
}
