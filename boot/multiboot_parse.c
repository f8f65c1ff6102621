/* SPDX-License-Identifier: MIT */
/* Multiboot information of either version into struct bootinfo. Runs on boot's page tables: all of it lies below 4 GiB. */
#include "boot/multiboot_parse.h"

#include "arch/lib/string.h"
#include "arch/x86/pmem.h"
#include "boot/multiboot.h"

/* What a multiboot-1 loader points at lies below; nothing above is mapped here. */
#define MB1_END (1ull << 32)

/* Reads no more than max bytes, and no more than it takes to see that the string does not fit. */
static void take_string(struct bootinfo *bi, char *dst, size_t cap, const char *src, size_t max)
{
	if (!str_copy_n(dst, cap, src, strnlen(src, max < cap ? max : cap)))
		bi->string_cut = true;
}

static void take_range(struct bootinfo *bi, uint64_t addr, uint64_t len, uint32_t type)
{
	if (len == 0)
		return;
	if (bi->nr_mmap < BOOTINFO_MAX_MMAP)
		bi->mmap[bi->nr_mmap++] = (struct boot_range){ addr, len, type };
	else
		bi->mmap_dropped++;
}

static void take_module(struct bootinfo *bi, uint32_t start, uint32_t end, const char *string, size_t max)
{
	struct boot_module *m;

	if (bi->nr_modules >= BOOTINFO_MAX_MODULES) {
		bi->modules_dropped++;
		return;
	}
	m = &bi->module[bi->nr_modules++];
	m->pa = start;
	m->len = end > start ? end - start : 0;
	take_string(bi, m->cmdline, sizeof(m->cmdline), string, max);
}

static void take_framebuffer(struct bootinfo *bi, struct boot_framebuffer fb, unsigned type)
{
	if (type != MB_FRAMEBUFFER_RGB && type != MB_FRAMEBUFFER_TEXT)
		return;
	bi->fb = fb;
	bi->fb.kind = type == MB_FRAMEBUFFER_RGB ? BOOT_SCREEN_RGB : BOOT_SCREEN_TEXT;
}

static void parse_mb1_mmap(const struct mb1_info *info, struct bootinfo *bi)
{
	uint64_t at = 0; /* an entry's size is the loader's word: no wrap */

	while (range_ok(at, sizeof(struct mb1_mmap), info->mmap_length)) {
		const struct mb1_mmap *m = phys_to_virt((uint64_t)info->mmap_addr + at);

		if (!range_ok(info->mmap_addr + at, sizeof(*m), MB1_END)) {
			bi->mmap_dropped++;
			break;
		}
		take_range(bi, m->addr, m->len, m->type);
		if (m->size < sizeof(*m) - sizeof(m->size))
			break;
		at += (uint64_t)m->size + sizeof(m->size);
	}
}

/* The count is the loader's word: what cannot be taken is counted, not read, and boot then refuses. */
static void parse_mb1_modules(const struct mb1_info *info, struct bootinfo *bi)
{
	for (uint32_t i = 0; i < info->mods_count; i++) {
		uint64_t at = info->mods_addr + (uint64_t)i * sizeof(struct mb1_module);
		const struct mb1_module *m = phys_to_virt(at);

		if (bi->nr_modules >= BOOTINFO_MAX_MODULES || !range_ok(at, sizeof(*m), MB1_END)) {
			bi->modules_dropped += info->mods_count - i;
			break;
		}
		take_module(bi, m->start, m->end, m->string != 0 ? phys_to_virt(m->string) : "", MB1_END - m->string);
	}
}

static void parse_mb1(const struct mb1_info *info, struct bootinfo *bi)
{
	bi->protocol = 1;
	if (info->flags & MB1_INFO_LOADER) { /* a cut name harms nothing */
		size_t max = MB1_END - info->loader_name;
		const char *name = phys_to_virt(info->loader_name);

		str_copy_n(bi->loader, sizeof(bi->loader), name, strnlen(name, max < sizeof(bi->loader) ? max : sizeof(bi->loader)));
	}
	if (info->flags & MB1_INFO_CMDLINE)
		take_string(bi, bi->cmdline, sizeof(bi->cmdline), phys_to_virt(info->cmdline), MB1_END - info->cmdline);
	if (info->flags & MB1_INFO_MMAP) {
		parse_mb1_mmap(info, bi);
	} else if (info->flags & MB1_INFO_MEM) {
		take_range(bi, 0, (uint64_t)info->mem_lower * 1024, BOOT_MEM_AVAILABLE);
		take_range(bi, 0x100000, (uint64_t)info->mem_upper * 1024, BOOT_MEM_AVAILABLE);
	}
	if (info->flags & MB1_INFO_MODS)
		parse_mb1_modules(info, bi);
	if (info->flags & MB1_INFO_FRAMEBUFFER)
		take_framebuffer(bi,
				 (struct boot_framebuffer){ .pa = info->framebuffer_addr, .pitch = info->framebuffer_pitch,
							    .width = info->framebuffer_width, .height = info->framebuffer_height,
							    .bpp = info->framebuffer_bpp },
				 info->framebuffer_type);
}

static void parse_mb2_mmap(const struct mb2_tag *t, struct bootinfo *bi)
{
	const struct mb2_tag_mmap *mmap = (const void *)t;

	if (t->size < sizeof(*mmap) || mmap->entry_size < sizeof(struct mb2_mmap))
		return;
	for (uint32_t at = sizeof(*mmap); range_ok(at, mmap->entry_size, t->size); at += mmap->entry_size) {
		const struct mb2_mmap *m = (const void *)((const uint8_t *)t + at);

		take_range(bi, m->addr, m->len, m->type);
	}
}

static void parse_mb2_tag(const struct mb2_tag *t, struct bootinfo *bi)
{
	const char *text = (const char *)(t + 1);
	size_t len = t->size - sizeof(*t);

	switch (t->type) {
	case MB2_TAG_CMDLINE:
		take_string(bi, bi->cmdline, sizeof(bi->cmdline), text, len);
		break;
	case MB2_TAG_LOADER:
		str_copy_n(bi->loader, sizeof(bi->loader), text, strnlen(text, len));
		break;
	case MB2_TAG_MODULE: {
		const struct mb2_tag_module *m = (const void *)t;

		if (t->size >= sizeof(*m))
			take_module(bi, m->start, m->end, m->string, t->size - sizeof(*m));
		break;
	}
	case MB2_TAG_MMAP:
		parse_mb2_mmap(t, bi);
		break;
	case MB2_TAG_FRAMEBUFFER: {
		const struct mb2_tag_framebuffer *f = (const void *)t;

		if (t->size >= sizeof(*f) - sizeof(f->reserved))
			take_framebuffer(bi,
					 (struct boot_framebuffer){ .pa = f->addr, .pitch = f->pitch, .width = f->width,
								    .height = f->height, .bpp = f->bpp },
					 f->type);
		break;
	}
	case MB2_TAG_ACPI_OLD:
	case MB2_TAG_ACPI_NEW: /* the newer one wins in whatever order they come */
		if (len <= sizeof(bi->rsdp) && (t->type == MB2_TAG_ACPI_NEW || bi->rsdp_len == 0)) {
			memcpy(bi->rsdp, text, len);
			bi->rsdp_len = len;
		}
		break;
	default:
		break;
	}
}

static void parse_mb2(const struct mb2_info *info, struct bootinfo *bi)
{
	uint64_t at = sizeof(*info);

	bi->protocol = 2;
	while (range_ok(at, sizeof(struct mb2_tag), info->total_size)) {
		const struct mb2_tag *t = (const void *)((const uint8_t *)info + at);

		if (t->type == MB2_TAG_END || t->size < sizeof(*t) || !range_ok(at, t->size, info->total_size))
			break;
		parse_mb2_tag(t, bi);
		at += ((uint64_t)t->size + 7) & ~7ull;
	}
}

bool multiboot_parse(uint32_t magic, uint32_t pa, struct bootinfo *bi)
{
	if (magic == MB1_LOADER_MAGIC)
		parse_mb1(phys_to_virt(pa), bi);
	else if (magic == MB2_LOADER_MAGIC)
		parse_mb2(phys_to_virt(pa), bi);
	else
		return false;
	return true;
}
