/* SPDX-License-Identifier: MIT */
/* What boot hands to the machine model: the chosen backend, the modules, the defaults. One call runs all VMs. */
#ifndef VMM_VMM_H
#define VMM_VMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86/def/exitcode.h"

struct backend;

/* A multiboot module: host-physical range and its string (NUL-terminated, boot's copy, lives for ever). */
struct vmm_module {
	uint64_t pa;
	uint64_t len;
	const char *cmdline;
};

#define VMM_MAX_MODULES 16

struct vmm_config {
	const struct backend *backend;
	unsigned level;     /* drovers below this one */
	unsigned budget_ms; /* default budget of a VM, in ms of host time */
	unsigned dbg_policy; /* enum dbg_policy, of all VMs */
	bool trace;         /* trace=on */
	bool bad_entry;     /* lab fault: the first VM is entered with a DR7 that hardware must refuse (rules V07, S18) */
	size_t nr_modules;
	struct vmm_module module[VMM_MAX_MODULES];
};

/* Runs every VM that the modules describe, in order, and returns the worst exit code met (EXIT_PASS if all passed). */
enum exit_code vmm_main(const struct vmm_config *cfg);

#endif
