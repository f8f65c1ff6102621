/* SPDX-License-Identifier: MIT */
/* The page walk for the paging modes up to 4 levels (Intel SDM "Paging", AMD APM "Page Translation and Protection"). */
#include "vmm/walk.h"

#include "arch/x86/def/pte.h"

/* Rights gathered over the levels: an access needs W and U in all of them, and NX in none. */
struct rights {
	bool write, user, noexec;
};

static bool fault(const struct walk_req *q, struct walk_result *r, uint32_t why)
{
	r->error = why | (q->access & (WALK_W | WALK_U));
	if ((q->access & WALK_I) && (q->nxe || q->smep)) /* else the bit is not defined */
		r->error |= WALK_I;
	return false;
}

static bool permitted(const struct walk_req *q, const struct rights *have)
{
	bool user = q->access & WALK_U, write = q->access & WALK_W, exec = q->access & WALK_I;

	if (user && !have->user)
		return false;
	if (write && !have->write && (user || q->wp))
		return false;
	if (exec && have->noexec)
		return false;
	if (!user && have->user && (exec ? q->smep : q->smap))
		return false;
	return true;
}

static bool finish(const struct walk_req *q, struct walk_result *r, const struct rights *have, uint64_t base, uint64_t size)
{
	r->size = size;
	r->pa = (base & ~(size - 1)) | (q->va & (size - 1));
	return permitted(q, have) ? true : fault(q, r, WALK_P);
}

static bool read_entry(struct walk_result *r, walk_read rd, void *ctx, uint64_t at)
{
	uint64_t e = 0;

	if (!rd(ctx, at, &e, r->entry_size))
		return false;
	r->at[r->nr] = at;
	r->value[r->nr++] = e;
	return e & PTE_P;
}

static bool walk_32(const struct walk_req *q, walk_read rd, void *ctx, struct walk_result *r)
{
	struct rights have = { .write = true, .user = true };
	uint64_t table = q->cr3 & 0xfffff000;

	r->entry_size = 4;
	for (unsigned level = 2; level > 0; level--) {
		unsigned shift = level == 2 ? 22 : 12;
		uint64_t e;

		if (!read_entry(r, rd, ctx, table + (q->va >> shift & 0x3ff) * 4))
			return fault(q, r, 0);
		e = r->value[r->nr - 1];
		have.write &= (e & PTE_W) != 0;
		have.user &= (e & PTE_U) != 0;
		if (level == 2 && (e & PTE_PS) && q->pse) /* PSE-36: bits 20:13 are bits 39:32 of the address */
			return finish(q, r, &have, (e & 0xffc00000) | (e >> 13 & 0xff) << 32, 1u << 22);
		table = e & 0xfffff000;
	}
	return finish(q, r, &have, table, 4096);
}

/* Reserved bits of an entry: address bits beyond MAXPHYADDR, NX without EFER.NXE, PS where no large page exists, and in PAE all of 62:52.
 * PAE's first level has no W, U and NX at all. */
static bool reserved(const struct walk_req *q, unsigned level, uint64_t e)
{
	if ((e & PTE_ADDR & ~q->pa_mask) || ((e & PTE_NX) && !q->nxe))
		return true;
	if (level == 4 || (level == 3 && q->mode == WALK_PAE))
		return (e & PTE_PS) != 0;
	if (level > 1 && (e & PTE_PS)) /* bit 12 of a large page is PAT */
		return (e & ((1ull << (level == 3 ? 30 : 21)) - 1) & ~0x1fffull) != 0;
	return false;
}

static bool walk_64(const struct walk_req *q, walk_read rd, void *ctx, struct walk_result *r)
{
	struct rights have = { .write = true, .user = true };
	uint64_t table = q->mode == WALK_PAE ? q->cr3 & 0xffffffe0 : q->cr3 & PTE_ADDR;

	r->entry_size = 8;
	for (unsigned level = q->mode == WALK_PAE ? 3 : 4; level > 0; level--) {
		unsigned shift = 12 + 9 * (level - 1);
		uint64_t e, mask = level == 3 && q->mode == WALK_PAE ? 3 : 0x1ff;

		if (!read_entry(r, rd, ctx, table + (q->va >> shift & mask) * 8))
			return fault(q, r, 0);
		e = r->value[r->nr - 1];
		if (reserved(q, level, e))
			return fault(q, r, WALK_P | WALK_RSVD);
		if (mask != 3) {
			have.write &= (e & PTE_W) != 0;
			have.user &= (e & PTE_U) != 0;
			have.noexec |= (e & PTE_NX) != 0;
		}
		if (level > 1 && (e & PTE_PS))
			return finish(q, r, &have, e & PTE_ADDR, 1ull << shift);
		table = e & PTE_ADDR;
	}
	return finish(q, r, &have, table, 4096);
}

bool walk(const struct walk_req *q, walk_read rd, void *ctx, struct walk_result *r)
{
	r->nr = 0;
	r->error = 0;
	switch ((enum walk_mode)q->mode) {
	case WALK_32:
		return walk_32(q, rd, ctx, r);
	case WALK_PAE:
	case WALK_4LEVEL:
		return walk_64(q, rd, ctx, r);
	case WALK_NONE:
		break;
	}
	r->pa = q->va;
	r->size = 4096;
	return true;
}
