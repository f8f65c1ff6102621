/* SPDX-License-Identifier: MIT */
/* What comes from outside: command lines, module strings, multiboot structures, ELF images, text formatting. Examples, then seeded garbage. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/lib/fmt.h"
#include "arch/lib/string.h"
#include "boot/multiboot.h"
#include "boot/multiboot_parse.h"
#include "boot/options.h"
#include "model/cpu.h"
#include "tap.h"
#include "vmm/loader.h"
#include "vmm/vmopts.h"

TEST(options_strict)
{
	static const struct {
		const char *line, *bad; /* bad NULL: accepted */
	} t[] = {
		{ "", NULL }, { "backend=svm com=com2 screen=off", NULL }, { "/boot/drover.elf backend=vmx", NULL }, { "drover dbg=lazy", NULL },
		{ "backend=pvm", NULL }, { "backend=pv", "backend=pv" }, { "com=1000", "com=1000" }, { "com=0x", "com=0x" }, { "com=0xfff9", "com=0xfff9" }, { "com=0xfff8", NULL },
		{ "com=0xffffffffffffffff", "com=0xffffffffffffffff" },
		{ "gdb=com2", NULL }, { "gdb=0x2f8,wait trace=on", NULL }, { "gdb=none", NULL }, { "gdb=none,wait", "gdb=none,wait" }, { "gdb=com2,", "gdb=com2," },
		{ "gdb=com2,wait,wait", "gdb=com2,wait,wait" }, { "gdb=com2 wait", "wait" }, { "gdb=com3", "gdb=com3" }, { "trace=yes", "trace=yes" },
		{ "budget=0", "budget=0" }, { "budget=10x", "budget=10x" }, { "minmem=", "minmem=" }, { "fault=no-such", "fault=no-such" },
		{ "backend", "backend" }, { "Backend=svm", "Backend=svm" }, { "backend=svm nonsense", "nonsense" }, { "dbg=eagerly", "dbg=eagerly" },
		{ "backend=svm /boot/x", "/boot/x" }, { "quirks=some", "quirks=some" }, { "budget=86400000", NULL }, { "budget=86400001", "budget=86400001" },
	};
	struct tap_set s = { .id = "options.strict" }, named = { .id = "options.named" };

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct options o;
		char bad[64] = "";
		bool ok = options_parse(t[i].line, &o, bad, sizeof(bad));

		tap_case(&s, ok, t[i].bad == NULL, "'%s'", t[i].line);
		tap_case(&named, !t[i].bad || strcmp(bad, t[i].bad) == 0, true, "'%s' names '%s'", t[i].line, bad);
	}
	tap_end(&s, "drover's options: known ones accepted, all others refused");
	tap_end(&named, "and named");
}

TEST(options_values)
{
	struct options o;
	char bad[64];

	options_parse("", &o, bad, sizeof(bad));
	tap_ok(o.backend == CHOOSE_AUTO && o.com == 0x3f8 && o.debugcon == 0xe9 && o.screen && o.quirks && o.budget_ms == 60000, "options.defaults",
	       "the defaults");
	options_parse("backend=vmx com=none debugcon=0x402 screen=off quirks=none budget=5 fault=vtx-locked", &o, bad, sizeof(bad));
	tap_ok(o.backend == CHOOSE_VMX && o.com == 0 && o.debugcon == 0x402 && !o.screen && !o.quirks && o.budget_ms == 5, "options.values", "values");
	tap_ok(strcmp(o.fault, "vtx-locked") == 0, "options.fault", "the lab fault");
	tap_ok(o.gdb == 0 && !o.gdb_wait && !o.trace, "options.gdb.off", "no gdb, no trace");
	options_parse("gdb=com2,wait trace=on", &o, bad, sizeof(bad));
	tap_ok(o.gdb == 0x2f8 && o.gdb_wait && o.trace, "options.gdb", "a gdb that is waited for");
	options_parse("gdb=com4,wait", &o, bad, sizeof(bad));
	tap_ok(o.gdb == 0 && !o.gdb_wait, "options.gdb.refused", "nor is there one to wait for when it is refused");
}

TEST(vmopts_strict)
{
	static const struct {
		const char *line;
		bool ok;
	} t[] = {
		{ "vm=a mem=64 lab budget=100 group=2 -- rest  of it", true }, { "/guest.elf vm=a", true }, { "", true }, { "guest.elf -- x", true },
		{ "mem=1", false }, { "mem=64k", false }, { "vm=", false }, { "vm=much-too-long-a-name", false }, { "vm=a/b", false }, { "group=0", false },
		{ "lab=1", false }, { "scenario=list", false }, { "budget=0", false }, { "vm=a lab x", false }, { "budget=2147483647", true }, { "budget=2147483648", false },
	};
	struct tap_set s = { .id = "vmopts.strict" };
	struct vmopts o;
	char bad[64];

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		o = (struct vmopts){ 0 };
		tap_case(&s, vmopts_parse(t[i].line, &o, bad, sizeof(bad)), t[i].ok, "'%s'", t[i].line);
	}
	tap_end(&s, "a module's options");
	o = (struct vmopts){ 0 };
	vmopts_parse("vm=a mem=64 lab --   scenario=x  y", &o, bad, sizeof(bad));
	tap_ok(strcmp(o.name, "a") == 0 && o.mem_mib == 64 && o.lab && strcmp(o.cmdline, "scenario=x  y") == 0, "vmopts.values",
	       "values, and the guest's own line as it is ('%s')", o.cmdline);
}

TEST(options_garbage)
{
	static const char *const words[] = { "backend=", "com=0x", "vm=", "mem=", "--", "=", "lab", " ", "svm", "99999999999999999999", "0x", "\t", "group=" };
	struct tap_set s = { .id = "options.garbage" };
	uint64_t seed = 7;

	for (unsigned i = 0; i < 100000; i++) {
		char line[200] = "", bad[16];
		struct options o;
		struct vmopts v = { 0 };

		for (unsigned k = rnd(&seed) % 8; k > 0; k--)
			strcat(line, words[rnd(&seed) % (sizeof(words) / sizeof(words[0]))]);
		if (rnd(&seed) % 2 && line[0])
			line[rnd(&seed) % strlen(line)] = (char)(1 + rnd(&seed) % 255);
		bad[0] = 0;
		if (!options_parse(line, &o, bad, sizeof(bad)) || !vmopts_parse(line, &v, bad, sizeof(bad)))
			tap_case(&s, bad[0] != 0 && memchr(bad, 0, sizeof(bad)) != NULL, true, "'%s'", line);
	}
	tap_end(&s, "every refusal of garbage names a word");
}

/* ---- ELF images ---- */

#define IMAGE 512u
#define MB_AT 0x168u /* farther than in the images of machine.c, so that these load where a search that ends too soon misses it */
static void good_image(uint8_t *f)
{
	static const uint8_t ident[] = { 0x7f, 'E', 'L', 'F', 1, 1, 1 };
	static const uint32_t mb[] = { 0x1badb002, 0, 0u - 0x1badb002 };
	static const uint32_t ph[2][8] = { { 1, 0, 0x100000, 0x100000, 0x180, 0x180, 5, 4096 }, { 1, 0x180, 0x200000, 0x200000, 0x20, 0x1000, 6, 4096 } };
	static const uint32_t head[] = { 1, 0x100000, 52, 0, 0 };
	static const uint16_t tail[] = { 52, 32, 2, 0, 0, 0 }, type[] = { 2, 3 };

	memset(f, 0, IMAGE);
	memcpy(f, ident, sizeof(ident));
	memcpy(f + 16, type, sizeof(type));
	memcpy(f + 20, head, sizeof(head));
	memcpy(f + 40, tail, sizeof(tail));
	memcpy(f + 52, ph, sizeof(ph));
	memcpy(f + MB_AT, mb, sizeof(mb));
}

TEST(loader_images)
{
	uint8_t f[IMAGE], *ram = calloc(1, 4u << 20);
	struct tap_set cut = { .id = "loader.cut" }, fuzz = { .id = "loader.garbage" };
	struct loader_image im;
	uint64_t seed = 11;
	unsigned accepted = 0;
	char why[160];

	good_image(f);
	tap_ok(loader_check(f, IMAGE, 4u << 20, &im, why, sizeof(why)), "loader.good", "a small image is accepted");
	tap_ok(!loader_check(f, IMAGE, 2u << 20, &im, why, sizeof(why)), "loader.ram", "but not with too little memory: %s", why);
	for (unsigned len = 0; len < 0x1a0; len++) { /* an exact copy, so that one byte too far is seen */
		uint8_t *copy = malloc(len ? len : 1);

		memcpy(copy, f, len);
		why[0] = 0;
		tap_case(&cut, loader_check(copy, len, 4u << 20, &im, why, sizeof(why)), false, "%u bytes", len);
		tap_case(&cut, why[0] != 0, true, "%u bytes: no reason", len);
		free(copy);
	}
	tap_end(&cut, "every cut image is refused, with a reason");
	for (unsigned i = 0; i < 200000; i++) {
		good_image(f);
		for (unsigned k = 1 + rnd(&seed) % 4; k > 0; k--)
			f[(rnd(&seed) % 11 ? 0 : MB_AT - 104) + rnd(&seed) % 116] = (uint8_t)(rnd(&seed) % 3 ? rnd(&seed) : 0xff * (rnd(&seed) & 1));
		why[0] = 0;
		if (loader_check(f, IMAGE, 4u << 20, &im, why, sizeof(why))) {
			accepted++;
			loader_place(f, &im, ram); /* the sanitizer is the judge */
			tap_case(&fuzz, im.end <= 4u << 20 && im.entry < 4u << 20, true, "case %u: end 0x%llx", i, (unsigned long long)im.end);
		} else {
			tap_case(&fuzz, why[0] != 0, true, "case %u: no reason", i);
		}
	}
	tap_case(&fuzz, accepted > 1000, true, "%u loaded only", accepted);
	tap_end(&fuzz, "changed images are refused with a reason, or stay inside the VM");
	free(ram);
}

/* ---- The note of a 64-bit entry ---- */

#define NOTES 0x1a0u
#define NAME 0x766f7264, 0x00007265 /* "drover" */
#define OURS 7, 8, 1, NAME          /* sizes of name and descriptor, type, name */

/* Its notes are the words at the end of the file; of their segment as many bytes as `size` says. */
static const struct note_case {
	const char *what;
	uint32_t offset, size, word[16];
	const char *why;  /* what the refusal says; NULL: accepted */
	uint32_t entry64; /* 0: none */
} notes[] = {
	{ "one", NOTES, 28, { OURS, 0x100010 }, NULL, 0x100010 },
	{ "none", NOTES, 0, { 0 }, NULL, 0 },
	{ "another's before it", NOTES, 44, { 4, 0, 3, 0x00554e47, OURS, 0x100010 }, NULL, 0x100010 },
	{ "names of 4 GiB", NOTES, 28, { 0xffffffff, 8, 1, NAME, 0x100010 }, NULL, 0 },
	{ "a descriptor of 4 GiB", NOTES, 28, { 7, 0xffffffff, 1, NAME, 0x100010 }, NULL, 0 },
	{ "both", NOTES, 28, { 0xffffffff, 0xffffffff, 1, NAME, 0x100010 }, NULL, 0 },
	{ "sizes that come to 0 in 32 bits", NOTES, 40, { 0xfffffffc, 4, 1, OURS, 0x100010 }, NULL, 0 },
	{ "a descriptor of 4 bytes", NOTES, 28, { 7, 4, 1, NAME, 0x100010 }, NULL, 0 },
	{ "and a right one behind it", NOTES, 52, { 7, 4, 1, NAME, 0x100020, OURS, 0x100010 }, NULL, 0x100010 },
	{ "a descriptor of 16 bytes", NOTES, 36, { 7, 16, 1, NAME, 0x100010 }, NULL, 0 },
	{ "cut in its descriptor", NOTES, 24, { OURS, 0x100010 }, NULL, 0 },
	{ "cut in its name", NOTES, 16, { OURS, 0x100010 }, NULL, 0 },
	{ "cut in its head", NOTES, 11, { OURS, 0x100010 }, NULL, 0 },
	{ "another type", NOTES, 28, { 7, 8, 2, NAME, 0x100010 }, NULL, 0 },
	{ "a name that begins so", NOTES, 28, { 6, 8, 1, NAME, 0x100010 }, NULL, 0 },
	{ "two: the first one", NOTES, 56, { OURS, 0x100010, 0, OURS, 0x100020, 0 }, NULL, 0x100010 },
	{ "outside all segments", NOTES, 28, { OURS, 0x300000 }, "its entry point 0x300000 lies outside", 0 },
	{ "at 0", NOTES, 28, { OURS, 0 }, "its entry point 0x0 lies outside", 0 },
	{ "above 4 GiB", NOTES, 28, { OURS, 0x100010, 1 }, "its entry point 0x100100010 lies outside", 0 },
	{ "two, the first a lie", NOTES, 56, { OURS, 0x300000, 0, OURS, 0x100010, 0 }, "its entry point 0x300000 lies outside", 0 },
	{ "behind the file", IMAGE, 28, { OURS, 0x100010 }, "its notes lie outside the file", 0 },
	{ "partly behind it", IMAGE - 12, 28, { OURS, 0x100010 }, "its notes lie outside the file", 0 },
	{ "4 GiB of notes", NOTES, 0xffffffff, { OURS, 0x100010 }, "its notes lie outside the file", 0 },
	{ "far behind it", 0xfffffff0, 0x20, { OURS, 0x100010 }, "its notes lie outside the file", 0 },
};

TEST(loader_notes)
{
	struct tap_set s = { .id = "loader.notes" };
	uint8_t f[IMAGE];

	for (unsigned i = 0; i < sizeof(notes) / sizeof(notes[0]); i++) {
		const struct note_case *n = &notes[i];
		const uint32_t ph[8] = { 4, n->offset, 0, 0, n->size, n->size, 4, 4 };
		uint8_t *copy = malloc(IMAGE); /* so that one byte too far is seen */
		struct loader_image im;
		char why[160] = "";
		bool ok;

		good_image(f);
		f[44] = 3; /* headers */
		memcpy(f + 52 + 64, ph, sizeof(ph));
		memcpy(f + NOTES, n->word, sizeof(n->word));
		memcpy(copy, f, IMAGE);
		ok = loader_check(copy, IMAGE, 4u << 20, &im, why, sizeof(why));
		tap_case(&s, ok, !n->why, "%s: '%s'", n->what, why);
		if (n->why)
			tap_case(&s, strstr(why, n->why) != NULL, true, "%s: says '%s'", n->what, why);
		else
			tap_case(&s, ok ? im.entry64 : 0xbad, n->entry64, "%s: the entry", n->what);
		free(copy);
	}
	tap_end(&s, "the note of a 64-bit entry: found, passed over, or refused");
}

/* ---- Multiboot information ---- */

TEST(multiboot_garbage)
{
	static struct bootinfo bi;
	struct tap_set s = { .id = "multiboot.garbage" };
	uint64_t seed = 13, mmaps = 0, modules = 0;

	for (unsigned i = 0; i < 20000; i++) {
		uint32_t *w = (uint32_t *)(void *)(sw_low + 0x1000);
		uint32_t at = 8;

		memset(sw_low, 0, SW_LOW_SIZE); /* so that a string that nobody ends is ended here */
		memset(&bi, 0, sizeof(bi));
		while (at < 0x300) {
			uint32_t size = 8 + (uint32_t)(rnd(&seed) % 100);

			w[at / 4] = (uint32_t)(rnd(&seed) % 16);
			w[at / 4 + 1] = rnd(&seed) % 20 ? size : (uint32_t)rnd(&seed);
			for (uint32_t k = at + 8; k + 4 <= at + size; k += 4)
				w[k / 4] = (uint32_t)(rnd(&seed) % 4 ? rnd(&seed) % 64 : rnd(&seed));
			at += (size + 7) & ~7u;
		}
		w[0] = rnd(&seed) % 8 ? at : at / 2;
		if (!multiboot_parse(MB2_LOADER_MAGIC, 0x1000, &bi))
			tap_case(&s, 0, 1, "case %u is refused", i);
		tap_case(&s, bi.nr_mmap <= BOOTINFO_MAX_MMAP && bi.nr_modules <= BOOTINFO_MAX_MODULES && bi.rsdp_len <= sizeof(bi.rsdp), true, "case %u", i);
		mmaps += bi.nr_mmap;
		modules += bi.nr_modules;
	}
	tap_case(&s, mmaps > 100 && modules > 1000, true, "%llu ranges, %llu modules only", (unsigned long long)mmaps, (unsigned long long)modules);
	tap_end(&s, "multiboot-2 tags of any content stay inside the tables");
	tap_ok(!multiboot_parse(0x12345678, 0x1000, &bi), "multiboot.magic", "another magic is no multiboot");
}

/* Multiboot 1: counts and pointers are the loader's word. Found by tests/fuzz/fuzz_multiboot.c: the list of modules was read to wherever its count led. */
TEST(multiboot_ends)
{
	static struct bootinfo bi;
	struct mb1_info *info = (void *)(sw_low + 0x1000);

	memset(sw_low, 0, SW_LOW_SIZE);
	*info = (struct mb1_info){ .flags = MB1_INFO_MODS, .mods_count = 0xffffffff, .mods_addr = 0x2000 };
	memset(&bi, 0, sizeof(bi));
	multiboot_parse(MB1_LOADER_MAGIC, 0x1000, &bi);
	tap_eq(bi.modules_dropped, 0xffffffffull - BOOTINFO_MAX_MODULES, "multiboot.ends.count", "modules without a place are counted, not read");
	*info = (struct mb1_info){ .flags = MB1_INFO_MODS | MB1_INFO_MMAP, .mods_count = 1, .mods_addr = 0xfffffff8, .mmap_addr = 0xfffffff0,
				   .mmap_length = 0x100 };
	memset(&bi, 0, sizeof(bi));
	multiboot_parse(MB1_LOADER_MAGIC, 0x1000, &bi);
	tap_ok(bi.modules_dropped == 1 && bi.mmap_dropped == 1 && bi.nr_modules == 0 && bi.nr_mmap == 0, "multiboot.ends.four_gib",
	       "what does not lie below 4 GiB is dropped");
}

/* ---- Text ---- */

TEST(fmt_like_libc)
{
	static const char *const formats[] = { "%d|", "%5d|", "%-5d|", "%05d|", "%u|", "%x|", "%08x|", "%X|", "%c|", "%-8x|", "%12u|" };
	struct tap_set s = { .id = "fmt.int" }, l = { .id = "fmt.long" }, cut = { .id = "fmt.cut" };
	uint64_t seed = 5;

	for (unsigned i = 0; i < 50000; i++) {
		const char *f = formats[rnd(&seed) % (sizeof(formats) / sizeof(formats[0]))];
		int v = (int)(rnd(&seed) >> rnd(&seed) % 64);
		unsigned long long q = rnd(&seed) >> rnd(&seed) % 64;
		char a[64], b[64];
		size_t cap = 1 + rnd(&seed) % 20, n;

		if (f[strlen(f) - 2] == 'c')
			v = 'a' + (v & 15);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		n = fmt_snprintf(a, sizeof(a), f, v);
		tap_case(&s, n == (size_t)snprintf(b, sizeof(b), f, v) && strcmp(a, b) == 0, true, "%s %d: '%s', libc '%s'", f, v, a, b);
		n = fmt_snprintf(a, cap, f, v);
		tap_case(&cut, n == strlen(b) && strlen(a) == (n < cap ? n : cap - 1) && strncmp(a, b, strlen(a)) == 0, true, "%s in %zu", f, cap);
#pragma GCC diagnostic pop
		fmt_snprintf(a, sizeof(a), "%llx %llu %016llx %ld %s %.3s", q, q, q, (long)q, "text", "cut");
		snprintf(b, sizeof(b), "%llx %llu %016llx %ld %s %.3s", q, q, q, (long)q, "text", "cut");
		tap_case(&l, strcmp(a, b) == 0, true, "'%s', libc '%s'", a, b);
	}
	tap_end(&s, "integers as the C library prints them");
	tap_end(&l, "long ones, strings");
	tap_end(&cut, "cut to the buffer, with the whole length returned");
}

TEST(str_numbers)
{
	static const struct {
		const char *s;
		bool ok;
		uint64_t v;
	} t[] = { { "0", true, 0 }, { "18446744073709551615", true, ~0ull }, { "18446744073709551616", false, 0 }, { "0xffffffffffffffff", true, ~0ull },
		  { "0x10000000000000000", false, 0 }, { "", false, 0 }, { "0x", false, 0 }, { "12a", false, 0 }, { "-1", false, 0 }, { " 1", false, 0 },
		  { "0X1f", true, 31 }, { "007", true, 7 } };
	struct tap_set s = { .id = "string.number" };

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		uint64_t v = 99;
		bool ok = str_to_u64(t[i].s, &v);

		if (strncmp(t[i].s, "0X", 2) == 0) /* either is fine, as long as it is not half */
			tap_case(&s, ok ? v == 31 : v == 99, true, "'%s'", t[i].s);
		else
			tap_case(&s, ok == t[i].ok && v == (ok ? t[i].v : 99), true, "'%s'", t[i].s);
	}
	tap_end(&s, "numbers, and what is none");
}
