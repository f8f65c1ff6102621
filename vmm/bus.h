/* SPDX-License-Identifier: MIT */
/* The I/O ports of a VM and the devices behind them. */
#ifndef VMM_BUS_H
#define VMM_BUS_H

#include "vmm/dev/pic.h"
#include "vmm/dev/uart16550.h"
#include "vmm/vcpu.h"

struct vm_bus {
	struct uart16550 uart; /* at 0x3f8 */
	struct line debugcon;  /* at 0xe9 */
	struct pic pic[2];
};

#define BUS_UART 0x3f8
#define BUS_DEBUGCON 0xe9
#define BUS_DEBUG_EXIT 0xf4

void bus_init(struct vm_bus *b, const char *name);
/* Unfinished lines go to the log. */
void bus_flush(struct vm_bus *b);

/* size: 1, 2, 4 bytes; value: its low bytes. Ports without a device read all ones and swallow writes. */
void bus_out(struct vcpu *v, uint16_t port, unsigned size, uint32_t value);
uint32_t bus_in(struct vcpu *v, uint16_t port, unsigned size);

#endif
