/* SPDX-License-Identifier: MIT */
/* Private to the runtime (main, trap, check, console): not for scenarios. */
#ifndef TESTS_GUEST_RT_H
#define TESTS_GUEST_RT_H

#include <stdarg.h>

#include "tests/guest/guest.h"

void guest_main(void);

/* console.c */
void console_init(void);
int format(char *out, size_t size, const char *f, va_list ap) __attribute__((format(printf, 3, 0)));
int format_to(char *out, size_t size, const char *f, ...) __attribute__((format(printf, 3, 4)));
extern bool console_indent; /* inside a scenario: each line begins with two blanks */

/* trap.c, trap.S */
void trap_init(void);
void trap_reset(void); /* hooks, gates, log, db_cfg back to default */
void trap_entry(struct trap_frame *f);
bool trap_fixup(struct trap_frame *f); /* try.c: a ring-0 instruction of the exception table: go to its fixup */
void run_enter(const struct trap_frame *f);
__attribute__((noreturn)) void run_leave(void);
__attribute__((returns_twice)) int ctx_save(void);
__attribute__((noreturn)) void ctx_throw(void);
const char *trap_render(const void *base);

/* check.c */
struct tally {
	unsigned pass, fail, skip, error;
};
extern struct tally total;
void scenario_run(const struct scenario *s, unsigned number);
extern bool scenario_active;

#endif
