/* SPDX-License-Identifier: MIT */
/* The log's fan-out to sinks and its ring in RAM. One CPU writes for now; a panic on top of a write only mixes two lines. */
#include "arch/lib/log.h"

#include <stdint.h>

#include "arch/lib/fmt.h"
#include "arch/lib/string.h"

static const struct log_sink *sinks[LOG_MAX_SINKS];
static size_t nr_sinks;

static char ring[LOG_RING_SIZE];
static uint64_t ring_head; /* bytes ever written */

static void ring_put(const char *s, size_t n)
{
	while (n > 0) {
		size_t at = (size_t)(ring_head % LOG_RING_SIZE);
		size_t part = n < LOG_RING_SIZE - at ? n : LOG_RING_SIZE - at;

		memcpy(ring + at, s, part);
		ring_head += part;
		s += part;
		n -= part;
	}
}

/* Sends the bytes [from, to) of the stream to one sink. */
static void ring_send(const struct log_sink *sink, uint64_t from, uint64_t to)
{
	while (from < to) {
		size_t at = (size_t)(from % LOG_RING_SIZE);
		uint64_t part = to - from < LOG_RING_SIZE - at ? to - from : LOG_RING_SIZE - at;

		sink->write(ring + at, (size_t)part);
		from += part;
	}
}

static uint64_t ring_start(size_t max)
{
	uint64_t have = ring_head < LOG_RING_SIZE ? ring_head : LOG_RING_SIZE;
	uint64_t from;

	if (max >= ring_head && ring_head <= LOG_RING_SIZE)
		return 0;
	from = ring_head - (max < have ? max : have);
	while (from < ring_head && ring[(from + LOG_RING_SIZE - 1) % LOG_RING_SIZE] != '\n')
		from++;
	return from;
}

void log_add_sink(const struct log_sink *sink)
{
	if (nr_sinks >= LOG_MAX_SINKS)
		return;
	ring_send(sink, ring_start(LOG_RING_SIZE), ring_head);
	sinks[nr_sinks++] = sink;
}

void log_write(const char *s, size_t n)
{
	ring_put(s, n);
	for (size_t i = 0; i < nr_sinks; i++)
		sinks[i]->write(s, n);
}

void log_vprintf(const char *fmt, va_list ap)
{
	char buf[512];
	size_t n = fmt_vsnprintf(buf, sizeof(buf), fmt, ap);

	if (n >= sizeof(buf)) { /* a cut line says so and still ends */
		n = sizeof(buf) - 1;
		memcpy(buf + n - 4, "...\n", 4);
	}
	log_write(buf, n);
}

void log_printf(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vprintf(fmt, ap);
	va_end(ap);
}

void log_drain(void)
{
	for (size_t i = 0; i < nr_sinks; i++)
		if (sinks[i]->drain != NULL)
			sinks[i]->drain();
}

void log_replay(size_t max)
{
	uint64_t to = ring_head, from = ring_start(max);

	for (size_t i = 0; i < nr_sinks; i++)
		ring_send(sinks[i], from, to);
}
