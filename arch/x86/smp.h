/* SPDX-License-Identifier: MIT */
/* The CPUs of this machine. Only the boot CPU runs; the others stay where the firmware parked them. */
#ifndef ARCH_X86_SMP_H
#define ARCH_X86_SMP_H

#include "arch/x86/percpu.h"

/* The boot CPU's data. Others will be allocated. */
extern struct cpu cpu0;

#endif
