/* SPDX-License-Identifier: MIT */
/* What comes over gdb's line, any bytes: each packet that is taken is one that stands in the input, framed and summed right; and what is sent comes back the same. */
#include "fuzz.h"
#include "vmm/gdb/packet.h"

/* A packet has just ended with byte `end`: by looking back in the input, what is its text? Escapes make it shorter. -1: there is none there. */
static long reference(const uint8_t *in, size_t end, char *text)
{
	size_t hash, begin, n = 0;
	uint8_t sum = 0;

	if (end < 3 || in[end - 2] != '#')
		return -1;
	hash = end - 2;
	for (begin = hash; begin > 0 && in[begin - 1] != '$';)
		begin--;
	if (begin == 0)
		return -1;
	for (size_t i = begin; i < hash; i++) {
		sum = (uint8_t)(sum + in[i]);
		if (in[i] == '}' && i + 1 < hash) {
			sum = (uint8_t)(sum + in[++i]);
			text[n++] = (char)(in[i] ^ 0x20);
		} else {
			text[n++] = (char)in[i];
		}
	}
	FUZZ_CHECK(strtoul((char[]){ (char)in[end - 1], (char)in[end], 0 }, NULL, 16) == sum, "a packet with a wrong checksum was taken");
	return (long)n;
}

static void try_numbers(const char *text)
{
	const char *p = text;
	uint64_t v = 0;
	uint8_t b[8];

	if (gdb_hex_number(&p, &v))
		FUZZ_CHECK(p > text && p - text <= 16 && v == strtoull(text, NULL, 16), "%.20s was read as %lx", text, v);
	else
		FUZZ_CHECK(p == text, "a refused number moved on");
	p = text;
	FUZZ_CHECK(!gdb_hex_bytes(&p, b, 8) || p == text + 16, "bytes were read half");
}

/* Framed as it is sent, and read again. */
static void try_back(const char *text, size_t n)
{
	static struct gdb_tx tx;
	static struct gdb_rx rx;
	enum gdb_rx_event e = GDB_RX_NOTHING;
	char sum[3];

	gdb_tx_begin(&tx);
	n = gdb_tx_binary(&tx, text, n);
	FUZZ_CHECK(tx.n <= GDB_PACKET_MAX, "%zu bytes were put out", tx.n);
	snprintf(sum, sizeof(sum), "%02x", gdb_checksum(tx.data, tx.n));
	gdb_rx_reset(&rx);
	gdb_rx_char(&rx, '$');
	for (size_t i = 0; i < tx.n; i++)
		gdb_rx_char(&rx, (uint8_t)tx.data[i]);
	gdb_rx_char(&rx, '#');
	gdb_rx_char(&rx, (uint8_t)sum[0]);
	e = gdb_rx_char(&rx, (uint8_t)sum[1]);
	FUZZ_CHECK(e == GDB_RX_PACKET && rx.n == n && memcmp(rx.data, text, n) == 0, "what was sent came back as something else");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gdb_rx *rx = malloc(sizeof(*rx)); /* so that a byte behind it is seen */
	char *text = malloc(size + 1);

	if (!rx || !text)
		abort();
	gdb_rx_reset(rx);
	for (size_t i = 0; i < size; i++) {
		enum gdb_rx_event e = gdb_rx_char(rx, data[i]);
		long n;

		FUZZ_CHECK(rx->n <= GDB_PACKET_MAX, "%zu bytes", rx->n);
		if (e != GDB_RX_PACKET)
			continue;
		n = reference(data, i, text);
		FUZZ_CHECK(n >= 0 && rx->n == (size_t)n && memcmp(rx->data, text, rx->n) == 0, "a packet that does not stand in the input");
		FUZZ_CHECK(rx->data[rx->n] == 0, "no NUL behind it");
		try_numbers(rx->data);
		try_back(rx->data, rx->n);
	}
	free(text);
	free(rx);
	return 0;
}
