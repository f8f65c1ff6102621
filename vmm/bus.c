/* SPDX-License-Identifier: MIT */
/* Port dispatch. Few devices: a comparison each is cheaper than a table. */
#include "vmm/bus.h"

#include "vmm/dev/debugexit.h"
#include "vmm/vm.h"

#define DEBUGCON_READS 0xe9 /* by which it is found; as QEMU's and Bochs' */

void bus_init(struct vm_bus *b, const char *name)
{
	uart16550_init(&b->uart, name);
	line_init(&b->debugcon, name);
	pic_init(&b->pic[0]);
	pic_init(&b->pic[1]);
}

void bus_flush(struct vm_bus *b)
{
	line_flush(&b->uart.line);
	line_flush(&b->debugcon);
}

/* The 8259 at this port, or NULL. */
static struct pic *pic_at(struct vcpu *v, uint16_t port)
{
	return (port & ~1) == PIC_MASTER ? &v->vm->bus->pic[0] : (port & ~1) == PIC_SLAVE ? &v->vm->bus->pic[1] : NULL;
}

/* What is only byte by byte there: a wider access is one of each port. */
static void out_byte(struct vcpu *v, uint16_t port, uint8_t value)
{
	struct pic *p = pic_at(v, port);

	if (port == BUS_DEBUGCON)
		line_put(&v->vm->bus->debugcon, value);
	else if (p)
		pic_write(p, port & 1, value);
}

static uint8_t in_byte(struct vcpu *v, uint16_t port)
{
	const struct pic *p = pic_at(v, port);

	if (port == BUS_DEBUGCON)
		return DEBUGCON_READS;
	return p ? pic_read(p, port & 1) : 0xff;
}

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
	if (port == BUS_DEBUG_EXIT) {
		debugexit_write(v, size == 4 ? value : value & ((1u << 8 * size) - 1));
		return;
	}
	for (; size > 0; size--, port++, value >>= 8)
		out_byte(v, port, (uint8_t)value);
}

uint32_t bus_in(struct vcpu *v, uint16_t port, unsigned size)
{
	unsigned reg = (unsigned)port - BUS_UART;
	uint32_t value = 0;

	for (unsigned i = 0; i < size; i++) {
		bool uart = reg < UART16550_REGS && reg + i < UART16550_REGS;

		value |= (uint32_t)(uart ? uart16550_read(&v->vm->bus->uart, reg + i) : in_byte(v, (uint16_t)(port + i))) << 8 * i;
	}
	return value;
}
