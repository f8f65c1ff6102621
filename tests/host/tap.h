/* SPDX-License-Identifier: MIT */
/* The host tests' own harness: tests register themselves, checks print TAP lines whose first word is the rule's ID. */
#ifndef TAP_H
#define TAP_H

#include <stdbool.h>
#include <stdint.h>

typedef void (*tap_fn)(void);
void tap_register(const char *name, tap_fn fn);

/* A test. Runs in the order of registration; its name is what the command line selects by. */
#define TEST(name) \
	static void name(void); \
	__attribute__((constructor)) static void register_##name(void) \
	{ \
		tap_register(#name, name); \
	} \
	static void name(void)

/* One check, one line. Returns ok. */
bool tap_ok(bool ok, const char *id, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool tap_eq(uint64_t actual, uint64_t expected, const char *id, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Many cases, one line: the first wrong one is shown. A set without a case is not ok. */
struct tap_set {
	const char *id;
	uint64_t cases, wrong, actual, expected;
	char where[160];
};
void tap_case(struct tap_set *s, uint64_t actual, uint64_t expected, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
bool tap_end(struct tap_set *s, const char *what);

/* While set, checks print nothing: sets, comparisons with bare hardware and invariants count as cases of this one (t_policy.c). */
extern struct tap_set *tap_instead;
/* Runs the registered tests whose names end so. */
void tap_run_again(const char *ending);

/* Deterministic numbers: splitmix64. */
uint64_t rnd(uint64_t *state);

#endif
