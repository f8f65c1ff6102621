/* SPDX-License-Identifier: MIT */
/* Segments of a kernel that runs in ring 3: the two views of the guest's GDT that hardware loads from, and loads by software.
 *
 * Kernel view: code and data of the kernel become DPL 3, so that they load; code of DPL 3 does not load, so that each return to user mode traps. User view: as
 * the guest has them. In both: no gates, no TSS, no LDT; accessed bits are set, since hardware would write them into the view and not into the guest's table. */
#include "arch/x86/pvm/emul.h"

#include "arch/lib/string.h"
#include "arch/x86/def/cr.h"
#include "vmm/gva.h"

/* ---- Views ---- */

static uint64_t kernel_view(uint64_t d)
{
	if (!(d & PVM_DESC_S))
		return 0;
	/* Code of the kernel's own level only: an IRET to conforming code with RPL 3 is one to user mode. */
	if ((d & PVM_DESC_CODE) && (pvm_desc_dpl(d) != 0 || (d & PVM_DESC_CONF)))
		return (d | PVM_DESC_A) & ~PVM_DESC_P;
	return d | PVM_DESC_DPL | PVM_DESC_A;
}

static uint64_t user_view(uint64_t d)
{
	return d & PVM_DESC_S ? d | PVM_DESC_A : 0;
}

static unsigned table_bytes(const struct vcpu *v)
{
	uint64_t n = (uint64_t)v->st.gdtr.limit + 1;

	return (unsigned)(n < PVM_GUEST_GDT * 8 ? n & ~7ull : PVM_GUEST_GDT * 8);
}

/* The bytes of the guest's GDT from `at` on, up to the end of their page; *n: how many of at most *n. NULL: cannot be read, and counts as zeroes. */
static const uint8_t *piece(struct vcpu *v, unsigned at, unsigned *n)
{
	uint64_t va = v->st.gdtr.base + at;
	unsigned room = (unsigned)(4096 - (va & 4095));
	struct walk_result r;

	if (*n > room)
		*n = room;
	if (!gva_walk(v, (struct gva){ va }, 0, &r))
		return NULL;
	return gva_phys(v, r.pa, *n);
}

/* True: the copy is what the guest's table says now. Else, with update, it is made so. */
static bool same_copy(struct vcpu *v, bool update)
{
	static const uint8_t zeroes[PVM_GUEST_GDT * 8];
	struct pvm_vcpu *hw = pvm_hw(v);
	unsigned len, n;
	bool same;

	if (hw->gdt_fresh && !update)
		return true;
	vcpu_need(v, VST_DESC | VST_CR);
	len = table_bytes(v);
	same = hw->gdt_copy_len == len;
	for (unsigned at = 0; at < len && (same || update); at += n) {
		const uint8_t *p;

		n = len - at;
		p = piece(v, at, &n);
		if (!p)
			p = zeroes;
		if (memcmp(hw->gdt_copy + at, p, n) != 0) {
			same = false;
			if (update)
				memcpy(hw->gdt_copy + at, p, n);
		}
	}
	if (update) {
		if (hw->gdt_copy_len > len)
			memset(hw->gdt_copy + len, 0, hw->gdt_copy_len - len);
		hw->gdt_copy_len = len;
	}
	return same;
}

static uint64_t copied(const struct pvm_vcpu *hw, unsigned i)
{
	uint64_t d;

	memcpy(&d, hw->gdt_copy + 8 * i, 8);
	return d;
}

void pvm_gdt_rebuild(struct vcpu *v)
{
	struct pvm_vcpu *hw = pvm_hw(v);
	unsigned bytes = hw->gdt_copy_len;

	vcpu_need(v, VST_CS | VST_SEG); /* of what hardware has loaded from the old ones */
	same_copy(v, true);
	if (hw->gdt_copy_len > bytes)
		bytes = hw->gdt_copy_len; /* what is beyond both is 0 already */
	hw->gdt[PVM_KERNEL][0] = hw->gdt[PVM_USER][0] = 0;
	for (unsigned i = 1; i < bytes / 8; i++) {
		uint64_t d = copied(hw, i);

		hw->gdt[PVM_KERNEL][i] = kernel_view(d);
		hw->gdt[PVM_USER][i] = user_view(d);
	}
	vcpu_dirty(v, VST_CS | VST_SEG); /* selectors that loaded may not load now */
}

bool pvm_gdt_changed(struct vcpu *v)
{
	if (same_copy(v, false))
		return false;
	pvm_gdt_rebuild(v);
	return true;
}

/* Comparing costs a page walk: once in what is being emulated or delivered, which reads descriptors from the copy then. */
bool pvm_gdt_begin(struct vcpu *v)
{
	bool changed;

	pvm_hw(v)->gdt_fresh = false;
	changed = pvm_gdt_changed(v);
	pvm_hw(v)->gdt_fresh = true;
	return changed;
}

void pvm_gdt_end(struct vcpu *v)
{
	pvm_hw(v)->gdt_fresh = false;
}

void pvm_set_cpl(struct vcpu *v, unsigned cpl)
{
	vcpu_need(v, VST_CS | VST_SEG);
	v->st.cpl = (uint8_t)cpl;
	vcpu_dirty(v, VST_CS | VST_SEG); /* the other view */
	pvm_gdt_changed(v);
}

/* ---- Descriptors ---- */

struct seg pvm_seg(uint16_t sel, uint64_t d)
{
	struct seg s = { .sel = sel, .ar = (uint32_t)(d >> 40 & 0xf0ff), .limit = (uint32_t)((d & 0xffff) | (d >> 32 & 0xf0000)),
			 .base = (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000) };

	if (s.ar & SEG_AR_G)
		s.limit = s.limit << 12 | 0xfff;
	return s;
}

/* The descriptor that would load it. */
static uint64_t raw(const struct seg *s)
{
	uint64_t limit = s->ar & SEG_AR_G ? s->limit >> 12 : s->limit, ar = s->ar & 0xf0ff;

	return (limit & 0xffff) | (s->base & 0xffffff) << 16 | ar << 40 | (limit & 0xf0000) << 32 | (s->base & 0xff000000) << 32;
}

unsigned pvm_desc_read(struct vcpu *v, uint16_t sel, unsigned n, uint64_t desc[2])
{
	const struct pvm_vcpu *hw = pvm_hw(v);
	unsigned at = sel & ~7u;

	vcpu_need(v, VST_DESC);
	if ((sel & 4) || at + n - 1 > v->st.gdtr.limit || at + n > PVM_GUEST_GDT * 8)
		return PVM_DESC_NONE;
	if (n == 8 && hw->gdt_fresh && at + 8 <= hw->gdt_copy_len) {
		desc[0] = copied(hw, at / 8);
		if (desc[0]) /* 0 may be a table that cannot be read, which is a #PF */
			return PVM_DESC_OK;
	}
	return pvm_read(v, v->st.gdtr.base + at, desc, n, PVM_SUPER) ? PVM_DESC_OK : PVM_DESC_FAULT;
}

bool pvm_desc_mark(struct vcpu *v, uint16_t sel, uint64_t desc, uint64_t bits)
{
	struct pvm_vcpu *hw = pvm_hw(v);
	uint8_t access = (uint8_t)((desc | bits) >> 40);
	unsigned at = (sel & ~7u) + 5;

	if ((desc & bits) == bits)
		return true;
	if (!pvm_write(v, v->st.gdtr.base + at, &access, 1, PVM_SUPER))
		return false;
	if (at < hw->gdt_copy_len)
		hw->gdt_copy[at] = access; /* no view depends on these bits */
	return true;
}

uint16_t pvm_virtual_sel(const struct vcpu *v, uint16_t sel, uint64_t desc)
{
	return v->st.cpl == 0 && pvm_desc_dpl(desc) == 0 && (sel & 3) == 3 ? (uint16_t)(sel & ~3u) : sel;
}

static bool refuse(struct vcpu *v, uint8_t vec, uint16_t sel)
{
	vcpu_raise(v, vec, true, sel & ~3u);
	return false;
}

bool pvm_desc_load(struct vcpu *v, uint16_t sel, uint64_t desc, uint8_t absent, uint16_t as, struct seg *out)
{
	if (!(desc & PVM_DESC_P))
		return refuse(v, absent, sel);
	if (!pvm_desc_mark(v, sel, desc, PVM_DESC_A))
		return false;
	*out = pvm_seg(as, desc | PVM_DESC_A);
	return true;
}

/* ---- Loads ---- */

/* What `mov %ss` reads where the kernel's SS is null: hardware has something else there. */
static bool null_ss(const struct vcpu *v, uint16_t sel)
{
	return pvm_null(sel) || (v->st.cpl == 0 && (sel & ~3u) == PVM_XDATA);
}

bool pvm_check_ss(struct vcpu *v, uint16_t sel, unsigned cpl, bool long64, struct seg *out)
{
	uint64_t d[2] = { 0 };

	if (null_ss(v, sel)) {
		uint16_t rpl = pvm_null(sel) && !(v->st.cpl == 0 && sel == 3) ? sel & 3 : 0;

		if (!long64 || cpl == 3 || rpl != cpl)
			return refuse(v, VEC_GP, 0);
		*out = (struct seg){ .sel = (uint16_t)cpl, .ar = SEG_AR_UNUSABLE | cpl << SEG_AR_DPL_SHIFT };
		return true;
	}
	switch (pvm_desc_read(v, sel, 8, d)) {
	case PVM_DESC_NONE: return refuse(v, VEC_GP, sel);
	case PVM_DESC_FAULT: return false;
	}
	sel = pvm_virtual_sel(v, sel, d[0]);
	if ((sel & 3) != cpl || !(d[0] & PVM_DESC_S) || (d[0] & PVM_DESC_CODE) || !(d[0] & PVM_DESC_WRITE) || pvm_desc_dpl(d[0]) != cpl)
		return refuse(v, VEC_GP, sel);
	return pvm_desc_load(v, sel, d[0], VEC_SS, sel, out);
}

/* SDM "MOV - Move", "Protected Mode Exceptions" for DS, ES, FS, GS. */
static bool check_data(struct vcpu *v, uint16_t sel, struct seg *out)
{
	unsigned cpl = v->st.cpl, rpl, dpl;
	uint64_t d[2] = { 0 };

	if (pvm_null(sel)) {
		*out = (struct seg){ .sel = sel, .ar = SEG_AR_UNUSABLE };
		return true;
	}
	switch (pvm_desc_read(v, sel, 8, d)) {
	case PVM_DESC_NONE: return refuse(v, VEC_GP, sel);
	case PVM_DESC_FAULT: return false;
	}
	rpl = pvm_virtual_sel(v, sel, d[0]) & 3;
	dpl = pvm_desc_dpl(d[0]);
	if (!(d[0] & PVM_DESC_S) || ((d[0] & PVM_DESC_CODE) && !(d[0] & PVM_DESC_READ)))
		return refuse(v, VEC_GP, sel);
	if (!((d[0] & PVM_DESC_CODE) && (d[0] & PVM_DESC_CONF)) && (rpl > dpl || cpl > dpl))
		return refuse(v, VEC_GP, sel);
	return pvm_desc_load(v, sel, d[0], VEC_NP, sel, out);
}

bool pvm_load_seg(struct vcpu *v, unsigned seg, uint16_t sel)
{
	struct seg s;

	vcpu_need(v, VST_CS | VST_SEG | VST_DESC | VST_CR);
	if (seg == SEG_SS ? !pvm_check_ss(v, sel, v->st.cpl, vcpu_long64(v), &s) : !check_data(v, sel, &s))
		return false;
	v->st.seg[seg] = s;
	vcpu_dirty(v, seg == SEG_SS ? VST_CS : VST_SEG);
	return true;
}

/* ---- What hardware is to load, and has loaded ---- */

static uint64_t *view(struct vcpu *v)
{
	return pvm_hw(v)->gdt[v->st.cpl == 3 ? PVM_USER : PVM_KERNEL];
}

static bool in_view(uint16_t sel)
{
	return !pvm_null(sel) && !(sel & 4) && sel < PVM_GUEST_GDT * 8;
}

/* The slot for what the view does not have under that selector (any more, or not yet). */
static uint16_t slot(struct vcpu *v, uint16_t at, uint64_t desc)
{
	view(v)[at / 8] = desc | PVM_DESC_DPL | PVM_DESC_A | PVM_DESC_P | PVM_DESC_S;
	return at | 3;
}

static uint16_t hw_cs(struct vcpu *v, const struct seg *s)
{
	uint64_t want = raw(s), have = in_view(s->sel) ? view(v)[s->sel / 8] : 0, differ = (want ^ have) & ~PVM_DESC_DPL & ~PVM_DESC_A;

	/* in 64-bit mode neither base nor limit counts, nor G */
	if (s->ar & SEG_AR_L)
		differ &= PVM_DESC_S | PVM_DESC_CODE | PVM_DESC_CONF | PVM_DESC_P | PVM_DESC_L | PVM_DESC_DB;
	if (!differ && (have & PVM_DESC_P) && (pvm_desc_dpl(have) == 3 || (have & PVM_DESC_CONF)))
		return s->sel | 3;
	return slot(v, PVM_XCODE, (want & ~PVM_DESC_CONF) | PVM_DESC_CODE);
}

static uint16_t hw_ss(struct vcpu *v, const struct seg *s)
{
	uint64_t want = raw(s), have = in_view(s->sel) ? view(v)[s->sel / 8] : 0;

	if (s->ar & SEG_AR_UNUSABLE) /* no IRET can go to ring 3 with a null one */
		return slot(v, PVM_XDATA, raw(&(struct seg){ .ar = SEG_AR_DATA32, .limit = 0xffffffff }));
	if (!((want ^ have) & ~PVM_DESC_DPL & ~PVM_DESC_A) && (have & PVM_DESC_P) && pvm_desc_dpl(have) == 3)
		return s->sel | 3;
	return slot(v, PVM_XDATA, (want & ~PVM_DESC_CODE) | PVM_DESC_WRITE);
}

static uint16_t hw_data(struct vcpu *v, enum seg_index i)
{
	uint16_t sel = v->st.seg[i].sel;
	uint64_t d;

	if (pvm_null(sel))
		return sel;
	d = in_view(sel) ? view(v)[sel / 8] : 0;
	if (!(d & PVM_DESC_P) || ((d & PVM_DESC_CODE) && !(d & PVM_DESC_READ)))
		return 0;
	return ((d & PVM_DESC_CODE) && (d & PVM_DESC_CONF)) || pvm_desc_dpl(d) == 3 ? sel : 0;
}

void pvm_hw_segs(struct vcpu *v)
{
	struct pvm_vcpu *hw = pvm_hw(v);

	vcpu_need(v, VST_CS | VST_SEG);
	hw->cs = hw_cs(v, &v->st.seg[SEG_CS]);
	hw->ss = hw_ss(v, &v->st.seg[SEG_SS]);
	hw->stack16 = !vcpu_long64(v) && !(v->st.seg[SEG_SS].ar & (SEG_AR_DB | SEG_AR_UNUSABLE));
	hw->ds = hw_data(v, SEG_DS);
	hw->es = hw_data(v, SEG_ES);
	hw->fs = hw_data(v, SEG_FS);
	hw->gs = hw_data(v, SEG_GS);
}

struct seg pvm_seg_from_hw(const struct vcpu *v, uint16_t sel)
{
	if (!in_view(sel))
		return (struct seg){ .sel = sel, .ar = SEG_AR_UNUSABLE };
	return pvm_seg(sel, copied(pvm_hw(v), sel / 8) | PVM_DESC_A);
}

void pvm_cs_from_hw(struct vcpu *v, uint16_t cs, uint16_t ss)
{
	unsigned rpl = v->st.cpl;

	if (in_view(cs))
		v->st.seg[SEG_CS] = pvm_seg_from_hw(v, (uint16_t)((cs & ~3u) | rpl));
	if (in_view(ss))
		v->st.seg[SEG_SS] = pvm_seg_from_hw(v, (uint16_t)((ss & ~3u) | rpl));
	vcpu_dirty(v, VST_CS);
}
