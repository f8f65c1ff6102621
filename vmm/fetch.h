/* SPDX-License-Identifier: MIT */
/* The bytes of the instruction at RIP, for exits whose hardware does not tell the length. */
#ifndef VMM_FETCH_H
#define VMM_FETCH_H

#include "vmm/decode.h"
#include "vmm/gmem.h"
#include "vmm/vcpu.h"

/* Pointer to the bytes at RIP and in *n how many may be read there: at least 15, or all up to where fetching would fault. NULL: none. Brings
 * VST_CR and VST_CS in, and fills the cache. */
const uint8_t *fetch_window(struct vcpu *v, unsigned *n);

/* As fetch_insn_len(), by walking and decoding. 0: the bytes there now are another instruction, or cannot be read; the caller lets the guest
 * execute it again. */
unsigned fetch_insn_len_slow(struct vcpu *v, enum decode_kind kind);

/* Is the cached page still where RIP's bytes are? Everything that can change that is compared, the page-table entries in guest memory too, so a
 * hit is never stale: EFER with LMA implies 4-level paging, CS.L in cs_attr 64-bit mode. */
static inline bool fetch_cache_valid(const struct vcpu *v)
{
	const struct fetch_cache *c = &v->fetch;
	const struct vcpu_live *l = &v->live;

	return !((*l->cr3 ^ c->cr3) | (*l->efer ^ c->efer) | (uint64_t)(*l->cs_attr ^ c->cs_attr) | (*c->entry[0] ^ c->value[0]) |
		 (*c->entry[1] ^ c->value[1]) | (*c->entry[2] ^ c->value[2]) | (*c->entry[3] ^ c->value[3]));
}

/* Length of the instruction that caused this exit, which is of this kind: from hardware, or from the cache. 0: the caller asks
 * fetch_insn_len_slow(). kind: a constant. Only before anything of this exit's handling has made state dirty. */
static inline __attribute__((always_inline)) unsigned fetch_insn_len(struct vcpu *v, enum decode_kind kind)
{
	const struct decode_plain plain = decode_plain(kind);
	uint64_t at = v->rip - v->fetch.page; /* an empty cache has a page that no offset fits */
	uint32_t bytes;

	if (v->exit.len)
		return v->exit.len;
	if (__builtin_expect(at > 4096 - 4 || !fetch_cache_valid(v), 0))
		return 0;
	__builtin_memcpy(&bytes, v->fetch.host + at, 4);
	return (bytes & plain.mask) == plain.value ? plain.len : 0;
}

/* Of the code at RIP. */
enum decode_mode fetch_decode_mode(struct vcpu *v);

/* Wholly decoded, of one of the two kinds. */
bool fetch_decode(struct vcpu *v, enum decode_kind a, enum decode_kind b, struct decoded *d);

/* The same, for what is far from the instructions whose lengths are asked for: a console's strings must not throw out of the cache what the guest's main
 * loop does. */
bool fetch_decode_once(struct vcpu *v, enum decode_kind a, enum decode_kind b, struct decoded *d);

/* The linear address of an offset that is cut to its address size, by segment seg (SEG_*) and what its mode makes of that. Limits are not looked at. */
struct gva fetch_linear(struct vcpu *v, unsigned seg, uint64_t offset);
/* The segment (SEG_*) by which d reaches its operand in memory. */
unsigned fetch_operand_seg(const struct decoded *d);
/* Of that operand; d is at RIP. add: bytes that the instruction itself adds, signed (BTS and the like), or 0. */
struct gva fetch_operand(struct vcpu *v, const struct decoded *d, uint64_t add);

/* Forgets everything: the next fetch walks. */
void fetch_cache_init(struct fetch_cache *c);

#endif
