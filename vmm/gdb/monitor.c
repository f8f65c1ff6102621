/* SPDX-License-Identifier: MIT */
/* The dumps are those that a panic prints to the log: a log sink passes them on while a command runs. */
#include "vmm/gdb/monitor.h"

#include "arch/lib/fmt.h"
#include "arch/lib/log.h"
#include "arch/lib/string.h"
#include "arch/x86/dbg_hw.h"
#include "vmm/backend.h"
#include "vmm/dbgtrace.h"
#include "vmm/debugger.h"
#include "vmm/gdb/breaks.h"
#include "vmm/gdb/mem.h"
#include "vmm/swbreak.h"
#include "vmm/trace.h"

static void (*output)(const char *s, size_t n);
static bool passing_on;

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *fmt, ...)
{
	char line[256];
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	n = fmt_vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	output(line, n < sizeof(line) ? n : sizeof(line) - 1);
}

static void sink_write(const char *s, size_t n)
{
	if (passing_on)
		output(s, n);
}

/* Registered when it is first wanted: a sink gets all of the log before it, which is not passed on. */
static void pass_on(bool on)
{
	static const struct log_sink sink = { "gdb", sink_write, NULL };
	static bool registered;

	if (!registered)
		log_add_sink(&sink);
	registered = true;
	passing_on = on;
}

/* ---- Commands ---- */

static void cmd_exits(struct vcpu *v, const char *args)
{
	(void)args;
	say("vm %s: %lu exits, %lu of them fast\n", v->vm->name, v->exits, v->fast_exits);
	pass_on(true);
	trace_dump(v->trace, TRACE_ENTRIES);
	pass_on(false);
}

static void cmd_trace(struct vcpu *v, const char *args)
{
	char word[16];
	uint64_t n = 40;

	(void)v;
	if (str_token(&args, word, sizeof(word), NULL) && !str_to_u64(word, &n)) {
		say("monitor trace [EVENTS]\n");
		return;
	}
	pass_on(true);
	if (!dbgtrace_print(this_cpu(), n > DBGTRACE_EVENTS ? DBGTRACE_EVENTS : (unsigned)n))
		say("the trace is off: drover's option trace=on\n");
	pass_on(false);
}

static void cmd_block(struct vcpu *v, const char *args)
{
	(void)args;
	pass_on(true);
	v->be->dump(v);
	pass_on(false);
}

static void cmd_audit(struct vcpu *v, const char *args)
{
	unsigned n;

	(void)args;
	pass_on(true);
	n = v->be->audit(v);
	pass_on(false);
	say("vm %s: audit of the control block by the manual's entry checks: %u broken rules\n", v->vm->name, n);
}

static const char *owner_name(unsigned owner)
{
	return owner == DEBUGGER_GDB ? "gdb" : owner == DEBUGGER_LAB ? "lab" : "nobody";
}

static void say_slot(const struct vcpu *v, unsigned i)
{
	static const char *const rw[] = { "exec", "write", "io", "access" };
	static const char *const len[] = { "1", "2", "8", "4" };
	uint64_t dr7 = dbg_eff_dr7(&v->dbg);
	bool held = v->dbg.held >> i & 1, on = dr7 & DR7_ENABLE(i);

	say("  slot %u: guest dr%u=0x%lx %s; hardware: %s", i, i, v->dbg.dr[i], v->dbg.dr7 & DR7_ENABLE(i) ? "on" : "off", held ? "debugger's" : on ? "guest's" : "free");
	if (on)
		say(" 0x%lx %s %s", dbg_eff_dr(&v->dbg, i), rw[DR7_RW(dr7, i)], len[DR7_LEN(dr7, i)]);
	say("\n");
}

/* Both views of the debug registers, and what is matched by stepping. */
static void cmd_dbg(struct vcpu *v, const char *args)
{
	static const char *const states[] = { [DBG_IDLE] = "idle", [DBG_ARMED] = "armed", [DBG_LIVE] = "live" };
	static const char *const policies[] = { [DBG_LAZY] = "lazy", [DBG_EAGER] = "eager", [DBG_CACHED] = "cached", [DBG_TRAPPED] = "trapped" };
	const struct vcpu_debugger *d = &v->debugger;

	(void)args;
	say("vm %s, level %u: policy %s, state %s\n", v->vm->name, v->level, policies[v->dbg.policy], states[v->dbg.state]);
	say("  guest's view:  dr6=%lx dr7=%lx debugctl=%lx\n", v->dbg.dr6, v->dbg.dr7, v->dbg.debugctl);
	say("  hardware's:    dr7=%lx, as it runs; guest holds %u of 4 slots, debugger %u\n", dbg_eff_dr7(&v->dbg),
	    debugger_count(debugger_guest_slots(v)), (unsigned)debugger_count(v->dbg.held));
	for (unsigned i = 0; i < 4; i++)
		say_slot(v, i);
	for (unsigned i = 0; i < DEBUGGER_BPS; i++) {
		const struct debugger_bp *b = &d->bp[i];

		if (!b->owner)
			continue;
		say("  breakpoint of %s at 0x%lx, type %x: ", owner_name(b->owner), b->addr, b->rw_len);
		if (b->slot >= 0)
			say("slot %d\n", b->slot);
		else
			say("the guest has its slot: matched by stepping (slow%s)\n", (b->rw_len & 3) == DR_RW_ACCESS ? "; reads are not seen" : "");
	}
	if (swbreak_count(v->vm))
		say("  software breakpoints: %u\n", swbreak_count(v->vm));
	if (*breaks_refused())
		say("  last refused: %s\n", breaks_refused());
}

static void cmd_phys(struct vcpu *v, const char *args)
{
	char word[24];
	uint64_t addr, n = 64;
	uint8_t b[16];

	if (!str_token(&args, word, sizeof(word), NULL) || !str_to_u64(word, &addr) || (str_token(&args, word, sizeof(word), NULL) && !str_to_u64(word, &n)) || n > 1024) {
		say("monitor phys ADDRESS [BYTES, at most 1024]: numbers as 4096 or 0x1000\n");
		return;
	}
	for (uint64_t i = 0; i < n; i += sizeof(b)) {
		size_t want = n - i < sizeof(b) ? (size_t)(n - i) : sizeof(b), got = gdb_read(v, addr + i, true, b, want);

		say("%lx:", addr + i);
		for (size_t k = 0; k < got; k++)
			say(" %02x", b[k]);
		say("%s\n", got < want ? " (no memory)" : "");
		if (got < want)
			return;
	}
}

static void cmd_hide(struct vcpu *v, const char *args)
{
	char word[8];

	(void)v;
	if (str_token(&args, word, sizeof(word), NULL)) {
		if (!str_eq(word, "on") && !str_eq(word, "off")) {
			say("monitor hide [on|off]\n");
			return;
		}
		swbreak_hidden = str_eq(word, "on");
	}
	say("software breakpoints that are inserted from now on %s\n", swbreak_hidden ?
	    "are hidden: the guest cannot read them, and each instruction in a page of theirs is a step" : "are INT3 in the guest's code: fast, and the guest can read them");
}

static void cmd_help(struct vcpu *v, const char *args);

static const struct command {
	const char *name, *help;
	void (*run)(struct vcpu *v, const char *args);
} commands[] = {
	{ "help", "this", cmd_help },
	{ "dbg", "both views of the debug registers: the guest's and hardware's; who has which slot", cmd_dbg },
	{ "exits", "the last exits", cmd_exits },
	{ "trace", "[EVENTS]: entries, exits, accesses to debug registers (with trace=on)", cmd_trace },
	{ "vmcs", "the control block, field by field", cmd_block },
	{ "vmcb", "the same", cmd_block },
	{ "audit", "the control block against the manual's rules for an entry", cmd_audit },
	{ "hide", "[on|off]: software breakpoints hidden from the guest's reads (each instruction in a page of theirs is an exit), or fast as INT3", cmd_hide },
	{ "phys", "ADDRESS [BYTES]: guest-physical memory", cmd_phys },
};

static void cmd_help(struct vcpu *v, const char *args)
{
	(void)v;
	(void)args;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		say("monitor %-6s %s\n", commands[i].name, commands[i].help);
}

void monitor_command(struct vcpu *v, const char *line, void (*out)(const char *s, size_t n))
{
	char word[16];

	output = out;
	if (!str_token(&line, word, sizeof(word), NULL))
		str_copy(word, sizeof(word), "help");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (str_eq(word, commands[i].name)) {
			commands[i].run(v, line);
			return;
		}
	say("no such command: '%s'; monitor help lists them\n", word);
}
