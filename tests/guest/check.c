/* SPDX-License-Identifier: MIT */
/* Checks and their KTAP lines, and one scenario's life. */
#include "tests/guest/rt.h"

struct tally total;
bool scenario_active;
static struct tally now;
static unsigned line;
static const char *skip_reason;

#define IDS_MAX 1024
static uint64_t ids[IDS_MAX];
static unsigned nr_ids;

/* Expectation lists key on the id, so that the same id twice would hide one of them. */
static bool id_is_new(const char *id)
{
	uint64_t h = 0xcbf29ce484222325;

	for (; *id; id++)
		h = (h ^ (uint8_t)*id) * 0x100000001b3;
	for (unsigned i = 0; i < nr_ids; i++)
		if (ids[i] == h)
			return false;
	if (nr_ids < IDS_MAX)
		ids[nr_ids++] = h;
	return true;
}

static void result(const char *id, const char *desc, bool ok, const char *directive, const char *text)
{
	if (!id_is_new(id)) {
		print("not ok %u %s %s # ERROR id used twice\n", ++line, id, desc);
		now.error++;
		return;
	}
	print("%s %u %s %s%s%s\n", ok ? "ok" : "not ok", ++line, id, desc, directive, text);
}

bool check_eq(const char *id, const char *desc, uint64_t actual, uint64_t expected)
{
	bool ok = actual == expected;

	result(id, desc, ok, ok ? "" : " # ", ok ? "" : fmt("expected=0x%lx actual=0x%lx", expected, actual));
	ok ? now.pass++ : now.fail++;
	return ok;
}

bool check(const char *id, const char *desc, bool ok)
{
	return check_eq(id, desc, ok, 1);
}

bool check_le(const char *id, const char *desc, uint64_t actual, uint64_t bound)
{
	bool ok = actual <= bound;

	result(id, desc, ok, ok ? "" : " # ", ok ? "" : fmt("expected<=0x%lx actual=0x%lx", bound, actual));
	ok ? now.pass++ : now.fail++;
	return ok;
}

bool check_str(const char *id, const char *desc, const char *actual, const char *expected)
{
	char text[700];
	bool ok = streq(actual, expected);

	if (!ok)
		format_to(text, sizeof(text), "expected=%s actual=%s", expected, actual);
	result(id, desc, ok, ok ? "" : " # ", ok ? "" : text);
	ok ? now.pass++ : now.fail++;
	return ok;
}

bool check_trace(const char *id, const char *desc, const void *base, const char *expected)
{
	return check_str(id, desc, trap_render(base), expected);
}

void check_skip(const char *id, const char *desc, const char *reason)
{
	result(id, desc, true, " # SKIP ", reason);
	now.skip++;
}

void check_error(const char *id, const char *desc, const char *reason)
{
	result(id, desc, false, " # ERROR ", reason);
	now.error++;
}

void scenario_skip(const char *reason)
{
	check_skip("all", "the whole scenario", reason);
	skip_reason = reason;
	ctx_throw();
}

void scenario_error(const char *f, ...)
{
	char buf[200];
	va_list ap;

	va_start(ap, f);
	format(buf, sizeof(buf), f, ap);
	va_end(ap);
	if (!scenario_active) {
		note("outside any scenario: %s", buf);
		guest_exit(EXIT_ERROR);
	}
	scenario_active = false; /* an exception while this is printed must not come back here */
	check_error("run", "the scenario runs to its end", buf);
	ctx_throw();
}

static void scenario_body(const struct scenario *s)
{
	if (ctx_save())
		return;
	scenario_active = true;
	if ((s->flags & SCN_DROVER) && !env.drover)
		scenario_skip("needs drover below");
	if ((s->flags & SCN_LAB) && !env.lab)
		scenario_skip("needs the lab hypercalls");
	s->fn();
}

void scenario_run(const struct scenario *s, unsigned number)
{
	now = (struct tally){ 0, 0, 0, 0 };
	line = nr_ids = 0;
	skip_reason = NULL;
	trap_reset();
	debug_state_reset();
	if (s->flags & SCN_NO_PLAN) {
		scenario_active = true;
		s->fn();
		scenario_active = false;
		return;
	}
	console_indent = true;
	print("KTAP version 1\n# Subtest: %s\n", s->name);
	scenario_body(s);
	scenario_active = false;
	trap_reset();
	debug_state_reset();
	if (!line)
		check_error("run", "the scenario checks something", "no check ran");
	print("1..%u\n", line);
	console_indent = false;
	print("%s %u %s%s%s\n", now.fail || now.error ? "not ok" : "ok", number, s->name,
	      now.error ? " # ERROR" : skip_reason ? " # SKIP " : "", skip_reason && !now.error ? skip_reason : "");
	total.pass += now.pass;
	total.fail += now.fail;
	total.skip += now.skip;
	total.error += now.error;
}
