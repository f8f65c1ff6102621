/* SPDX-License-Identifier: MIT */
/* The way out when drover itself is wrong. */
#include "arch/lib/panic.h"

#include <stdarg.h>
#include <stddef.h>

#include "arch/lib/log.h"
#include "arch/x86/def/exitcode.h"

#ifdef DROVER_HOSTED
#include <stdlib.h>
#endif

static void (*dumper_fn)(void);
static void (*regs_fn)(void);
static void (*end_fn)(int exit_code);
static volatile int depth; /* how many panics deep we are */

#define PANIC_REPLAY 4096u /* bytes of log that are printed again: the dump above has pushed the cause off a screen */

void panic_set_dumper(void (*dumper)(void))
{
	dumper_fn = dumper;
}

void panic_set_regs(void (*regs)(void))
{
	regs_fn = regs;
}

void panic_set_end(void (*end)(int exit_code))
{
	end_fn = end;
}

static _Noreturn void panic_end(void)
{
	log_drain();
#ifdef DROVER_HOSTED
	abort();
#else
	if (end_fn != NULL)
		end_fn(EXIT_PANIC);
	for (;;)
		__asm__ volatile("" : : : "memory"); /* no sink and no exit registered: spin, nothing better is known here */
#endif
}

void panic(const char *fmt, ...)
{
	va_list ap;

	depth = depth + 1;
	if (depth > 2) /* printing itself fails */
		panic_end();
	log_printf("drover: panic: ");
	va_start(ap, fmt);
	log_vprintf(fmt, ap);
	va_end(ap);
	log_printf("\n");
	if (depth == 2) {
		log_printf("drover: panic inside a panic: no dump\n");
		panic_end();
	}
	if (regs_fn != NULL)
		regs_fn();
	if (dumper_fn != NULL)
		dumper_fn();
	log_printf("drover: the log's last lines again:\n");
	log_replay(PANIC_REPLAY);
	log_printf("drover: verdict FAIL code=0x%x\n", (unsigned)EXIT_PANIC);
	panic_end();
}
