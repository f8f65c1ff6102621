/* SPDX-License-Identifier: MIT */
/* The list of what is inserted, and its way into slots and memory. */
#include "vmm/gdb/breaks.h"

#include "arch/lib/fmt.h"
#include "arch/lib/log.h"
#include "vmm/debugger.h"
#include "vmm/swbreak.h"
#include "vmm/vm.h"

#define LIST_MAX 64

static struct entry {
	bool used, known; /* inserted; once inserted. gdb takes them out at each stop, and puts them in again */
	uint8_t kind;
	uint64_t addr, len;
} list[LIST_MAX];

static char refused[128];

const char *breaks_refused(void)
{
	return refused;
}

/* The next aligned piece of what is left, as a slot can have it: DR7's length, and how many bytes. */
static unsigned piece(uint64_t addr, uint64_t len, unsigned *bytes)
{
	static const uint8_t code[9] = { [8] = DR_LEN_8, [4] = DR_LEN_4, [2] = DR_LEN_2, [1] = DR_LEN_1 };
	unsigned n = 8;

	while (addr % n || n > len)
		n /= 2;
	*bytes = n;
	return code[n];
}

static unsigned rw_of(unsigned kind)
{
	return kind == BREAK_EXEC ? DR_RW_EXEC : kind == BREAK_WRITE ? DR_RW_WRITE : DR_RW_ACCESS;
}

static void clear_pieces(struct vcpu *v, unsigned kind, uint64_t addr, uint64_t len)
{
	unsigned n;

	for (; len; addr += n, len -= n) {
		unsigned code = piece(addr, len, &n);

		debugger_clear(v, DEBUGGER_GDB, addr, code << 2 | rw_of(kind));
	}
}

static bool set_pieces(struct vcpu *v, unsigned kind, uint64_t addr, uint64_t len, bool known)
{
	unsigned n;

	for (uint64_t at = addr; at - addr < len; at += n) {
		unsigned code = piece(at, len - (at - addr), &n);

		if (!debugger_set(v, DEBUGGER_GDB, at, code << 2 | rw_of(kind), known ? DEBUGGER_AGAIN : DEBUGGER_ANY)) {
			clear_pieces(v, kind, addr, at - addr);
			return false;
		}
	}
	return true;
}

static bool set_in(struct vcpu *v, const struct entry *e)
{
	return e->kind == BREAK_SOFT ? swbreak_set(v, e->addr) : set_pieces(v, e->kind, e->addr, e->len, e->known);
}

static void clear_in(struct vcpu *v, const struct entry *e)
{
	if (e->kind == BREAK_SOFT)
		swbreak_clear(v, e->addr);
	else
		clear_pieces(v, e->kind, e->addr, e->len);
}

static struct entry *find(unsigned kind, uint64_t addr, uint64_t len)
{
	for (unsigned i = 0; i < LIST_MAX; i++)
		if ((list[i].used || list[i].known) && list[i].kind == kind && list[i].addr == addr && list[i].len == len)
			return &list[i];
	return NULL;
}

/* What was forgotten longest: any that is not inserted. */
static struct entry *room(void)
{
	static unsigned next;

	for (unsigned i = 0; i < LIST_MAX; i++) {
		struct entry *e = &list[next++ % LIST_MAX];

		if (!e->used)
			return e;
	}
	return NULL;
}

static const char *refuse(const struct vcpu *v, const struct entry *e)
{
	unsigned guest = debugger_count(debugger_guest_slots(v));

	if (e->kind == BREAK_SOFT)
		fmt_snprintf(refused, sizeof(refused), "vm %s: no memory at 0x%lx, or more than %u software breakpoints", v->vm->name, e->addr, SWBREAK_MAX);
	else if (guest)
		fmt_snprintf(refused, sizeof(refused), "vm %s: guest holds %u of 4 slots, debugger %u: none is left for 0x%lx", v->vm->name, guest, v->debugger.nr,
			     e->addr);
	else
		fmt_snprintf(refused, sizeof(refused), "vm %s: debugger holds %u of 4 slots: too few are left for 0x%lx", v->vm->name, v->debugger.nr, e->addr);
	log_printf("drover: gdb: refused: %s\n", refused);
	return refused;
}

const char *breaks_set(struct vcpu *first, unsigned kind, uint64_t addr, uint64_t len)
{
	struct entry e = { .used = true, .kind = (uint8_t)kind, .addr = addr, .len = kind == BREAK_EXEC ? 1 : len };
	struct vcpu *v = first;
	struct entry *to;
	unsigned done = 0;

	if (kind >= BREAK_KINDS || kind == BREAK_READ)
		return ""; /* gdb never asks for that kind again */
	if (len == 0 || len > 32) {
		fmt_snprintf(refused, sizeof(refused), "no breakpoint of %lu bytes: four slots have 32 at most", len);
		return refused;
	}
	to = find(kind, addr, e.len);
	if (to && to->used)
		return NULL;
	e.known = to != NULL;
	to = to ? to : room();
	if (!to)
		return "too many breakpoints";
	do {
		if (!v->stopped && set_in(v, &e)) {
			done++;
		} else if (!v->stopped && kind != BREAK_SOFT) { /* code of one VM need not be in the others */
			const char *why = refuse(v, &e);

			for (struct vcpu *p = first; p != v; p = p->peer)
				clear_in(p, &e);
			return why;
		}
		v = v->peer;
	} while (v != first);
	if (!done)
		return refuse(first, &e);
	e.known = true;
	*to = e;
	return NULL;
}

const char *breaks_clear(struct vcpu *first, unsigned kind, uint64_t addr, uint64_t len)
{
	struct entry *e = find(kind, addr, kind == BREAK_EXEC ? 1 : len);
	struct vcpu *v = first;

	if (!e || !e->used)
		return kind >= BREAK_KINDS || kind == BREAK_READ ? "" : NULL; /* of a VM that has ended, perhaps */
	do {
		clear_in(v, e);
		v = v->peer;
	} while (v != first);
	e->used = false;
	return NULL;
}

void breaks_clear_all(struct vcpu *first)
{
	struct vcpu *v = first;

	do {
		debugger_clear_all(v, DEBUGGER_GDB);
		v = v->peer;
	} while (v != first);
	swbreak_clear_all(NULL);
	for (unsigned i = 0; i < LIST_MAX; i++)
		list[i].used = list[i].known = false;
}

void breaks_follow(struct vcpu *v)
{
	debugger_clear_all(v, DEBUGGER_GDB); /* set before its first entry, perhaps, since its group was there */
	for (unsigned i = 0; i < LIST_MAX; i++)
		if (list[i].used && !set_in(v, &list[i]))
			refuse(v, &list[i]);
}
