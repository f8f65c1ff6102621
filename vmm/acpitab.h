/* SPDX-License-Identifier: MIT */
/* The ACPI tables of a VM: one CPU with a local APIC, nothing else. */
#ifndef VMM_ACPITAB_H
#define VMM_ACPITAB_H

#include <stdint.h>

#define ACPITAB_PA 0xf0000u /* in the BIOS area, which the memory map calls reserved */

/* ram: guest-physical 0, at least 1 MiB of it. */
void acpitab_build(uint8_t *ram);

#endif
