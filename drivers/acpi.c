/* SPDX-License-Identifier: MIT */
/* ACPI tables, by the ACPI specification's "ACPI Software Programming Model". Firmware's data: every length is checked. */
#include "drivers/acpi.h"

#include "arch/lib/log.h"
#include "arch/lib/string.h"
#include "arch/x86/paging.h"
#include "arch/x86/pmem.h"

struct __attribute__((packed)) rsdp {
	char signature[8];
	uint8_t checksum;
	char oem[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length; /* from here on: revision 2 */
	uint64_t xsdt;
	uint8_t checksum2, reserved[3];
};
#define RSDP_V1_SIZE 20u

struct __attribute__((packed)) sdt {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem[6], oem_table[8];
	uint32_t oem_revision, creator, creator_revision;
};
#define SDT_MAX 0x1000000u /* larger is no table */

enum { MADT_LAPIC = 0, MADT_IOAPIC = 1, MADT_X2APIC = 9 };
#define MADT_ENTRIES (sizeof(struct sdt) + 8)
#define MADT_CPU_ENABLED 1u

#define FADT_PM_TMR_BLK 76u
#define FADT_FLAGS 112u
#define FADT_HW_REDUCED (1u << 20)

static bool checksum_ok(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint8_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum = (uint8_t)(sum + b[i]);
	return sum == 0;
}

static uint32_t get32(const void *table, uint32_t off)
{
	uint32_t v;

	memcpy(&v, (const uint8_t *)table + off, sizeof(v));
	return v;
}

/* A whole, checked table, or NULL. */
static const struct sdt *table_at(uint64_t pa)
{
	const struct sdt *t = phys_to_virt(pa);

	if (pa == 0 || !paging_map_device(pa, sizeof(*t)) || t->length < sizeof(*t) || t->length > SDT_MAX)
		return NULL;
	if (!paging_map_device(pa, t->length) || !checksum_ok(t, t->length))
		return NULL;
	return t;
}

static bool rsdp_ok(const struct rsdp *r)
{
	return memcmp(r->signature, "RSD PTR ", 8) == 0 && checksum_ok(r, RSDP_V1_SIZE);
}

/* The RSDP lies on a 16-byte boundary. */
static const struct rsdp *scan(uint64_t pa, uint64_t len)
{
	for (uint64_t at = (pa + 15) & ~15ull; at + sizeof(struct rsdp) <= pa + len; at += 16) {
		const struct rsdp *r = phys_to_virt(at);

		if (rsdp_ok(r))
			return r;
	}
	return NULL;
}

static const struct rsdp *find_rsdp(const struct bootinfo *bi, struct acpi_info *out)
{
	const struct rsdp *r = (const void *)bi->rsdp;
	uint64_t ebda;

	out->source = "loader";
	if (bi->rsdp_len >= RSDP_V1_SIZE && rsdp_ok(r))
		return r;
	out->source = "BIOS area";
	ebda = (uint64_t)*(const uint16_t *)phys_to_virt(0x40e) << 4;
	r = ebda >= 0x80000 && ebda < 0xa0000 ? scan(ebda, 1024) : NULL;
	if (r == NULL)
		r = scan(0xe0000, 0x20000);
	if (r != NULL)
		return r;
	out->source = "memory map";
	for (size_t i = 0; r == NULL && i < bi->nr_mmap; i++) {
		const struct boot_range *m = &bi->mmap[i];

		if ((m->type == BOOT_MEM_ACPI || m->type == BOOT_MEM_NVS) && m->addr < 0x100000000ull && m->len <= SDT_MAX)
			r = scan(m->addr, m->len);
	}
	return r;
}

static void read_madt(const struct sdt *t, struct acpi_info *out)
{
	uint32_t at = MADT_ENTRIES;

	while (range_ok(at, 2, t->length)) {
		const uint8_t *e = (const uint8_t *)t + at;

		if (e[1] < 2 || !range_ok(at, e[1], t->length))
			break;
		if (e[0] == MADT_LAPIC && e[1] >= 8 && (get32(e, 4) & MADT_CPU_ENABLED)) {
			out->nr_cpus++;
		} else if (e[0] == MADT_X2APIC && e[1] >= 16 && (get32(e, 8) & MADT_CPU_ENABLED)) {
			out->nr_cpus++;
		} else if (e[0] == MADT_IOAPIC && e[1] >= 12 && out->nr_ioapics < ACPI_MAX_IOAPICS) {
			out->ioapic[out->nr_ioapics++] = get32(e, 4);
		}
		at += e[1];
	}
}

static void read_fadt(const struct sdt *t, struct acpi_info *out)
{
	uint32_t port = t->length >= FADT_PM_TMR_BLK + 4 ? get32(t, FADT_PM_TMR_BLK) : 0;

	if (t->length >= FADT_FLAGS + 4 && (get32(t, FADT_FLAGS) & FADT_HW_REDUCED))
		return; /* no legacy timer on such a machine */
	out->pm_timer = port <= 0xfffc ? (uint16_t)port : 0;
}

static void read_table(uint64_t pa, struct acpi_info *out)
{
	const struct sdt *t = table_at(pa);

	if (t == NULL)
		return;
	out->nr_tables++;
	if (memcmp(t->signature, "APIC", 4) == 0 && out->madt == 0) {
		out->madt = pa;
		read_madt(t, out);
	} else if (memcmp(t->signature, "FACP", 4) == 0 && out->fadt == 0) {
		out->fadt = pa;
		read_fadt(t, out);
	}
}

bool acpi_init(const struct bootinfo *bi, struct acpi_info *out)
{
	const struct rsdp *r;
	const struct sdt *root = NULL;
	uint32_t step = 8;

	*out = (struct acpi_info){ 0 };
	r = find_rsdp(bi, out);
	if (r == NULL)
		return false;
	out->revision = r->revision;
	if (r->revision >= 2)
		root = table_at(r->xsdt);
	if (root == NULL) {
		step = 4;
		root = table_at(r->rsdt);
	}
	if (root == NULL)
		return false;
	for (uint32_t at = sizeof(*root); range_ok(at, step, root->length); at += step) {
		uint64_t pa = get32(root, at);

		if (step == 8)
			pa |= (uint64_t)get32(root, at + 4) << 32;
		read_table(pa, out);
	}
	return true;
}
