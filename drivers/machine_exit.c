/* SPDX-License-Identifier: MIT */
/* The end of the machine. */
#include "drivers/machine_exit.h"

#include <stdint.h>

#include "arch/lib/log.h"
#include "arch/x86/insn.h"

#define DEBUG_EXIT_PORT 0xf4
#define BOCHS_SHUTDOWN_PORT 0x8900

_Noreturn void machine_exit(int exit_code)
{
	static const char word[] = "Shutdown";

	irq_disable();
	log_drain();
	outb(DEBUG_EXIT_PORT, (uint8_t)exit_code);
	for (unsigned i = 0; word[i] != '\0'; i++)
		outb(BOCHS_SHUTDOWN_PORT, (uint8_t)word[i]);
	for (;;)
		hlt();
}
