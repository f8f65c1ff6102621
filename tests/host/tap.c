/* SPDX-License-Identifier: MIT */
/* The harness and main(): `prog [NAME...]` runs the tests whose names begin so, or all. */
#include "tap.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TESTS 600
static struct {
	const char *name;
	tap_fn fn;
} tests[MAX_TESTS];
static unsigned nr_tests, passed, failed;
struct tap_set *tap_instead;

void tap_register(const char *name, tap_fn fn)
{
	if (nr_tests < MAX_TESTS) {
		tests[nr_tests].name = name;
		tests[nr_tests++].fn = fn;
	} else {
		printf("not ok 0 tap.tests %s: more than %u tests # expected=%u actual=%u\n", name, MAX_TESTS, MAX_TESTS, MAX_TESTS + 1);
		failed++;
	}
}

/* TAP_STOP=H11,S03: end at the first failure of one of these rules. For mutants, of which nothing more is asked. */
static bool stops(const char *id)
{
	const char *rules = getenv("TAP_STOP"), *at;
	size_t n = strcspn(id, ".");

	for (at = rules; at && *at; at += strcspn(at, ","), at += *at == ',')
		if (strcspn(at, ",") == n && strncmp(at, id, n) == 0)
			return true;
	return false;
}

static bool line(bool ok, const char *id, const char *text, const char *tail)
{
	if (tap_instead)
		return ok;
	if (ok)
		passed++;
	else
		failed++;
	printf("%sok %u %s %s%s\n", ok ? "" : "not ", passed + failed, id, text, tail);
	if (!ok && stops(id))
		exit(1);
	return ok;
}

bool tap_ok(bool ok, const char *id, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return line(ok, id, text, ok ? "" : " # expected=1 actual=0");
}

bool tap_eq(uint64_t actual, uint64_t expected, const char *id, const char *fmt, ...)
{
	char text[256], tail[80] = "";
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (actual != expected)
		snprintf(tail, sizeof(tail), " # expected=0x%llx actual=0x%llx", (unsigned long long)expected, (unsigned long long)actual);
	return line(actual == expected, id, text, tail);
}

void tap_case(struct tap_set *s, uint64_t actual, uint64_t expected, const char *fmt, ...)
{
	va_list ap;

	s->cases++;
	if (actual == expected)
		return;
	if (s->wrong++)
		return;
	s->actual = actual;
	s->expected = expected;
	va_start(ap, fmt);
	vsnprintf(s->where, sizeof(s->where), fmt, ap);
	va_end(ap);
}

bool tap_end(struct tap_set *s, const char *what)
{
	char text[200], tail[300] = "";

	if (tap_instead) {
		tap_case(tap_instead, s->wrong, 0, "%s at %s", s->id, s->where);
		return !s->wrong;
	}
	snprintf(text, sizeof(text), "%s (%llu cases)", what, (unsigned long long)s->cases);
	if (s->wrong)
		snprintf(tail, sizeof(tail), " # expected=0x%llx actual=0x%llx at %s, %llu wrong", (unsigned long long)s->expected,
			 (unsigned long long)s->actual, s->where, (unsigned long long)s->wrong);
	return line(s->cases && !s->wrong, s->id, text, tail);
}

void tap_run_again(const char *ending)
{
	size_t n = strlen(ending);

	for (unsigned i = 0; i < nr_tests; i++)
		if (strlen(tests[i].name) > n && strcmp(tests[i].name + strlen(tests[i].name) - n, ending) == 0)
			tests[i].fn();
}

uint64_t rnd(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0); /* a crash must not take the lines before it along */
	for (unsigned i = 0; i < nr_tests; i++) {
		bool wanted = argc < 2;

		for (int k = 1; k < argc; k++)
			wanted |= strncmp(tests[i].name, argv[k], strlen(argv[k])) == 0;
		if (wanted)
			tests[i].fn();
	}
	printf("host: %u passed, %u failed\n", passed, failed);
	return failed || !passed;
}
