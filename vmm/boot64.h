/* SPDX-License-Identifier: MIT */
/* The 64-bit start of a guest, for a backend that has no other: long mode from the first instruction. */
#ifndef VMM_BOOT64_H
#define VMM_BOOT64_H

#include <stdint.h>

#include "vmm/vcpu.h"

#define BOOT64_NOTE_NAME "drover"
#define BOOT64_NOTE_TYPE 1u /* 8 bytes: the entry's address, as linked */

/* After vcpu_reset(): 64-bit mode at CPL 0, flat segments, the first 4 GiB mapped where they are, all of it by tables and a GDT below 640 KiB, in
 * memory that is the guest's as soon as it has its own. ram: its memory, at least 1 MiB. EAX and EBX as multiboot 1 has them are the caller's. */
void boot64_build(struct vcpu *v, uint8_t *ram);

#endif
