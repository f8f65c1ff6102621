/* SPDX-License-Identifier: MIT */
/* What the boot loader said, in one form for multiboot 1 and 2, copied out of the loader's memory. */
#ifndef ARCH_X86_BOOTINFO_H
#define ARCH_X86_BOOTINFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BOOTINFO_MAX_MMAP 256u
#define BOOTINFO_MAX_MODULES 16u
#define BOOTINFO_STRING 1024u

enum { BOOT_MEM_AVAILABLE = 1, BOOT_MEM_RESERVED = 2, BOOT_MEM_ACPI = 3, BOOT_MEM_NVS = 4, BOOT_MEM_BAD = 5 };

struct boot_range {
	uint64_t addr, len;
	uint32_t type; /* BOOT_MEM_*; any other number is as reserved */
};

struct boot_module {
	uint64_t pa, len;
	char cmdline[BOOTINFO_STRING];
};

enum boot_screen { BOOT_SCREEN_UNKNOWN, BOOT_SCREEN_TEXT, BOOT_SCREEN_RGB };

struct boot_framebuffer {
	enum boot_screen kind; /* UNKNOWN: the loader said nothing */
	uint64_t pa;
	uint32_t pitch, width, height; /* bytes, pixels, pixels */
	uint8_t bpp;
};

struct bootinfo {
	unsigned protocol; /* 1 or 2 */
	char loader[64];
	char cmdline[BOOTINFO_STRING];
	bool string_cut;        /* a command line was longer than BOOTINFO_STRING - 1: refused by boot */
	size_t mmap_dropped;    /* entries that did not fit: that memory is not used */
	size_t modules_dropped; /* likewise: refused by boot */
	size_t nr_mmap;
	struct boot_range mmap[BOOTINFO_MAX_MMAP];
	size_t nr_modules;
	struct boot_module module[BOOTINFO_MAX_MODULES];
	size_t rsdp_len;   /* 0: the loader gave none */
	uint8_t rsdp[64];  /* a copy of the ACPI root pointer */
	struct boot_framebuffer fb;
};

#endif
