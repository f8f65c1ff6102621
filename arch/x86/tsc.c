/* SPDX-License-Identifier: MIT */
/* The TSC's frequency: CPUID 0x15, a hypervisor's timing leaf, else measured against the ACPI PM timer or the PIT. */
#include "arch/x86/tsc.h"

#include <stdbool.h>

#include "arch/lib/panic.h"
#include "arch/x86/def/cpuid.h"
#include "arch/x86/insn.h"

uint64_t tsc_khz;

#define MEASURE_MS 5u
#define SPIN_LIMIT 10000000u /* reads of a timer that does not move: seconds on real hardware at most */

#define PM_TIMER_HZ 3579545u
#define PM_TIMER_MASK 0xffffffu /* 24 bits always count */

#define PIT_HZ 1193182u
#define PIT_CH0 0x40
#define PIT_MODE 0x43
#define PIT_LATCH_CH0 0x00
#define PIT_CH0_MODE2 0x34 /* both bytes, counts down from 0x10000 again and again */

static uint64_t from_cpuid(void)
{
	struct cpuid_regs r;

	if (cpuid(0, 0).eax >= 0x15) {
		r = cpuid(0x15, 0); /* TSC = crystal * ebx / eax */
		if (r.eax != 0 && r.ebx != 0 && r.ecx != 0)
			return (uint64_t)r.ecx * r.ebx / r.eax / 1000;
	}
	return 0;
}

static uint64_t from_hypervisor(void)
{
	if (!(cpuid(1, 0).ecx & CPUID_1_ECX_HYPERVISOR))
		return 0;
	if (cpuid(0x40000000, 0).eax < 0x40000010 || cpuid(0x40000000, 0).eax > 0x400000ff)
		return 0;
	return cpuid(0x40000010, 0).eax;
}

static uint64_t from_pm_timer(uint16_t port)
{
	const uint32_t want = PM_TIMER_HZ / 1000 * MEASURE_MS;
	uint32_t start = inl(port), now, spins = 0;
	uint64_t t0, t1;

	while (((inl(port) - start) & PM_TIMER_MASK) == 0) /* begin at an edge */
		if (++spins > SPIN_LIMIT / 100)
			return 0;
	start = now = inl(port);
	t0 = rdtsc();
	for (spins = 0; ((now - start) & PM_TIMER_MASK) < want; now = inl(port))
		if (++spins > SPIN_LIMIT)
			return 0;
	t1 = rdtsc();
	return (t1 - t0) * PM_TIMER_HZ / ((now - start) & PM_TIMER_MASK) / 1000;
}

static uint16_t pit_count(void)
{
	uint8_t lo;

	outb(PIT_MODE, PIT_LATCH_CH0);
	lo = inb(PIT_CH0);
	return (uint16_t)(lo | inb(PIT_CH0) << 8);
}

/* Channel 0 needs neither the gate nor the output bit of port 0x61, which not every machine has; its interrupt is masked. */
static uint64_t from_pit(void)
{
	const uint16_t want = PIT_HZ / 1000 * MEASURE_MS;
	uint16_t start, gone = 0;
	uint64_t t0, t1;

	outb(PIT_MODE, PIT_CH0_MODE2);
	outb(PIT_CH0, 0);
	outb(PIT_CH0, 0);
	pit_count(); /* the new count is loaded at the next clock */
	start = pit_count();
	t0 = rdtsc();
	for (uint32_t spins = 0; gone < want; gone = (uint16_t)(start - pit_count()))
		if (++spins > SPIN_LIMIT / 10)
			return 0;
	t1 = rdtsc();
	return (t1 - t0) * PIT_HZ / gone / 1000;
}

const char *tsc_init(uint16_t pm_port)
{
	tsc_khz = from_cpuid();
	if (tsc_khz != 0)
		return "CPUID 0x15";
	tsc_khz = from_hypervisor();
	if (tsc_khz != 0)
		return "hypervisor leaf";
	tsc_khz = pm_port != 0 ? from_pm_timer(pm_port) : 0;
	if (tsc_khz != 0)
		return "ACPI PM timer";
	tsc_khz = from_pit();
	if (tsc_khz == 0)
		panic("no way to measure the TSC: no CPUID leaf, no ACPI PM timer, no PIT");
	return "PIT";
}
