/* SPDX-License-Identifier: MIT */
/* The few ACPI tables that drover reads: RSDP, RSDT/XSDT, MADT (CPUs, IOAPICs), FADT (PM timer). No AML. */
#ifndef DRIVERS_ACPI_H
#define DRIVERS_ACPI_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86/bootinfo.h"

#define ACPI_MAX_IOAPICS 16u

struct acpi_info {
	const char *source;    /* where the RSDP came from */
	unsigned revision;     /* 0: ACPI 1.0 (RSDT), 2: XSDT */
	unsigned nr_tables;
	uint64_t madt, fadt;   /* physical, 0: none */
	uint16_t pm_timer;     /* I/O port, 0: none */
	unsigned nr_cpus;      /* enabled ones; also told to smp.h */
	unsigned nr_ioapics;
	uint64_t ioapic[ACPI_MAX_IOAPICS];
};

/* RSDP from the loader, else from the BIOS areas, else from the memory that the map calls ACPI's (UEFI with multiboot 1).
 * False: there are no usable tables. Needs the final page tables. */
bool acpi_init(const struct bootinfo *bi, struct acpi_info *out);

#endif
