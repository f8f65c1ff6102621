/* SPDX-License-Identifier: MIT */
/* 16550 UARTs, polled. Every wait is bounded: a UART that dies must not stop the host. */
#include "drivers/uart.h"

#include "arch/lib/log.h"
#include "arch/x86/insn.h"

enum { RBR = 0, THR = 0, DLL = 0, IER = 1, DLM = 1, IIR = 2, FCR = 2, LCR = 3, MCR = 4, LSR = 5 };
#define LCR_8N1 0x03
#define LCR_DLAB 0x80
#define FCR_ENABLE_CLEAR 0x07
#define IIR_FIFO 0xc0
#define MCR_DTR_RTS 0x03
#define LSR_DR 0x01
#define LSR_THRE 0x20
#define LSR_TEMT 0x40
#define DIVISOR_115200 1
#define FIFO_SIZE 16u
#define PATIENCE 200000u /* 16 characters take 1.4 ms */

static struct uart console;

static bool wait_for(struct uart *u, uint8_t bit)
{
	for (unsigned i = 0; i < u->patience; i++)
		if (inb((uint16_t)(u->base + LSR)) & bit)
			return true;
	u->dead = true;
	return false;
}

void uart_send(struct uart *u, const char *s, size_t n)
{
	while (n > 0 && !u->dead) {
		size_t part = n < u->burst ? n : u->burst;

		if (!wait_for(u, LSR_THRE))
			return;
		rep_outsb((uint16_t)(u->base + THR), s, part);
		s += part;
		n -= part;
	}
}

int uart_take(struct uart *u)
{
	uint8_t lsr = inb((uint16_t)(u->base + LSR));

	return (lsr & LSR_DR) && lsr != 0xff ? inb((uint16_t)(u->base + RBR)) : -1;
}

bool uart_open(struct uart *u, uint16_t port)
{
	*u = (struct uart){ .base = port, .patience = PATIENCE };
	outb((uint16_t)(port + IER), 0);
	outb((uint16_t)(port + LCR), LCR_DLAB | LCR_8N1);
	outb((uint16_t)(port + DLL), DIVISOR_115200);
	outb((uint16_t)(port + DLM), 0);
	outb((uint16_t)(port + LCR), LCR_8N1);
	outb((uint16_t)(port + FCR), FCR_ENABLE_CLEAR);
	outb((uint16_t)(port + MCR), MCR_DTR_RTS);
	if (inb((uint16_t)(port + LCR)) != LCR_8N1 || inb((uint16_t)(port + LSR)) == 0xff)
		return false;
	u->burst = (inb((uint16_t)(port + IIR)) & IIR_FIFO) == IIR_FIFO ? FIFO_SIZE : 1;
	return true;
}

static void console_write(const char *s, size_t n)
{
	uart_send(&console, s, n);
}

static void console_drain(void)
{
	if (!console.dead)
		wait_for(&console, LSR_TEMT);
}

bool uart_init(uint16_t port)
{
	static const struct log_sink sink = { "uart", console_write, console_drain };

	if (!uart_open(&console, port))
		return false;
	log_add_sink(&sink);
	return true;
}
