/* SPDX-License-Identifier: MIT */
/* The bytes of the instruction at RIP, for exits whose hardware does not tell the length. */
#ifndef VMM_FETCH_H
#define VMM_FETCH_H

#include "vmm/decode.h"
#include "vmm/vcpu.h"

/* Pointer to the bytes at RIP and in *n how many may be read there: at least 15, or all up to where fetching would fault. NULL: none. Brings
 * VST_CR, VST_CS and VST_SHADOW in. */
const uint8_t *fetch_window(struct vcpu *v, unsigned *n);

/* Length of the instruction that caused this exit, which is of this kind: from hardware, else by decoding. 0: the bytes there now are another
 * instruction, or cannot be read; the caller lets the guest execute it again. */
unsigned fetch_insn_len_slow(struct vcpu *v, enum decode_kind kind);

static inline unsigned fetch_insn_len(struct vcpu *v, enum decode_kind kind)
{
	return v->exit.len ? v->exit.len : fetch_insn_len_slow(v, kind);
}

/* Wholly decoded, of one of the two kinds. */
bool fetch_decode(struct vcpu *v, enum decode_kind a, enum decode_kind b, struct decoded *d);

void fetch_cache_init(struct fetch_cache *c);

#endif
