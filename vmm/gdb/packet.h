/* SPDX-License-Identifier: MIT */
/* Packets of gdb's remote serial protocol: framing, checksums, hexadecimal. Pure. Source: "Debugging with GDB", appendix "GDB Remote Serial Protocol". */
#ifndef VMM_GDB_PACKET_H
#define VMM_GDB_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GDB_PACKET_MAX 4096u /* bytes between $ and #: in, what is left when escapes are undone; out, with them. gdb is told 0xff0 */

/* ---- In ---- */

enum gdb_rx_event {
	GDB_RX_NOTHING,
	GDB_RX_PACKET, /* data, n: valid until the next character; data[n] is 0 */
	GDB_RX_BAD,    /* a packet with a wrong checksum, or too long */
	GDB_RX_BREAK,  /* 0x03: Ctrl-C */
	GDB_RX_ACK,
	GDB_RX_NAK,
};

struct gdb_rx {
	uint8_t state, sum, told;
	bool escape, too_long;
	size_t n;
	char data[GDB_PACKET_MAX + 1];
};

void gdb_rx_reset(struct gdb_rx *r);
enum gdb_rx_event gdb_rx_char(struct gdb_rx *r, uint8_t c);

/* ---- Out ---- */

/* What does not fit is left out. */
struct gdb_tx {
	size_t n;
	char data[GDB_PACKET_MAX];
};

void gdb_tx_begin(struct gdb_tx *t);
void gdb_tx_char(struct gdb_tx *t, char c);
void gdb_tx_text(struct gdb_tx *t, const char *s);
/* Two digits a byte, in the order of memory. */
void gdb_tx_hex(struct gdb_tx *t, const void *p, size_t n);
/* A number without leading zeroes. */
void gdb_tx_number(struct gdb_tx *t, uint64_t v);
/* Bytes as they are, those that frame a packet escaped. Returns how many of them fitted. */
size_t gdb_tx_binary(struct gdb_tx *t, const char *p, size_t n);
/* Of data[0..n). */
uint8_t gdb_checksum(const char *p, size_t n);

/* ---- Parsing: each moves *p behind what it has read ---- */

/* At least one digit, at most 16. False: *p is unchanged. */
bool gdb_hex_number(const char **p, uint64_t *v);
/* Exactly n bytes, two digits each. False: there are fewer. */
bool gdb_hex_bytes(const char **p, void *to, size_t n);
/* The character c, and no other. */
bool gdb_skip(const char **p, char c);

#endif
