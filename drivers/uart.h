/* SPDX-License-Identifier: MIT */
/* 16550 UARTs at I/O ports: the console's sink, and a line for a debugger. */
#ifndef DRIVERS_UART_H
#define DRIVERS_UART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uart {
	uint16_t base;
	unsigned burst; /* characters that its FIFO takes at once */
	unsigned patience; /* port reads that it is waited for; one takes about 1 us on real hardware */
	bool dead;      /* it did not take a character in time: nothing more is sent */
};

/* 115200 baud, 8 data bits, no parity. False: nothing answers at the port. */
bool uart_open(struct uart *u, uint16_t port);
void uart_send(struct uart *u, const char *s, size_t n);
/* The next character that has come, or -1. Never waits. */
int uart_take(struct uart *u);

/* The console's: one UART, as above; registers its log sink. */
bool uart_init(uint16_t port);

#endif
