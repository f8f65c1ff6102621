/* SPDX-License-Identifier: MIT */
/* Multiboot information of either version into struct bootinfo. */
#ifndef BOOT_MULTIBOOT_PARSE_H
#define BOOT_MULTIBOOT_PARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86/bootinfo.h"

/* magic: EAX, pa: EBX at entry. False: not started by multiboot. Everything is copied; bi must be zeroed. */
bool multiboot_parse(uint32_t magic, uint32_t pa, struct bootinfo *bi);

#endif
