/* SPDX-License-Identifier: MIT */
/* IN, OUT, INS, OUTS. Hardware looks at no breakpoint for an access that exits: matched here (rules E08, E09), one #DB for all causes (E10). */
#include "vmm/exits.h"

#include "arch/x86/def/cr.h"
#include "arch/x86/def/exitcode.h"
#include "arch/x86/def/pte.h"
#include "vmm/backend.h"
#include "vmm/bus.h"
#include "vmm/fetch.h"
#include "vmm/gva.h"
#include "vmm/vm.h"

static __attribute__((noinline)) uint32_t io_hits_slow(struct vcpu *v)
{
	vcpu_need(v, VST_CR);
	return dbg_bp_hit(&v->dbg, DBG_ACCESS_IO, v->exit.u.io.port, v->exit.u.io.size, v->st.cr4);
}

static inline uint32_t io_hits(struct vcpu *v)
{
	return v->dbg.state != DBG_IDLE ? io_hits_slow(v) : 0;
}

static uint64_t low_bytes(uint64_t reg, uint64_t value, unsigned bytes)
{
	uint64_t mask = bytes_mask(bytes);

	return bytes == 4 ? value & mask : (reg & ~mask) | (value & mask); /* a 32-bit result clears the upper half */
}

static inline void plain_io(struct vcpu *v)
{
	unsigned size = v->exit.u.io.size, len = v->exit.len; /* both vendors tell it for I/O, SVM without nRIP too */

	if (!len)
		len = fetch_insn_len_slow(v, v->exit.u.io.in ? DEC_IN : DEC_OUT);
	if (!len)
		return;
	if (v->exit.u.io.in)
		v->r[GPR_RAX] = low_bytes(v->r[GPR_RAX], bus_in(v, v->exit.u.io.port, size), size);
	else
		bus_out(v, v->exit.u.io.port, size, (uint32_t)v->r[GPR_RAX]);
	vcpu_skip_hits(v, len, io_hits(v));
}

/* ---- String forms ---- */

struct string_io {
	struct decoded d;
	uint64_t mask;     /* of the address size */
	enum gpr index;    /* RSI or RDI */
	struct gva at;
	bool in;
};

/* Where the next element is. False: at no canonical address, #GP(0) is queued; never #SS(0), since 64-bit mode knows no override by SS. Hardware's exits come
 * before that fault. */
static bool string_address(struct vcpu *v, struct string_io *s)
{
	uint8_t seg = s->in ? SEG_ES : s->d.seg == DECODE_NO_SEG ? SEG_DS : s->d.seg; /* INS takes no override */

	s->at = fetch_linear(v, seg, v->r[s->index] & s->mask);
	if (!vcpu_long64(v) || (is_canonical(s->at.v) && is_canonical(s->at.v + v->exit.u.io.size - 1)))
		return true;
	vcpu_raise(v, VEC_GP, true, 0);
	return false;
}

/* One element. The memory side may fault, so it comes first on INS too; the port is touched once. */
static enum gva_status transfer(struct vcpu *v, const struct string_io *s)
{
	const struct exit *e = &v->exit;
	uint32_t value = 0;
	enum gva_status st;

	if (s->in) {
		st = gva_probe_write(v, s->at, e->u.io.size);
		if (st != GVA_OK)
			return st;
		value = bus_in(v, e->u.io.port, e->u.io.size);
		return gva_write(v, s->at, &value, e->u.io.size);
	}
	st = gva_read(v, s->at, &value, e->u.io.size);
	if (st == GVA_OK)
		bus_out(v, e->u.io.port, e->u.io.size, value);
	return st;
}

static void advance(struct vcpu *v, enum gpr r, uint64_t mask, uint64_t by)
{
	v->r[r] = low_bytes(v->r[r], v->r[r] + by, mask == 0xffff ? 2 : mask == 0xffffffff ? 4 : 8);
}

/* Elements that one exit may carry out: where nothing can look between them, all that lie ahead in this page. */
static uint64_t batch_size(struct vcpu *v, const struct string_io *s, unsigned size)
{
	uint64_t left = v->r[GPR_RCX] & s->mask, index = v->r[s->index] & s->mask, room = (4096 - (s->at.v & 4095)) / size;

	if (!s->d.rep || (v->rflags & (RFLAGS_TF | RFLAGS_DF)) || v->dbg.state != DBG_IDLE)
		return 1;
	if ((s->mask - index) / size < room)
		room = (s->mask - index) / size;
	return left < room ? left : room;
}

/* n elements of one page, n > 1. Returns how many: a write may end the VM. */
static uint64_t transfer_batch(struct vcpu *v, const struct string_io *s, uint64_t n, enum gva_status *st)
{
	const struct exit *e = &v->exit;
	unsigned size = e->u.io.size;
	uint8_t *p = gva_span(v, s->at, n * size, s->in, st);
	uint64_t i = 0;

	for (; p && i < n && !v->stopped; i++, p += size) {
		uint32_t value = 0;

		if (s->in) {
			value = bus_in(v, e->u.io.port, size);
			memcpy(p, &value, size);
		} else {
			memcpy(&value, p, size);
			bus_out(v, e->u.io.port, size, value);
		}
	}
	return i;
}

/* A REP string instruction has a boundary behind each element: traps are taken there, with RIP at the instruction and RF set (E04, A29). Interrupts come
 * behind a batch. */
static __attribute__((noinline)) void string_io(struct vcpu *v)
{
	struct string_io s = { .in = v->exit.u.io.in };
	unsigned size = v->exit.u.io.size;
	uint64_t n, bytes;
	uint32_t hits;
	enum gva_status st;

	if (!fetch_decode_once(v, DEC_INS, DEC_OUTS, &s.d))
		return;
	s.mask = bytes_mask(s.d.addr_size);
	s.index = s.in ? GPR_RDI : GPR_RSI;
	if (s.d.rep && (v->r[GPR_RCX] & s.mask) == 0) {
		vcpu_skip(v, s.d.len);
		return;
	}
	if (!string_address(v, &s))
		return;
	n = batch_size(v, &s, size);
	if (n > 1)
		n = transfer_batch(v, &s, n, &st);
	else
		st = transfer(v, &s);
	n = n ? n : 1;
	switch (st) {
	case GVA_OK: break;
	case GVA_FAULT: return;
	case GVA_NO_MEMORY:
		if (v->level && v->miss.valid && v->be->nested->miss && v->be->nested->miss(v))
			return;
		vcpu_stop(v, EXIT_BADMEM, "touched memory that it does not have: string I/O at linear=0x%lx rip=0x%lx", s.at.v, v->rip);
		return;
	}
	hits = io_hits(v);
	if (v->dbg.state != DBG_IDLE)
		hits |= dbg_bp_hit(&v->dbg, s.in ? DBG_ACCESS_WRITE : DBG_ACCESS_READ, s.at.v, size, v->st.cr4);
	bytes = n * size;
	advance(v, s.index, s.mask, v->rflags & RFLAGS_DF ? 0 - bytes : bytes);
	if (s.d.rep)
		advance(v, GPR_RCX, s.mask, 0 - n);
	if (s.d.rep && (v->r[GPR_RCX] & s.mask) != 0) {
		vcpu_retired(v, hits);
		v->rflags |= RFLAGS_RF;
		return;
	}
	vcpu_skip_hits(v, s.d.len, hits);
}

void exit_io(struct vcpu *v)
{
	if (__builtin_expect(v->exit.u.io.string, 0))
		string_io(v);
	else
		plain_io(v);
}
