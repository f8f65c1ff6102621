/* SPDX-License-Identifier: MIT */
/* The session: who has stopped, what gdb asks, who goes on. Packets by name as in "Debugging with GDB", appendix "GDB Remote Serial Protocol". */
#include "vmm/gdb/gdb.h"

#include "arch/lib/log.h"
#include "arch/lib/string.h"
#include "arch/x86/def/exitcode.h"
#include "arch/x86/insn.h"
#include "vmm/debugger.h"
#include "vmm/gdb/breaks.h"
#include "vmm/gdb/mem.h"
#include "vmm/gdb/monitor.h"
#include "vmm/gdb/packet.h"
#include "vmm/gdb/regs.h"
#include "vmm/gdb/swbreak.h"
#include "vmm/run.h"

bool gdb_on;

static struct {
	const struct gdb_port *port;
	bool wait;      /* for the first gdb */
	bool attached;
	bool no_ack;
	bool told;      /* gdb waits for no answer: the guest has stopped, and gdb knows */
	bool resume;    /* leave serve() */
	struct vcpu *stopped; /* whoever has */
	struct vcpu *chosen;  /* Hg: registers and memory */
	struct gdb_rx rx;
	struct gdb_tx tx;
} g;

/* ---- Threads: VM number + 1 ---- */

static unsigned thread_of(const struct vcpu *v)
{
	return v->vm->id + 1;
}

static struct vcpu *thread(uint64_t id)
{
	struct vcpu *v = g.stopped;

	do {
		if (!v->stopped && (thread_of(v) == id || id == 0))
			return v;
		v = v->peer;
	} while (v != g.stopped);
	return NULL;
}

/* ---- Sending ---- */

static void flush(void)
{
	char end[3] = { '#', 0, 0 };
	uint8_t sum = gdb_checksum(g.tx.data, g.tx.n);

	end[1] = "0123456789abcdef"[sum >> 4];
	end[2] = "0123456789abcdef"[sum & 15];
	g.port->send("$", 1);
	g.port->send(g.tx.data, g.tx.n);
	g.port->send(end, 3);
}

static void reply(const char *text)
{
	gdb_tx_begin(&g.tx);
	gdb_tx_text(&g.tx, text);
	flush();
}

static void reply_stop(void)
{
	static const char *const what[] = { [STOP_EXEC] = "hwbreak:;", [STOP_INT3] = "swbreak:;", [STOP_WRITE] = "watch:", [STOP_ACCESS] = "awatch:" };
	static const uint8_t expedited[] = { GDB_REG_RBP, GDB_REG_RSP, GDB_REG_RIP };
	const struct vcpu_debugger *d = &g.stopped->debugger;
	uint8_t value[16];

	gdb_tx_begin(&g.tx);
	gdb_tx_text(&g.tx, d->stop == STOP_ASKED ? "T02" : "T05");
	for (unsigned i = 0; i < sizeof(expedited); i++) {
		gdb_tx_hex(&g.tx, &expedited[i], 1);
		gdb_tx_char(&g.tx, ':');
		gdb_reg_get(g.stopped, expedited[i], value);
		gdb_tx_hex(&g.tx, value, gdb_reg_size(expedited[i]));
		gdb_tx_char(&g.tx, ';');
	}
	gdb_tx_text(&g.tx, "thread:");
	gdb_tx_number(&g.tx, thread_of(g.stopped));
	gdb_tx_char(&g.tx, ';');
	if (d->stop < sizeof(what) / sizeof(what[0]) && what[d->stop])
		gdb_tx_text(&g.tx, what[d->stop]);
	if (d->stop == STOP_WRITE || d->stop == STOP_ACCESS) {
		gdb_tx_number(&g.tx, d->stop_addr);
		gdb_tx_char(&g.tx, ';');
	}
	flush();
}

/* ---- Coming and going ---- */

/* As if there had never been one: no slot, no INT3, nobody stepped or frozen. */
static void leave_no_trace(struct vcpu *first)
{
	struct vcpu *v = first;

	breaks_clear_all(first);
	do {
		debugger_step(v, false);
		v->debugger.frozen = false;
		v->debugger.stop = STOP_NONE;
		v = v->peer;
	} while (v != first);
}

static void attach(struct vcpu *v)
{
	g.no_ack = false;
	leave_no_trace(v); /* an older gdb may have gone without a word */
	if (!g.attached)
		log_printf("drover: gdb: attached\n");
	g.attached = true;
}

static void detach(void)
{
	leave_no_trace(g.stopped);
	g.attached = false;
	g.resume = true;
	log_printf("drover: gdb: detached\n");
}

/* ---- Registers and memory ---- */

static void read_all(void)
{
	uint8_t value[16];

	gdb_tx_begin(&g.tx);
	for (unsigned i = 0; i < gdb_regs(); i++) {
		gdb_reg_get(g.chosen, i, value);
		gdb_tx_hex(&g.tx, value, gdb_reg_size(i));
	}
	flush();
}

static void write_all(const char *p)
{
	uint8_t value[16] = { 0 };
	bool good = true;

	for (unsigned i = 0; i < gdb_regs() && *p; i++)
		good = gdb_hex_bytes(&p, value, gdb_reg_size(i)) && gdb_reg_set(g.chosen, i, value) && good;
	reply(good ? "OK" : "E01");
}

static void read_one(const char *p)
{
	uint8_t value[16];
	uint64_t i;

	if (!gdb_hex_number(&p, &i) || !gdb_reg_size((unsigned)i) || i >= gdb_regs()) {
		reply("E01");
		return;
	}
	gdb_reg_get(g.chosen, (unsigned)i, value);
	gdb_tx_begin(&g.tx);
	gdb_tx_hex(&g.tx, value, gdb_reg_size((unsigned)i));
	flush();
}

static void write_one(const char *p)
{
	uint8_t value[16] = { 0 };
	uint64_t i;

	if (!gdb_hex_number(&p, &i) || i >= gdb_regs() || !gdb_skip(&p, '=') || !gdb_hex_bytes(&p, value, gdb_reg_size((unsigned)i)) ||
	    !gdb_reg_set(g.chosen, (unsigned)i, value))
		reply("E01");
	else
		reply("OK");
}

static void read_memory(const char *p)
{
	static uint8_t bytes[GDB_PACKET_MAX / 2];
	uint64_t addr, n;
	size_t got;

	if (!gdb_hex_number(&p, &addr) || !gdb_skip(&p, ',') || !gdb_hex_number(&p, &n)) {
		reply("E01");
		return;
	}
	if (n > sizeof(bytes))
		n = sizeof(bytes);
	got = gdb_read(g.chosen, addr, false, bytes, (size_t)n);
	if (n && !got) {
		reply("E0e");
		return;
	}
	gdb_tx_begin(&g.tx);
	gdb_tx_hex(&g.tx, bytes, got);
	flush();
}

/* M: digits; X: the bytes themselves. */
static void write_memory(const char *p, const char *end, bool binary)
{
	static uint8_t bytes[GDB_PACKET_MAX];
	uint64_t addr, n;

	if (!gdb_hex_number(&p, &addr) || !gdb_skip(&p, ',') || !gdb_hex_number(&p, &n) || !gdb_skip(&p, ':') || n > sizeof(bytes) ||
	    (binary && n != (uint64_t)(end - p)) || (!binary && !gdb_hex_bytes(&p, bytes, (size_t)n))) {
		reply("E01");
		return;
	}
	if (binary)
		memcpy(bytes, p, (size_t)n);
	reply(gdb_write(g.chosen, addr, bytes, (size_t)n) ? "OK" : "E0e");
}

static void breakpoint(const char *p, bool set)
{
	uint64_t kind, addr, len;
	const char *why;

	if (!gdb_hex_number(&p, &kind) || !gdb_skip(&p, ',') || !gdb_hex_number(&p, &addr) || !gdb_skip(&p, ',') || !gdb_hex_number(&p, &len)) {
		reply("E01");
		return;
	}
	if (kind > BREAK_KINDS)
		kind = BREAK_KINDS;
	why = set ? breaks_set(g.stopped, (unsigned)kind, addr, len) : breaks_clear(g.stopped, (unsigned)kind, addr, len);
	if (!why || !*why) {
		reply(why ? "" : "OK");
		return;
	}
	gdb_tx_begin(&g.tx);
	gdb_tx_text(&g.tx, "E.");
	gdb_tx_text(&g.tx, why);
	flush();
}

/* ---- Going on ---- */

/* One that gdb did not take out again would stop it at once: so it does. */
static bool at_swbreak(struct vcpu *v)
{
	if (!v->debugger.catch_int3 || !swbreak_at(v, debugger_pc(v)))
		return false;
	g.stopped = g.chosen = v;
	v->debugger.stop = STOP_INT3;
	reply_stop();
	return true;
}

static void go(void)
{
	struct vcpu *v = g.stopped;
	bool some = false;

	do {
		some |= !v->stopped && !v->halted && !v->debugger.frozen;
		v = v->peer;
	} while (v != g.stopped);
	do {
		v->debugger.frozen &= some; /* who is left is asleep: the others may have to wake it */
		v->debugger.stop = STOP_NONE;
		v = v->peer;
	} while (v != g.stopped);
	if (g.stopped->debugger.frozen)
		vcpu_leave(g.stopped);
	g.told = false;
	g.resume = true;
}

static void resume_one(struct vcpu *v, char how)
{
	v->debugger.frozen = false;
	debugger_step(v, how == 's' || how == 'S');
}

/* c, s, C, S: the stopped one as told, the others run. An address to go on at is an option that gdb does not use. */
static void resume_all(char how)
{
	struct vcpu *v = g.stopped;

	if (at_swbreak(v))
		return;
	do {
		resume_one(v, v == g.stopped ? how : 'c');
		v = v->peer;
	} while (v != g.stopped);
	go();
}

/* The leftmost action that names a thread, or none at all, is its. */
static char action_of(const char *p, unsigned id)
{
	while (gdb_skip(&p, ';')) {
		char how = *p;
		uint64_t n = 0;

		while (*p && *p != ':' && *p != ';')
			p++;
		if (!gdb_skip(&p, ':') || gdb_skip(&p, '-'))
			return how;
		if (gdb_hex_number(&p, &n) && (n == id || n == 0))
			return how;
		while (*p && *p != ';')
			p++;
	}
	return 0;
}

static void v_cont(const char *p)
{
	struct vcpu *v = g.stopped;

	if (action_of(p, thread_of(v)) && at_swbreak(v))
		return;
	do {
		char how = action_of(p, thread_of(v));

		if (how)
			resume_one(v, how);
		v->debugger.frozen = !how;
		v = v->peer;
	} while (v != g.stopped);
	go();
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
				gdb_tx_number(&g.tx, thread_of(v));
				comma = ',';
			}
			v = v->peer;
		} while (v != g.stopped);
	flush();
}

static void thread_info(const char *p)
{
	struct vcpu *v;
	uint64_t id;
	const char *state;

	if (!gdb_hex_number(&p, &id) || !(v = thread(id))) {
		reply("E01");
		return;
	}
	state = v->halted ? " halted" : v->level ? " its guest" : "";
	gdb_tx_begin(&g.tx);
	gdb_tx_hex(&g.tx, "vm ", 3);
	gdb_tx_hex(&g.tx, v->vm->name, strlen(v->vm->name));
	gdb_tx_hex(&g.tx, state, strlen(state));
	flush();
}

static void features(const char *p)
{
	const char *xml = gdb_target_xml();
	uint64_t at, n;
	size_t size = strlen(xml);

	if (!gdb_hex_number(&p, &at) || !gdb_skip(&p, ',') || !gdb_hex_number(&p, &n) || at > size) {
		reply("E01");
		return;
	}
	if (n > GDB_PACKET_MAX / 2)
		n = GDB_PACKET_MAX / 2;
	gdb_tx_begin(&g.tx);
	gdb_tx_char(&g.tx, at + n >= size ? 'l' : 'm');
	gdb_tx_binary(&g.tx, xml + at, at + n >= size ? size - (size_t)at : (size_t)n);
	flush();
}

/* Output of a monitor command, as it comes. */
static void console(const char *s, size_t n)
{
	while (n > 0) {
		size_t part = n < 512 ? n : 512;

		gdb_tx_begin(&g.tx);
		gdb_tx_char(&g.tx, 'O');
		gdb_tx_hex(&g.tx, s, part);
		flush();
		s += part;
		n -= part;
	}
}

static void monitor(const char *p)
{
	char line[128] = "";
	size_t n = strlen(p) / 2;

	if (n >= sizeof(line) || !gdb_hex_bytes(&p, line, n)) {
		reply("E01");
		return;
	}
	monitor_command(g.chosen, line, console);
	reply("OK");
}

static void query(const char *p)
{
	if (str_starts(p, "Supported")) {
		attach(g.stopped);
		reply("PacketSize=ff0;qXfer:features:read+;swbreak+;hwbreak+;vContSupported+;QStartNoAckMode+");
	} else if (str_starts(p, "Xfer:features:read:target.xml:")) {
		features(p + strlen("Xfer:features:read:target.xml:"));
	} else if (str_eq(p, "C")) {
		gdb_tx_begin(&g.tx);
		gdb_tx_text(&g.tx, "QC");
		gdb_tx_number(&g.tx, thread_of(g.chosen));
		flush();
	} else if (str_eq(p, "fThreadInfo") || str_eq(p, "sThreadInfo")) {
		threads(p[0] == 'f');
	} else if (str_starts(p, "ThreadExtraInfo,")) {
		thread_info(p + strlen("ThreadExtraInfo,"));
	} else if (str_starts(p, "Attached")) {
		reply("1");
	} else if (str_starts(p, "Rcmd,")) {
		monitor(p + strlen("Rcmd,"));
	} else {
		reply("");
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
	v = id ? thread(id) : g.chosen;
	if (!v) {
		reply("E01");
		return;
	}
	if (what == 'g')
		g.chosen = v;
	reply("OK");
}

static void thread_alive(const char *p)
{
	uint64_t id;

	reply(gdb_hex_number(&p, &id) && id && thread(id) ? "OK" : "E01");
}

static void kill_all(void)
{
	struct vcpu *v = g.stopped;

	detach();
	do {
		vcpu_stop(v, EXIT_UNHANDLED, "ended by gdb, rip=0x%lx", v->rip);
		v = v->peer;
	} while (v != g.stopped);
}

static void packet(const char *p, size_t n)
{
	switch (p[0]) {
	case '?': reply_stop(); return;
	case 'g': read_all(); return;
	case 'G': write_all(p + 1); return;
	case 'p': read_one(p + 1); return;
	case 'P': write_one(p + 1); return;
	case 'm': read_memory(p + 1); return;
	case 'M': write_memory(p + 1, p + n, false); return;
	case 'X': write_memory(p + 1, p + n, true); return;
	case 'Z': case 'z': breakpoint(p + 1, p[0] == 'Z'); return;
	case 'c': case 's': case 'C': case 'S': resume_all(p[0]); return;
	case 'H': choose_thread(p + 1); return;
	case 'T': thread_alive(p + 1); return;
	case 'q': query(p + 1); return;
	case 'D':
		reply("OK");
		detach();
		return;
	case 'k': kill_all(); return;
	case 'Q':
		reply(str_eq(p, "QStartNoAckMode") ? "OK" : "");
		g.no_ack |= str_eq(p, "QStartNoAckMode");
		return;
	case 'v':
		if (str_eq(p, "vCont?"))
			reply("vCont;c;C;s;S");
		else if (str_starts(p, "vCont;"))
			v_cont(p + 5);
		else
			reply("");
		return;
	default: reply(""); return;
	}
}

/* ---- Listening ---- */

static void take(int c)
{
	switch (gdb_rx_char(&g.rx, (uint8_t)c)) {
	case GDB_RX_PACKET:
		if (!g.no_ack)
			g.port->send("+", 1);
		packet(g.rx.data, g.rx.n);
		return;
	case GDB_RX_BAD:
		if (!g.no_ack)
			g.port->send("-", 1);
		return;
	case GDB_RX_NAK:
		if (!g.no_ack)
			flush();
		return;
	case GDB_RX_NOTHING: case GDB_RX_BREAK: case GDB_RX_ACK: return;
	}
}

/* All have stopped, v is who gdb hears of. Until it wants somebody to go on. */
static void serve(struct vcpu *v, bool tell)
{
	int c;

	g.stopped = g.chosen = v;
	g.resume = false;
	if (tell)
		reply_stop();
	while (!g.resume) {
		c = g.port->take();
		if (c >= 0)
			take(c);
		else if (c == -2)
			detach();
		else
			cpu_pause();
	}
}

void gdb_init(const struct gdb_port *port, bool wait)
{
	g.port = port;
	g.wait = wait;
	gdb_on = true;
	gdb_rx_reset(&g.rx);
}

void gdb_begin(struct vcpu *v)
{
	if (g.attached) {
		breaks_follow(v);
	} else if (g.wait) {
		g.wait = false;
		log_printf("drover: gdb: vm %s waits for one\n", v->vm->name);
		serve(v, false);
	}
}

/* What has come while guests run: Ctrl-C, or a gdb that begins. */
static bool listen(struct vcpu *v)
{
	int c = g.port->take();

	if (c == 0x03 && g.attached) {
		v->debugger.stop = STOP_ASKED;
		return true;
	}
	if (c == '$') {
		g.stopped = g.chosen = v;
		v->debugger.stop = STOP_ASKED;
		gdb_rx_reset(&g.rx);
		gdb_rx_char(&g.rx, '$');
		serve(v, false);
		v->debugger.stop = STOP_NONE;
	}
	return false;
}

bool gdb_turn(struct vcpu *v)
{
	if (v->stopped || (v->debugger.stop == STOP_NONE && !listen(v)))
		return false;
	debugger_step(v, false);
	serve(v, true);
	return true;
}

void gdb_idle(struct vcpu *v)
{
	if (listen(v)) {
		serve(v, true);
	}
}

void gdb_vm_gone(const struct vm *vm)
{
	swbreak_clear_all(vm);
}

void gdb_end(unsigned code)
{
	uint8_t status = (uint8_t)code;

	if (!g.attached)
		return;
	gdb_tx_begin(&g.tx);
	gdb_tx_char(&g.tx, 'W');
	gdb_tx_hex(&g.tx, &status, 1);
	flush();
}
