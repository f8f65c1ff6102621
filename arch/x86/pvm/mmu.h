/* SPDX-License-Identifier: MIT */
/* The shadow page tables of a PVM guest: a virtual TLB per vcpu, with one root per view. */
#ifndef ARCH_X86_PVM_MMU_H
#define ARCH_X86_PVM_MMU_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;

struct pvm_mmu {
	uint64_t root[2]; /* host-physical, by enum pvm_view */
};

/* False: out of memory. */
bool pvm_mmu_init(struct vcpu *v);
void pvm_mmu_destroy(struct vcpu *v);
/* Host-physical address of a view's PML4 (enum pvm_view), whose slot 511 is pvm_host_slot(). */
uint64_t pvm_mmu_root(struct vcpu *v, unsigned view);

enum pvm_fill { PVM_FILLED, PVM_FAULT, PVM_NO_RAM };
/* A #PF at va with hardware's error code, in virtual mode v->st.cpl. FILLED: enter again. FAULT: *error is the guest's #PF code, as a CPU at that privilege
 * gives it. NO_RAM: *gpa is the VM's, but no memory: the APIC's page, a hole. */
enum pvm_fill pvm_mmu_fault(struct vcpu *v, uint64_t va, uint32_t hw_error, uint32_t *error, uint64_t *gpa);
void pvm_mmu_flush(struct vcpu *v);
void pvm_mmu_flush_page(struct vcpu *v, uint64_t va);

#endif
