/* SPDX-License-Identifier: MIT */
/* What a multiboot module's string says about the VM that it is for. Pure. */
#ifndef VMM_VMOPTS_H
#define VMM_VMOPTS_H

#include <stdbool.h>
#include <stddef.h>

#include "vmm/vm.h"

/* [path] vm=NAME [mem=MIB] [budget=MS] [lab] [group=N] [buslock=exit] [debugctl=hardware|emulate] [nested=on|off|locked] [module-of=NAME] -- guest command line */
struct vmopts {
	char name[VM_NAME_MAX];      /* empty: not given */
	char module_of[VM_NAME_MAX]; /* not empty: no VM of its own, but a module for that one */
	unsigned mem_mib, budget_ms, group;
	bool lab, bus_lock_exit, debugctl_emulate;
	uint8_t nested; /* enum nested_option */
	const char *cmdline; /* after "--", verbatim; points into the string */
};

#define VMOPTS_MEM_MIN 4u
#define VMOPTS_MEM_MAX 4064u /* one range, which ends below the APIC's page */

/* *o has the defaults on entry. False: bad is the token that is unknown or has a bad value. */
bool vmopts_parse(const char *s, struct vmopts *o, char *bad, size_t bad_cap);

#endif
