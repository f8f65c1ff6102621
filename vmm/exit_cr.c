/* SPDX-License-Identifier: MIT */
/* Control registers and XCR0, for the accesses that a backend lets exit. Checks in the manual's order of "MOV - Move to/from Control Registers". */
#include "vmm/exits.h"

#include "arch/x86/def/cr.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/insn.h"
#include "vmm/apic.h"
#include "vmm/backend.h"
#include "vmm/cpuid.h"
#include "vmm/fetch.h"

#define CR0_DEFINED (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)

static bool write_cr0_checked(struct vcpu *v, uint64_t val)
{
	struct vcpu_state *st = &v->st;
	bool on = (val & CR0_PG) && !(st->cr0 & CR0_PG), off = !(val & CR0_PG) && (st->cr0 & CR0_PG);

	if (val >> 32 || ((val & CR0_PG) && !(val & CR0_PE)) || ((val & CR0_NW) && !(val & CR0_CD)))
		return false;
	if (v->nested && v->be->nested->cr0_fixed && (v->be->nested->cr0_fixed(v) & ~val))
		return false;
	if (on && (st->efer & EFER_LME) && (!(st->cr4 & CR4_PAE) || (st->seg[SEG_CS].ar & SEG_AR_L)))
		return false;
	if (off && (vcpu_long64(v) || (st->cr4 & CR4_PCIDE)))
		return false;
	if (on && (st->efer & EFER_LME))
		st->efer |= EFER_LMA;
	if (off)
		st->efer &= ~EFER_LMA;
	if ((st->cr0 ^ val) & (CR0_PG | CR0_WP | CR0_PE))
		v->be->flush(v->vm);
	st->cr0 = (val & CR0_DEFINED) | CR0_ET;
	vcpu_dirty(v, VST_CR);
	return true;
}

static bool write_cr4_checked(struct vcpu *v, uint64_t val)
{
	struct vcpu_state *st = &v->st;

	if (val & ~(cpuid_cr4_mask() | (v->nested ? v->be->nested->cr4 : 0)))
		return false;
	if (v->nested && v->be->nested->cr4_fixed && (v->be->nested->cr4_fixed(v) & ~val))
		return false;
	if ((st->efer & EFER_LMA) && !(val & CR4_PAE))
		return false;
	if ((st->cr4 ^ val) & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP))
		v->be->flush(v->vm);
	st->cr4 = val;
	vcpu_dirty(v, VST_CR);
	return true;
}

static bool write_cr(struct vcpu *v, unsigned cr, uint64_t val)
{
	switch (cr) {
	case 0:
		return write_cr0_checked(v, val);
	case 2:
		v->st.cr2 = val;
		vcpu_dirty(v, VST_CR2);
		return true;
	case 3:
		if ((v->st.efer & EFER_LMA) && (val & ~cpuid_pa_mask()))
			return false;
		v->st.cr3 = val;
		vcpu_dirty(v, VST_CR);
		v->be->flush(v->vm);
		return true;
	case 4:
		return write_cr4_checked(v, val);
	default: /* 8: bits 7:4 of the APIC's task priority */
		if (val >> 4)
			return false;
		apic_set_cr8(v, (uint8_t)val);
		return true;
	}
}

static uint64_t read_cr(struct vcpu *v, unsigned cr)
{
	switch (cr) {
	case 0: return v->st.cr0;
	case 2: vcpu_need(v, VST_CR2); return v->st.cr2;
	case 3: return v->st.cr3;
	case 4: return v->st.cr4;
	default: return apic_cr8(v);
	}
}

/* Fills in what hardware did not tell. False: cannot be known, the guest executes it again. */
static bool complete(struct vcpu *v, unsigned *len)
{
	struct exit *e = &v->exit;
	struct decoded d = { 0 };

	*len = e->len;
	if (*len && e->u.cr.gpr != 0xff)
		return true;
	if (fetch_decode(v, DEC_MOV_CR, DEC_CLTS, &d)) {
		e->u.cr.access = d.kind == DEC_CLTS ? CR_CLTS : d.write ? CR_WRITE : CR_READ;
		e->u.cr.cr = d.kind == DEC_CLTS ? 0 : d.reg;
		e->u.cr.gpr = d.gpr;
	} else if (d.kind == DEC_LMSW && !d.mem) {
		e->u.cr.access = CR_LMSW;
		e->u.cr.lmsw = (uint16_t)v->r[d.gpr];
	} else {
		return false;
	}
	*len = d.len;
	return true;
}

void exit_cr(struct vcpu *v)
{
	const struct exit *e = &v->exit;
	unsigned len;
	uint64_t val;
	bool ok = true;

	vcpu_need(v, VST_CR | VST_CS);
	if (!complete(v, &len))
		return;
	if (e->u.cr.cr != 0 && (e->u.cr.cr < 2 || e->u.cr.cr > 4) && e->u.cr.cr != 8) {
		vcpu_raise(v, VEC_UD, false, 0);
		return;
	}
	switch ((enum cr_access)e->u.cr.access) {
	case CR_WRITE:
		val = v->r[e->u.cr.gpr];
		ok = write_cr(v, e->u.cr.cr, vcpu_long64(v) ? val : val & 0xffffffff);
		break;
	case CR_READ:
		v->r[e->u.cr.gpr] = read_cr(v, e->u.cr.cr);
		break;
	case CR_CLTS:
		ok = write_cr(v, 0, v->st.cr0 & ~CR0_TS);
		break;
	case CR_LMSW: /* PE, MP, EM, TS; it cannot clear PE */
		ok = write_cr(v, 0, (v->st.cr0 & ~(CR0_MP | CR0_EM | CR0_TS)) | (e->u.cr.lmsw & 0xf));
		break;
	}
	if (ok)
		vcpu_skip(v, len);
	else
		vcpu_raise(v, VEC_GP, true, 0);
}

void exit_xsetbv(struct vcpu *v)
{
	uint64_t val = (v->r[GPR_RDX] << 32) | (uint32_t)v->r[GPR_RAX];
	unsigned len = v->exit.len ? v->exit.len : fetch_insn_len_slow(v, DEC_XSETBV);

	if (!len)
		return;
	vcpu_need(v, VST_CR);
	if (!(v->st.cr4 & CR4_OSXSAVE)) {
		vcpu_raise(v, VEC_UD, false, 0);
		return;
	}
	if (vcpu_cpl(v) != 0 || (uint32_t)v->r[GPR_RCX] != 0 || !(val & XCR0_X87) || (val & ~cpuid_xcr0_mask()) ||
	    ((val & XCR0_AVX) && !(val & XCR0_SSE))) {
		vcpu_raise(v, VEC_GP, true, 0);
		return;
	}
	v->xcr0 = val;
	xsetbv(0, val); /* the guest's stays in the register until another vcpu runs: fpu.c */
	vcpu_skip(v, len);
}
