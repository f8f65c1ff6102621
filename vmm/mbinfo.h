/* SPDX-License-Identifier: MIT */
/* The multiboot-1 information that a guest finds in EBX. */
#ifndef VMM_MBINFO_H
#define VMM_MBINFO_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/vm.h"

#define MBINFO_MAGIC 0x2badb002u

/* Copies the modules and writes the structures behind image_end. Returns the guest-physical address of the info structure; 0: the VM's memory is
 * too small, *need is then how many bytes it would take. */
uint32_t mbinfo_build(uint8_t *ram, uint64_t ram_size, uint64_t image_end, const struct vm_config *cfg, uint64_t *need);

#endif
