/* SPDX-License-Identifier: MIT */
/* Multiboot specification 0.6.96, "Boot information format". */
#include "vmm/mbinfo.h"

#include <stddef.h>

#include "arch/lib/string.h"

#define PAGE 4096ull
#define LOWER_END 0xa0000u
#define UPPER_START 0x100000u

#define HAS_MEM (1u << 0)
#define HAS_CMDLINE (1u << 2)
#define HAS_MODS (1u << 3)
#define HAS_MMAP (1u << 6)
#define HAS_LOADER (1u << 9)

struct mb_info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4], mmap_length, mmap_addr, drives_length, drives_addr,
		config_table, boot_loader_name, apm_table;
};
_Static_assert(sizeof(struct mb_info) == 72 && offsetof(struct mb_info, boot_loader_name) == 64, "multiboot info");

struct mb_mmap {
	uint32_t size; /* of the rest */
	uint64_t addr, len;
	uint32_t type;
} __attribute__((packed));
_Static_assert(sizeof(struct mb_mmap) == 24, "memory map entry");

struct mb_mod {
	uint32_t start, end, string, zero;
};

struct block {
	struct mb_info info;
	struct mb_mmap map[3];
	struct mb_mod mod[VM_MAX_MODULES];
	char strings[];
};

static uint64_t page_up(uint64_t a)
{
	return (a + PAGE - 1) & ~(PAGE - 1);
}

struct strings {
	char *next;
	uint8_t *ram;
};

static uint32_t put(struct strings *s, const char *text)
{
	size_t n = strlen(text) + 1;
	uint32_t at = (uint32_t)(uintptr_t)((uint8_t *)s->next - s->ram);

	memcpy(s->next, text, n);
	s->next += n;
	return at;
}

static void fill(struct block *b, uint8_t *ram, uint64_t ram_size, const struct vm_config *cfg, const uint64_t *mod_at)
{
	struct strings s = { b->strings, ram };
	uint32_t at = (uint32_t)((uint8_t *)b - ram);

	b->map[0] = (struct mb_mmap){ 20, 0, LOWER_END, 1 };
	b->map[1] = (struct mb_mmap){ 20, LOWER_END, UPPER_START - LOWER_END, 2 };
	b->map[2] = (struct mb_mmap){ 20, UPPER_START, ram_size - UPPER_START, 1 };
	b->info.flags = HAS_MEM | HAS_CMDLINE | HAS_MODS | HAS_MMAP | HAS_LOADER;
	b->info.mem_lower = LOWER_END / 1024;
	b->info.mem_upper = (uint32_t)((ram_size - UPPER_START) / 1024);
	b->info.cmdline = put(&s, cfg->cmdline);
	b->info.boot_loader_name = put(&s, "drover");
	b->info.mmap_addr = at + (uint32_t)offsetof(struct block, map);
	b->info.mmap_length = sizeof(b->map);
	b->info.mods_addr = at + (uint32_t)offsetof(struct block, mod);
	b->info.mods_count = cfg->nr_modules;
	for (unsigned i = 0; i < cfg->nr_modules; i++)
		b->mod[i] = (struct mb_mod){ (uint32_t)mod_at[i], (uint32_t)(mod_at[i] + cfg->module[i].len), put(&s, cfg->module[i].cmdline), 0 };
}

uint32_t mbinfo_build(uint8_t *ram, uint64_t ram_size, uint64_t image_end, const struct vm_config *cfg, uint64_t *need)
{
	uint64_t at = page_up(image_end > UPPER_START ? image_end : UPPER_START), mod_at[VM_MAX_MODULES], size;

	size = sizeof(struct block) + strlen(cfg->cmdline) + 1 + sizeof("drover");
	for (unsigned i = 0; i < cfg->nr_modules; i++) {
		mod_at[i] = at;
		at = page_up(at + cfg->module[i].len);
		size += strlen(cfg->module[i].cmdline) + 1;
	}
	*need = at + size;
	if (*need > ram_size || *need > 0xffffffff)
		return 0;
	for (unsigned i = 0; i < cfg->nr_modules; i++)
		memcpy(ram + mod_at[i], cfg->module[i].data, (size_t)cfg->module[i].len);
	fill((struct block *)(void *)(ram + at), ram, ram_size, cfg, mod_at);
	return (uint32_t)at;
}
