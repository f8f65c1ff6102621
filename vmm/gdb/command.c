/* SPDX-License-Identifier: MIT */
/* Packets that ask or change something while the guest stands: registers, memory, breakpoints, threads, queries. */
#include "arch/lib/string.h"
#include "vmm/debugger.h"
#include "vmm/gdb/breaks.h"
#include "vmm/gdb/mem.h"
#include "vmm/gdb/monitor.h"
#include "vmm/gdb/regs.h"
#include "vmm/gdb/session.h"
#include "vmm/vm.h"

#define g gdb_session

/* ---- Registers and memory ---- */

static void read_all(void)
{
	uint8_t value[16];

	gdb_tx_begin(&g.tx);
	for (unsigned i = 0; i < gdb_regs(); i++) {
		gdb_reg_get(g.chosen, i, value);
		gdb_tx_hex(&g.tx, value, gdb_reg_size(i));
	}
	gdb_flush();
}

static void write_all(const char *p)
{
	uint8_t value[16] = { 0 };
	bool good = true;

	for (unsigned i = 0; i < gdb_regs() && *p; i++)
		good = gdb_hex_bytes(&p, value, gdb_reg_size(i)) && gdb_reg_set(g.chosen, i, value) && good;
	gdb_reply(good ? "OK" : "E01");
}

static void read_one(const char *p)
{
	uint8_t value[16];
	uint64_t i;

	if (!gdb_hex_number(&p, &i) || !gdb_reg_size((unsigned)i) || i >= gdb_regs()) {
		gdb_reply("E01");
		return;
	}
	gdb_reg_get(g.chosen, (unsigned)i, value);
	gdb_tx_begin(&g.tx);
	gdb_tx_hex(&g.tx, value, gdb_reg_size((unsigned)i));
	gdb_flush();
}

static void write_one(const char *p)
{
	uint8_t value[16] = { 0 };
	uint64_t i;

	if (!gdb_hex_number(&p, &i) || i >= gdb_regs() || !gdb_skip(&p, '=') || !gdb_hex_bytes(&p, value, gdb_reg_size((unsigned)i)) ||
	    !gdb_reg_set(g.chosen, (unsigned)i, value))
		gdb_reply("E01");
	else
		gdb_reply("OK");
}

static void read_memory(const char *p)
{
	static uint8_t bytes[GDB_PACKET_MAX / 2];
	uint64_t addr, n;
	size_t got;

	if (!gdb_hex_number(&p, &addr) || !gdb_skip(&p, ',') || !gdb_hex_number(&p, &n)) {
		gdb_reply("E01");
		return;
	}
	if (n > sizeof(bytes))
		n = sizeof(bytes);
	got = gdb_read(g.chosen, addr, false, bytes, (size_t)n);
	if (n && !got) {
		gdb_reply("E0e");
		return;
	}
	gdb_tx_begin(&g.tx);
	gdb_tx_hex(&g.tx, bytes, got);
	gdb_flush();
}

/* M: digits; X: the bytes themselves. */
static void write_memory(const char *p, const char *end, bool binary)
{
	static uint8_t bytes[GDB_PACKET_MAX];
	uint64_t addr, n;

	if (!gdb_hex_number(&p, &addr) || !gdb_skip(&p, ',') || !gdb_hex_number(&p, &n) || !gdb_skip(&p, ':') || n > sizeof(bytes) ||
	    (binary && n != (uint64_t)(end - p)) || (!binary && !gdb_hex_bytes(&p, bytes, (size_t)n))) {
		gdb_reply("E01");
		return;
	}
	if (binary)
		memcpy(bytes, p, (size_t)n);
	gdb_reply(gdb_write(g.chosen, addr, bytes, (size_t)n) ? "OK" : "E0e");
}

static void breakpoint(const char *p, bool set)
{
	uint64_t kind, addr, len;
	const char *why;

	if (!gdb_hex_number(&p, &kind) || !gdb_skip(&p, ',') || !gdb_hex_number(&p, &addr) || !gdb_skip(&p, ',') || !gdb_hex_number(&p, &len)) {
		gdb_reply("E01");
		return;
	}
	if (kind > BREAK_KINDS)
		kind = BREAK_KINDS;
	why = set ? breaks_set(g.stopped, (unsigned)kind, addr, len) : breaks_clear(g.stopped, (unsigned)kind, addr, len);
	if (!why || !*why) {
		gdb_reply(why ? "" : "OK");
		return;
	}
	gdb_tx_begin(&g.tx);
	gdb_tx_text(&g.tx, "E.");
	gdb_tx_text(&g.tx, why);
	gdb_flush();
}

/* ---- Queries ---- */

static void threads(bool first)
{
	struct vcpu *v = g.stopped;
	char comma = 'm';

	gdb_tx_begin(&g.tx);
	if (!first)
		gdb_tx_char(&g.tx, 'l');
	else
		do {
			if (!v->stopped) {
				gdb_tx_char(&g.tx, comma);
				gdb_tx_number(&g.tx, gdb_thread_of(v));
				comma = ',';
			}
			v = v->peer;
		} while (v != g.stopped);
	gdb_flush();
}

static void thread_info(const char *p)
{
	struct vcpu *v;
	uint64_t id;
	const char *state;

	if (!gdb_hex_number(&p, &id) || !(v = gdb_thread(id))) {
		gdb_reply("E01");
		return;
	}
	state = v->halted ? " halted" : v->level ? " its guest" : "";
	gdb_tx_begin(&g.tx);
	gdb_tx_hex(&g.tx, "vm ", 3);
	gdb_tx_hex(&g.tx, v->vm->name, strlen(v->vm->name));
	gdb_tx_hex(&g.tx, state, strlen(state));
	gdb_flush();
}

static void features(const char *p)
{
	const char *xml = gdb_target_xml();
	uint64_t at, n;
	size_t size = strlen(xml);

	if (!gdb_hex_number(&p, &at) || !gdb_skip(&p, ',') || !gdb_hex_number(&p, &n) || at > size) {
		gdb_reply("E01");
		return;
	}
	if (n > GDB_PACKET_MAX / 2)
		n = GDB_PACKET_MAX / 2;
	gdb_tx_begin(&g.tx);
	gdb_tx_char(&g.tx, at + n >= size ? 'l' : 'm');
	gdb_tx_binary(&g.tx, xml + at, at + n >= size ? size - (size_t)at : (size_t)n);
	gdb_flush();
}

/* Output of a monitor command, as it comes. */
static void console(const char *s, size_t n)
{
	while (n > 0) {
		size_t part = n < 512 ? n : 512;

		gdb_tx_begin(&g.tx);
		gdb_tx_char(&g.tx, 'O');
		gdb_tx_hex(&g.tx, s, part);
		gdb_flush();
		s += part;
		n -= part;
	}
}

static void monitor(const char *p)
{
	char line[128] = "";
	size_t n = strlen(p) / 2;

	if (n >= sizeof(line) || !gdb_hex_bytes(&p, line, n)) {
		gdb_reply("E01");
		return;
	}
	monitor_command(g.chosen, line, console);
	gdb_reply("OK");
}

static void query(const char *p)
{
	if (str_starts(p, "Xfer:features:read:target.xml:")) {
		features(p + strlen("Xfer:features:read:target.xml:"));
	} else if (str_eq(p, "C")) {
		gdb_tx_begin(&g.tx);
		gdb_tx_text(&g.tx, "QC");
		gdb_tx_number(&g.tx, gdb_thread_of(g.chosen));
		gdb_flush();
	} else if (str_eq(p, "fThreadInfo") || str_eq(p, "sThreadInfo")) {
		threads(p[0] == 'f');
	} else if (str_starts(p, "ThreadExtraInfo,")) {
		thread_info(p + strlen("ThreadExtraInfo,"));
	} else if (str_starts(p, "Attached")) {
		gdb_reply("1");
	} else if (str_starts(p, "Rcmd,")) {
		monitor(p + strlen("Rcmd,"));
	} else {
		gdb_reply("");
	}
}

static void choose_thread(const char *p)
{
	uint64_t id = 0;
	char what = *p++;
	struct vcpu *v;

	if (!gdb_skip(&p, '-')) /* -1: all */
		gdb_hex_number(&p, &id);
	else
		id = 0;
	v = id ? gdb_thread(id) : g.chosen;
	if (!v) {
		gdb_reply("E01");
		return;
	}
	if (what == 'g')
		g.chosen = v;
	gdb_reply("OK");
}

static void thread_alive(const char *p)
{
	uint64_t id;

	gdb_reply(gdb_hex_number(&p, &id) && id && gdb_thread(id) ? "OK" : "E01");
}

bool gdb_command(const char *p, size_t n)
{
	switch (p[0]) {
	case 'g': read_all(); return true;
	case 'G': write_all(p + 1); return true;
	case 'p': read_one(p + 1); return true;
	case 'P': write_one(p + 1); return true;
	case 'm': read_memory(p + 1); return true;
	case 'M': write_memory(p + 1, p + n, false); return true;
	case 'X': write_memory(p + 1, p + n, true); return true;
	case 'Z': case 'z': breakpoint(p + 1, p[0] == 'Z'); return true;
	case 'H': choose_thread(p + 1); return true;
	case 'T': thread_alive(p + 1); return true;
	case 'q': query(p + 1); return true;
	default: return false;
	}
}
