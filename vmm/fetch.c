/* SPDX-License-Identifier: MIT */
/* Fetching the bytes at RIP, with a cache of one page that cannot be stale: a hit compares the page-table entries that led there. */
#include "vmm/fetch.h"

#include "arch/x86/def/cr.h"
#include "arch/x86/def/seg.h"
#include "vmm/gva.h"

static const uint64_t no_entry; /* stands for the levels that a walk did not have */

#define PAGE_MASK 4095ull

void fetch_cache_init(struct fetch_cache *c)
{
	c->page = 1;
	for (unsigned i = 0; i < 4; i++) {
		c->entry[i] = &no_entry;
		c->value[i] = 0;
	}
}

static bool is_long64(const struct vcpu *v)
{
	return (v->st.efer & EFER_LMA) && (v->st.seg[SEG_CS].ar & SEG_AR_L);
}

static uint64_t linear_rip(const struct vcpu *v)
{
	uint64_t lin = v->rip + v->st.seg[SEG_CS].base;

	return is_long64(v) ? v->rip : lin & 0xffffffff;
}

/* The page walk of a fetch that the guest has already made: rights are not asked for again. */
static const uint8_t *translate(struct vcpu *v, uint64_t lin, struct walk_result *r)
{
	if (!gva_walk(v, (struct gva){ lin }, 0, r) && (!(r->error & WALK_P) || (r->error & WALK_RSVD)))
		return NULL;
	return gmem_ptr(v->vm, (struct gpa){ r->pa & ~PAGE_MASK }, 4096);
}

static void fill(struct vcpu *v, uint64_t lin, const struct walk_result *r, const uint8_t *host)
{
	struct fetch_cache *c = &v->fetch;

	fetch_cache_init(c);
	if (r->nr && r->entry_size != 8)
		return; /* 32-bit paging: rare enough to walk each time */
	for (unsigned i = 0; i < r->nr; i++) {
		c->entry[i] = (const uint64_t *)(const void *)gmem_ptr(v->vm, (struct gpa){ r->at[i] }, 8);
		c->value[i] = r->value[i];
	}
	c->host = host;
	c->cr0 = v->st.cr0;
	c->cr3 = v->st.cr3;
	c->cr4 = v->st.cr4;
	c->efer = v->st.efer;
	c->page = lin & ~PAGE_MASK;
}

static inline bool hit(const struct vcpu *v, uint64_t lin)
{
	const struct fetch_cache *c = &v->fetch;
	const struct vcpu_state *st = &v->st;

	if ((lin & ~PAGE_MASK) != c->page || st->cr3 != c->cr3)
		return false;
	return !((st->cr0 ^ c->cr0) | (st->cr4 ^ c->cr4) | (st->efer ^ c->efer) | (*c->entry[0] ^ c->value[0]) | (*c->entry[1] ^ c->value[1]) |
		 (*c->entry[2] ^ c->value[2]) | (*c->entry[3] ^ c->value[3]));
}

static __attribute__((noinline)) const uint8_t *window_slow(struct vcpu *v, uint64_t lin, unsigned *n)
{
	struct walk_result r;
	unsigned room = (unsigned)(4096 - (lin & PAGE_MASK)), more;
	uint64_t rest;
	const uint8_t *host = translate(v, lin, &r), *next;

	if (!host)
		return NULL;
	fill(v, lin, &r, host);
	host += lin & PAGE_MASK;
	*n = room;
	if (room >= DECODE_MAX_LEN)
		return host;
	rest = lin + room;
	if (!is_long64(v))
		rest &= 0xffffffff;
	next = translate(v, rest, &r);
	if (!next)
		return host;
	more = DECODE_MAX_LEN - room;
	memcpy(v->fetch.bytes, host, room);
	memcpy(v->fetch.bytes + room, next, more);
	*n = DECODE_MAX_LEN;
	return v->fetch.bytes;
}

const uint8_t *fetch_window(struct vcpu *v, unsigned *n)
{
	uint64_t lin;

	vcpu_need(v, VST_CR | VST_CS | VST_SHADOW);
	lin = linear_rip(v);
	*n = (unsigned)(4096 - (lin & PAGE_MASK));
	if (__builtin_expect(*n >= DECODE_MAX_LEN && hit(v, lin), 1))
		return v->fetch.host + (lin & PAGE_MASK);
	return window_slow(v, lin, n);
}

static enum decode_mode decode_mode(const struct vcpu *v)
{
	if (is_long64(v))
		return DECODE_64;
	if (!(v->st.cr0 & CR0_PE) || (v->rflags & RFLAGS_VM))
		return DECODE_16;
	return v->st.seg[SEG_CS].ar & SEG_AR_DB ? DECODE_32 : DECODE_16;
}

unsigned fetch_insn_len_slow(struct vcpu *v, enum decode_kind kind)
{
	const struct decode_plain *plain = &decode_plain[kind];
	struct decoded d;
	unsigned n;
	uint32_t first;
	const uint8_t *p = fetch_window(v, &n);

	if (!p)
		return 0;
	if (n >= 4) {
		__builtin_memcpy(&first, p, 4);
		if (plain->len && (first & plain->mask) == plain->value)
			return plain->len;
	}
	return decode(p, n, decode_mode(v), &d) && d.kind == kind ? d.len : 0;
}

bool fetch_decode(struct vcpu *v, enum decode_kind a, enum decode_kind b, struct decoded *d)
{
	unsigned n;
	const uint8_t *p = fetch_window(v, &n);

	return p && decode(p, n, decode_mode(v), d) && (d->kind == a || d->kind == b);
}
