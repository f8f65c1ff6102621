/* SPDX-License-Identifier: MIT */
/* printf-style formatting; no floating point, no locale, no allocation. */
#include "arch/lib/fmt.h"

#include <stdbool.h>
#include <stdint.h>

#include "arch/lib/string.h"

struct out {
	char *buf;
	size_t cap, len;
};

struct spec {
	bool left, zero;
	size_t width;
	size_t prec; /* SIZE_MAX: none */
	unsigned longs; /* 0 int, 1 long, long long or size_t (all 64 bits here) */
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->cap)
		o->buf[o->len] = c;
	o->len++;
}

static void put_padded(struct out *o, const char *s, size_t n, const struct spec *sp)
{
	size_t pad = sp->width > n ? sp->width - n : 0;

	for (size_t i = 0; !sp->left && i < pad; i++)
		put(o, ' ');
	for (size_t i = 0; i < n; i++)
		put(o, s[i]);
	for (size_t i = 0; sp->left && i < pad; i++)
		put(o, ' ');
}

static void put_number(struct out *o, uint64_t v, bool neg, unsigned base, bool upper, const struct spec *sp)
{
	const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	char tmp[72];
	size_t at = sizeof(tmp), want = sp->zero && !sp->left ? sp->width : 0;

	if (want > 64)
		want = 64;
	do {
		tmp[--at] = digits[v % base];
		v /= base;
	} while (v != 0);
	while (sizeof(tmp) - at + neg < want)
		tmp[--at] = '0';
	if (neg)
		tmp[--at] = '-';
	put_padded(o, tmp + at, sizeof(tmp) - at, sp);
}

static const char *parse_spec(const char *f, struct spec *sp, va_list *ap)
{
	*sp = (struct spec){ .prec = SIZE_MAX };
	for (;; f++) {
		if (*f == '-')
			sp->left = true;
		else if (*f == '0')
			sp->zero = true;
		else
			break;
	}
	if (*f == '*') {
		int w = va_arg(*ap, int);

		sp->left = sp->left || w < 0;
		sp->width = (size_t)(w < 0 ? -(int64_t)w : w);
		f++;
	}
	for (; *f >= '0' && *f <= '9'; f++)
		sp->width = sp->width * 10 + (size_t)(*f - '0');
	if (*f == '.') {
		sp->prec = 0;
		if (*++f == '*') {
			int p = va_arg(*ap, int);

			sp->prec = p < 0 ? SIZE_MAX : (size_t)p;
			f++;
		}
		for (; *f >= '0' && *f <= '9'; f++)
			sp->prec = sp->prec * 10 + (size_t)(*f - '0');
	}
	for (; *f == 'l' || *f == 'z' || *f == 'j' || *f == 't'; f++)
		sp->longs = 1;
	return f;
}

/* Returns false for a conversion that it does not know. */
static bool convert(struct out *o, char conv, struct spec *sp, va_list *ap)
{
	switch (conv) {
	case 'd':
	case 'i': {
		int64_t v = sp->longs ? va_arg(*ap, long) : va_arg(*ap, int);

		put_number(o, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, v < 0, 10, false, sp);
		return true;
	}
	case 'u':
	case 'x':
	case 'X': {
		uint64_t v = sp->longs ? va_arg(*ap, unsigned long) : va_arg(*ap, unsigned);

		put_number(o, v, false, conv == 'u' ? 10 : 16, conv == 'X', sp);
		return true;
	}
	case 'p':
		put(o, '0');
		put(o, 'x');
		put_number(o, (uintptr_t)va_arg(*ap, void *), false, 16, false, sp);
		return true;
	case 'c': {
		char c = (char)va_arg(*ap, int);

		put_padded(o, &c, 1, sp);
		return true;
	}
	case 's': {
		const char *s = va_arg(*ap, const char *);

		if (s == NULL)
			s = "(null)";
		put_padded(o, s, sp->prec == SIZE_MAX ? strlen(s) : strnlen(s, sp->prec), sp);
		return true;
	}
	case '%':
		put(o, '%');
		return true;
	default:
		return false;
	}
}

size_t fmt_vsnprintf(char *buf, size_t cap, const char *fmt, va_list ap)
{
	struct out o = { buf, cap, 0 };
	va_list args;

	va_copy(args, ap); /* a parameter of type va_list is a pointer here; a copy has an address to hand on */
	while (*fmt != '\0') {
		struct spec sp;
		const char *f;

		if (*fmt != '%') {
			put(&o, *fmt++);
			continue;
		}
		f = parse_spec(fmt + 1, &sp, &args);
		if (*f != '\0' && convert(&o, *f, &sp, &args))
			fmt = f + 1;
		else
			put(&o, *fmt++);
	}
	va_end(args);
	if (cap > 0)
		buf[o.len < cap ? o.len : cap - 1] = '\0';
	return o.len;
}

size_t fmt_snprintf(char *buf, size_t cap, const char *fmt, ...)
{
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	n = fmt_vsnprintf(buf, cap, fmt, ap);
	va_end(ap);
	return n;
}
