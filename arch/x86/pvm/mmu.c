/* SPDX-License-Identifier: MIT */
/* Fills the shadow of the guest's page tables. Its rules for supervisor accesses are software's to make: hardware sees only CPL 3. */
#include "arch/x86/pvm/mmu.h"

#include "arch/lib/string.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/pte.h"
#include "arch/x86/pmem.h"
#include "arch/x86/pvm/pvm.h"
#include "vmm/guard.h"
#include "vmm/gva.h"

#define LARGE (1ull << 21)
#define HUGE (1ull << 30)
#define HOST_SLOT (PVM_HOST_BASE >> 39 & 511)

/* Below it lie parts of one larger page of the guest, which go together (INVLPG). A bit that hardware ignores. */
#define BROKEN_UP (1ull << 9)

/* Everything is a user page to hardware. A and D are the guest's in the guest's own tables; here they would only cost hardware a write. */
#define TABLE (PTE_P | PTE_W | PTE_U | PTE_A)
#define LEAF (PTE_P | PTE_U | PTE_A | PTE_D)

static struct demand *shadow_of(struct vcpu *v)
{
	return &pvm_hw(v)->mmu.shadow;
}

void pvm_mmu_flush(struct vcpu *v)
{
	struct demand *d = shadow_of(v);

	demand_empty(d);
	for (unsigned i = 0; i < PVM_VIEWS; i++)
		demand_root(d, i)[HOST_SLOT] = pvm_host_slot();
}

bool pvm_mmu_init(struct vcpu *v)
{
	if (!demand_init(shadow_of(v), PVM_VIEWS, PVM_MMU_PAGES, TABLE))
		return false;
	pvm_mmu_flush(v);
	return true;
}

void pvm_mmu_destroy(struct vcpu *v)
{
	demand_destroy(shadow_of(v));
}

uint64_t pvm_mmu_root(struct vcpu *v, unsigned view)
{
	return virt_to_phys(demand_root(shadow_of(v), view));
}

/* ---- Filling ---- */

/* The leaf without its address. With CR0.WP=0 a supervisor writes anywhere; with SMEP it executes no user page. Writable only once the guest's entry is dirty. */
static uint64_t rights(const struct vcpu *v, const struct walk_result *r, unsigned view, bool write)
{
	uint64_t all = ~0ull, any = 0, leaf = LEAF;

	for (unsigned i = 0; i < r->nr; i++) {
		all &= r->value[i];
		any |= r->value[i];
	}
	if ((write || (r->value[r->nr - 1] & PTE_D)) && ((all & PTE_W) || (view == PVM_KERNEL && !(v->st.cr0 & CR0_WP))))
		leaf |= PTE_W;
	if ((any & PTE_NX) || (view == PVM_KERNEL && (all & PTE_U) && (v->st.cr4 & CR4_SMEP)))
		leaf |= PTE_NX;
	return leaf;
}

/* Leaves the mark of a larger page above its parts. */
static void mark_broken(const struct demand *d, unsigned view, uint64_t va, uint64_t size)
{
	uint64_t *e = &demand_root(d, view)[va >> 39 & 511];

	e = (uint64_t *)phys_to_virt(*e & PTE_ADDR) + (va >> 30 & 511);
	if (size >= HUGE)
		*e |= BROKEN_UP;
	e = (uint64_t *)phys_to_virt(*e & PTE_ADDR) + (va >> 21 & 511);
	if (!(*e & PTE_PS))
		*e |= BROKEN_UP;
}

static void fill(struct vcpu *v, uint64_t va, const struct walk_result *r, unsigned view, bool write)
{
	struct demand *d = shadow_of(v);
	uint64_t leaf = rights(v, r, view, write), base = r->pa & ~(LARGE - 1);
	bool replaced; /* is nothing to flush: each entry loads CR3 */

	if (guard_closed(v->vm, r->pa))
		leaf |= PTE_NX;
	if (r->size >= LARGE && !(v->vm->ram_hpa & (LARGE - 1)) && gmem_ptr(v->vm, (struct gpa){ base }, LARGE) && !guard_within(v->vm, base))
		leaf |= DEMAND_LARGE | (v->vm->ram_hpa + base);
	else
		leaf |= v->vm->ram_hpa + (r->pa & ~(uint64_t)(PAGE_SIZE - 1));
	if (!demand_map(d, view, va, leaf, &replaced)) {
		pvm_mmu_flush(v);
		demand_map(d, view, va, leaf, &replaced);
	}
	if (r->size >= LARGE)
		mark_broken(d, view, va, r->size);
}

enum pvm_fill pvm_mmu_fault(struct vcpu *v, uint64_t va, uint32_t hw_error, uint32_t *error, uint64_t *gpa)
{
	bool user = vcpu_cpl(v) == 3, write = hw_error & WALK_W;
	uint32_t access = (hw_error & (WALK_W | WALK_I)) | (user ? WALK_U : 0);
	struct walk_result r;

	if (!gva_walk(v, (struct gva){ va }, access, &r)) {
		*error = r.error;
		return PVM_FAULT;
	}
	gva_set_ad(v, &r, write);
	if (!gmem_ptr(v->vm, (struct gpa){ r.pa & ~(uint64_t)(PAGE_SIZE - 1) }, PAGE_SIZE)) {
		*gpa = r.pa;
		return PVM_NO_RAM;
	}
	if ((access & WALK_I) && guard_closed(v->vm, r.pa)) {
		*gpa = r.pa;
		return PVM_GUARD;
	}
	fill(v, va, &r, user ? PVM_USER : PVM_KERNEL, write);
	return PVM_FILLED;
}

/* ---- INVLPG ---- */

/* What a table of the shadow held is lost to the pool until it begins anew. */
static void forget(const struct demand *d, unsigned view, uint64_t va)
{
	uint64_t *t = demand_root(d, view);

	for (unsigned shift = 39; ; shift -= 9) {
		uint64_t *e = &t[va >> shift & 511];

		if (shift == 12 || !*e || (*e & (PTE_PS | BROKEN_UP))) {
			*e = 0;
			return;
		}
		t = phys_to_virt(*e & PTE_ADDR);
	}
}

void pvm_mmu_flush_page(struct vcpu *v, uint64_t va)
{
	if (!is_canonical(va) || va >= PVM_HOST_BASE) /* bits 47:0 lead to a page of the guest's, or to slot 511 */
		return;
	for (unsigned i = 0; i < PVM_VIEWS; i++)
		forget(shadow_of(v), i, va);
}
