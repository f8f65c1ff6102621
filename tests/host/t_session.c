/* SPDX-License-Identifier: MIT */
/* gdb's sessions on the software CPU: packets asked and answered while a guest stands, and the guest compared with bare hardware. */
#include <string.h>

#include "arch/x86/def/dr.h"
#include "arch/x86/def/exitcode.h"
#include "arch/x86/def/hypercall.h"
#include "both.h"
#include "vmm/dev/lapic.h"
#include "vmm/gdb/gdb.h"
#include "vmm/gdb/packet.h"
#include "vmm/run.h"

/* ---- The line: packets that are asked one after the other, each when the one before has been answered ---- */

static struct {
	struct gdb_line gdb;
	char said[8192];
} line;

static int line_take(void)
{
	return gdb_line_take(&line.gdb);
}

static void line_send(const char *s, size_t n)
{
	size_t have = strlen(line.said);

	if (have + n < sizeof(line.said)) {
		memcpy(line.said + have, s, n);
		line.said[have + n] = '\0';
	}
	if (n > 0 && (s[0] == 'T' || s[0] == 'W'))
		line.gdb.running = false;
}

static bool said(const char *what)
{
	return strstr(line.said, what) != NULL;
}

/* The answer to the n-th packet, from 0: a plus and a packet, of which `what` is the beginning. What runs has its stop. */
static bool answered(unsigned n, const char *what)
{
	const char *at = line.said;

	while ((at = strstr(at, "+$")) != NULL && n-- > 0)
		at++;
	return at && strncmp(at + 2, what, strlen(what)) == 0;
}

static unsigned count(const char *what)
{
	unsigned n = 0;

	for (const char *at = line.said; (at = strstr(at, what)) != NULL; at++)
		n++;
	return n;
}

static void session(struct machine *m, const char *const *ask)
{
	static const struct gdb_port port = { line_take, line_send };

	memset(&line, 0, sizeof(line));
	line.gdb.ask = ask;
	gdb_init(&port, true);
	machine_run(m);
	machine_gdb_end(m);
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
	tap_ok(answered(14, "#00") && answered(15, "#00"), id(amd, "Z04.gdb.unknown"), "what is not known has an empty answer");
	tap_ok(answered(19, "QC1#") && answered(20, "m1#") && answered(21, "OK#"), id(amd, "Z04.gdb.thread"), "a VM is a thread");
	tap_ok(answered(22, "E01#"), id(amd, "Z04.gdb.no_thread"), "and there is no other");
	tap_eq(m.vm[0]->vcpu->dbg.held | m.vm[0]->vcpu->dbg.watched | m.vm[0]->vcpu->debugger.nr, 0, id(amd, "Z01.gdb.detached"), "nothing is left behind it");
	tap_eq(m.vm[0]->vcpu->debugger_hits, 0, id(amd, "Z04.gdb.lab"), "its hits are not the lab's");
	machine_same_as_bare(&m, 0, id(amd, "Z01.gdb.bare"));
	machine_stop(&m);
}

/* A gdb that leaves without a word, and another that comes: nothing of the first is left, and it is acknowledged. */
BOTH(Z01_gdb_gone)
{
	static const struct gop ops[] = { { G_STORE, .a = 0x5000, .n = 1 }, { G_CPUID }, { G_STORE, .a = 0x5000, .n = 1 }, RD(6) };
	static const char *const ask[] = { "qSupported", "QStartNoAckMode", "Z4,5000,8", "c", "qSupported", "D", NULL };
	struct machine m;
	const char *second;

	if (!machine_start(&m, amd, full(amd)) || !machine_add(&m, OPS(ops), OPS(show_all)))
		return;
	sw.strict = false;
	session(&m, ask);
	tap_ok(said("awatch:5000;"), id(amd, "Z04.gone.watch"), "it has stopped once");
	second = strstr(line.said, "awatch:5000;");
	tap_ok(second && strstr(second, "+$PacketSize"), id(amd, "Z04.gone.ack"), "the next gdb's first packet is acknowledged");
	tap_eq(m.vm[0]->vcpu->dbg.held, 0, id(amd, "Z01.gone.slots"), "the slots are free");
	machine_same_as_bare(&m, 0, id(amd, "Z01.gone.bare"));
	machine_stop(&m);
}

/* The guest's budget is its own time, whoever sits at gdb's prompt. */
static uint64_t slow_by;

static int slow_take(void)
{
	sw.tsc += slow_by;
	return line_take();
}

BOTH(Z04_gdb_budget)
{
	static const struct gop ops[] = { { G_STORE, .a = 0x5000, .n = 1 }, { G_CPUID }, RD(6) };
	static const char *const ask[] = { "qSupported", "Z2,5000,4", "c", "?", "z2,5000,4", "D", NULL };
	static const struct gdb_port port = { slow_take, line_send };
	struct machine m;
	struct vcpu *v;

	if (!machine_start(&m, amd, full(amd)) || !(v = machine_add(&m, OPS(ops), OPS(show_all))))
		return;
	sw.strict = false;
	memset(&line, 0, sizeof(line));
	line.gdb.ask = ask;
	slow_by = v->budget_tsc;
	gdb_init(&port, true);
	machine_run(&m);
	machine_gdb_end(&m);
	tap_ok(said("watch:5000;"), id(amd, "Z04.budget.watch"), "gdb has stopped it");
	tap_ok(v->run_tsc < v->budget_tsc, id(amd, "Z04.budget"), "a budget's time goes by at each character of gdb's, and none of it is the guest's");
	machine_same_as_bare(&m, 0, id(amd, "Z04.budget.bare"));
	machine_stop(&m);
}

/* Noise on the line while no gdb is there: the guest stands for three seconds, not for ever. */
static unsigned noise;

static int noisy_take(void)
{
	sw.tsc += 1000000;
	return noise++ ? -1 : '$';
}

BOTH(Z04_gdb_noise)
{
	static const struct gop ops[] = { { G_CPUID }, HC(HC_LAB_YIELD), { G_CPUID }, RD(6) };
	static const struct gdb_port port = { noisy_take, line_send };
	struct machine m;

	if (!machine_start(&m, amd, full(amd)) || !machine_add(&m, OPS(ops), OPS(show_all)) || !machine_add(&m, OPS(ops), OPS(show_all)))
		return;
	noise = 0;
	gdb_init(&port, false);
	machine_run(&m);
	machine_gdb_end(&m);
	tap_ok(noise > 2900 && noise < 3100, id(amd, "Z04.noise"), "a character that begins a packet stops the guest, for a while (%u ms)", noise);
	machine_same_as_bare(&m, 0, id(amd, "Z04.noise.bare"));
	machine_stop(&m);
}

/* What would end the VM at its next entry, and what gdb could not take back. */
BOTH(Z04_gdb_refusals)
{
	static const struct gop ops[] = { { G_STORE, .a = 0x5000, .n = 1 }, { G_CPUID } };
	static const char *const ask[] = { "qSupported", "P10=0000000000000080", "p10", "P11=00020000", "p11", "P11=46000000", "p11", "Z2,5000,40", "Z2,5000,4", "c", "D", NULL };
	struct machine m;

	if (!machine_start(&m, amd, full(amd)) || !machine_add(&m, OPS(ops), OPS(show_all)))
		return;
	sw.strict = false;
	session(&m, ask);
	tap_ok(said("$0010000000000000#") && !said("$0000000000000080#"), id(amd, "Z04.rip"), "an RIP that hardware would refuse is refused");
	tap_ok(said("$46000000#"), id(amd, "Z04.eflags"), "flags are written");
	tap_eq(count("$E01#"), 2, id(amd, "Z04.eflags.whole"), "or refused, not taken in part: two errors, RIP's and this");
	tap_ok(said("E.no breakpoint of 64 bytes"), id(amd, "Z04.size"), "so is what is too long, by a sentence: an empty answer would end all watchpoints");
	tap_ok(said("watch:5000;"), id(amd, "Z04.size.next"), "the next one is taken");
	machine_stop(&m);
}

/* gdb goes on with one VM alone, whose HLT waits for the other: which is there, though frozen. */
BOTH(Z04_gdb_frozen)
{
	static const struct gop a[] = { { G_STORE, .a = 0x5000, .n = 1 }, { G_HLT }, { G_CPUID } }, b[] = { HC(HC_LAB_YIELD), { G_CPUID }, { G_CPUID } };
	static const char *const ask[] = { "qSupported", "Z2,5000,4", "c", "vCont;c:1", NULL };
	struct machine m;

	if (!machine_start(&m, amd, full(amd)) || !machine_add(&m, OPS(a), OPS(show_all)) || !machine_add(&m, OPS(b), OPS(show_all)))
		return;
	sw.strict = false;
	session(&m, ask);
	tap_ok(said("watch:5000;"), id(amd, "Z04.frozen.watch"), "the first stops");
	tap_ok(m.vm[0]->vcpu->halted, id(amd, "Z04.frozen.halted"), "and waits for the other");
	tap_eq(m.vm[1]->vcpu->exit_code, EXIT_PASS, id(amd, "Z04.frozen.end"), "which runs to its end");
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

/* The same, with its timer armed, which nobody looks at while it is frozen. */
BOTH(Z04_gdb_frozen_timer)
{
	static const struct gop a[] = { { G_CPUID } }, b[] = { { G_CPUID }, RD(6), RD(7) };
	static const char *const ask[] = { "qSupported", "vCont;c:1", NULL };
	struct machine m;
	struct vcpu *w;

	if (!machine_start(&m, amd, full(amd)) || !machine_add(&m, OPS(a), OPS(show_all)) || !(w = machine_add(&m, OPS(b), OPS(show_all))))
		return;
	sw.strict = false;
	w->rflags |= 0x200;
	w->apic.lvt[VLVT_TIMER] = 0x40;
	w->apic.base |= 0x900;
	w->apic.expiry = sw.tsc + 1000000;
	tap_ok(run_timer_wakes(w), id(amd, "Z04.timer.armed"), "the frozen one's timer would wake it");
	session(&m, ask);
	tap_eq(w->exit_code, EXIT_PASS, id(amd, "Z04.timer.end"), "it goes on when the other has ended");
	machine_stop(&m);
}

/* The other is there, and no error, though frozen. */
BOTH(Z04_gdb_yield)
{
	static const struct gop a[] = { { G_STORE, .a = 0x5000, .n = 1 }, { G_HC, .a = HC_LAB_YIELD, .flags = GOP_SHOW }, { G_CPUID } }, b[] = { HC(HC_LAB_YIELD), { G_CPUID } };
	static const char *const ask[] = { "qSupported", "Z2,5000,4", "c", "vCont;c:1", NULL };
	struct machine m;

	if (!machine_start(&m, amd, full(amd)) || !machine_add(&m, OPS(a), OPS(show_all)) || !machine_add(&m, OPS(b), OPS(show_all)))
		return;
	sw.strict = false;
	session(&m, ask);
	tap_eq(rec_of(&m, R_HC, 0), 0, id(amd, "Z04.yield"), "a yield to it is no error");
	machine_stop(&m);
}

/* ---- Each instruction of a script ---- */

static const struct gop script[] = { { G_STORE, .a = 0x5000, .n = 1 }, WR(0, 0x6000), WR(1, 0x6008), WR(2, 0x6010), WR(3, 0x6018), WR(7, 0x111104aa), { G_NOP }, { G_CPUID }, { G_STORE, .a = 0x5000, .n = 1 },
				     HC(HC_LAB_SLOW), HC(HC_LAB_FAST), { G_OUT, .a = 0x80 }, { G_IN, .a = 0x80 }, { G_JMP }, { G_MOV_SS }, { G_NOP },
				     { G_REP_STOS, .a = 0x5100, .n = 3 }, { G_NOP }, { G_MOV_SS }, { G_CPUID }, { G_NOP }, { G_OUTS, .a = 0x80, .b = 0x5000, .n = 2 },
				     WM(DEBUGCTL_MSR, 1), { G_JMP }, { G_NOP }, WM(DEBUGCTL_MSR, 0), RD(6), RD(7), { G_NOP }, { G_CPUID } };
#define SCRIPT_NR (sizeof(script) / sizeof(script[0]))
#define ARMED 6 /* the guest has all four slots from here on */

/* A code breakpoint that loses its slot to the guest is hit all the same. Behind MOV SS there is no boundary, and so no hit, as hardware has none there (A23). */
BOTH(Z01_gdb_each)
{
	struct tap_set hit = { .id = id(amd, "Z01.each") }, none = { .id = id(amd, "Z01.each.behind") }, bare = { .id = id(amd, "Z01.each.bare") }, *was = tap_instead;

	if (tap_instead) /* once is enough */
		return;
	for (unsigned at = ARMED; at < SCRIPT_NR; at++) {
		char set[64], clear[64], stop[64];
		const char *ask[] = { "qSupported", set, "c", clear, "D", NULL };
		bool behind = script[at - 1].kind == G_MOV_SS;
		struct machine m;
		unsigned a;

		if (!machine_start(&m, amd, full(amd)) || !machine_add(&m, OPS(script), OPS(show_all)))
			return;
		sw.strict = false;
		a = m.g[0].at[at];
		snprintf(set, sizeof(set), "Z1,%x,1", a);
		snprintf(clear, sizeof(clear), "z1,%x,1", a);
		snprintf(stop, sizeof(stop), "10:%02x%02x000000000000;thread:1;hwbreak:;", a & 255, a >> 8 & 255);
		session(&m, ask);
		tap_case(behind ? &none : &hit, behind ? count("$T") : said(stop), !behind, "op %u", at);
		tap_instead = &bare;
		machine_same_as_bare(&m, 0, "bare");
		tap_instead = was;
		machine_stop(&m);
	}
	tap_end(&hit, "a code breakpoint at each instruction behind the MOV DR7 that takes its slot");
	tap_end(&none, "none in the shadow of MOV SS, and none late");
	tap_end(&bare, "and the guest is as on bare hardware");
}

/* RIP of the n-th stop from 0, 0: there are not so many. Of what a stop tells the registers come first. */
static unsigned stop_pc(unsigned n)
{
	const char *at = line.said;
	unsigned low, high;

	while ((at = strstr(at, "$T05")) != NULL && n-- > 0)
		at++;
	return at && (at = strstr(at, "10:")) && sscanf(at + 3, "%2x%2x", &low, &high) == 2 ? low | high << 8 : 0;
}

static unsigned stops_of(const struct gop *o)
{
	return o->kind == G_MOV_SS ? 0 : o->kind == G_REP_STOS || o->kind == G_OUTS ? o->n : 1;
}

/* Steps through the whole of it, with and without a watchpoint. A stop at each boundary: MOV SS has none, REP one for each round. */
BOTH(Z03_gdb_steps)
{
	for (unsigned watch = 0; watch < 2; watch++) {
		const char *ask[130] = { "qSupported" };
		struct tap_set stops = { .id = id(amd, watch ? "Z03.steps.watched" : "Z03.steps.stops") };
		struct machine m;
		unsigned n = 1, stopped = 0;

		if (tap_instead) /* once is enough */
			return;
		if (!machine_start(&m, amd, full(amd)) || !machine_add(&m, OPS(script), OPS(show_all)))
			return;
		sw.strict = false;
		if (watch)
			ask[n++] = "Z2,5000,1";
		for (unsigned i = 0; i < 120; i++)
			ask[n++] = "vCont;s:1;c";
		ask[n] = "D";
		session(&m, ask);
		for (unsigned i = 0; i < SCRIPT_NR; i++)
			for (unsigned left = stops_of(&script[i]); left > 0; left--, stopped++)
				tap_case(&stops, stop_pc(stopped), m.g[0].at[i + (left == 1)], "stop %u, op %u", stopped, i);
		tap_case(&stops, count("$T"), stopped, "number");
		tap_end(&stops, "a stop behind each instruction, and no other");
		tap_eq(count("watch:5000;"), watch, id(amd, watch ? "Z03.steps.hit" : "Z03.steps.no_hit"), "the watchpoint's own, with the store that a slot is left for");
		machine_same_as_bare(&m, 0, id(amd, watch ? "Z03.steps.watch" : "Z03.steps"));
		machine_stop(&m);
	}
}

/* ---- A hostile gdb ---- */

static struct {
	uint64_t seed;
	unsigned left, asked, answers, late; /* packets */
	bool writes, begun;
	char frame[300];
	size_t at, n;
} hostile;

static uint64_t pick(void)
{
	hostile.seed = hostile.seed * 6364136223846793005ull + 1442695040888963407ull;
	return hostile.seed >> 33;
}

/* Nothing that lets the guest go on. */
static size_t packet(char *to, size_t cap)
{
	static const char *const ask[] = { "?", "g", "p", "m", "qXfer:features:read:target.xml:", "qXfer:features:read:", "qRcmd,", "qC", "qfThreadInfo", "qsThreadInfo", "qThreadExtraInfo,", "T", "Hg", "Hc",
					   "Z0,", "Z1,", "Z2,", "Z3,", "Z4,", "z0,", "z1,", "z2,", "z4,", "vCont?", "vMustReplyEmpty", "qSupported", "QStartNoAckMode", "!", "",
					   "qRcmd,64626720", "qRcmd,7068797320", "qRcmd,7472616365", "qRcmd,766d6373", "M", "X", "P", "G" };
	static const char *const part[] = { "0", "1", "8", "10", "1000", "5000", "7fff", "fff", "ffffffffffffffff", "8000000000000000", "123456789abcdef01", "-1", ",", ":", ";", "=", ",4", ",1", ":0102", "zz", "\x01" };
	unsigned nr = sizeof(ask) / sizeof(ask[0]) - (hostile.writes ? 0 : 4);
	size_t n = (size_t)snprintf(to, cap, "%s", ask[pick() % nr]);

	for (unsigned k = (unsigned)(pick() % 6); k > 0; k--)
		n += (size_t)snprintf(to + n, cap - n, "%s", part[pick() % (sizeof(part) / sizeof(part[0]))]);
	return n;
}

static int hostile_take(void)
{
	char text[200];
	size_t n;

	if (hostile.at == hostile.n) {
		if (hostile.left == ~0u)
			return -1; /* the last one was the end */
		hostile.late += hostile.answers != hostile.asked;
		n = hostile.left-- ? packet(text, sizeof(text)) : (size_t)snprintf(text, sizeof(text), "%s", hostile.writes ? "k" : "D");
		hostile.asked++;
		hostile.n = (size_t)snprintf(hostile.frame, sizeof(hostile.frame), "+$%.*s#%02x", (int)n, text, gdb_checksum(text, n));
		hostile.at = 0;
	}
	return (uint8_t)hostile.frame[hostile.at++];
}

static void hostile_send(const char *s, size_t n)
{
	if (hostile.begun && !(n > 1 && s[0] == 'O' && s[1] != 'K')) /* what monitor prints comes before its answer */
		hostile.answers++;
	hostile.begun = n == 1 && s[0] == '$';
}

/* Any packets, framed as they should be: each has one answer, and the guest finds nothing of it if none was a write. */
BOTH(Z04_gdb_hostile)
{
	static const struct gop ops[] = { { G_CPUID }, WR(0, 0x6000), { G_STORE, .a = 0x5000, .n = 1 }, RD(0), RD(6), RD(7) };
	static const struct gdb_port port = { hostile_take, hostile_send };

	if (tap_instead) /* once is enough */
		return;
	for (unsigned writes = 0; writes < 2; writes++) {
		struct machine m;

		if (!machine_start(&m, amd, full(amd)) || !machine_add(&m, OPS(ops), OPS(show_all)))
			return;
		sw.strict = false;
		memset(&hostile, 0, sizeof(hostile));
		hostile.seed = 5 + writes;
		hostile.left = 20000;
		hostile.writes = writes;
		gdb_init(&port, true);
		machine_run(&m);
		machine_gdb_end(&m);
		tap_eq(hostile.answers, hostile.asked - writes, id(amd, writes ? "Z04.hostile.writes" : "Z04.hostile"), "each packet has one answer, but for `k`");
		tap_eq(hostile.late, 0, id(amd, writes ? "Z04.hostile.writes.each" : "Z04.hostile.each"), "before the next one");
		if (!writes)
			machine_same_as_bare(&m, 0, id(amd, "Z04.hostile.bare"));
		machine_stop(&m);
	}
}
