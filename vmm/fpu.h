/* SPDX-License-Identifier: MIT */
/* x87, SSE, AVX and XCR0. drover itself uses none of them, so they stay the guest's from one change of vcpu to the next (rule H15). */
#ifndef VMM_FPU_H
#define VMM_FPU_H

#include <stdbool.h>

#include "vmm/vcpu.h"

/* The area, in the state after RESET. False: out of memory. */
bool fpu_init(struct vcpu *v);
/* Frees the area. The vcpu is not the loaded one. */
void fpu_destroy(struct vcpu *v);

/* Interrupts are off. */
void fpu_load(struct vcpu *v);
void fpu_save(struct vcpu *v);

#endif
