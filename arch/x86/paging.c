/* SPDX-License-Identifier: MIT */
/* The host's page tables. Boot's own (boot.S) map the first 4 GiB at 0 and at DIRECT_BASE and are dropped here. */
#include "arch/x86/paging.h"

#include "arch/lib/panic.h"
#include "arch/lib/string.h"
#include "arch/x86/def/cpuid.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/def/pte.h"
#include "arch/x86/gdt.h"
#include "arch/x86/insn.h"
#include "arch/x86/pmem.h"

#define SIZE_2M 0x200000ull
#define SIZE_4G 0x100000000ull
#define CPUID_7_ECX_UMIP (1u << 2)

/* linker.ld; all page-aligned. boot_start and boot_end are physical, the others lie above KERNEL_BASE. */
extern const uint8_t text_start[], text_end[], rodata_start[], rodata_end[], data_start[], image_end[];
extern const uint8_t boot_start[];
extern const uint8_t boot_stack_guard[];

static uint64_t *root;

static uint64_t image_pa(const void *p)
{
	return (uint64_t)(uintptr_t)p - KERNEL_BASE;
}

uint64_t virt_to_phys(const void *p)
{
	uint64_t va = (uint64_t)(uintptr_t)p;

	if (va >= KERNEL_BASE)
		return va - KERNEL_BASE;
	if (va < DIRECT_BASE)
		panic("virt_to_phys: %p is in no map of ours", p);
	return va - DIRECT_BASE;
}

void *phys_to_virt(uint64_t pa)
{
	return (void *)(uintptr_t)(DIRECT_BASE + pa);
}

/* The entry for va at level 1 (4 KiB) or 2 (2 MiB); missing tables are made. NULL: out of memory. */
static uint64_t *entry_at(uint64_t va, unsigned level)
{
	uint64_t *table = root;

	for (unsigned l = 4; l > level; l--) {
		uint64_t *e = &table[va >> (12 + 9 * (l - 1)) & (PTE_ENTRIES - 1)];

		if (!(*e & PTE_P)) {
			void *page = pmem_alloc(PAGE_SIZE, PAGE_SIZE);

			if (page == NULL)
				return NULL;
			*e = virt_to_phys(page) | PTE_P | PTE_W;
		}
		table = phys_to_virt(*e & PTE_ADDR);
	}
	return &table[va >> (12 + 9 * (level - 1)) & (PTE_ENTRIES - 1)];
}

static void map(uint64_t va, uint64_t pa, unsigned level, uint64_t flags)
{
	uint64_t *e = entry_at(va, level);

	if (e == NULL)
		panic("out of memory for page tables");
	*e = pa | flags | PTE_P | PTE_A | PTE_G | (level == 2 ? PTE_PS : 0);
}

static void map_image(const uint8_t *start, const uint8_t *end, uint64_t flags)
{
	for (const uint8_t *p = start; p < end; p += PAGE_SIZE)
		map((uint64_t)(uintptr_t)p, image_pa(p), 1, flags);
}

bool paging_hang(uint64_t va, uint64_t table)
{
	uint64_t *e = entry_at(va, 3);

	if (e == NULL)
		return false;
	assert(*e == 0 || (*e & PTE_ADDR) == table);
	*e = table | PTE_P | PTE_W | PTE_A;
	return true;
}

/* What the image wants write-protected: boot code, text, rodata. */
static bool is_read_only(uint64_t pa)
{
	return pa >= (uint64_t)(uintptr_t)boot_start && pa < image_pa(rodata_end);
}

static void map_direct(uint64_t end, bool (*is_ram)(uint64_t pa))
{
	for (uint64_t pa = 0; pa < end; pa += SIZE_2M) {
		bool ram = is_ram(pa);
		uint64_t flags = PTE_W | PTE_D | PTE_NX | (ram ? 0 : PTE_PCD);

		if (!ram && pa >= SIZE_4G)
			continue;
		if (pa + SIZE_2M <= (uint64_t)(uintptr_t)boot_start || pa >= image_pa(rodata_end)) {
			map(DIRECT_BASE + pa, pa, 2, flags);
			continue;
		}
		for (uint64_t p = pa; p < pa + SIZE_2M; p += PAGE_SIZE)
			map(DIRECT_BASE + p, p, 1, is_read_only(p) ? PTE_NX : flags);
	}
}

static void unmap_page(const void *p)
{
	uint64_t *e = entry_at((uint64_t)(uintptr_t)p, 1);

	assert(e != NULL);
	*e = 0;
}

static void turn_on_protections(void)
{
	uint64_t cr4 = read_cr4() | CR4_PGE;
	struct cpuid_regs r = { 0 };

	if (cpuid(0, 0).eax >= 7)
		r = cpuid(7, 0);
	if (r.ebx & CPUID_7_EBX_SMEP)
		cr4 |= CR4_SMEP;
	if (r.ebx & CPUID_7_EBX_SMAP)
		cr4 |= CR4_SMAP;
	if (r.ecx & CPUID_7_ECX_UMIP)
		cr4 |= CR4_UMIP;
	write_cr0(read_cr0() | CR0_WP);
	write_cr4(cr4);
}

void paging_init(uint64_t ram_end, bool (*is_ram)(uint64_t pa))
{
	struct cpu_area *area = cpu_area(this_cpu());

	if (!(rdmsr(MSR_EFER) & EFER_NXE))
		panic("the CPU has no NX (or firmware hides it)");
	root = pmem_alloc(PAGE_SIZE, PAGE_SIZE);
	if (root == NULL)
		panic("out of memory for page tables");
	map_image(text_start, text_end, 0);
	map_image(rodata_start, rodata_end, PTE_NX);
	map_image(data_start, image_end, PTE_W | PTE_D | PTE_NX);
	map_direct(ram_end > SIZE_4G ? ram_end : SIZE_4G, is_ram);
	unmap_page(boot_stack_guard);
	for (unsigned i = 0; i < IST_NR; i++)
		unmap_page(area->ist[i].guard);
	write_cr3(virt_to_phys(root));
	turn_on_protections();
}

bool paging_map_device(uint64_t pa, uint64_t len)
{
	for (uint64_t p = pa & ~(SIZE_2M - 1); p < pa + len; p += SIZE_2M) {
		uint64_t *e;

		if (p < SIZE_4G)
			continue;
		e = entry_at(DIRECT_BASE + p, 2);
		if (e == NULL)
			return false;
		if (!(*e & PTE_P)) /* RAM nearby may share the piece and is mapped already */
			*e = p | PTE_P | PTE_W | PTE_A | PTE_D | PTE_G | PTE_NX | PTE_PCD | PTE_PS;
	}
	return true;
}

#define LEAF_W 1u
#define LEAF_X 2u

static void check_leaf(uint64_t va, uint64_t pa, uint64_t size, unsigned rights)
{
	if ((rights & LEAF_W) && (rights & LEAF_X))
		panic("w^x: 0x%lx is writable and executable", va);
	if ((rights & LEAF_W) && pa < image_pa(rodata_end) && pa + size > image_pa(text_start))
		panic("w^x: 0x%lx is a writable alias of text or rodata", va);
	if ((rights & LEAF_X) && (pa < image_pa(text_start) || pa + size > image_pa(text_end)))
		panic("w^x: 0x%lx is executable and not text", va);
}

static uint64_t check_table(const uint64_t *table, unsigned level, uint64_t va, unsigned rights)
{
	uint64_t leaves = 0;

	for (unsigned i = 0; i < PTE_ENTRIES; i++) {
		uint64_t e = table[i], size = PAGE_SIZE * (1ull << (9 * (level - 1))), at = va + i * size;
		unsigned r = rights;

		if (!(e & PTE_P))
			continue;
		if (!(e & PTE_W))
			r &= ~LEAF_W;
		if (e & PTE_NX)
			r &= ~LEAF_X;
		if (level == 4 && i >= PTE_ENTRIES / 2)
			at |= 0xffff000000000000ull;
		if (level > 1 && !(e & PTE_PS)) {
			leaves += check_table(phys_to_virt(e & PTE_ADDR), level - 1, at, r);
			continue;
		}
		if (e & PTE_U)
			panic("w^x: 0x%lx is a user page", at);
		check_leaf(at, e & PTE_ADDR & ~(size - 1), size, r);
		leaves++;
	}
	return leaves;
}

uint64_t paging_check_wx(void)
{
	if (!(read_cr0() & CR0_WP) || !(rdmsr(MSR_EFER) & EFER_NXE))
		panic("w^x: CR0.WP or EFER.NXE is clear");
	return check_table(phys_to_virt(read_cr3() & PTE_ADDR), 4, 0, LEAF_W | LEAF_X);
}
