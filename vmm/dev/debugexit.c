/* SPDX-License-Identifier: MIT */
/* The guest's own way to say that it is done. */
#include "vmm/dev/debugexit.h"

#include "arch/lib/log.h"
#include "arch/x86/def/exitcode.h"
#include "vmm/bus.h"
#include "vmm/vm.h"

/* A status that is none of a guest's own is an error, whatever its number: it must not pass for a verdict of drover, nor for a pass. */
static unsigned code_of(uint32_t value)
{
	switch (value) {
	case EXIT_PASS:
	case EXIT_FAIL:
	case EXIT_ERROR:
	case EXIT_BADOPT:
		return value;
	default:
		return EXIT_ERROR;
	}
}

void debugexit_write(struct vcpu *v, uint32_t value)
{
	if (v->stopped)
		return;
	bus_flush(v->vm->bus);
	v->exit_code = code_of(value);
	v->stopped = true;
	vcpu_leave(v);
	log_printf("drover: vm %s: ended: status 0x%x\n", v->vm->name, value);
}
