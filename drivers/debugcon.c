/* SPDX-License-Identifier: MIT */
/* Console sink: the debug port of QEMU (isa-debugcon) and Bochs (port_e9_hack). */
#include "drivers/debugcon.h"

#include "arch/lib/log.h"
#include "arch/x86/insn.h"

#define READBACK 0xe9

static uint16_t port_no;

static void debugcon_write(const char *s, size_t n)
{
	rep_outsb(port_no, s, n); /* one exit for a line, under a hypervisor that takes it so */
}

bool debugcon_init(uint16_t port)
{
	static const struct log_sink sink = { "debugcon", debugcon_write, 0 };

	if (inb(port) != READBACK)
		return false;
	port_no = port;
	log_add_sink(&sink);
	return true;
}
