/* SPDX-License-Identifier: MIT */
/* Multiboot information of both versions. Input: the version and how pointers are meant, a byte of the flags, then the information.
 * Version 2 is one piece that names its own size: it lies in memory of exactly that size. Version 1 points anywhere below 4 GiB, all of which is mapped
 * when the parser runs (boot.S): here too, and nothing behind it is. */
#include <sys/mman.h>

#include "arch/x86/pmem.h"
#include "boot/multiboot.h"
#include "boot/multiboot_parse.h"
#include "fuzz.h"

#define LOW 0x1000u
#define FOUR_GIB (1ull << 32)
#define GUARD (1ull << 37) /* more than 32 bits of modules of 16 bytes */

static uint8_t *memory; /* version 1: physical memory from 0 */
static uint8_t *blob;   /* version 2: what lies at LOW */
static struct bootinfo bi;

void *phys_to_virt(uint64_t pa)
{
	return blob != NULL ? blob + (pa - LOW) : memory + pa;
}

static void map_memory(void)
{
	uint8_t *p = mmap(NULL, FOUR_GIB + GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	FUZZ_CHECK(p != MAP_FAILED && mprotect(p, FOUR_GIB, PROT_READ | PROT_WRITE) == 0, "no address space");
	memory = p;
}

/* Pointers: as they are, into the information, or into its copy at the end of what is mapped. */
static void aim(uint32_t *pointer, unsigned how, size_t n)
{
	if (how & 1)
		*pointer = (uint32_t)((how & 2 ? FOUR_GIB - n : LOW) + *pointer % n);
}

static void check_result(unsigned protocol)
{
	FUZZ_CHECK(bi.protocol == protocol, "protocol %u", bi.protocol);
	FUZZ_CHECK(bi.nr_mmap <= BOOTINFO_MAX_MMAP && bi.nr_modules <= BOOTINFO_MAX_MODULES && bi.rsdp_len <= sizeof(bi.rsdp), "%zu ranges, %zu modules",
		   bi.nr_mmap, bi.nr_modules);
	FUZZ_CHECK(memchr(bi.loader, 0, sizeof(bi.loader)) && memchr(bi.cmdline, 0, sizeof(bi.cmdline)), "a string has no end");
	for (size_t i = 0; i < bi.nr_mmap; i++)
		FUZZ_CHECK(bi.mmap[i].len != 0, "range %zu is empty", i);
	for (size_t i = 0; i < bi.nr_modules; i++)
		FUZZ_CHECK(memchr(bi.module[i].cmdline, 0, BOOTINFO_STRING) && bi.module[i].pa + bi.module[i].len <= FOUR_GIB, "module %zu", i);
	/* Version 1 also drops what would lie above 4 GiB. */
	FUZZ_CHECK(protocol == 1 || ((bi.mmap_dropped == 0 || bi.nr_mmap == BOOTINFO_MAX_MMAP) &&
				     (bi.modules_dropped == 0 || bi.nr_modules == BOOTINFO_MAX_MODULES)), "dropped with room left");
}

static void version2(const uint8_t *p, size_t n)
{
	uint32_t total;

	if (n < sizeof(struct mb2_info))
		return;
	blob = fuzz_exact(p, n);
	memcpy(&total, blob, sizeof(total));
	if (total > n) { /* the loader's word: what it calls its own is there */
		total = (uint32_t)n;
		memcpy(blob, &total, sizeof(total));
	}
	FUZZ_CHECK(multiboot_parse(MB2_LOADER_MAGIC, LOW, &bi), "refused");
	check_result(2);
	free(blob);
	blob = NULL;
}

static void version1(unsigned how, const uint8_t *p, size_t n)
{
	struct mb1_info info = { 0 };
	bool last = how & 0x40;
	size_t whole = n < sizeof(info) ? sizeof(info) : n;
	uint8_t *low, *high;

	if (memory == NULL)
		map_memory();
	memcpy(&info, p, n < sizeof(info) ? n : sizeof(info));
	aim(&info.cmdline, how, whole);
	aim(&info.mods_addr, how >> 1, whole);
	aim(&info.mmap_addr, how >> 2, whole);
	aim(&info.loader_name, how >> 3, whole);
	low = memory + LOW;
	high = memory + FOUR_GIB - whole;
	memcpy(low, p, n);
	memcpy(high, p, n);
	memcpy(low, &info, sizeof(info));
	memcpy(high, &info, sizeof(info));
	FUZZ_CHECK(multiboot_parse(MB1_LOADER_MAGIC, (uint32_t)(last ? FOUR_GIB - whole : LOW), &bi), "refused");
	check_result(1);
	memset(low, 0, whole);
	memset(high, 0, whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	unsigned how = (unsigned)fuzz_take(&in, 1);

	memset(&bi, 0, sizeof(bi));
	if (how & 0x80)
		version1(how, in.p, in.n);
	else
		version2(in.p, in.n);
	return 0;
}
