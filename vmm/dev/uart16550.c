/* SPDX-License-Identifier: MIT */
/* The virtual 16550: polled, no interrupts, nothing is ever received except in loopback mode. */
#include "vmm/dev/uart16550.h"

#include "arch/lib/string.h"

#define LCR_DLAB 0x80
#define MCR_LOOP 0x10
#define FCR_ENABLE 0x01
#define IIR_NONE 0x01
#define IIR_FIFOS 0xc0
#define LSR_DATA 0x01
#define LSR_IDLE 0x60 /* THR and shift register empty */
#define MSR_READY 0xb0 /* carrier, DSR, CTS */

void uart16550_init(struct uart16550 *u, const char *name)
{
	memset(u, 0, sizeof(*u));
	line_init(&u->line, name);
}

void uart16550_write(struct uart16550 *u, unsigned reg, uint8_t value)
{
	switch (reg) {
	case 0:
		if (u->lcr & LCR_DLAB) {
			u->divisor[0] = value;
		} else if (u->mcr & MCR_LOOP) {
			u->looped = value;
			u->has_looped = true;
		} else {
			line_put(&u->line, value);
		}
		break;
	case 1:
		if (u->lcr & LCR_DLAB)
			u->divisor[1] = value;
		else
			u->ier = value & 0xf;
		break;
	case 2: u->fcr = value; break;
	case 3: u->lcr = value; break;
	case 4: u->mcr = value & 0x1f; break;
	case 7: u->scratch = value; break;
	}
}

uint8_t uart16550_read(struct uart16550 *u, unsigned reg)
{
	switch (reg) {
	case 0:
		if (u->lcr & LCR_DLAB)
			return u->divisor[0];
		u->has_looped = false;
		return u->looped;
	case 1: return u->lcr & LCR_DLAB ? u->divisor[1] : u->ier;
	case 2: return u->fcr & FCR_ENABLE ? IIR_FIFOS | IIR_NONE : IIR_NONE;
	case 3: return u->lcr;
	case 4: return u->mcr;
	case 5: return u->has_looped ? LSR_IDLE | LSR_DATA : LSR_IDLE;
	case 6: /* loopback: RTS, DTR, OUT1, OUT2 come back as CTS, DSR, RI, DCD */
		if (u->mcr & MCR_LOOP)
			return (uint8_t)((u->mcr & 2) << 3 | (u->mcr & 1) << 5 | (u->mcr & 0xc) << 4);
		return MSR_READY;
	default: return u->scratch;
	}
}
