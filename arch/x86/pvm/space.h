/* SPDX-License-Identifier: MIT */
/* The host's part of a guest's address space. */
#ifndef ARCH_X86_PVM_SPACE_H
#define ARCH_X86_PVM_SPACE_H

#include <stdbool.h>
#include <stdint.h>

struct cpu;
struct pvm_vcpu;

/* Once per CPU that runs guests: PVM's IDT, the tables of slot 511, where the CPU's traps from ring 3 push. False: out of memory, logged. */
bool pvm_space_init(struct cpu *c);
/* The host's own GDT again. */
void pvm_space_done(void);
/* The GDT views of this vcpu into the window that a guest's GDTR points to. Before the next entry's CR3, interrupts off. */
void pvm_space_use(const struct pvm_vcpu *hw);

/* The frame at an address whose bits 31:16 are those of rsp: IRETQ to compatibility mode with a 16-bit stack loads SP only, and the rest of ESP that the guest
 * finds is the host's. SDM "IRET", RSP by the size of the stack. */
uint64_t pvm_space_stack16(uint64_t rsp);

#endif
