/* SPDX-License-Identifier: MIT */
/* Multiboot information of either version into struct bootinfo. Runs on boot's page tables: all of it lies below 4 GiB. */
#include "boot/multiboot_parse.h"

#include "arch/lib/string.h"
#include "arch/x86/pmem.h"
#include "boot/multiboot.h"

static void take_string(struct bootinfo *bi, char *dst, size_t cap, const char *src, size_t max)
{
	if (!str_copy_n(dst, cap, src, strnlen(src, max)))
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

	while (at < info->mmap_length && info->mmap_length - at >= sizeof(struct mb1_mmap)) {
		const struct mb1_mmap *m = phys_to_virt((uint64_t)info->mmap_addr + at);

		take_range(bi, m->addr, m->len, m->type);
		if (m->size < sizeof(*m) - sizeof(m->size))
			break;
		at += (uint64_t)m->size + sizeof(m->size);
	}
}

static void parse_mb1(const struct mb1_info *info, struct bootinfo *bi)
{
	bi->protocol = 1;
	if (info->flags & MB1_INFO_LOADER) /* a cut name harms nothing */
		str_copy(bi->loader, sizeof(bi->loader), phys_to_virt(info->loader_name));
	if (info->flags & MB1_INFO_CMDLINE)
		take_string(bi, bi->cmdline, sizeof(bi->cmdline), phys_to_virt(info->cmdline), SIZE_MAX);
	if (info->flags & MB1_INFO_MMAP) {
		parse_mb1_mmap(info, bi);
	} else if (info->flags & MB1_INFO_MEM) {
		take_range(bi, 0, (uint64_t)info->mem_lower * 1024, BOOT_MEM_AVAILABLE);
		take_range(bi, 0x100000, (uint64_t)info->mem_upper * 1024, BOOT_MEM_AVAILABLE);
	}
	for (uint32_t i = 0; (info->flags & MB1_INFO_MODS) && i < info->mods_count; i++) {
		const struct mb1_module *m = phys_to_virt((uint64_t)info->mods_addr + i * sizeof(*m));

		take_module(bi, m->start, m->end, m->string != 0 ? phys_to_virt(m->string) : "", SIZE_MAX);
	}
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
