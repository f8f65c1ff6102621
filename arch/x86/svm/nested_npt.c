/* SPDX-License-Identifier: MIT */
/* The shadow of L1's nested page tables: filled by L2's faults from a walk of L1's tables, emptied when L1 flushes. */
#include "arch/x86/def/cr.h"
#include "arch/x86/def/pte.h"
#include "arch/x86/pmem.h"
#include "arch/x86/svm/nested.h"
#include "vmm/cpuid.h"
#include "vmm/gmem.h"
#include "vmm/guard.h"
#include "vmm/walk.h"

#define LARGE (1ull << 21)
#define INFO1_FINAL (1ull << 32)
#define INFO1_TABLE (1ull << 33) /* of L2's own */

bool svm_npt_init(const struct vcpu *v, struct svm_nested *n)
{
	return demand_init(&n->npt, 1, SVM_NPT_PAGES, v->be->slat->table);
}

void svm_npt_destroy(struct svm_nested *n)
{
	demand_destroy(&n->npt);
}

void svm_npt_flush(struct vcpu *v, struct svm_nested *n)
{
	demand_empty(&n->npt);
	if (v->level)
		svm_hw(v)->todo |= SVM_TODO_FLUSH;
	else
		n->todo02 |= SVM_TODO_FLUSH;
}

/* ---- L1's tables ---- */

static bool read_table(void *ctx, uint64_t pa, void *dst, size_t size)
{
	return gmem_read(ctx, (struct gpa){ pa }, dst, size);
}

/* They have the form of L1's own paging mode, and are walked as user accesses. Each level is read once. */
static bool walk_l1(const struct vcpu *v, const struct svm_nested *n, uint64_t gpa, uint32_t access, struct walk_result *r)
{
	const struct vmcb *b = n->b01;
	struct walk_req q = {
		.va = gpa, .cr3 = n->in.n_cr3, .pse = b->cr4 & CR4_PSE, .nxe = b->efer & EFER_NXE, .wp = true, .access = access | WALK_U,
		.mode = !(b->cr4 & CR4_PAE) ? WALK_32 : b->efer & EFER_LMA ? WALK_4LEVEL : WALK_PAE, .pa_mask = cpuid_pa_mask(),
	};
	uint64_t top = q.mode == WALK_4LEVEL ? 1ull << 48 : 1ull << 32;

	if (gpa < top)
		return walk(&q, read_table, v->vm, r);
	*r = (struct walk_result){ .error = access | WALK_U };
	return false;
}

/* As the walk of hardware sets them. One vcpu per VM: nobody else writes the tables meanwhile. */
static void set_ad(const struct vcpu *v, const struct walk_result *r, bool pae, bool write)
{
	for (unsigned i = 0; i < r->nr; i++) {
		uint64_t want = r->value[i] | PTE_A | (write && i == r->nr - 1 ? PTE_D : 0);

		if (!(i == 0 && pae) && want != r->value[i])
			gmem_write(v->vm, (struct gpa){ r->at[i] }, &want, r->entry_size);
	}
}

/* ---- The shadow ---- */

/* False: the pool is used up. An entry that was there with fewer rights may be cached: flushed. */
static bool map(struct vcpu *v, struct svm_nested *n, uint64_t gpa, uint64_t leaf)
{
	bool replaced;

	if (!demand_map(&n->npt, 0, gpa, leaf, &replaced))
		return false;
	if (replaced)
		svm_hw(v)->todo |= SVM_TODO_FLUSH;
	return true;
}

/* Writable only where L1's entry is dirty already, so that the first write comes here. */
static uint64_t leaf_of(const struct vcpu *v, const struct walk_result *r, bool pae, bool nxe, bool write)
{
	const struct slat_format *f = v->be->slat;
	uint64_t w = PTE_W, nx = 0;

	for (unsigned i = 0; i < r->nr; i++) {
		if (i == 0 && pae)
			continue;
		w &= r->value[i];
		nx |= r->value[i];
	}
	w = write || (r->value[r->nr - 1] & PTE_D) ? w : 0;
	return f->leaf | (w ? f->write : 0) | (nxe && (nx & PTE_NX) ? f->noexec : f->exec);
}

enum npt_fault svm_npt_fault(struct vcpu *v, struct svm_nested *n, uint64_t *info1, uint64_t *info2)
{
	const struct vmcb *b = n->b02;
	uint64_t gpa = b->exit_info2, leaf, l1;
	uint32_t access = (uint32_t)b->exit_info1 & (WALK_W | WALK_I);
	struct walk_result r;
	bool pae, large;

	*info2 = gpa;
	*info1 = b->exit_info1 & (INFO1_FINAL | INFO1_TABLE); /* as hardware tells it */
	if (!walk_l1(v, n, gpa, access, &r)) {
		*info1 |= r.error;
		return NPT_L1;
	}
	l1 = r.pa & ~(uint64_t)(PAGE_SIZE - 1);
	pae = r.entry_size == 8 && !(n->b01->efer & EFER_LMA);
	if (l1 == VLAPIC_PA && vlapic_mmio(&v->apic) && !(access & WALK_I)) {
		set_ad(v, &r, pae, access & WALK_W);
		return NPT_APIC;
	}
	if (!gmem_ptr(v->vm, (struct gpa){ l1 }, PAGE_SIZE)) {
		*info1 |= access | WALK_P | WALK_U | WALK_RSVD; /* an address that L1's machine does not have */
		return NPT_L1;
	}
	set_ad(v, &r, pae, access & WALK_W);
	if ((access & WALK_I) && guard_closed(v->vm, l1)) {
		*info2 = l1;
		return NPT_GUARD;
	}
	leaf = leaf_of(v, &r, pae, n->b01->efer & EFER_NXE, access & WALK_W);
	large = r.size >= LARGE && !guard_within(v->vm, l1) && ((v->vm->ram_hpa & (LARGE - 1)) == 0) &&
		gmem_ptr(v->vm, (struct gpa){ l1 & ~(LARGE - 1) }, LARGE);
	if (large)
		leaf |= v->be->slat->large | (v->vm->ram_hpa + (l1 & ~(LARGE - 1)));
	else
		leaf = guard_leaf(v->vm, l1, leaf | (v->vm->ram_hpa + l1));
	if (!map(v, n, gpa, leaf)) {
		svm_npt_flush(v, n);
		map(v, n, gpa, leaf);
	}
	return NPT_FILLED;
}

/* Where drover itself has to look at L2's memory. L2 got there through the shadow; if L1's tables say otherwise by now, the shadow is old. */
bool svm_npt_phys(struct vcpu *v, uint64_t *pa)
{
	struct svm_nested *n = svm_nested_of(v);
	struct walk_result r;

	if (!(n->in.np_control & VMCB_NP_ENABLE))
		return true;
	if (!walk_l1(v, n, *pa, 0, &r)) {
		svm_npt_flush(v, n);
		return false;
	}
	*pa = r.pa;
	return true;
}

bool svm_npt_access(struct vcpu *v, uint64_t *pa, uint32_t access)
{
	const struct svm_nested *n = svm_nested_of(v);
	struct walk_result r;

	if (!(n->in.np_control & VMCB_NP_ENABLE))
		return true;
	if (!walk_l1(v, n, *pa, access, &r))
		return false;
	set_ad(v, &r, r.entry_size == 8 && !(n->b01->efer & EFER_LMA), access & WALK_W);
	*pa = r.pa;
	return true;
}

/* The walk of L2's own tables counts as writes of them. An address that L1's tables give and its machine has not: as svm_npt_fault. */
uint64_t svm_npt_miss(const struct vcpu *v, const struct svm_nested *n)
{
	uint32_t access = v->miss.table ? WALK_W : v->miss.access;
	struct walk_result r;
	bool there = walk_l1(v, n, v->miss.pa, access, &r);

	return (v->miss.table ? INFO1_TABLE : INFO1_FINAL) | (there ? access | WALK_P | WALK_U | WALK_RSVD : r.error);
}
