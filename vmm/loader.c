/* SPDX-License-Identifier: MIT */
/* ELF32 and ELF64 as a multiboot-1 loader takes them: program headers by physical address, entry in 32-bit protected mode. The file is input from
 * outside: nothing in it is believed before it has been compared with the file's length and the VM's memory. */
#include "vmm/loader.h"

#include <stdarg.h>

#include "arch/lib/fmt.h"
#include "arch/lib/string.h"
#include "vmm/boot64.h"

#define EM_386 3
#define EM_X86_64 62
#define ET_EXEC 2
#define PT_LOAD 1
#define PT_NOTE 4

#define MB_SEARCH 8192u
#define MB_MAGIC 0x1badb002u
#define MB_ALIGN (1u << 0)
#define MB_MEMINFO (1u << 1)
#define MB_REQUIRED 0xffffu /* a loader that does not know one of these has to refuse */

#define HOLE_START 0xa0000u
#define HOLE_END 0x100000u
#define MIB 0x100000u

struct why {
	char *text;
	size_t cap;
};

static bool refuse(const struct why *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool refuse(const struct why *w, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fmt_vsnprintf(w->text, w->cap, fmt, ap);
	va_end(ap);
	return false;
}

/* Little-endian values at any alignment; the caller has checked the range. */
static uint64_t get(const uint8_t *p, uint64_t at, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)p[at + i] << 8 * i;
	return v;
}

struct elf {
	const uint8_t *p;
	uint64_t len;
	bool wide; /* ELF64 */
	uint64_t entry, phoff;
	unsigned phnum, phsize;
};

static bool read_header(const struct why *w, struct elf *e)
{
	unsigned machine;

	if (e->len < 16 || memcmp(e->p, "\177ELF", 4) != 0)
		return refuse(w, "not an ELF file");
	e->wide = e->p[4] == 2;
	if ((e->p[4] != 1 && !e->wide) || e->p[5] != 1)
		return refuse(w, "not a little-endian ELF32 or ELF64 file");
	if (e->len < (e->wide ? 64u : 52u))
		return refuse(w, "truncated: the ELF header is cut off after %lu bytes", e->len);
	machine = (unsigned)get(e->p, 18, 2);
	if (machine != EM_386 && machine != EM_X86_64)
		return refuse(w, "ELF for another machine (%u)", machine);
	if (get(e->p, 16, 2) != ET_EXEC)
		return refuse(w, "ELF, but not an executable (type %lu)", get(e->p, 16, 2));
	e->entry = get(e->p, 24, e->wide ? 8 : 4);
	e->phoff = e->wide ? get(e->p, 32, 8) : get(e->p, 28, 4);
	e->phsize = (unsigned)get(e->p, e->wide ? 54 : 42, 2);
	e->phnum = (unsigned)get(e->p, e->wide ? 56 : 44, 2);
	if (e->phnum == 0)
		return refuse(w, "ELF without program headers");
	if (e->phsize < (e->wide ? 56u : 32u))
		return refuse(w, "ELF with program headers of %u bytes", e->phsize);
	if (!range_ok(e->phoff, (uint64_t)e->phnum * e->phsize, e->len))
		return refuse(w, "truncated: program headers at 0x%lx lie outside the file of 0x%lx bytes", e->phoff, e->len);
	return true;
}

static bool find_multiboot(const struct why *w, const struct elf *e)
{
	uint64_t end = e->len < MB_SEARCH ? e->len : MB_SEARCH;

	for (uint64_t at = 0; at + 12 <= end; at += 4) {
		uint32_t flags = (uint32_t)get(e->p, at + 4, 4);

		if (get(e->p, at, 4) != MB_MAGIC || (uint32_t)(MB_MAGIC + flags + get(e->p, at + 8, 4)) != 0)
			continue;
		if (flags & MB_REQUIRED & ~(MB_ALIGN | MB_MEMINFO))
			return refuse(w, "its multiboot header asks for features that drover lacks (flags 0x%x)", flags);
		return true;
	}
	return refuse(w, "no multiboot header in the first 8 KiB");
}

static struct loader_segment read_segment(const struct elf *e, uint64_t at)
{
	struct loader_segment s;

	if (e->wide)
		s = (struct loader_segment){ .offset = get(e->p, at + 8, 8), .va = get(e->p, at + 16, 8), .pa = get(e->p, at + 24, 8),
					     .filesz = get(e->p, at + 32, 8), .memsz = get(e->p, at + 40, 8) };
	else
		s = (struct loader_segment){ .offset = get(e->p, at + 4, 4), .va = get(e->p, at + 8, 4), .pa = get(e->p, at + 12, 4),
					     .filesz = get(e->p, at + 16, 4), .memsz = get(e->p, at + 20, 4) };
	return s;
}

static bool check_segment(const struct why *w, const struct elf *e, unsigned i, const struct loader_segment *s, uint64_t ram)
{
	if (s->filesz > s->memsz)
		return refuse(w, "segment %u has more bytes in the file (0x%lx) than in memory (0x%lx)", i, s->filesz, s->memsz);
	if (!range_ok(s->offset, s->filesz, e->len))
		return refuse(w, "truncated: segment %u (0x%lx bytes at 0x%lx) lies outside the file of 0x%lx bytes", i, s->filesz, s->offset,
			      e->len);
	if (s->pa + s->memsz < s->pa || (!e->wide && s->pa + s->memsz > 0x100000000ull))
		return refuse(w, "segment %u wraps around the end of memory (0x%lx bytes at 0x%lx)", i, s->memsz, s->pa);
	if (!range_ok(s->pa, s->memsz, ram))
		return refuse(w, "needs %lu MiB of memory, but the VM has %lu MiB (segment %u ends at 0x%lx)",
			      (s->pa + s->memsz + MIB - 1) / MIB, ram / MIB, i, s->pa + s->memsz);
	if (s->pa < HOLE_END && s->pa + s->memsz > HOLE_START)
		return refuse(w, "segment %u lies in the reserved memory 0xa0000-0xfffff", i);
	return true;
}

static bool read_segments(const struct why *w, const struct elf *e, uint64_t ram, struct loader_image *out)
{
	for (unsigned i = 0; i < e->phnum; i++) {
		uint64_t at = e->phoff + (uint64_t)i * e->phsize;
		struct loader_segment s;

		if (get(e->p, at, 4) != PT_LOAD)
			continue;
		s = read_segment(e, at);
		if (s.memsz == 0)
			continue;
		if (!check_segment(w, e, i, &s, ram))
			return false;
		for (unsigned k = 0; k < out->nr; k++)
			if (s.pa < out->seg[k].pa + out->seg[k].memsz && out->seg[k].pa < s.pa + s.memsz)
				return refuse(w, "segments overlap: 0x%lx-0x%lx and 0x%lx-0x%lx", out->seg[k].pa, out->seg[k].pa + out->seg[k].memsz,
					      s.pa, s.pa + s.memsz);
		if (out->nr == LOADER_MAX_SEGMENTS)
			return refuse(w, "more than %u segments", LOADER_MAX_SEGMENTS);
		out->seg[out->nr++] = s;
		if (s.pa + s.memsz > out->end)
			out->end = s.pa + s.memsz;
	}
	return out->nr > 0 ? true : refuse(w, "ELF with nothing to load");
}

/* ELF's entry is a virtual address; multiboot jumps with paging off. An image that is linked elsewhere than loaded is translated. */
static bool translate_entry(const struct why *w, uint64_t va, const struct loader_image *im, uint32_t *entry)
{
	for (unsigned i = 0; i < im->nr; i++) {
		const struct loader_segment *s = &im->seg[i];

		if (va >= s->va && va - s->va < s->memsz) {
			uint64_t at = va - s->va + s->pa;

			if (at >> 32)
				return refuse(w, "its entry point 0x%lx lies above 4 GiB", at);
			*entry = (uint32_t)at;
			return true;
		}
	}
	return refuse(w, "its entry point 0x%lx lies outside all segments", va);
}

/* The notes of one segment: name and type, each padded to 4 bytes. Other notes than ours may say what they like. False: ours lies. */
static bool read_notes(const struct why *w, const struct elf *e, uint64_t at, uint64_t size, struct loader_image *out)
{
	uint64_t end = at + size;

	while (end - at >= 12) {
		uint64_t name = get(e->p, at, 4), desc = get(e->p, at + 4, 4), type = get(e->p, at + 8, 4);
		uint64_t name_at = at + 12, desc_at = name_at + ((name + 3) & ~3ull), next = desc_at + ((desc + 3) & ~3ull);

		if (next > end)
			return true;
		if (type == BOOT64_NOTE_TYPE && desc == 8 && name == sizeof(BOOT64_NOTE_NAME) &&
		    memcmp(e->p + name_at, BOOT64_NOTE_NAME, sizeof(BOOT64_NOTE_NAME)) == 0)
			return translate_entry(w, get(e->p, desc_at, 8), out, &out->entry64);
		at = next;
	}
	return true;
}

static bool find_entry64(const struct why *w, const struct elf *e, struct loader_image *out)
{
	for (unsigned i = 0; i < e->phnum; i++) {
		uint64_t at = e->phoff + (uint64_t)i * e->phsize;
		struct loader_segment s;

		if (get(e->p, at, 4) != PT_NOTE)
			continue;
		s = read_segment(e, at);
		if (!range_ok(s.offset, s.filesz, e->len))
			return refuse(w, "truncated: its notes lie outside the file of 0x%lx bytes", e->len);
		if (!read_notes(w, e, s.offset, s.filesz, out))
			return false;
	}
	return true;
}

bool loader_check(const uint8_t *file, uint64_t len, uint64_t ram, struct loader_image *out, char *why, size_t cap)
{
	struct why w = { why, cap };
	struct elf e = { .p = file, .len = len };

	memset(out, 0, sizeof(*out));
	return read_header(&w, &e) && find_multiboot(&w, &e) && read_segments(&w, &e, ram, out) && translate_entry(&w, e.entry, out, &out->entry) &&
	       find_entry64(&w, &e, out);
}

void loader_place(const uint8_t *file, const struct loader_image *im, uint8_t *ram)
{
	for (unsigned i = 0; i < im->nr; i++)
		memcpy(ram + im->seg[i].pa, file + im->seg[i].offset, (size_t)im->seg[i].filesz);
}
