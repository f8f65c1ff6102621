/* SPDX-License-Identifier: MIT */
/* The TSC's frequency, from a CPUID leaf or measured at boot. */
#ifndef ARCH_X86_TSC_H
#define ARCH_X86_TSC_H

#include <stdint.h>

/* TSC ticks per millisecond; 0 before tsc_init(). */
extern uint64_t tsc_khz;

/* pm_port: the ACPI PM timer's I/O port, or 0 when there is none (then the PIT is used). Takes at most about 10 ms.
 * Returns the name of the source for the log. Panics when no source works. */
const char *tsc_init(uint16_t pm_port);

static inline uint64_t tsc_from_us(uint64_t us)
{
	return us * tsc_khz / 1000;
}

static inline uint64_t tsc_to_us(uint64_t ticks)
{
	return tsc_khz != 0 ? ticks / tsc_khz * 1000 + ticks % tsc_khz * 1000 / tsc_khz : 0;
}

#endif
