/* SPDX-License-Identifier: MIT */
/* Decoding of PVM's exits. */
#ifndef ARCH_X86_PVM_EXIT_H
#define ARCH_X86_PVM_EXIT_H

#include "arch/x86/pvm/pvm.h"

/* v->exit from hw->trap_*; RIP, RSP, RFLAGS, st.seg[CS], [SS] are in step already. dr6: as found behind a #DB, else DR6_INIT. */
void pvm_decode(struct vcpu *v, uint64_t dr6);

#endif
