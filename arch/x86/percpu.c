/* SPDX-License-Identifier: MIT */
/* The per-CPU data of the boot CPU, and the layout that assembly relies on. */
#include "arch/x86/percpu.h"

#include <stddef.h>

#include "arch/x86/smp.h"

_Static_assert(offsetof(struct cpu, self) == 0, "this_cpu() and assembly read GS:0");

struct cpu cpu0;
