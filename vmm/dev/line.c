/* SPDX-License-Identifier: MIT */
/* Lines as two consoles of one VM may have them at the same time: each has its own. */
#include "vmm/dev/line.h"

#include "arch/lib/log.h"
#include "arch/lib/string.h"

void line_init(struct line *l, const char *name)
{
	memset(l, 0, sizeof(*l));
	l->text[0] = '[';
	str_copy(l->text + 1, LINE_NAME_MAX, name);
	l->tag = strlen(l->text);
	memcpy(l->text + l->tag, "] ", 2);
	l->tag += 2;
	l->len = l->tag;
}

static __attribute__((noinline)) void send_line(struct line *l)
{
	l->text[l->len++] = '\n';
	log_write(l->text, l->len);
	l->len = l->tag;
}

void line_flush(struct line *l)
{
	if (l->len > l->tag)
		send_line(l);
}

/* Control characters could repaint the host's console: shown as dots. */
void line_put(struct line *l, uint8_t c)
{
	if (c == '\n') {
		send_line(l);
		return;
	}
	if (c == '\r')
		return;
	if (l->len >= LINE_MAX - 1)
		send_line(l);
	l->text[l->len++] = (c >= ' ' && c < 0x7f) || c >= 0xa0 || c == '\t' ? (char)c : '.';
}
