/* SPDX-License-Identifier: MIT */
/* A state machine that takes a character at a time, since a UART gives no more; and the way back. */
#include "vmm/gdb/packet.h"

#include "arch/lib/string.h"

enum { IDLE, BODY, SUM_HIGH, SUM_LOW };

void gdb_rx_reset(struct gdb_rx *r)
{
	r->state = IDLE;
	r->n = 0;
}

static void begin(struct gdb_rx *r)
{
	r->state = BODY;
	r->n = 0;
	r->sum = 0;
	r->escape = r->too_long = false;
}

static void body(struct gdb_rx *r, uint8_t c)
{
	if (c == '#') {
		r->state = SUM_HIGH;
		return;
	}
	r->sum = (uint8_t)(r->sum + c);
	if (c == '}' && !r->escape) {
		r->escape = true;
		return;
	}
	if (r->n < GDB_PACKET_MAX)
		r->data[r->n++] = (char)(r->escape ? c ^ 0x20 : c);
	else
		r->too_long = true;
	r->escape = false;
}

static enum gdb_rx_event idle(struct gdb_rx *r, uint8_t c)
{
	switch (c) {
	case '$': begin(r); return GDB_RX_NOTHING;
	case 0x03: return GDB_RX_BREAK;
	case '+': return GDB_RX_ACK;
	case '-': return GDB_RX_NAK;
	default: return GDB_RX_NOTHING; /* noise of a line that was just plugged in */
	}
}

enum gdb_rx_event gdb_rx_char(struct gdb_rx *r, uint8_t c)
{
	int d = char_digit((char)c);

	switch (r->state) {
	case BODY:
		if (c == '$')
			begin(r); /* the rest of the last one was lost */
		else
			body(r, c);
		return GDB_RX_NOTHING;
	case SUM_HIGH:
		r->told = (uint8_t)((unsigned)d << 4);
		r->state = SUM_LOW;
		r->too_long |= d < 0;
		return GDB_RX_NOTHING;
	case SUM_LOW:
		r->state = IDLE;
		r->data[r->n] = '\0';
		return d >= 0 && !r->too_long && !r->escape && (r->told | d) == r->sum ? GDB_RX_PACKET : GDB_RX_BAD;
	default:
		return idle(r, c);
	}
}

/* ---- Out ---- */

void gdb_tx_begin(struct gdb_tx *t)
{
	t->n = 0;
}

void gdb_tx_char(struct gdb_tx *t, char c)
{
	if (t->n < sizeof(t->data))
		t->data[t->n++] = c;
}

void gdb_tx_text(struct gdb_tx *t, const char *s)
{
	while (*s)
		gdb_tx_char(t, *s++);
}

void gdb_tx_hex(struct gdb_tx *t, const void *p, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *b = p;

	for (size_t i = 0; i < n; i++) {
		gdb_tx_char(t, digits[b[i] >> 4]);
		gdb_tx_char(t, digits[b[i] & 15]);
	}
}

void gdb_tx_number(struct gdb_tx *t, uint64_t v)
{
	unsigned shift = 60;

	while (shift > 0 && !(v >> shift))
		shift -= 4;
	for (;; shift -= 4) {
		gdb_tx_char(t, "0123456789abcdef"[v >> shift & 15]);
		if (shift == 0)
			return;
	}
}

size_t gdb_tx_binary(struct gdb_tx *t, const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool special = p[i] == '#' || p[i] == '$' || p[i] == '}' || p[i] == '*';

		if (t->n + 1 + special > sizeof(t->data))
			return i;
		if (special)
			gdb_tx_char(t, '}');
		gdb_tx_char(t, special ? (char)(p[i] ^ 0x20) : p[i]);
	}
	return n;
}

uint8_t gdb_checksum(const char *p, size_t n)
{
	uint8_t sum = 0;

	while (n-- > 0)
		sum = (uint8_t)(sum + (uint8_t)*p++);
	return sum;
}

/* ---- Parsing ---- */

bool gdb_hex_number(const char **p, uint64_t *v)
{
	const char *s = *p;
	uint64_t n = 0;

	while (s - *p < 16 && char_digit(*s) >= 0)
		n = n << 4 | (unsigned)char_digit(*s++);
	if (s == *p || char_digit(*s) >= 0)
		return false;
	*p = s;
	*v = n;
	return true;
}

bool gdb_hex_bytes(const char **p, void *to, size_t n)
{
	uint8_t *b = to;

	for (size_t i = 0; i < n; i++) {
		int high = char_digit((*p)[0]), low = high < 0 ? -1 : char_digit((*p)[1]);

		if (low < 0)
			return false;
		b[i] = (uint8_t)(high << 4 | low);
		*p += 2;
	}
	return true;
}

bool gdb_skip(const char **p, char c)
{
	if (**p != c)
		return false;
	++*p;
	return true;
}
