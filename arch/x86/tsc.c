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
#define PIT_CH2 0x42
#define PIT_MODE 0x43
#define PIT_GATE 0x61 /* bit 0: gate of channel 2, 1: speaker, 5: output of channel 2 */

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

static uint64_t from_pit(void)
{
	const uint32_t count = PIT_HZ / 1000 * MEASURE_MS;
	uint8_t gate = inb(PIT_GATE) & 0xfc;
	uint32_t spins = 0;
	uint64_t t0, t1;

	outb(PIT_GATE, gate);
	outb(PIT_MODE, 0xb0); /* channel 2, both bytes, mode 0: output rises at the end */
	outb(PIT_CH2, (uint8_t)count);
	outb(PIT_CH2, (uint8_t)(count >> 8));
	outb(PIT_GATE, gate | 1);
	t0 = rdtsc();
	if (inb(PIT_GATE) & 0x20) /* already high: no PIT here, or its clock is gated off */
		return 0;
	while (!(inb(PIT_GATE) & 0x20))
		if (++spins > SPIN_LIMIT)
			return 0;
	t1 = rdtsc();
	outb(PIT_GATE, gate);
	return (t1 - t0) * PIT_HZ / count / 1000;
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
