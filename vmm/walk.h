/* SPDX-License-Identifier: MIT */
/* The page walk: pure, over a callback that reads the tables. Root and paging mode are arguments, so that it serves any guest's tables. */
#ifndef VMM_WALK_H
#define VMM_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum walk_mode { WALK_NONE, WALK_32, WALK_PAE, WALK_4LEVEL };

/* Access, in the bits of a #PF error code. */
enum { WALK_P = 1, WALK_W = 2, WALK_U = 4, WALK_RSVD = 8, WALK_I = 16 };

struct walk_req {
	uint64_t va, cr3;
	uint8_t mode;     /* enum walk_mode */
	bool pse;         /* CR4.PSE: 4 MiB pages in WALK_32 */
	bool nxe, wp, smep;
	bool smap;        /* CR4.SMAP, and not lifted by RFLAGS.AC */
	uint32_t access;  /* WALK_W, WALK_U, WALK_I */
	uint64_t pa_mask; /* of the guest's physical addresses: (1 << MAXPHYADDR) - 1 */
};

struct walk_result {
	uint64_t pa;      /* of va */
	uint64_t size;    /* of the page */
	uint32_t error;   /* #PF error code when the walk failed */
	unsigned nr;      /* levels met */
	unsigned entry_size;
	uint64_t at[4];   /* guest-physical address of each entry */
	uint64_t value[4];
};

/* size: 4 or 8. False: no memory there; the walk then fails as if the entry were not present. */
typedef bool (*walk_read)(void *ctx, uint64_t pa, void *dst, size_t size);

/* False: page fault, r->error is its code. Accessed and dirty bits are neither looked at nor set. */
bool walk(const struct walk_req *q, walk_read rd, void *ctx, struct walk_result *r);

#endif
