/* SPDX-License-Identifier: MIT */
/* Console sink: a 16550 UART at an I/O port. */
#ifndef DRIVERS_UART_H
#define DRIVERS_UART_H

#include <stdbool.h>
#include <stdint.h>

/* 115200 baud, 8 data bits, no parity. False: nothing answers at the port. One UART; registers its log sink. */
bool uart_init(uint16_t port);

#endif
