/* SPDX-License-Identifier: MIT */
/* The virtual debug-exit port: a write ends the VM with the value as its status. */
#ifndef VMM_DEV_DEBUGEXIT_H
#define VMM_DEV_DEBUGEXIT_H

#include <stdint.h>

#include "vmm/vcpu.h"

/* value: the OUT's operand, upper bytes of a narrow one zero. Ends the VM with it as its status; a value that is no exit code ends it with EXIT_ERROR. */
void debugexit_write(struct vcpu *v, uint32_t value);

#endif
