/* SPDX-License-Identifier: MIT */
/* A virtual 16550 that is never busy. What it sends goes to the host's log, line by line, with the VM's name. */
#ifndef VMM_DEV_UART16550_H
#define VMM_DEV_UART16550_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/dev/line.h"

#define UART16550_REGS 8u

struct uart16550 {
	uint8_t ier, lcr, mcr, fcr, scratch, divisor[2], looped;
	bool has_looped; /* loopback mode: a byte that was sent waits to be received */
	struct line line;
};

/* name: at most 16 characters. */
void uart16550_init(struct uart16550 *u, const char *name);
void uart16550_write(struct uart16550 *u, unsigned reg, uint8_t value); /* reg: 0-7 */
uint8_t uart16550_read(struct uart16550 *u, unsigned reg);

#endif
