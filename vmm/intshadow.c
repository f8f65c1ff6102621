/* SPDX-License-Identifier: MIT */
/* Source: SDM "STI", "MOV", "Segment Loading Instructions"; "Masking Exceptions and Interrupts When Switching Stacks". */
#include "vmm/intshadow.h"

#include "arch/lib/string.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/seg.h"
#include "vmm/fetch.h"
#include "vmm/gva.h"

#define DESC_ACCESSED (1ull << 40)
#define DESC_WRITABLE (1ull << 41)
#define DESC_KIND (3ull << 43) /* S, and 0: data */
#define DESC_DATA (2ull << 43)
#define DESC_DPL (3ull << 45)
#define DESC_P (1ull << 47)
#define DESC_G (1ull << 55)

static void open_shadow(struct vcpu *v, uint8_t shadow, uint32_t held)
{
	vcpu_need(v, VST_SHADOW);
	v->st.shadow = shadow;
	v->st.pending_dbg = held;
	vcpu_dirty(v, VST_SHADOW);
}

static bool sti(struct vcpu *v)
{
	if (vcpu_cpl(v) > vcpu_iopl(v))
		return false;
	vcpu_skip(v, 1); /* a step behind it is due at once: STI holds back interrupts only */
	v->rflags |= RFLAGS_IF;
	open_shadow(v, SHADOW_STI, 0);
	return true;
}

/* The descriptor of a stack segment for CPL 0. False: it would fault, or is in the LDT. */
static bool stack_descriptor(struct vcpu *v, uint16_t sel, uint64_t *d)
{
	struct walk_result w;
	uint64_t at;
	uint8_t *p;

	vcpu_need(v, VST_DESC);
	at = v->st.gdtr.base + sel;
	if ((sel & 7) || !sel || sel + 7u > v->st.gdtr.limit || (at & 7) || !gva_walk(v, (struct gva){ at }, WALK_W, &w))
		return false;
	p = gva_phys(v, w.pa, 8);
	if (!p)
		return false;
	memcpy(d, p, 8);
	if ((*d & (DESC_KIND | DESC_WRITABLE | DESC_DPL | DESC_P)) != (DESC_DATA | DESC_WRITABLE | DESC_P))
		return false;
	*d |= DESC_ACCESSED;
	memcpy(p, d, 8);
	return true;
}

static bool mov_ss(struct vcpu *v, unsigned gpr, unsigned len)
{
	uint16_t sel = (uint16_t)v->r[gpr];
	uint64_t d = 0, rip = v->rip + len;
	bool null64;
	struct seg *ss = &v->st.seg[SEG_SS];

	vcpu_need(v, VST_CR | VST_CS);
	if (!(v->st.cr0 & CR0_PE) || vcpu_cpl(v) != 0)
		return false;
	null64 = vcpu_long64(v) && !sel;
	if (!null64 && !stack_descriptor(v, sel, &d))
		return false;
	*ss = (struct seg){ .sel = sel, .ar = null64 ? SEG_AR_UNUSABLE : (uint32_t)(d >> 40) & 0xf0ff,
			    .limit = (uint32_t)((d & 0xffff) | (d >> 32 & 0xf0000)), .base = (d >> 16 & 0xffffff) | (d >> 56) << 24 };
	if (d & DESC_G)
		ss->limit = ss->limit << 12 | 0xfff;
	vcpu_dirty(v, VST_CS);
	v->rip = vcpu_long64(v) ? rip : rip & 0xffffffff;
	v->rflags &= ~RFLAGS_RF;
	open_shadow(v, SHADOW_MOV_SS, dbg_retire(&v->dbg, v->rflags, 0)); /* a step waits, too (V11) */
	return true;
}

enum shadow_kind { NEITHER, STI, MOV_SS };

static enum shadow_kind decode_next(struct vcpu *v, unsigned *gpr, unsigned *len)
{
	unsigned n, at = 0;
	const uint8_t *p = fetch_window(v, &n);
	uint8_t rex = 0;

	if (!p || !n)
		return NEITHER;
	if (p[0] == 0xfb)
		return v->rflags & RFLAGS_IF ? NEITHER : STI;
	if (n > at && p[at] == 0x66)
		at++;
	if (n > at && (p[at] & 0xf0) == 0x40 && vcpu_long64(v))
		rex = p[at++];
	if (n < at + 2 || p[at] != 0x8e || (p[at + 1] & 0xf8) != 0xd0)
		return NEITHER;
	*gpr = (p[at + 1] & 7u) | (rex & 1u) << 3;
	*len = at + 2;
	return MOV_SS;
}

bool shadow_next(struct vcpu *v)
{
	unsigned gpr, len;

	return decode_next(v, &gpr, &len) != NEITHER;
}

bool shadow_insn(struct vcpu *v)
{
	unsigned gpr = 0, len = 0;

	switch (decode_next(v, &gpr, &len)) {
	case STI: return sti(v);
	case MOV_SS: return mov_ss(v, gpr, len);
	case NEITHER: break;
	}
	return false;
}
