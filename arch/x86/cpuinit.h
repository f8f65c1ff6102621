/* SPDX-License-Identifier: MIT */
/* This CPU's name and features for the log, and the control-register bits that the host wants besides paging's. */
#ifndef ARCH_X86_CPUINIT_H
#define ARCH_X86_CPUINIT_H

#include <stdint.h>

/* CR4: OSFXSR, OSXMMEXCPT, MCE, OSXSAVE (if there); XCR0: x87, SSE, AVX (if there): the host touches none of these registers
 * itself, the machine model saves and restores them for guests. CR0: no EM, no TS. */
void cpuinit(void);

/* One line with vendor, family and brand, one with the features that matter to drover. */
void cpuinit_log(void);

#endif
