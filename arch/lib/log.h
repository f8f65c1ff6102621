/* SPDX-License-Identifier: MIT */
/* The host's log: one text stream to every registered sink, and to a ring in RAM that a panic prints again. */
#ifndef ARCH_LIB_LOG_H
#define ARCH_LIB_LOG_H

#include <stdarg.h>
#include <stddef.h>

/* Upward call: a driver registers itself. write() gets raw text (line ends are "\n"); it must not block for ever.
 * drain() waits until all has left the machine; may be NULL. */
struct log_sink {
	const char *name;
	void (*write)(const char *s, size_t n);
	void (*drain)(void);
};

#define LOG_MAX_SINKS 4
#define LOG_RING_SIZE 65536u

/* The sink must live for ever. What was logged before is replayed to it from the ring. Ignored when the table is full. */
void log_add_sink(const struct log_sink *sink);

void log_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_vprintf(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));
void log_write(const char *s, size_t n);

/* Waits until every sink has sent all: before a shutdown. */
void log_drain(void);

/* Sends the ring's last max bytes (from a line's start) to the sinks again, without adding them to the ring. */
void log_replay(size_t max);

#endif
