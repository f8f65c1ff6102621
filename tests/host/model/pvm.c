/* SPDX-License-Identifier: MIT */
/* PVM on the software CPU. */
#include "arch/x86/def/pte.h"
#include "arch/x86/pmem.h"
#include "arch/x86/pvm/pvm.h"

/* A table in which a guest finds nothing. */
static _Alignas(4096) uint64_t host_table[PTE_ENTRIES];

uint64_t pvm_host_slot(void)
{
	return virt_to_phys(host_table) | PTE_P | PTE_W | PTE_A;
}
