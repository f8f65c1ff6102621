/* SPDX-License-Identifier: MIT */
/* drover's own command line. Strict: an unknown option or value is named and stops the boot. */
#ifndef BOOT_OPTIONS_H
#define BOOT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum backend_choice { CHOOSE_AUTO, CHOOSE_SVM, CHOOSE_VMX, CHOOSE_PVM };

#define OPTIONS_FAULT_MAX 24

struct options {
	enum backend_choice backend; /* backend=auto|svm|vmx|pvm */
	uint16_t com;                /* com=0x3f8|com1|com2|none; 0: none */
	uint16_t debugcon;           /* debugcon=0xe9|none; 0: none */
	bool screen;                 /* screen=on|off */
	bool x2apic;                 /* apic=auto|x2apic */
	unsigned dbg_policy;         /* dbg=lazy|eager|cached|trapped: enum dbg_policy */
	unsigned trace;              /* trace=off|on|first: enum dbgtrace_mode */
	bool quirks;                 /* quirks=auto|none */
	uint16_t gdb;                /* gdb=com2[,wait]: the port of a UART that a gdb may come to; none: 0 */
	bool gdb_wait;               /* the first VM waits for it */
	unsigned budget_ms;          /* budget=MS: of a VM that names none */
	unsigned min_mib;            /* minmem=MIB: less free memory than this stops the boot */
	char fault[OPTIONS_FAULT_MAX]; /* fault=NAME: a lab fault, or empty */
};

/* Fills *o with the defaults, then with what the line says. False: bad names the token that was not understood; the options
 * before it hold, so that the message reaches the console that they name. */
bool options_parse(const char *line, struct options *o, char *bad, size_t bad_cap);

#endif
