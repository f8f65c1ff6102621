/* SPDX-License-Identifier: MIT */
/* Where the memory operand of a decoded instruction lies. */
#ifndef VMM_OPERAND_H
#define VMM_OPERAND_H

#include "vmm/decode.h"
#include "vmm/vcpu.h"

/* Linear address of the operand of the instruction at RIP: not checked, neither canonical nor against a limit. *seg: the SEG_* that it goes by. */
uint64_t operand_address(struct vcpu *v, const struct decoded *d, unsigned *seg);

#endif
