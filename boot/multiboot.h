/* SPDX-License-Identifier: MIT */
/* Multiboot 1 and 2: numbers and structures, by the two specifications. */
#ifndef BOOT_MULTIBOOT_H
#define BOOT_MULTIBOOT_H

#define MB1_HEADER_MAGIC 0x1badb002
#define MB1_HEADER_PAGE_ALIGN 0x1
#define MB1_HEADER_MEMORY 0x2
#define MB1_LOADER_MAGIC 0x2badb002

#define MB2_HEADER_MAGIC 0xe85250d6
#define MB2_LOADER_MAGIC 0x36d76289

#ifndef __ASSEMBLER__
#include <stdint.h>

#define MB1_INFO_MEM (1u << 0)
#define MB1_INFO_CMDLINE (1u << 2)
#define MB1_INFO_MODS (1u << 3)
#define MB1_INFO_MMAP (1u << 6)
#define MB1_INFO_LOADER (1u << 9)
#define MB1_INFO_FRAMEBUFFER (1u << 12)

struct mb1_info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
	uint32_t syms[4];
	uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table, loader_name, apm_table;
	uint32_t vbe_control_info, vbe_mode_info;
	uint16_t vbe_mode, vbe_interface_seg, vbe_interface_off, vbe_interface_len;
	uint64_t framebuffer_addr __attribute__((packed));
	uint32_t framebuffer_pitch, framebuffer_width, framebuffer_height;
	uint8_t framebuffer_bpp, framebuffer_type;
	uint8_t color_info[6];
};
_Static_assert(sizeof(struct mb1_info) == 116, "multiboot 1 information");

struct mb1_module {
	uint32_t start, end, string, reserved;
};

struct __attribute__((packed)) mb1_mmap {
	uint32_t size; /* of the rest */
	uint64_t addr, len;
	uint32_t type;
};

enum { MB2_TAG_END, MB2_TAG_CMDLINE, MB2_TAG_LOADER, MB2_TAG_MODULE, MB2_TAG_MEM, MB2_TAG_BOOTDEV, MB2_TAG_MMAP, MB2_TAG_VBE,
       MB2_TAG_FRAMEBUFFER, MB2_TAG_ELF, MB2_TAG_APM, MB2_TAG_EFI32, MB2_TAG_EFI64, MB2_TAG_SMBIOS, MB2_TAG_ACPI_OLD,
       MB2_TAG_ACPI_NEW };

struct mb2_info {
	uint32_t total_size, reserved;
};

struct mb2_tag {
	uint32_t type, size; /* size includes this head, not the padding to 8 bytes */
};

struct mb2_tag_module {
	struct mb2_tag tag;
	uint32_t start, end;
	char string[];
};

struct mb2_tag_mmap {
	struct mb2_tag tag;
	uint32_t entry_size, entry_version;
};

struct mb2_mmap {
	uint64_t addr, len;
	uint32_t type, reserved;
};

struct mb2_tag_framebuffer {
	struct mb2_tag tag;
	uint64_t addr;
	uint32_t pitch, width, height;
	uint8_t bpp, type;
	uint16_t reserved;
};

/* Both: memory map types, framebuffer types. */
#define MB_MEMORY_AVAILABLE 1
#define MB_MEMORY_ACPI 3
#define MB_MEMORY_NVS 4
#define MB_FRAMEBUFFER_RGB 1
#define MB_FRAMEBUFFER_TEXT 2
#endif

#endif
