/* SPDX-License-Identifier: MIT */
/* A 5x7 font for printable ASCII, drawn for drover. */
#ifndef DRIVERS_FONT_H
#define DRIVERS_FONT_H

#include <stdint.h>

#define FONT_FIRST 0x20
#define FONT_LAST 0x7e
#define FONT_ROWS 7

/* Bit 4 is the leftmost pixel of a row. */
extern const uint8_t font_5x7[FONT_LAST - FONT_FIRST + 1][FONT_ROWS];

#endif
