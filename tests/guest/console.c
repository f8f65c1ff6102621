/* SPDX-License-Identifier: MIT */
/* Serial console (polled 16550 at 0x3f8), formatted output, and the ways to end the machine. */
#include "tests/guest/rt.h"

#define UART 0x3f8
#define DEBUGCON 0xe9 /* reads its own number where it is there */

bool console_indent;
static bool at_line_start = true, debugcon;

void console_init(void)
{
	/* Bochs powers its UART up with 5 data bits; program it wholly. 115200 8n1, FIFOs on, no interrupts. */
	io_outb(UART + 1, 0);
	io_outb(UART + 3, 0x80);
	io_outb(UART + 0, 1);
	io_outb(UART + 1, 0);
	io_outb(UART + 3, 0x03);
	io_outb(UART + 2, 0x07);
	io_outb(UART + 4, 0x03);
	debugcon = env.drover && io_inb(DEBUGCON) == DEBUGCON;
}

/* Under drover its debug port, which takes what is collected here in one exit. */
static char pending[256];
static unsigned nr_pending;

static void flush(void)
{
	const char *p = pending;
	uint64_t n = nr_pending;

	__asm__ volatile("cld; rep outsb" : "+S"(p), "+c"(n) : "d"(DEBUGCON) : "memory");
	nr_pending = 0;
}

static void put_raw(char c)
{
	if (debugcon) {
		if (nr_pending == sizeof(pending))
			flush();
		pending[nr_pending++] = c;
		return;
	}
	/* drover's UART is always ready; asking it would double the exits of every line. */
	while (!env.drover && !(io_inb(UART + 5) & 0x20))
		;
	io_outb(UART, (uint8_t)c);
}

static void put(char c)
{
	if (at_line_start && console_indent && c != '\n') {
		put_raw(' ');
		put_raw(' ');
	}
	at_line_start = c == '\n';
	put_raw(c);
}

struct sink {
	char *p, *end;
	int n;
};

static void sink_put(struct sink *s, char c)
{
	if (s->p < s->end)
		*s->p++ = c;
	s->n++;
}

static void sink_num(struct sink *s, uint64_t v, unsigned base, bool negative, int width, bool zero)
{
	char buf[24];
	int n = 0;

	do {
		buf[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	if (negative && !zero)
		buf[n++] = '-';
	while (n < width && n < (int)sizeof(buf))
		buf[n++] = zero ? '0' : ' ';
	if (negative && zero)
		sink_put(s, '-');
	while (n)
		sink_put(s, buf[--n]);
}

static void sink_str(struct sink *s, const char *str, int width)
{
	int n = 0;

	for (; *str; str++, n++)
		sink_put(s, *str);
	for (; n < width; n++)
		sink_put(s, ' ');
}

int format(char *out, size_t size, const char *f, va_list ap)
{
	struct sink s = { out, out + size - 1, 0 };

	for (; *f; f++) {
		int width = 0, longs = 0;
		bool zero = false;
		int64_t d;

		if (*f != '%') {
			sink_put(&s, *f);
			continue;
		}
		f++;
		if (*f == '-')
			f++;
		if (*f == '0')
			zero = true;
		for (; *f >= '0' && *f <= '9'; f++)
			width = width * 10 + (*f - '0');
		for (; *f == 'l' || *f == 'z'; f++)
			longs++;
		switch (*f) {
		case 's':
			sink_str(&s, va_arg(ap, const char *), width);
			break;
		case 'c':
			sink_put(&s, (char)va_arg(ap, int));
			break;
		case 'd':
			d = longs ? va_arg(ap, int64_t) : va_arg(ap, int);
			sink_num(&s, d < 0 ? 0 - (uint64_t)d : (uint64_t)d, 10, d < 0, width, zero);
			break;
		case 'u':
		case 'x':
			sink_num(&s, longs ? va_arg(ap, uint64_t) : va_arg(ap, unsigned), *f == 'u' ? 10 : 16, false, width, zero);
			break;
		default:
			sink_put(&s, *f);
		}
	}
	*s.p = 0;
	return s.n;
}

int format_to(char *out, size_t size, const char *f, ...)
{
	va_list ap;
	int n;

	va_start(ap, f);
	n = format(out, size, f, ap);
	va_end(ap);
	return n;
}

static void puts_raw(const char *s)
{
	while (*s)
		put(*s++);
	if (nr_pending)
		flush();
}

void print(const char *f, ...)
{
	char buf[1024];
	va_list ap;

	va_start(ap, f);
	format(buf, sizeof(buf), f, ap);
	va_end(ap);
	puts_raw(buf);
}

void note(const char *f, ...)
{
	char buf[480];
	va_list ap;

	va_start(ap, f);
	format(buf, sizeof(buf), f, ap);
	va_end(ap);
	if (!at_line_start)
		put('\n');
	print("# %s\n", buf);
}

const char *fmt(const char *f, ...)
{
	static char ring[16][128];
	static unsigned next;
	char *buf = ring[next++ % 16];
	va_list ap;

	va_start(ap, f);
	format(buf, sizeof(ring[0]), f, ap);
	va_end(ap);
	return buf;
}

bool streq(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

/* The last byte must have left the shift register, or the emulator ends with the line cut. */
void console_drain(void)
{
	while (!(io_inb(UART + 5) & 0x40))
		;
}

void guest_exit(uint32_t code)
{
	static const char shutdown[] = "Shutdown";

	console_drain();
	io_outl(0xf4, code);
	/* Still here: no debug-exit device. Bochs listens on 0x8900; under a hypervisor that port means nothing. */
	if (!env.drover)
		for (const char *p = shutdown; *p; p++)
			io_outb(0x8900, (uint8_t)*p);
	for (;;)
		__asm__ volatile("cli; hlt");
}
