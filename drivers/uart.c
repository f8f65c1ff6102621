/* SPDX-License-Identifier: MIT */
/* Console sink: a 16550 UART, polled. Every wait is bounded: a UART that dies must not stop the host. */
#include "drivers/uart.h"

#include "arch/lib/log.h"
#include "arch/x86/insn.h"

enum { THR = 0, DLL = 0, IER = 1, DLM = 1, IIR = 2, FCR = 2, LCR = 3, MCR = 4, LSR = 5 };
#define LCR_8N1 0x03
#define LCR_DLAB 0x80
#define FCR_ENABLE_CLEAR 0x07
#define IIR_FIFO 0xc0
#define MCR_DTR_RTS 0x03
#define LSR_THRE 0x20
#define LSR_TEMT 0x40
#define DIVISOR_115200 1
#define FIFO_SIZE 16u
#define SPIN_LIMIT 200000u /* port reads; 16 characters take 1.4 ms, a port read about 1 us on real hardware */

static uint16_t base;
static unsigned burst;
static bool dead;

static bool wait_for(uint8_t bit)
{
	for (unsigned i = 0; i < SPIN_LIMIT; i++)
		if (inb((uint16_t)(base + LSR)) & bit)
			return true;
	dead = true;
	return false;
}

static void uart_write(const char *s, size_t n)
{
	while (n > 0 && !dead) {
		size_t part = n < burst ? n : burst;

		if (!wait_for(LSR_THRE))
			return;
		rep_outsb((uint16_t)(base + THR), s, part);
		s += part;
		n -= part;
	}
}

static void uart_drain(void)
{
	if (!dead)
		wait_for(LSR_TEMT);
}

bool uart_init(uint16_t port)
{
	static const struct log_sink sink = { "uart", uart_write, uart_drain };

	base = port;
	outb((uint16_t)(base + IER), 0);
	outb((uint16_t)(base + LCR), LCR_DLAB | LCR_8N1);
	outb((uint16_t)(base + DLL), DIVISOR_115200);
	outb((uint16_t)(base + DLM), 0);
	outb((uint16_t)(base + LCR), LCR_8N1);
	outb((uint16_t)(base + FCR), FCR_ENABLE_CLEAR);
	outb((uint16_t)(base + MCR), MCR_DTR_RTS);
	if (inb((uint16_t)(base + LCR)) != LCR_8N1 || inb((uint16_t)(base + LSR)) == 0xff)
		return false;
	burst = (inb((uint16_t)(base + IIR)) & IIR_FIFO) == IIR_FIFO ? FIFO_SIZE : 1;
	log_add_sink(&sink);
	return true;
}
