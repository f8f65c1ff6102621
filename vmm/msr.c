/* SPDX-License-Identifier: MIT */
/* The MSR policy: what a guest may read and write. An MSR that is not here is #GP, as on a CPU that lacks it; so are those of SVM and VMX. */
#include "vmm/exits.h"

#include "arch/x86/def/cr.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/insn.h"
#include "vmm/apic.h"
#include "vmm/backend.h"
#include "vmm/cpuid.h"
#include "vmm/fetch.h"
#include "vmm/tracelog.h"

#define MISC_ENABLE_VALUE 0x1801ull   /* fast strings; BTS and PEBS unavailable */

static bool canonical(uint64_t a)
{
	return (uint64_t)((int64_t)(a << 16) >> 16) == a;
}

/* The fields of VST_MSR. NULL: not one of them. */
static uint64_t *plain_field(struct vcpu *v, uint32_t msr)
{
	struct vcpu_state *st = &v->st;

	switch (msr) {
	case MSR_STAR: return &st->star;
	case MSR_LSTAR: return &st->lstar;
	case MSR_CSTAR: return &st->cstar;
	case MSR_SFMASK: return &st->sfmask;
	case MSR_KERNEL_GS_BASE: return &st->kernel_gs_base;
	case MSR_SYSENTER_CS: return &st->sysenter_cs;
	case MSR_SYSENTER_ESP: return &st->sysenter_esp;
	case MSR_SYSENTER_EIP: return &st->sysenter_eip;
	case MSR_PAT: return &st->pat;
	case MSR_TSC_AUX: return cpuid_tsc_aux() ? &st->tsc_aux : NULL;
	}
	return NULL;
}

static unsigned mask_slot(uint32_t msr)
{
	return msr == MSR_DR0_ADDR_MASK ? 0 : msr - MSR_DR1_ADDR_MASK + 1;
}

static bool read_rare(struct vcpu *v, uint32_t msr, uint64_t *val)
{
	uint64_t *field;

	if (apic_is_msr(msr))
		return vlapic_rdmsr(&v->apic, msr, val, rdtsc());
	switch (msr) {
	case MSR_DEBUGCTL: *val = v->dbg.debugctl; return true;
	case MSR_TSC: *val = rdtsc() + v->tsc_offset; return true;
	case MSR_BIOS_SIGN_ID: case MSR_MTRRCAP: case MSR_MCG_CAP: *val = 0; return true;
	case MSR_LASTBRANCHFROMIP: case MSR_LASTBRANCHTOIP: case MSR_LASTINTFROMIP: case MSR_LASTINTTOIP:
		if (!cpuid_amd() || (v->dbg.feat & DBG_FEAT_LBR))
			break;
		*val = 0; /* AMD has them always; where records cannot be virtualized they are never on (S13) */
		return true;
	case MSR_HWCR: *val = 0; return cpuid_amd();
	case MSR_DR0_ADDR_MASK: case MSR_DR1_ADDR_MASK: case MSR_DR1_ADDR_MASK + 1: case MSR_DR1_ADDR_MASK + 2:
		*val = v->dbg.mask[mask_slot(msr)];
		return v->dbg.feat & DBG_FEAT_MASKS;
	case MSR_MISC_ENABLE: *val = MISC_ENABLE_VALUE; return !cpuid_amd();
	case MSR_FS_BASE: case MSR_GS_BASE:
		vcpu_need(v, VST_SEG);
		*val = v->st.seg[msr == MSR_FS_BASE ? SEG_FS : SEG_GS].base;
		return true;
	}
	if (v->nested) {
		int done = v->be->nested->msr(v, msr, false, val);

		if (done >= 0)
			return done;
	}
	field = plain_field(v, msr);
	if (!field)
		return (v->dbg.feat & DBG_FEAT_LBR) && v->be->lbr(v, msr, false, val);
	vcpu_need(v, VST_MSR);
	*val = *field;
	return true;
}

bool msr_read(struct vcpu *v, uint32_t msr, uint64_t *val)
{
	if (msr == MSR_EFER) {
		vcpu_need(v, VST_CR);
		*val = v->st.efer;
		return true;
	}
	return read_rare(v, msr, val);
}

static bool write_efer(struct vcpu *v, uint64_t val)
{
	struct vcpu_state *st = &v->st;

	vcpu_need(v, VST_CR);
	if (val & ~(cpuid_efer_mask() | (v->nested ? v->be->nested->efer : 0)))
		return false;
	if (((st->efer ^ val) & EFER_LME) && (st->cr0 & CR0_PG))
		return false;
	if (v->nested && v->be->nested->msr(v, MSR_EFER, true, &val) == 0)
		return false;
	val = (val & ~EFER_LMA) | (st->efer & EFER_LMA); /* LMA is hardware's */
	if (val == st->efer)
		return true;
	if ((val ^ st->efer) & EFER_NXE)
		v->be->flush(v->vm);
	st->efer = val;
	vcpu_dirty(v, VST_CR);
	return true;
}

/* Memory types 0, 1, 4-7. */
static bool pat_valid(uint64_t pat)
{
	for (unsigned i = 0; i < 64; i += 8) {
		uint64_t t = pat >> i & 0xff;

		if (t > 7 || t == 2 || t == 3)
			return false;
	}
	return true;
}

static bool write_plain(struct vcpu *v, uint32_t msr, uint64_t val)
{
	uint64_t *field = plain_field(v, msr);

	if (!field)
		return (v->dbg.feat & DBG_FEAT_LBR) && v->be->lbr(v, msr, true, &val);
	switch (msr) {
	case MSR_LSTAR: case MSR_CSTAR: case MSR_KERNEL_GS_BASE:
		if (!canonical(val))
			return false;
		break;
	case MSR_SYSENTER_ESP: case MSR_SYSENTER_EIP:
		if (!cpuid_amd() && !canonical(val))
			return false;
		break;
	case MSR_PAT:
		if (!pat_valid(val))
			return false;
		break;
	case MSR_TSC_AUX:
		if (val >> 32)
			return false;
		break;
	}
	vcpu_need(v, VST_MSR);
	*field = val;
	vcpu_dirty(v, VST_MSR);
	return true;
}

bool msr_write(struct vcpu *v, uint32_t msr, uint64_t val)
{
	if (apic_is_msr(msr))
		return vlapic_wrmsr(&v->apic, msr, val, rdtsc());
	switch (msr) {
	case MSR_EFER: return write_efer(v, val);
	case MSR_DEBUGCTL:
		if (tracelog_on)
			tracelog_guest(v, DBG_TRACE_DEBUGCTL, v->dbg.debugctl, val);
		return dbg_wrmsr_debugctl(&v->dbg, val);
	case MSR_DR0_ADDR_MASK: case MSR_DR1_ADDR_MASK: case MSR_DR1_ADDR_MASK + 1: case MSR_DR1_ADDR_MASK + 2:
		return dbg_wrmsr_mask(&v->dbg, mask_slot(msr), val);
	case MSR_BIOS_SIGN_ID: return val == 0;
	case MSR_MISC_ENABLE: return !cpuid_amd() && val == MISC_ENABLE_VALUE;
	case MSR_HWCR: return cpuid_amd() && val == 0;
	case MSR_FS_BASE: case MSR_GS_BASE:
		if (!canonical(val))
			return false;
		vcpu_need(v, VST_SEG);
		v->st.seg[msr == MSR_FS_BASE ? SEG_FS : SEG_GS].base = val;
		vcpu_dirty(v, VST_SEG);
		return true;
	}
	if (v->nested) {
		int done = v->be->nested->msr(v, msr, true, &val);

		if (done >= 0)
			return done;
	}
	return write_plain(v, msr, val);
}

static __attribute__((noinline)) void other_msr(struct vcpu *v, unsigned len)
{
	uint32_t msr = (uint32_t)v->r[GPR_RCX];
	uint64_t val = 0;
	bool ok;

	if (v->exit.u.msr.write) {
		ok = msr_write(v, msr, v->r[GPR_RDX] << 32 | (uint32_t)v->r[GPR_RAX]);
	} else {
		ok = msr_read(v, msr, &val);
		if (ok) {
			v->r[GPR_RAX] = (uint32_t)val;
			v->r[GPR_RDX] = val >> 32;
		}
	}
	if (ok)
		vcpu_skip(v, len);
	else
		vcpu_raise(v, VEC_GP, true, 0);
	if (apic_is_msr(msr))
		apic_changed(v);
}

static __attribute__((noinline)) void msr_slow(struct vcpu *v)
{
	unsigned len = fetch_insn_len_slow(v, v->exit.u.msr.write ? DEC_WRMSR : DEC_RDMSR);

	if (len)
		other_msr(v, len);
}

/* Reading DEBUGCTL is what a debugging guest does in every #DB handler: no detour for it. */
void exit_msr(struct vcpu *v)
{
	unsigned len = v->exit.u.msr.write ? fetch_insn_len(v, DEC_WRMSR) : fetch_insn_len(v, DEC_RDMSR);

	if (__builtin_expect(len == 0, 0)) {
		msr_slow(v);
		return;
	}
	if ((uint32_t)v->r[GPR_RCX] != MSR_DEBUGCTL || v->exit.u.msr.write) {
		other_msr(v, len);
		return;
	}
	v->r[GPR_RAX] = (uint32_t)v->dbg.debugctl;
	v->r[GPR_RDX] = v->dbg.debugctl >> 32;
	vcpu_skip(v, len);
}
