/* SPDX-License-Identifier: MIT */
/* "We are wrong": print why, what we know, and stop. Hosted builds print and abort. */
#ifndef ARCH_LIB_PANIC_H
#define ARCH_LIB_PANIC_H

#include <stdbool.h>

/* Prints the reason, then calls the register printer and the dumper, prints the log's last lines again, and ends the machine
 * with EXIT_PANIC. A panic inside a panic skips to the end. */
_Noreturn void panic(const char *fmt, ...) __attribute__((format(printf, 1, 2), cold));

/* Upward calls. dumper: the machine model's (vCPU state, last exits, audit). regs: the trap code's, prints the registers of the
 * exception that panics, if there is one. end: stops the machine with this exit code and does not return. */
void panic_set_dumper(void (*dumper)(void));
void panic_set_regs(void (*regs)(void));
void panic_set_end(void (*end)(int exit_code));

#ifdef DROVER_HOSTED
#include <assert.h>
#else
#define assert(cond) ((cond) ? (void)0 : panic("%s:%d: assert(%s)", __FILE__, __LINE__, #cond))
#endif

#endif
