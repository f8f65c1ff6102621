/* SPDX-License-Identifier: MIT */
/* Builds second-level tables from a backend's format: 2 MiB leaves where both addresses allow, 4 KiB ones elsewhere. */
#include "vmm/slat.h"

#include "arch/x86/def/pte.h"
#include "arch/x86/pmem.h"

#define LARGE (1ull << 21)

static uint64_t *table_at(uint64_t entry)
{
	return phys_to_virt(entry & PTE_ADDR);
}

/* The table that the entry points to; makes one when there is none. */
static uint64_t *below(const struct slat_format *f, uint64_t *entry)
{
	uint64_t *t;

	if (*entry)
		return table_at(*entry);
	t = pmem_alloc(PAGE_SIZE, PAGE_SIZE);
	if (t)
		*entry = virt_to_phys(t) | f->table;
	return t;
}

static bool map_one(const struct slat_format *f, uint64_t *root, uint64_t gpa, uint64_t hpa, bool large)
{
	uint64_t leaf = f->leaf | f->write | f->exec, *t = below(f, &root[gpa >> 39 & 511]);

	t = t ? below(f, &t[gpa >> 30 & 511]) : NULL;
	if (t && large) {
		t[gpa >> 21 & 511] = hpa | leaf | f->large;
		return true;
	}
	t = t ? below(f, &t[gpa >> 21 & 511]) : NULL;
	if (!t)
		return false;
	t[gpa >> 12 & 511] = hpa | leaf;
	return true;
}

uint64_t slat_build(const struct slat_format *f, uint64_t hpa, uint64_t size)
{
	uint64_t *root = pmem_alloc(PAGE_SIZE, PAGE_SIZE), gpa = 0;

	if (!root)
		return 0;
	while (gpa < size) {
		bool large = ((gpa | (hpa + gpa)) & (LARGE - 1)) == 0 && size - gpa >= LARGE;

		if (!map_one(f, root, gpa, hpa + gpa, large)) {
			slat_free(f, virt_to_phys(root));
			return 0;
		}
		gpa += large ? LARGE : PAGE_SIZE;
	}
	return virt_to_phys(root);
}

static bool split(const struct slat_format *f, uint64_t *large)
{
	uint64_t *t = pmem_alloc(PAGE_SIZE, PAGE_SIZE), leaf = *large & ~f->large;

	if (!t)
		return false;
	for (unsigned i = 0; i < PTE_ENTRIES; i++)
		t[i] = leaf + (uint64_t)i * PAGE_SIZE;
	*large = virt_to_phys(t) | f->table;
	return true;
}

bool slat_set_exec(const struct slat_format *f, uint64_t root, uint64_t gpa, bool exec)
{
	uint64_t *t = table_at(root), *e;

	t = table_at(t[gpa >> 39 & 511]);
	t = table_at(t[gpa >> 30 & 511]);
	e = &t[gpa >> 21 & 511];
	if ((*e & f->large) && !split(f, e))
		return false;
	e = &table_at(*e)[gpa >> 12 & 511];
	*e = (*e & ~(f->exec | f->noexec)) | (exec ? f->exec : f->noexec);
	return true;
}

/* level: of the entries in the table, 4 the root's. */
static void free_table(const struct slat_format *f, uint64_t *t, unsigned level)
{
	for (unsigned i = 0; i < PTE_ENTRIES && level > 1; i++)
		if (t[i] && !(level == 2 && (t[i] & f->large)))
			free_table(f, table_at(t[i]), level - 1);
	pmem_free(t, PAGE_SIZE);
}

void slat_free(const struct slat_format *f, uint64_t root)
{
	if (root)
		free_table(f, phys_to_virt(root), 4);
}
