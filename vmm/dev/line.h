/* SPDX-License-Identifier: MIT */
/* A console device's output: whole lines to the host's log, each with the VM's level and name. */
#ifndef VMM_DEV_LINE_H
#define VMM_DEV_LINE_H

#include <stddef.h>
#include <stdint.h>

#define LINE_MAX 1280u
#define LINE_NAME_MAX 24u

struct line {
	size_t tag, len; /* bytes of "[L1:NAME] " at the start of text; bytes used */
	char text[LINE_MAX];
};

/* name: level and name of the VM, L1:guest; cut to LINE_NAME_MAX - 1 characters. */
void line_init(struct line *l, const char *name);
void line_put(struct line *l, uint8_t c);
/* Sends an unfinished line to the log: at the end of the VM. */
void line_flush(struct line *l);

#endif
