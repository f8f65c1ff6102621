/* SPDX-License-Identifier: MIT */
/* What <string.h> would give, and helpers that cannot overrun. Hosted builds take the libc functions. */
#ifndef ARCH_LIB_STRING_H
#define ARCH_LIB_STRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef DROVER_HOSTED
#include <string.h>
#else
void *memcpy(void *restrict dst, const void *restrict src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
size_t strnlen(const char *s, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
#endif

/* Copies at most cap - 1 bytes and always terminates (cap > 0). Returns false when src was cut. */
bool str_copy(char *dst, size_t cap, const char *src);

/* As str_copy, but src is n bytes long and needs no NUL. */
bool str_copy_n(char *dst, size_t cap, const char *src, size_t n);

bool str_eq(const char *a, const char *b);
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);

/* The value of a hexadecimal digit, 0 to 15; -1: it is none. */
int char_digit(char c);
/* The whole string as a number, decimal or 0x hex; false (and *v untouched) on an empty string, a stray character or overflow. */
bool str_to_u64(const char *s, uint64_t *v);

/* Takes the next blank-separated token out of *cursor into buf. Returns false at the end of the string.
 * A token that does not fit is cut to cap - 1; *cut (may be NULL) then becomes true. */
bool str_token(const char **cursor, char *buf, size_t cap, bool *cut);

/* off + len lies within size, with no overflow. */
static inline bool range_ok(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

#endif
