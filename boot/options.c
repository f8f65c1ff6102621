/* SPDX-License-Identifier: MIT */
/* drover's own command line. */
#include "boot/options.h"

#include "arch/lib/string.h"
#include "arch/x86/dbg.h"
#include "vmm/dbgtrace.h"

static bool set_backend(struct options *o, const char *v)
{
	if (str_eq(v, "auto"))
		o->backend = CHOOSE_AUTO;
	else if (str_eq(v, "svm"))
		o->backend = CHOOSE_SVM;
	else if (str_eq(v, "vmx"))
		o->backend = CHOOSE_VMX;
	else if (str_eq(v, "pvm"))
		o->backend = CHOOSE_PVM;
	else
		return false;
	return true;
}

/* A port that leaves room for `span` registers. Needs its 0x, as the manuals write ports: 1000 would be a trap. */
static bool parse_port(const char *v, unsigned span, uint16_t *port)
{
	uint64_t n;

	if (str_eq(v, "none")) {
		*port = 0;
		return true;
	}
	if (!str_starts(v, "0x") || !str_to_u64(v, &n) || n == 0 || n > 0x10000 - span)
		return false;
	*port = (uint16_t)n;
	return true;
}

static bool parse_uart(const char *v, uint16_t *port)
{
	if (str_eq(v, "com1"))
		v = "0x3f8";
	else if (str_eq(v, "com2"))
		v = "0x2f8";
	return parse_port(v, 8, port);
}

static bool set_com(struct options *o, const char *v)
{
	return parse_uart(v, &o->com);
}

static bool set_gdb(struct options *o, const char *v)
{
	char port[16];
	const char *comma = strchr(v, ',');

	if (comma && (!str_eq(comma, ",wait") || !str_copy_n(port, sizeof(port), v, (size_t)(comma - v)) || str_eq(port, "none")))
		return false;
	if (!parse_uart(comma ? port : v, &o->gdb))
		return false;
	o->gdb_wait = comma != NULL;
	return true;
}

static bool set_debugcon(struct options *o, const char *v)
{
	return parse_port(v, 1, &o->debugcon);
}

static bool set_screen(struct options *o, const char *v)
{
	o->screen = str_eq(v, "on");
	return o->screen || str_eq(v, "off");
}

static bool set_dbg(struct options *o, const char *v)
{
	static const char *const names[DBG_NR_POLICIES] = { [DBG_LAZY] = "lazy", [DBG_EAGER] = "eager", [DBG_CACHED] = "cached", [DBG_TRAPPED] = "trapped" };

	for (unsigned i = 0; i < DBG_NR_POLICIES; i++)
		if (str_eq(v, names[i])) {
			o->dbg_policy = i;
			return true;
		}
	return false;
}

static bool set_trace(struct options *o, const char *v)
{
	static const char *const names[] = { [DBGTRACE_OFF] = "off", [DBGTRACE_LAST] = "on", [DBGTRACE_FIRST] = "first" };

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (str_eq(v, names[i])) {
			o->trace = i;
			return true;
		}
	return false;
}

static bool set_apic(struct options *o, const char *v)
{
	o->x2apic = str_eq(v, "x2apic");
	return o->x2apic || str_eq(v, "auto");
}

static bool set_quirks(struct options *o, const char *v)
{
	o->quirks = str_eq(v, "auto");
	return o->quirks || str_eq(v, "none");
}

static bool parse_unsigned(const char *v, uint64_t min, uint64_t max, unsigned *to)
{
	uint64_t n;

	if (!str_to_u64(v, &n) || n < min || n > max)
		return false;
	*to = (unsigned)n;
	return true;
}

static bool set_budget(struct options *o, const char *v)
{
	return parse_unsigned(v, 1, 86400000, &o->budget_ms);
}

static bool set_minmem(struct options *o, const char *v)
{
	return parse_unsigned(v, 1, 1u << 20, &o->min_mib);
}

static bool set_fault(struct options *o, const char *v)
{
	/* vtx-locked, svm-locked: firmware's lock, at the MSR level; bad-entry: hardware refuses the first VM; panic, stack: the two ways in which drover
	 * itself can end. */
	static const char *const known[] = { "none", "vtx-locked", "svm-locked", "bad-entry", "panic", "stack" };

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (str_eq(v, known[i])) {
			str_copy(o->fault, sizeof(o->fault), i == 0 ? "" : v);
			return true;
		}
	}
	return false;
}

static const struct option {
	const char *name;
	bool (*set)(struct options *o, const char *value);
} table[] = {
	{ "backend", set_backend }, { "com", set_com },	      { "debugcon", set_debugcon },
	{ "screen", set_screen },   { "dbg", set_dbg },	      { "quirks", set_quirks },
	{ "apic", set_apic },	    { "gdb", set_gdb },	      { "trace", set_trace },
	{ "budget", set_budget },   { "minmem", set_minmem }, { "fault", set_fault },
};

static bool apply(struct options *o, const char *token)
{
	const char *eq = strchr(token, '=');
	size_t n;

	if (eq == NULL)
		return false;
	n = (size_t)(eq - token);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strlen(table[i].name) == n && strncmp(token, table[i].name, n) == 0)
			return table[i].set(o, eq + 1);
	return false;
}

/* Some loaders put the image's path first, some do not. */
static bool is_image_path(const char *token)
{
	return strchr(token, '=') == NULL && (strchr(token, '/') != NULL || str_ends(token, ".elf") || str_eq(token, "drover"));
}

bool options_parse(const char *line, struct options *o, char *bad, size_t bad_cap)
{
	char token[128];
	bool first = true, cut = false;

	*o = (struct options){ .com = 0x3f8, .debugcon = 0xe9, .screen = true, .quirks = true, .budget_ms = 60000, .min_mib = 24 };
	while (str_token(&line, token, sizeof(token), &cut)) {
		if (first && is_image_path(token)) {
			first = false;
			cut = false; /* a long path is no mistake */
			continue;
		}
		first = false;
		if (cut || !apply(o, token)) {
			str_copy(bad, bad_cap, token);
			return false;
		}
	}
	return true;
}
