/* SPDX-License-Identifier: MIT */
/* Nested VMX: the EPT that a nested guest runs with, filled on demand from its hypervisor's: nested-guest-physical to host-physical. */
#include "arch/x86/def/pte.h"
#include "arch/x86/pmem.h"
#include "arch/x86/vmx/nested.h"
#include "vmm/cpuid.h"
#include "vmm/gmem.h"
#include "vmm/guard.h"
#include "vmm/walk.h"

#define EPT_R 1ull
#define EPT_W 2ull
#define EPT_X 4ull
#define EPT_READ 1ull
#define EPT_WRITE 2ull
#define EPT_RWX 7ull
#define EPT_LARGE (1ull << 7)
#define EPT_TYPE(e) ((unsigned)((e) >> 3) & 7)

enum result { WALK_OK, WALK_VIOLATION, WALK_MISCONFIG };

struct ept_walk {
	uint64_t pa, size, rights;
};

/* Leaves: write-back, write-through, protected, combining, uncacheable. Upper bits of the address; bits 7:3 of a table. SDM "EPT Misconfigurations". */
static bool misconfigured(uint64_t e, unsigned level)
{
	bool leaf = level == 1 || ((e & EPT_LARGE) && level < 4);
	unsigned type = EPT_TYPE(e);

	if ((e & EPT_W) && !(e & EPT_R))
		return true;
	if ((e & EPT_RWX) == EPT_X && !(nvmx_ept_vpid_cap() & EPTCAP_EXEC_ONLY))
		return true;
	if (e & PTE_ADDR & ~cpuid_pa_mask())
		return true;
	if (!leaf)
		return (e & 0xf8) != 0;
	if (level > 1 && (e & PTE_ADDR & ((1ull << (12 + 9 * (level - 1))) - 1)))
		return true;
	return type == 2 || type == 3 || type == 7;
}

/* Over the guest hypervisor's tables. Each entry is read once. A table that is not in its memory reads as what no memory reads: all ones. */
static enum result walk12(const struct vcpu *v, uint64_t eptp, uint64_t gpa, struct ept_walk *w)
{
	uint64_t table = eptp & PTE_ADDR;

	w->rights = EPT_RWX;
	for (unsigned level = 4; level > 0; level--) {
		unsigned shift = 12 + 9 * (level - 1);
		uint64_t e = ~0ull;

		gmem_read(v->vm, (struct gpa){ table + (gpa >> shift & 0x1ff) * 8 }, &e, sizeof(e));
		if (!(e & EPT_RWX)) {
			w->rights = 0;
			return WALK_VIOLATION;
		}
		if (misconfigured(e, level))
			return WALK_MISCONFIG;
		w->rights &= e;
		if (level == 1 || (e & EPT_LARGE)) {
			w->size = 1ull << shift;
			w->pa = (e & PTE_ADDR & ~(w->size - 1)) | (gpa & (w->size - 1));
			return WALK_OK;
		}
		table = e & PTE_ADDR;
	}
	return WALK_VIOLATION; /* not reached */
}

/* ---- The shadow ---- */

bool nvmx_ept_init(struct nvmx *n)
{
	return demand_init(&n->ept, 1, NEPT_PAGES, EPT_RWX);
}

void nvmx_ept_destroy(struct nvmx *n)
{
	demand_destroy(&n->ept);
}

void nvmx_ept_zap(struct nvmx *n)
{
	demand_empty(&n->ept);
	n->vm2->flush = true;
}

void nvmx_ept_use(struct nvmx *n, uint64_t eptp)
{
	if (n->eptp != eptp)
		nvmx_ept_zap(n);
	n->eptp = eptp;
}

static bool map(struct nvmx *n, uint64_t gpa, uint64_t leaf)
{
	bool replaced;

	if (!demand_map(&n->ept, 0, gpa, leaf, &replaced))
		return false;
	if (replaced)
		n->vm2->flush = true;
	return true;
}

/* ---- Violations ---- */

#define QUAL_LINEAR (1u << 7)     /* the linear address is told */
#define QUAL_TRANSLATED (1u << 8) /* not of a paging structure */

/* access: WALK_W or 0. */
static uint64_t access_bits(uint32_t access)
{
	return access & WALK_W ? EPT_WRITE : EPT_READ;
}

/* Qualification: what the access was and where it came from are hardware's; what would have been allowed is the guest hypervisor's tables' (bits 5:3). */
static uint64_t violation(uint64_t hw_qual, uint64_t rights)
{
	return (hw_qual & ~(EPT_RWX << 3)) | rights << 3;
}

enum ept_fault nvmx_ept_fill(struct vcpu *v, struct nvmx *n, uint64_t gpa, uint64_t hw_qual, uint32_t *reason, uint64_t *qual)
{
	struct ept_walk w = { 0 };
	uint64_t base, leaf, access = hw_qual & EPT_RWX;
	bool large;

	*reason = R_EPT_VIOLATION;
	switch (walk12(v, n->eptp, gpa, &w)) {
	case WALK_MISCONFIG:
		*reason = R_EPT_MISCONFIG;
		*qual = 0;
		return EPT_L1;
	case WALK_VIOLATION:
		*qual = violation(hw_qual, w.rights);
		return EPT_L1;
	case WALK_OK:
		break;
	}
	if (!(access & (~w.rights | EPT_X)) && (w.pa ^ VLAPIC_PA) < PAGE_SIZE && vlapic_mmio(&v->apic)) {
		*qual = violation(hw_qual, 0); /* for what drover accesses itself: string I/O is not carried out there */
		return EPT_APIC;
	}
	if (access & ~w.rights || !gmem_ptr(v->vm, (struct gpa){ w.pa & ~0xfffull }, 4096)) {
		*qual = violation(hw_qual, access & ~w.rights ? w.rights : 0);
		return EPT_L1;
	}
	if ((access & EPT_X) && guard_closed(v->vm, w.pa)) {
		*qual = w.pa;
		return EPT_GUARD;
	}
	base = w.pa & ~0x1fffffull;
	large = w.size >= 1ull << 21 && !guard_within(v->vm, base) && gmem_ptr(v->vm, (struct gpa){ base }, 1ull << 21) && !(v->vm->ram_hpa & 0x1fffff);
	leaf = (v->vm->ram_hpa + (large ? base : w.pa & ~0xfffull)) | (large ? EPT_LARGE : 0) | w.rights | (uint64_t)MEMTYPE_WB << 3;
	if (!large)
		leaf = guard_leaf(v->vm, w.pa, leaf);
	if (!map(n, gpa, leaf)) {
		nvmx_ept_zap(n); /* all used: start again; what is needed comes back on demand */
		map(n, gpa, leaf);
	}
	return EPT_FILLED;
}

bool nvmx_phys(struct vcpu *v, uint64_t *pa)
{
	const struct nvmx *n = nvmx_of(v);
	struct ept_walk w = { 0 };

	if (!nvmx_ept(n))
		return true;
	if (walk12(v, n->eptp, *pa, &w) != WALK_OK)
		return false;
	*pa = w.pa;
	return true;
}

bool nvmx_access(struct vcpu *v, uint64_t *pa, uint32_t access)
{
	const struct nvmx *n = nvmx_of(v);
	struct ept_walk w = { 0 };

	if (!nvmx_ept(n))
		return true;
	if (walk12(v, n->eptp, *pa, &w) != WALK_OK || (access_bits(access) & ~w.rights))
		return false;
	*pa = w.pa;
	return true;
}

bool nvmx_miss(struct vcpu *v)
{
	struct nvmx *n = nvmx_of(v);
	struct l1_exit x = { .reason = R_TRIPLE };
	uint64_t qual = v->miss.table ? access_bits(0) : access_bits(v->miss.access) | QUAL_TRANSLATED;

	if (nvmx_ept(n)) {
		x.gpa = v->miss.pa;
		x.gla = v->miss.va;
		if (nvmx_ept_fill(v, n, v->miss.pa, qual | QUAL_LINEAR, &x.reason, &x.qual) == EPT_FILLED)
			return false;
	}
	nvmx_leave(v, n, &x);
	return true;
}
