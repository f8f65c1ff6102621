/* SPDX-License-Identifier: MIT */
/* printf-style formatting into a buffer: %s %c %d %i %u %x %X %p %% with -, 0, width, precision (%s only), *, l, ll, z. */
#ifndef ARCH_LIB_FMT_H
#define ARCH_LIB_FMT_H

#include <stdarg.h>
#include <stddef.h>

/* Writes at most cap - 1 characters and a NUL (when cap > 0). Returns the length that the whole text has, as snprintf does.
 * An unknown conversion is copied as it stands, so that a mistake is seen. */
size_t fmt_vsnprintf(char *buf, size_t cap, const char *fmt, va_list ap) __attribute__((format(printf, 3, 0)));
size_t fmt_snprintf(char *buf, size_t cap, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
