/* SPDX-License-Identifier: MIT */
/* The list of CPUs. Nobody starts the others yet. */
#include "arch/x86/smp.h"

static uint32_t apic_ids[SMP_MAX_CPUS];
static unsigned nr_cpus;

void smp_found_cpu(uint32_t apic_id)
{
	if (nr_cpus < SMP_MAX_CPUS)
		apic_ids[nr_cpus] = apic_id;
	nr_cpus++;
}

unsigned smp_nr_cpus(void)
{
	return nr_cpus;
}

uint32_t smp_apic_id(unsigned n)
{
	return apic_ids[n];
}
