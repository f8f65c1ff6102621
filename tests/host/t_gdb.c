/* SPDX-License-Identifier: MIT */
/* gdb's packets: what comes in a character at a time, what goes out, numbers; the register description; a session on the software CPU. */
#include <stdlib.h>
#include <string.h>

#include "arch/x86/def/dr.h"
#include "arch/x86/def/hypercall.h"
#include "both.h"
#include "vmm/debugger.h"
#include "vmm/gdb/gdb.h"
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
	tap_ok(t.full && t.n == GDB_PACKET_MAX, "Z04.out.full", "what does not fit is dropped, and told");
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

/* ---- A session: packets that are asked one after the other, each when the one before has been answered ---- */

static struct {
	const char *const *ask; /* NULL ends it: the line is gone */
	char frame[256];
	size_t at, n;
	bool running;           /* a stop is awaited */
	char said[8192];
} line;

static int line_take(void)
{
	if (line.at < line.n)
		return (uint8_t)line.frame[line.at++];
	if (line.running)
		return -1;
	if (!*line.ask)
		return -2;
	line.n = (size_t)snprintf(line.frame, sizeof(line.frame), "+$%s#%02x", *line.ask, gdb_checksum(*line.ask, strlen(*line.ask)));
	line.at = 0;
	line.running = strcmp(*line.ask, "c") == 0 || strcmp(*line.ask, "D") == 0 || strncmp(*line.ask, "vCont;", 6) == 0;
	line.ask++;
	return (uint8_t)line.frame[line.at++];
}

static void line_send(const char *s, size_t n)
{
	size_t have = strlen(line.said);

	if (have + n < sizeof(line.said)) {
		memcpy(line.said + have, s, n);
		line.said[have + n] = '\0';
	}
	if (n > 0 && (s[0] == 'T' || s[0] == 'W'))
		line.running = false;
}

static bool said(const char *what)
{
	return strstr(line.said, what) != NULL;
}

static void session(struct machine *m, const char *const *ask)
{
	static const struct gdb_port port = { line_take, line_send };

	memset(&line, 0, sizeof(line));
	line.ask = ask;
	gdb_init(&port, true);
	machine_run(m);
	gdb_end(0x10);
	gdb_on = false;
}

/* A watchpoint of gdb's and one of the guest's: each gets its own, and the guest finds the registers as it left them. */
BOTH(Z01_gdb_session)
{
	static const struct gop ops[] = { WR(0, 0x6000), WR(7, 0x10402), { G_STORE, .a = 0x6000, .n = 1 }, { G_STORE, .a = 0x5000, .n = 1 }, RD(0), RD(7), RD(6),
					  { G_STORE, .a = 0x5000, .n = 1 }, HC(HC_LAB_SLOW), { G_STORE, .a = 0x5000, .n = 1 } };
	static const char *const ask[] = { "qSupported:swbreak+", "?", "g", "p10", "Pf=8877665544332211", "pf", "m4000,8", "M4000,2:abcd", "m4000,2", "mffffffffffff0000,1",
					   "Z2,5000,4", "Z2,7001,8", "Z2,7001,20", "Z3,5000,4", "Z9,1,1", "nonsense", "c", "?", "z2,5000,4", "qC", "qfThreadInfo", "T1", "T7", "D", NULL };
	struct machine m;

	if (!machine_start(&m, amd, full(amd)) || !machine_add(&m, OPS(ops), OPS(show_all)))
		return;
	sw.strict = false; /* the model does not know which slots gdb takes */
	session(&m, ask);
	tap_ok(said("$8877665544332211#"), id(amd, "Z04.gdb.write"), "a register that was written reads back");
	tap_ok(said("$abcd#"), id(amd, "Z04.gdb.memory"), "memory, too");
	tap_ok(said("$E0e#"), id(amd, "Z04.gdb.hole"), "what is no memory is an error");
	tap_ok(said("E.vm ") && said("too few are left for 0x7001"), id(amd, "Z01.gdb.refused"), "a watchpoint that needs more slots than there are is refused by name");
	tap_ok(said("watch:5000;"), id(amd, "Z04.gdb.watch"), "the stop says which watchpoint");
	tap_ok(said("$QC1#") && said("$m1#") && said("$OK#9a"), id(amd, "Z04.gdb.thread"), "a VM is a thread");
	tap_eq(m.vm[0]->vcpu->dbg.held | m.vm[0]->vcpu->dbg.watched | m.vm[0]->vcpu->debugger.nr, 0, id(amd, "Z01.gdb.detached"), "nothing is left behind it");
	tap_eq(m.vm[0]->vcpu->debugger_hits, 0, id(amd, "Z04.gdb.lab"), "its hits are not the lab's");
	machine_same_as_bare(&m, 0, id(amd, "Z01.gdb.bare"));
	machine_stop(&m);
}

/* The line goes away while the guest has stopped: as a detach. */
BOTH(Z01_gdb_gone)
{
	static const struct gop ops[] = { { G_STORE, .a = 0x5000, .n = 1 }, { G_CPUID }, { G_STORE, .a = 0x5000, .n = 1 }, RD(6) };
	static const char *const ask[] = { "qSupported", "Z4,5000,8", "c", NULL };
	struct machine m;

	if (!machine_start(&m, amd, full(amd)) || !machine_add(&m, OPS(ops), OPS(show_all)))
		return;
	sw.strict = false;
	session(&m, ask);
	tap_ok(said("awatch:5000;"), id(amd, "Z04.gone.watch"), "it has stopped once");
	tap_eq(m.vm[0]->vcpu->dbg.held, 0, id(amd, "Z01.gone.slots"), "the slots are free");
	machine_same_as_bare(&m, 0, id(amd, "Z01.gone.bare"));
	machine_stop(&m);
}

/* Two VMs of a group: what is set before one of them has begun is in it once, and goes. */
BOTH(Z01_gdb_two_vms)
{
	static const struct gop a[] = { HC(HC_LAB_YIELD), { G_STORE, .a = 0x5000, .n = 1 }, HC(HC_LAB_YIELD), { G_CPUID } }, b[] = { HC(HC_LAB_YIELD), { G_CPUID }, { G_CPUID } };
	static const char *const ask[] = { "qSupported", "Z2,5000,4", "c", "qfThreadInfo", "z2,5000,4", "c", NULL };
	struct machine m;

	if (!machine_start(&m, amd, full(amd)) || !machine_add(&m, OPS(a), OPS(show_all)) || !machine_add(&m, OPS(b), OPS(show_all)))
		return;
	sw.strict = false;
	session(&m, ask);
	tap_ok(said("watch:5000;"), id(amd, "Z04.two.watch"), "it hits");
	tap_ok(said("$m1,2#"), id(amd, "Z04.two.threads"), "two VMs are two threads");
	tap_eq(m.vm[0]->vcpu->debugger.nr | m.vm[1]->vcpu->debugger.nr, 0, id(amd, "Z01.two.gone"), "and is gone from both");
	machine_stop(&m);
}
