/* SPDX-License-Identifier: MIT */
/* ACPI specification, "Root System Description Pointer", "RSDT", "XSDT", "MADT", "FADT". A machine without ACPI hardware: no PM timer, no AML. */
#include "vmm/acpitab.h"

#include <stddef.h>

#include "arch/lib/string.h"

#define FADT_SIZE 268u /* revision 5 */
#define FADT_BOOT_ARCH 109u
#define FADT_FLAGS 112u
#define FADT_HW_REDUCED (1u << 20)
#define BOOT_ARCH_NO_VGA (1u << 2)
#define BOOT_ARCH_NO_CMOS (1u << 5)
#define MADT_PCAT (1u << 0) /* there are 8259s to be masked */
#define LAPIC_PA 0xfee00000u

struct __attribute__((packed)) rsdp {
	char signature[8];
	uint8_t checksum;
	char oem[6];
	uint8_t revision;
	uint32_t rsdt, length;
	uint64_t xsdt;
	uint8_t checksum2, reserved[3];
};

struct __attribute__((packed)) header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem[6], oem_table[8];
	uint32_t oem_revision;
	char creator[4];
	uint32_t creator_revision;
};
_Static_assert(sizeof(struct rsdp) == 36 && sizeof(struct header) == 36, "ACPI");

struct __attribute__((packed)) madt {
	struct header h;
	uint32_t lapic, flags;
	uint8_t type, length, acpi_id, apic_id; /* the one CPU */
	uint32_t cpu_flags;
	uint8_t nmi_type, nmi_length, nmi_cpu;  /* LINT1 is NMI, on all CPUs */
	uint16_t nmi_flags;
	uint8_t nmi_lint;
};

struct __attribute__((packed)) tables {
	struct rsdp rsdp;
	uint8_t pad[12]; /* tables on 16 bytes: nobody asks for it */
	struct __attribute__((packed)) {
		struct header h;
		uint32_t entry[2];
	} rsdt;
	struct __attribute__((packed)) {
		struct header h;
		uint64_t entry[2];
	} xsdt;
	struct madt madt;
	struct __attribute__((packed)) {
		struct header h;
		uint8_t rest[FADT_SIZE - sizeof(struct header)];
	} fadt;
};

static uint8_t negated_sum(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint8_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum = (uint8_t)(sum + b[i]);
	return (uint8_t)(0u - sum);
}

/* The table is whole but for its header. */
static void finish(struct header *h, const char *signature, uint8_t revision, size_t length)
{
	memcpy(h->signature, signature, 4);
	h->length = (uint32_t)length;
	h->revision = revision;
	memcpy(h->oem, "DROVER", 6);
	memcpy(h->oem_table, "DROVERVM", 8);
	h->oem_revision = 1;
	memcpy(h->creator, "DRVR", 4);
	h->creator_revision = 1;
	h->checksum = 0;
	h->checksum = negated_sum(h, length);
}

#define AT(member) (ACPITAB_PA + (uint32_t)offsetof(struct tables, member))

void acpitab_build(uint8_t *ram)
{
	struct tables *t = (struct tables *)(void *)(ram + ACPITAB_PA);
	uint8_t *fadt = (uint8_t *)&t->fadt;
	const uint32_t flags = FADT_HW_REDUCED;

	memset(t, 0, sizeof(*t));
	t->madt.lapic = LAPIC_PA;
	t->madt.flags = MADT_PCAT;
	t->madt.length = 8;
	t->madt.cpu_flags = 1; /* enabled */
	t->madt.nmi_type = 4;
	t->madt.nmi_length = 6;
	t->madt.nmi_cpu = 0xff;
	t->madt.nmi_lint = 1;
	finish(&t->madt.h, "APIC", 3, sizeof(t->madt));
	fadt[FADT_BOOT_ARCH] = BOOT_ARCH_NO_VGA | BOOT_ARCH_NO_CMOS;
	memcpy(fadt + FADT_FLAGS, &flags, sizeof(flags));
	finish(&t->fadt.h, "FACP", 5, sizeof(t->fadt));
	t->rsdt.entry[0] = AT(madt);
	t->rsdt.entry[1] = AT(fadt);
	finish(&t->rsdt.h, "RSDT", 1, sizeof(t->rsdt));
	t->xsdt.entry[0] = AT(madt);
	t->xsdt.entry[1] = AT(fadt);
	finish(&t->xsdt.h, "XSDT", 1, sizeof(t->xsdt));
	memcpy(t->rsdp.signature, "RSD PTR ", 8);
	memcpy(t->rsdp.oem, "DROVER", 6);
	t->rsdp.revision = 2;
	t->rsdp.rsdt = AT(rsdt);
	t->rsdp.length = sizeof(t->rsdp);
	t->rsdp.xsdt = AT(xsdt);
	t->rsdp.checksum = negated_sum(&t->rsdp, 20);
	t->rsdp.checksum2 = negated_sum(&t->rsdp, sizeof(t->rsdp));
}
