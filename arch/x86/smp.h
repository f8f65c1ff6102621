/* SPDX-License-Identifier: MIT */
/* The CPUs of this machine. Only the boot CPU runs; the others stay where the firmware parked them. */
#ifndef ARCH_X86_SMP_H
#define ARCH_X86_SMP_H

#include <stdint.h>

#include "arch/x86/percpu.h"

/* The boot CPU's data. Others will be allocated. */
extern struct cpu cpu0;

/* A usable CPU that the firmware's tables name. Ids beyond the capacity are counted only. */
#define SMP_MAX_CPUS 256
void smp_found_cpu(uint32_t apic_id);
unsigned smp_nr_cpus(void);
/* n < smp_nr_cpus() and n < SMP_MAX_CPUS. */
uint32_t smp_apic_id(unsigned n);

#endif
