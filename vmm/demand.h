/* SPDX-License-Identifier: MIT */
/* Page tables of 4 levels that faults fill, out of a bounded pool: shadows of tables that a guest keeps for itself or for its own guests. */
#ifndef VMM_DEMAND_H
#define VMM_DEMAND_H

#include <stdbool.h>
#include <stdint.h>

/* Entries of all formats (4-level paging, NPT, EPT): 0 is not present, bit 7 a 2 MiB leaf, bits 51:12 the address. */
#define DEMAND_LARGE (1ull << 7)

struct demand {
	uint64_t *page;  /* the pool; its first pages are the roots */
	unsigned roots, used, max;
	uint64_t table;  /* bits of an entry that points to a table */
};

/* max: pages, of which each root may need 4 at once. False: out of memory. */
bool demand_init(struct demand *d, unsigned roots, unsigned max, uint64_t table);
/* Also of one that was never made, or in part. */
void demand_destroy(struct demand *d);
/* Forgets everything. What hardware has cached of it is the caller's to flush, as behind each change that is told below. */
void demand_empty(struct demand *d);

static inline uint64_t *demand_root(const struct demand *d, unsigned i)
{
	return d->page + i * 512u;
}

/* The page at addr gets this leaf; with DEMAND_LARGE: the 2 MiB around it, or, where smaller leaves have been before, its 4 KiB out of them.
 * *replaced: an entry was there already. False: the pool is used up; nothing more than tables has been added. */
bool demand_map(struct demand *d, unsigned root, uint64_t addr, uint64_t leaf, bool *replaced);

#endif
