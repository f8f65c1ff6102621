/* SPDX-License-Identifier: MIT */
/* Fetching the bytes at RIP, with a cache of one page that cannot be stale: a hit compares the page-table entries that led there. */
#include "vmm/fetch.h"

#include "arch/x86/def/cr.h"
#include "arch/x86/def/seg.h"
#include "vmm/gva.h"

static const uint64_t no_entry; /* stands for the levels that a walk did not have */

#define PAGE_MASK 4095ull
#define EMPTY ~0ull

void fetch_cache_init(struct fetch_cache *c)
{
	c->page = EMPTY;
	for (unsigned i = 0; i < 4; i++) {
		c->entry[i] = &no_entry;
		c->value[i] = 0;
	}
}

/* The page walk of a fetch that the guest has already made: rights are not asked for again. */
static const uint8_t *translate(struct vcpu *v, uint64_t lin, struct walk_result *r)
{
	if (!gva_walk(v, (struct gva){ lin }, 0, r) && (!(r->error & WALK_P) || (r->error & WALK_RSVD)))
		return NULL;
	return gva_phys(v, r->pa & ~PAGE_MASK, 4096);
}

/* Other modes are rare enough to walk each time. */
static void fill(struct vcpu *v, uint64_t lin, const struct walk_result *r, const uint8_t *host)
{
	struct fetch_cache *c = &v->fetch;

	fetch_cache_init(c);
	if (!v->live.cr3 || !vcpu_long64(v))
		return;
	for (unsigned i = 0; i < r->nr; i++) {
		c->entry[i] = (const uint64_t *)(const void *)gva_phys(v, r->at[i], 8);
		c->value[i] = r->value[i];
	}
	c->host = host;
	c->cr3 = *v->live.cr3;
	c->efer = *v->live.efer;
	c->cs_attr = *v->live.cs_attr;
	c->page = lin & ~PAGE_MASK;
}

/* keep: what is cached stays, since no instruction that asks the cache is near. */
static const uint8_t *window(struct vcpu *v, unsigned *n, bool keep)
{
	struct walk_result r;
	uint64_t lin, rest;
	unsigned room, more;
	const uint8_t *host, *next;

	vcpu_need(v, VST_CR | VST_CS);
	lin = vcpu_linear_rip(v);
	room = (unsigned)(4096 - (lin & PAGE_MASK));
	host = translate(v, lin, &r);
	if (!host)
		return NULL;
	if (!keep)
		fill(v, lin, &r, host);
	host += lin & PAGE_MASK;
	*n = room;
	if (room >= DECODE_MAX_LEN)
		return host;
	rest = lin + room;
	if (!vcpu_long64(v))
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
	return window(v, n, false);
}

enum decode_mode fetch_decode_mode(struct vcpu *v)
{
	if (vcpu_long64(v))
		return DECODE_64;
	if (!(v->st.cr0 & CR0_PE) || (v->rflags & RFLAGS_VM))
		return DECODE_16;
	return v->st.seg[SEG_CS].ar & SEG_AR_DB ? DECODE_32 : DECODE_16;
}

unsigned fetch_insn_len_slow(struct vcpu *v, enum decode_kind kind)
{
	struct decoded d;
	unsigned n;
	const uint8_t *p = fetch_window(v, &n);

	return p && decode(p, n, fetch_decode_mode(v), &d) && d.kind == kind ? d.len : 0;
}

bool fetch_decode(struct vcpu *v, enum decode_kind a, enum decode_kind b, struct decoded *d)
{
	unsigned n;
	const uint8_t *p = fetch_window(v, &n);

	return p && decode(p, n, fetch_decode_mode(v), d) && (d->kind == a || d->kind == b);
}

bool fetch_decode_once(struct vcpu *v, enum decode_kind a, enum decode_kind b, struct decoded *d)
{
	unsigned n;
	const uint8_t *p = window(v, &n, true);

	return p && decode(p, n, fetch_decode_mode(v), d) && (d->kind == a || d->kind == b);
}

struct gva fetch_linear(struct vcpu *v, unsigned seg, uint64_t offset)
{
	vcpu_need(v, VST_SEG | VST_CS);
	if (!vcpu_long64(v))
		return (struct gva){ (offset + v->st.seg[seg].base) & 0xffffffff };
	return (struct gva){ seg == SEG_FS || seg == SEG_GS ? offset + v->st.seg[seg].base : offset };
}

static uint64_t reg(const struct vcpu *v, unsigned i)
{
	return i < GPR_NR ? v->r[i] : 0;
}

unsigned fetch_operand_seg(const struct decoded *d)
{
	return d->seg != DECODE_NO_SEG ? d->seg : d->base == GPR_RSP || d->base == GPR_RBP ? SEG_SS : SEG_DS;
}

struct gva fetch_operand(struct vcpu *v, const struct decoded *d, uint64_t add)
{
	uint64_t a = (d->base == DECODE_RIP ? v->rip + d->len : reg(v, d->base)) + (reg(v, d->index) << d->scale) + d->disp + add;

	return fetch_linear(v, fetch_operand_seg(d), a & bytes_mask(d->addr_size));
}
