/* SPDX-License-Identifier: MIT */
/* The session: who has stopped, what gdb asks, who goes on. Packets by name as in "Debugging with GDB", appendix "GDB Remote Serial Protocol". */
#include "vmm/gdb/gdb.h"

#include "arch/lib/log.h"
#include "arch/lib/string.h"
#include "arch/x86/def/exitcode.h"
#include "arch/x86/insn.h"
#include "arch/x86/tsc.h"
#include "vmm/debugger.h"
#include "vmm/gdb/breaks.h"
#include "vmm/gdb/regs.h"
#include "vmm/gdb/session.h"
#include "vmm/swbreak.h"
#include "vmm/vm.h"

#define DOUBT_US 3000000u /* gdb has sent its packet again by then */

bool gdb_on;
struct gdb_session gdb_session;
#define g gdb_session

/* ---- Threads: VM number + 1 ---- */

unsigned gdb_thread_of(const struct vcpu *v)
{
	return v->vm->id + 1;
}

struct vcpu *gdb_thread(uint64_t id)
{
	struct vcpu *v = g.stopped;

	do {
		if (!v->stopped && (gdb_thread_of(v) == id || id == 0))
			return v;
		v = v->peer;
	} while (v != g.stopped);
	return NULL;
}

/* ---- Sending ---- */

void gdb_flush(void)
{
	char end[3] = { '#', 0, 0 };
	uint8_t sum = gdb_checksum(g.tx.data, g.tx.n);

	end[1] = "0123456789abcdef"[sum >> 4];
	end[2] = "0123456789abcdef"[sum & 15];
	g.port->send("$", 1);
	g.port->send(g.tx.data, g.tx.n);
	g.port->send(end, 3);
}

void gdb_reply(const char *text)
{
	gdb_tx_begin(&g.tx);
	gdb_tx_text(&g.tx, text);
	gdb_flush();
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
	gdb_tx_number(&g.tx, gdb_thread_of(g.stopped));
	gdb_tx_char(&g.tx, ';');
	if (d->stop < sizeof(what) / sizeof(what[0]) && what[d->stop])
		gdb_tx_text(&g.tx, what[d->stop]);
	if (d->stop == STOP_WRITE || d->stop == STOP_ACCESS) {
		gdb_tx_number(&g.tx, d->stop_addr);
		gdb_tx_char(&g.tx, ';');
	}
	gdb_flush();
}

/* ---- Coming and going ---- */

/* As if there had never been one: no slot, no INT3, no guard, nobody stepped or frozen. */
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
	swbreak_hidden = true;
	if (!g.attached)
		log_printf("drover: gdb: attached\n");
	g.attached = true;
}

static void detach(void)
{
	leave_no_trace(g.stopped);
	g.attached = g.no_ack = false;
	g.resume = true;
	log_printf("drover: gdb: detached\n");
}

/* ---- Going on ---- */

/* One that gdb did not take out again would stop it at once: so it does. */
static bool at_swbreak(struct vcpu *v)
{
	if (!swbreak_at(v, vcpu_linear_rip(v)))
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

	if (action_of(p, gdb_thread_of(v)) && at_swbreak(v))
		return;
	do {
		char how = action_of(p, gdb_thread_of(v));

		resume_one(v, how);
		v->debugger.frozen = !how;
		v = v->peer;
	} while (v != g.stopped);
	go();
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
	if (str_starts(p, "qSupported")) {
		attach(g.stopped);
		gdb_reply("PacketSize=ff0;qXfer:features:read+;swbreak+;hwbreak+;vContSupported+;QStartNoAckMode+");
		return;
	}
	if (gdb_command(p, n))
		return;
	switch (p[0]) {
	case '?': reply_stop(); return;
	case 'c': case 's': case 'C': case 'S': resume_all(p[0]); return;
	case 'D':
		gdb_reply("OK");
		detach();
		return;
	case 'k': kill_all(); return;
	case 'Q':
		gdb_reply(str_eq(p, "QStartNoAckMode") ? "OK" : "");
		g.no_ack |= str_eq(p, "QStartNoAckMode");
		return;
	case 'v':
		if (str_eq(p, "vCont?"))
			gdb_reply("vCont;c;C;s;S");
		else if (str_starts(p, "vCont;"))
			v_cont(p + 5);
		else
			gdb_reply("");
		return;
	default: gdb_reply(""); return;
	}
}

/* ---- Listening ---- */

static void take(int c)
{
	switch (gdb_rx_char(&g.rx, (uint8_t)c)) {
	case GDB_RX_PACKET:
		g.doubt = false;
		g.no_ack &= !str_starts(g.rx.data, "qSupported"); /* a new gdb, the one before has left without a word */
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
			gdb_flush();
		return;
	case GDB_RX_NOTHING: case GDB_RX_BREAK: case GDB_RX_ACK: return;
	}
}

/* All have stopped, v is who gdb hears of. Until it wants somebody to go on, or, with doubt, no packet comes. */
static void serve(struct vcpu *v, bool tell, bool doubt)
{
	uint64_t end = rdtsc() + tsc_from_us(DOUBT_US);
	int c;

	g.stopped = g.chosen = v;
	g.resume = false;
	g.doubt = doubt;
	if (tell)
		reply_stop();
	while (!g.resume) {
		if (g.doubt && rdtsc() > end) {
			gdb_rx_reset(&g.rx);
			return;
		}
		c = g.port->take();
		if (c >= 0)
			take(c);
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
		serve(v, false, false);
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
		g.no_ack = false; /* none sends while the guest runs: it is a new one. It is to hear that its first packet was cut short by the UART's FIFO */
		gdb_rx_reset(&g.rx);
		gdb_rx_char(&g.rx, '$');
		serve(v, false, true);
		v->debugger.stop = STOP_NONE;
	}
	return false;
}

bool gdb_turn(struct vcpu *v)
{
	if (v->stopped || (v->debugger.stop == STOP_NONE && !listen(v)))
		return false;
	debugger_step(v, false);
	serve(v, true, false);
	return true;
}

uint64_t gdb_idle(struct vcpu *v)
{
	uint64_t start = rdtsc();

	while (v->stopped)
		v = v->peer; /* somebody sleeps */
	if (listen(v))
		serve(v, true, false);
	return rdtsc() - start;
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
	g.attached = false;
	gdb_tx_begin(&g.tx);
	gdb_tx_char(&g.tx, 'W');
	gdb_tx_hex(&g.tx, &status, 1);
	gdb_flush();
}
