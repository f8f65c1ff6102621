/* SPDX-License-Identifier: MIT */
/* SYSCALL and SYSRET by software: what they do to the registers, behind all checks. The traps that they end with are the caller's (A21). */
#ifndef VMM_SYSCALL_H
#define VMM_SYSCALL_H

#include "vmm/vcpu.h"

/* RIP + len is behind the instruction; len 0: RIP is there already. compat: AMD's from compatibility mode, to CSTAR. VST_MSR and VST_CS are needed. */
void syscall_enter(struct vcpu *v, unsigned len, bool compat);
/* to64: with REX.W, to 64-bit mode; else to compatibility mode. */
void syscall_return(struct vcpu *v, bool to64);

#endif
