/* SPDX-License-Identifier: MIT */
/* The page tables that a PVM guest really runs on: a virtual TLB, filled by its page faults from its own tables, emptied when it says so. */
#ifndef ARCH_X86_PVM_MMU_H
#define ARCH_X86_PVM_MMU_H

#include "vmm/demand.h"

struct vcpu;

#define PVM_MMU_PAGES 512u /* of both views (enum pvm_view) together; when they are used up all begins anew */

struct pvm_mmu {
	struct demand shadow;
};

/* Both views, empty but for the host's slot. False: out of memory. */
bool pvm_mmu_init(struct vcpu *v);
void pvm_mmu_destroy(struct vcpu *v);
/* Host-physical, for CR3: the same for the life of the vcpu. view: enum pvm_view. */
uint64_t pvm_mmu_root(struct vcpu *v, unsigned view);

enum pvm_fill {
	PVM_FILLED, /* the guest can make the access now: enter again */
	PVM_FAULT,  /* *error: the guest's #PF */
	PVM_NO_RAM, /* *gpa: the access is a device's, or nobody's */
	PVM_GUARD,  /* *gpa: a fetch that a debugger waits for (vmm/guard.h) */
};
/* A page fault at va of the guest in its virtual mode (st.cpl); hw_error: of the error code, what the access was. Accessed and dirty bits are set as hardware
 * does: dirty by the first write, which therefore always comes here. Only after MOV to CR3 and the like, or never, must the guest see changes that it made to
 * its tables: SDM "Invalidation of TLBs and Paging-Structure Caches", APM "TLB Management". Between runs. */
enum pvm_fill pvm_mmu_fault(struct vcpu *v, uint64_t va, uint32_t hw_error, uint32_t *error, uint64_t *gpa);
/* MOV to CR3; CR0, CR4 and EFER where they change paging. */
void pvm_mmu_flush(struct vcpu *v);
/* INVLPG: the page around va, in both views, of whatever size it was when it was last used. */
void pvm_mmu_flush_page(struct vcpu *v, uint64_t va);

#endif
