/* SPDX-License-Identifier: MIT */
/* Port dispatch. Two devices: a comparison each is cheaper than a table. */
#include "vmm/bus.h"

#include "vmm/dev/debugexit.h"
#include "vmm/vm.h"

void bus_out(struct vcpu *v, uint16_t port, unsigned size, uint32_t value)
{
	unsigned reg = (unsigned)port - BUS_UART;

	if (reg < UART16550_REGS && size == 1) {
		uart16550_write(&v->vm->bus->uart, reg, (uint8_t)value);
		return;
	}
	if (reg < UART16550_REGS) {
		/* A wider access is one of each byte, at ascending ports, as an 8-bit bus makes it. */
		for (; size > 0 && reg < UART16550_REGS; size--, reg++, value >>= 8)
			uart16550_write(&v->vm->bus->uart, reg, (uint8_t)value);
		return;
	}
	if (port == BUS_DEBUG_EXIT)
		debugexit_write(v, size == 4 ? value : value & ((1u << 8 * size) - 1));
}

uint32_t bus_in(struct vcpu *v, uint16_t port, unsigned size)
{
	unsigned reg = (unsigned)port - BUS_UART;
	uint32_t value = ~0u;

	if (reg < UART16550_REGS)
		for (unsigned i = 0; i < size && reg + i < UART16550_REGS; i++)
			value = (value & ~(0xffu << 8 * i)) | (uint32_t)uart16550_read(&v->vm->bus->uart, reg + i) << 8 * i;
	return size == 4 ? value : value & ((1u << 8 * size) - 1);
}
