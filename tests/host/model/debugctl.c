/* SPDX-License-Identifier: MIT */
/* DEBUGCTL on the software CPU: what its bits do, the branch records of both vendors, and AMD's breakpoint address masks. */
#include "model/cpu.h"

#include <stddef.h>

#define MSR_LBR_SELECT 0x1c8u
#define MSR_LBR_TOS 0x1c9u
#define MSR_AMD_RECORDS 0x1dbu
#define MSR_FROM 0x680u
#define MSR_TO 0x6c0u

/* ---- DEBUGCTL ---- */

/* On AMD all of it takes LBR virtualization to be a guest's, which is the CPU model that a guest is promised. */
uint64_t sw_debugctl_bits(struct ref_cpu c)
{
	if ((sw.amd && !c.lbrv) || c.no_debugctl)
		return 0;
	return (c.lbr ? SW_LBR : 0) | (c.btf ? SW_BTF : 0) | (c.bld ? SW_BUS_LOCK : 0);
}

/* APM: bits 5:2 without a function are ignored. SDM: reserved bits fault; LBR and BTF exist on each CPU, perhaps without effect. */
bool sw_debugctl_write(uint64_t v, uint64_t *now)
{
	uint64_t have = sw_debugctl_bits(sw.phys);

	if (v & ~(have | (sw.amd ? 0x3full : 3ull)))
		return false;
	*now = v & have;
	return true;
}

/* ---- Branch records ---- */

void sw_branch(uint64_t from, uint64_t to)
{
	struct sw_lbr *l = &sw.lbr;

	if (!(sw.debugctl & SW_LBR) || !sw.phys.lbr)
		return;
	if (sw.amd) {
		l->amd[0] = from;
		l->amd[1] = to;
	} else if (sw.phys.lbr_depth) {
		l->tos = (l->tos + 1) % sw.phys.lbr_depth;
		l->from[l->tos] = from;
		l->to[l->tos] = to;
	}
}

void sw_host_branch(void)
{
	sw.host_branches++;
	sw_branch(0xffffffff80000000 + sw.host_branches, 0xffffffff80100000 + sw.host_branches);
}

static uint64_t *record(uint32_t msr)
{
	struct sw_lbr *l = &sw.lbr;
	unsigned depth = sw.phys.lbr_depth;

	if (sw.amd)
		return msr - MSR_AMD_RECORDS < 4 ? &l->amd[msr - MSR_AMD_RECORDS] : NULL;
	if (msr == MSR_LBR_SELECT && depth)
		return &l->select;
	if (msr == MSR_LBR_TOS && depth)
		return &l->tos;
	if (msr - MSR_FROM < depth)
		return &l->from[msr - MSR_FROM];
	return msr - MSR_TO < depth ? &l->to[msr - MSR_TO] : NULL;
}

static bool is_record(uint32_t msr)
{
	return msr - MSR_LBR_SELECT < 2 || msr - MSR_AMD_RECORDS < 4 || msr - MSR_FROM < 32 || msr - MSR_TO < 32 || msr - 0xdc0u < 32;
}

/* ---- MSRs ---- */

int sw_mask_slot(uint32_t msr)
{
	return msr == 0xc0011027 ? 0 : msr - 0xc0011019 < 3 ? (int)(msr - 0xc0011019) + 1 : -1;
}

int sw_debug_msr(uint32_t msr, bool write, uint64_t *v)
{
	int slot = sw_mask_slot(msr);
	uint64_t *r;

	if (slot >= 0) {
		if (!sw.amd || !sw.phys.masks || (write && *v >> (sw.phys.masks32 ? 32 : 12)))
			return 0;
		if (write)
			sw.mask[slot] = (uint32_t)*v;
		else
			*v = sw.mask[slot];
		return 1;
	}
	if (!is_record(msr))
		return -1;
	r = record(msr);
	if (!r || (write && sw.amd)) /* read-only there (S13) */
		return 0;
	if (write)
		*r = *v;
	else
		*v = *r;
	return 1;
}

/* ---- Breakpoints under a mask ---- */

static uint64_t bytes_of(uint64_t dr7, unsigned i)
{
	static const uint8_t size[4] = { 1, 2, 8, 4 };

	return size[dr7 >> (18 + 4 * i) & 3];
}

/* One bit of the address after the other: those of the mask are left out, and for data those within the length. */
static bool same_address(uint64_t a, uint64_t b, uint64_t mask, uint64_t size)
{
	for (unsigned bit = 0; bit < 64; bit++)
		if (!(mask >> bit & 1) && (size >> bit & 1) == 0 && ((a ^ b) >> bit & 1))
			return false;
	return true;
}

bool sw_match(uint64_t dr, uint64_t dr7, unsigned i, uint32_t mask, enum ref_access a, uint64_t addr, unsigned len, bool de)
{
	unsigned rw = dr7 >> (16 + 4 * i) & 3;

	if (!mask || a == REF_PORT)
		return ref_match(dr, dr7, i, a, addr, len, de);
	if (rw == 0)
		return a == REF_FETCH && bytes_of(dr7, i) == 1 && same_address(addr, dr, mask, 0);
	if (rw == 2 || a == REF_FETCH || (rw == 1 && a != REF_WRITE))
		return false;
	for (unsigned x = 0; x < len; x++)
		if (same_address(addr + x, dr, mask, bytes_of(dr7, i) - 1))
			return true;
	return false;
}

uint32_t sw_live_hits(enum ref_access a, uint64_t addr, unsigned len, bool de)
{
	uint32_t hits = 0;

	for (unsigned i = 0; i < 4; i++)
		if (ref_enabled(sw.dr7, i) && sw_match(sw.dr[i], sw.dr7, i, sw.mask[i], a, addr, len, de))
			hits |= 1u << i;
	return hits;
}

uint32_t sw_true_hits(const struct sw_guest *g, enum ref_access a, uint64_t addr, unsigned len)
{
	uint32_t hits = 0;

	for (unsigned i = 0; i < 4; i++)
		if (ref_enabled(g->true_dr7, i) && !(g->held_slots >> i & 1) &&
		    sw_match(g->true_dr[i], g->true_dr7, i, g->true_mask[i], a, addr, len, g->de))
			hits |= 1u << i;
	return hits;
}

uint64_t sw_want_dr7(const struct sw_guest *g)
{
	uint64_t v = g->true_dr7;

	for (unsigned i = 0; i < 4; i++)
		if (g->held_slots >> i & 1)
			v &= ~(3ull << 2 * i | 0xfull << (16 + 4 * i));
	return v | g->held_dr7;
}

uint64_t sw_want_dr(const struct sw_guest *g, unsigned i)
{
	return g->held_slots >> i & 1 ? g->held_dr[i] : g->true_dr[i];
}
