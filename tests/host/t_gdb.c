/* SPDX-License-Identifier: MIT */
/* gdb's packets: what comes in a character at a time, what goes out, numbers; the register description. */
#include <string.h>

#include "both.h"
#include "vmm/gdb/packet.h"
#include "vmm/gdb/regs.h"

/* ---- Packets ---- */

static struct gdb_rx rx;

static enum gdb_rx_event feed(const char *s, size_t n)
{
	enum gdb_rx_event e = GDB_RX_NOTHING;

	for (size_t i = 0; i < n; i++)
		e = gdb_rx_char(&rx, (uint8_t)s[i]);
	return e;
}

#define FEED(text) feed(text, sizeof(text) - 1)

TEST(Z04_packets_in)
{
	gdb_rx_reset(&rx);
	tap_eq(FEED("$g#67"), GDB_RX_PACKET, "Z04.packet", "a packet with its checksum");
	tap_ok(rx.n == 1 && strcmp(rx.data, "g") == 0, "Z04.packet.data", "is what stands between");
	tap_eq(FEED("$g#68"), GDB_RX_BAD, "Z04.packet.sum", "with a wrong one it is bad");
	tap_eq(FEED("noise+"), GDB_RX_ACK, "Z04.packet.noise", "noise before an acknowledgement is skipped");
	tap_eq(FEED("-"), GDB_RX_NAK, "Z04.packet.nak", "and before a refusal");
	tap_eq(FEED("\003"), GDB_RX_BREAK, "Z04.packet.break", "Ctrl-C stands alone");
	tap_eq(FEED("$X1,1:\003#23"), GDB_RX_PACKET, "Z04.packet.binary", "but inside a packet it is data");
	tap_eq(FEED("$abc$g#67"), GDB_RX_PACKET, "Z04.packet.again", "a packet that was cut short is dropped for the next");
	tap_ok(strcmp(rx.data, "g") == 0, "Z04.packet.again.data", "of which nothing is missing");
	tap_eq(FEED("$}\003}]#5a"), GDB_RX_PACKET, "Z04.packet.escape", "escapes are undone");
	tap_ok(rx.n == 2 && rx.data[0] == '#' && rx.data[1] == '}', "Z04.packet.escape.data", "to # and }");
	tap_eq(FEED("$g}#e4"), GDB_RX_BAD, "Z04.packet.half", "half an escape is bad");
	tap_eq(FEED("$g#6x"), GDB_RX_BAD, "Z04.packet.digit", "and a checksum that is none");
}

TEST(Z04_packets_long)
{
	static char text[GDB_PACKET_MAX + 8];

	memset(text, 'a', sizeof(text));
	gdb_rx_reset(&rx);
	FEED("$");
	feed(text, GDB_PACKET_MAX);
	tap_eq(feed("#00", 3), GDB_RX_PACKET, "Z04.long.fits", "the longest packet is taken"); /* 4096 * 'a' is 0 modulo 256 */
	FEED("$");
	feed(text, GDB_PACKET_MAX + 1);
	tap_eq(feed("#61", 3), GDB_RX_BAD, "Z04.long.cut", "a longer one is refused, and nothing is written behind the buffer");
	tap_eq(FEED("$g#67"), GDB_RX_PACKET, "Z04.long.after", "and the next one is fine");
}

TEST(Z04_packets_out)
{
	static struct gdb_tx t;
	uint64_t v;
	const char *p;
	uint8_t b[4];

	gdb_tx_begin(&t);
	gdb_tx_number(&t, 0);
	gdb_tx_char(&t, ',');
	gdb_tx_number(&t, 0xfedcba9876543210);
	gdb_tx_hex(&t, "\x01\xaf", 2);
	gdb_tx_binary(&t, "a#$}*b", 6);
	tap_ok(t.n == 32 && memcmp(t.data, "0,fedcba987654321001afa}\003}\004}]}\nb", 32) == 0, "Z04.out", "numbers, bytes and escapes");
	tap_eq(gdb_checksum("g", 1), 0x67, "Z04.out.sum", "a checksum");
	for (unsigned i = 0; i < GDB_PACKET_MAX + 5; i++)
		gdb_tx_char(&t, 'x');
	tap_ok(t.n == GDB_PACKET_MAX, "Z04.out.full", "what does not fit is dropped");
	p = "12AbZ";
	tap_ok(gdb_hex_number(&p, &v) && v == 0x12ab && *p == 'Z', "Z04.hex", "a number ends at the first other character");
	p = "x";
	tap_ok(!gdb_hex_number(&p, &v) && *p == 'x', "Z04.hex.none", "none is none");
	p = "12345678123456789";
	tap_ok(!gdb_hex_number(&p, &v) && *p == '1', "Z04.hex.long", "one of 17 digits is refused");
	p = "01ff0";
	tap_ok(gdb_hex_bytes(&p, b, 2) && b[0] == 1 && b[1] == 0xff && *p == '0', "Z04.bytes", "bytes are pairs of digits");
	tap_ok(!gdb_hex_bytes(&p, b, 1), "Z04.bytes.half", "half a pair is refused");
}

TEST(Z04_target_xml)
{
	const char *xml = gdb_target_xml(), *at = xml;
	unsigned n = 0;

	while ((at = strstr(at, "<reg name=")) != NULL) {
		at++;
		n++;
	}
	tap_eq(n, gdb_regs(), "Z04.xml", "each register is described once");
	tap_ok(strlen(xml) > 9 && strcmp(xml + strlen(xml) - 9, "</target>") == 0, "Z04.xml.end", "and the description has its end");
	tap_ok(strstr(xml, "\"rip\" bitsize=\"64\" type=\"code_ptr\" regnum=\"16\"") != NULL, "Z04.xml.rip", "RIP has the number that gdb gives it");
	tap_ok(gdb_reg_size(GDB_REG_RIP) == 8 && gdb_reg_size(17) == 4 && gdb_reg_size(24) == 10 && gdb_reg_size(gdb_regs()) == 0, "Z04.xml.size", "sizes in bytes");
}
