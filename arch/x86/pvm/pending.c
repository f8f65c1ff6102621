/* SPDX-License-Identifier: MIT */
/* Weak stand-ins so that the image links while the parts are being written. Goes away with the last of them. */
#include "arch/lib/panic.h"
#include "arch/x86/pvm/emul.h"

#define WEAK __attribute__((weak))
#define MISSING panic("pvm: %s is not there", __func__)

WEAK bool pvm_mmu_init(struct vcpu *v) { (void)v; MISSING; }
WEAK void pvm_mmu_destroy(struct vcpu *v) { (void)v; MISSING; }
WEAK uint64_t pvm_mmu_root(struct vcpu *v, unsigned view) { (void)v; (void)view; MISSING; }
WEAK enum pvm_fill pvm_mmu_fault(struct vcpu *v, uint64_t va, uint32_t hw_error, uint32_t *error, uint64_t *gpa)
{
	(void)v; (void)va; (void)hw_error; (void)error; (void)gpa; MISSING;
}
WEAK void pvm_mmu_flush(struct vcpu *v) { (void)v; MISSING; }
WEAK void pvm_mmu_flush_page(struct vcpu *v, uint64_t va) { (void)v; (void)va; MISSING; }
