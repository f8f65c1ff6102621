/* SPDX-License-Identifier: MIT */
/* CPUID as the guests see it: the host's values, through lists of what drover gives on. */
#ifndef VMM_CPUID_H
#define VMM_CPUID_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/vcpu.h"

/* Builds the table. Once, before the first VM, with the host's XCR0 as it stays. ring3: what a guest's kernel cannot have there is left out. */
void cpuid_init(bool ring3);

/* The exit: carried out and skipped. */
void cpuid_exit(struct vcpu *v);

/* What the guests' CPU model has. */
bool cpuid_amd(void);           /* AMD or Hygon */
uint64_t cpuid_pa_mask(void);   /* (1 << MAXPHYADDR) - 1 */
uint64_t cpuid_xcr0_mask(void); /* bits that XCR0 may have; 0: no XSAVE */
uint64_t cpuid_efer_mask(void); /* bits that EFER may have */
uint64_t cpuid_cr4_mask(void);  /* bits that CR4 may have */
bool cpuid_tsc_aux(void);
uint8_t cpuid_dbg_feat(void);   /* DBG_FEAT_* */

#endif
