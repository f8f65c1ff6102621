/* SPDX-License-Identifier: MIT */
/* Nested VMX: the entry checks on what a guest hypervisor wrote. Hardware checks vmcs02, which is not what was written: controls and host state are
 * checked here, and of the guest state what is not copied. Source: SDM "Checks on VMX Controls and Host-State Area", "Checking and Loading Guest State". */
#include "arch/x86/def/cr.h"
#include "arch/x86/def/dr.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/def/pte.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/vmx/nested.h"
#include "vmm/cpuid.h"
#include "vmm/gmem.h"

/* Exit qualifications of a failed entry. */
enum { QUAL_OTHER = 0, QUAL_PDPTE = 2, QUAL_NMI = 3, QUAL_LINK = 4 };

static bool pa_ok(uint64_t pa, uint64_t align)
{
	return !(pa & (align - 1)) && !(pa & ~cpuid_pa_mask());
}

static bool efer_ok(uint64_t efer)
{
	return !(efer & ~(cpuid_efer_mask() | EFER_LMA | EFER_LME));
}

/* ---- Controls: VMfail 7 ---- */

static bool word_ok(enum ctl_word w, uint32_t value)
{
	uint32_t must, may;

	nvmx_allowed(w, &must, &may);
	return (value & must) == must && !(value & ~may);
}

bool nvmx_eptp_valid(uint64_t eptp)
{
	return (eptp & 7) == MEMTYPE_WB && (eptp >> 3 & 7) == 3 && !(eptp & 0xfc0) && !(eptp & ~cpuid_pa_mask());
}

static bool area_ok(uint64_t pa, uint64_t count)
{
	return count == 0 || (pa_ok(pa, 16) && pa_ok((pa + count * 16 - 1) & ~15ull, 16));
}

static bool execution_ok(const struct nvmx *n)
{
	uint32_t pin = V12_32(n, PIN_CTL), proc = V12_32(n, PROC_CTL);

	if (!word_ok(CTL_PIN, pin) || !word_ok(CTL_PROC, proc) || !word_ok(CTL_PROC2, n->proc2))
		return false;
	if (V12(n, CR3_TARGET_COUNT) != 0) /* MISC: none */
		return false;
	if ((proc & PROC_IO_BITMAPS) && !(pa_ok(V12(n, IO_BITMAP_A), 4096) && pa_ok(V12(n, IO_BITMAP_B), 4096)))
		return false;
	if ((proc & PROC_MSR_BITMAPS) && !pa_ok(V12(n, MSR_BITMAP), 4096))
		return false;
	if ((n->proc2 & PROC2_SHADOW) && !(pa_ok(V12(n, VMREAD_BITMAP), 4096) && pa_ok(V12(n, VMWRITE_BITMAP), 4096)))
		return false;
	if ((pin & PIN_VIRTUAL_NMI) && !(pin & PIN_NMI))
		return false;
	if ((proc & PROC_NMI_WINDOW) && !(pin & PIN_VIRTUAL_NMI))
		return false;
	if ((n->proc2 & PROC2_VPID) && V12(n, VPID) == 0)
		return false;
	if (nvmx_ept(n) && !nvmx_eptp_valid(V12(n, EPTP)))
		return false;
	return !(n->proc2 & PROC2_UNRESTRICTED) || nvmx_ept(n);
}

static bool has_error_code(uint32_t vector)
{
	return vector == VEC_DF || (vector >= VEC_TS && vector <= VEC_PF) || vector == VEC_AC;
}

static bool injection_ok(const struct nvmx *n)
{
	uint32_t info = V12_32(n, ENTRY_INTR_INFO), type = INFO_TYPE(info), vector = info & INFO_VECTOR;
	bool pe = V12(n, GUEST_CR0) & CR0_PE, wants = type == VMX_TYPE_EXC && has_error_code(vector) && pe;

	if (!(info & INFO_VALID))
		return true;
	if (type == 1 || (info & 0x7ffff000))
		return false;
	if (type == VMX_TYPE_OTHER && (vector != 0 || nvmx_mtf_means == MTF_NONE))
		return false; /* a pending MTF exit, where there is the flag */
	if ((type == VMX_TYPE_NMI && vector != VEC_NMI) || (type == VMX_TYPE_EXC && vector > 31))
		return false;
	if (((info & INFO_ERROR) != 0) != wants)
		return false;
	if (wants && (V12(n, ENTRY_ERROR_CODE) & 0xffff8000))
		return false;
	if (type >= VMX_TYPE_SOFT_INT && type <= VMX_TYPE_SOFT_EXC) {
		uint32_t len = V12_32(n, ENTRY_INSN_LEN);

		return len <= 15 && (len > 0 || (nvmx_misc() & MISC_INSN_LEN_0));
	}
	return true;
}

bool nvmx_check_controls(const struct vcpu *v, struct nvmx *n)
{
	(void)v;
	n->proc2 = V12_32(n, PROC_CTL) & PROC_SECONDARY ? V12_32(n, PROC2_CTL) : 0;
	if (!execution_ok(n))
		return false;
	if (!word_ok(CTL_EXIT, V12_32(n, EXIT_CTL)) || !word_ok(CTL_ENTRY, V12_32(n, ENTRY_CTL)))
		return false;
	if ((V12(n, EXIT_CTL) & EXIT_SAVE_TIMER) && !(V12(n, PIN_CTL) & PIN_TIMER))
		return false;
	return injection_ok(n) && area_ok(V12(n, EXIT_MSR_STORE), V12(n, EXIT_MSR_STORE_COUNT)) &&
	       area_ok(V12(n, EXIT_MSR_LOAD), V12(n, EXIT_MSR_LOAD_COUNT)) && area_ok(V12(n, ENTRY_MSR_LOAD), V12(n, ENTRY_MSR_LOAD_COUNT));
}

/* ---- Host state: VMfail 8 ---- */

#define CR0_FIXED0 (CR0_PE | CR0_NE | CR0_PG)

static bool cr4_ok(uint64_t cr4)
{
	return (cr4 & CR4_VMXE) && !(cr4 & ~nvmx_cr4_fixed1());
}

bool nvmx_check_host(struct vcpu *v, const struct nvmx *n)
{
	static const uint8_t sel[] = { N12_HOST_ES_SEL, N12_HOST_CS_SEL, N12_HOST_SS_SEL, N12_HOST_DS_SEL, N12_HOST_FS_SEL, N12_HOST_GS_SEL,
				       N12_HOST_TR_SEL };
	static const uint8_t addr[] = { N12_HOST_FS_BASE, N12_HOST_GS_BASE, N12_HOST_TR_BASE, N12_HOST_GDTR_BASE, N12_HOST_IDTR_BASE,
					N12_HOST_SYSENTER_ESP, N12_HOST_SYSENTER_EIP, N12_HOST_RIP };
	uint64_t cr0 = V12(n, HOST_CR0), efer = V12(n, HOST_EFER);
	uint32_t ctl = V12_32(n, EXIT_CTL);

	if ((cr0 & CR0_FIXED0) != CR0_FIXED0 || cr0 >> 32 || !cr4_ok(V12(n, HOST_CR4)) || !(V12(n, HOST_CR4) & CR4_PAE))
		return false;
	if (V12(n, HOST_CR3) & ~cpuid_pa_mask())
		return false;
	for (unsigned i = 0; i < sizeof(sel); i++)
		if (n->f[sel[i]] & 7)
			return false;
	if (!V12(n, HOST_CS_SEL) || !V12(n, HOST_TR_SEL))
		return false;
	for (unsigned i = 0; i < sizeof(addr); i++)
		if (!is_canonical(n->f[addr[i]]))
			return false;
	if ((ctl & EXIT_LOAD_PAT) && !pat_valid(V12(n, HOST_PAT)))
		return false;
	if ((ctl & EXIT_LOAD_EFER) && (!efer_ok(efer) || (efer & (EFER_LMA | EFER_LME)) != (EFER_LMA | EFER_LME)))
		return false;
	return vcpu_long64(v); /* "host address-space size" is 1, always */
}

/* ---- Guest state: exit 33 ---- */

static bool cr_ok(const struct nvmx *n)
{
	uint64_t cr0 = V12(n, GUEST_CR0), cr4 = V12(n, GUEST_CR4), fixed0 = CR0_FIXED0;
	bool ia32e = V12(n, ENTRY_CTL) & ENTRY_IA32E;

	if (n->proc2 & PROC2_UNRESTRICTED)
		fixed0 &= ~(CR0_PE | CR0_PG);
	if ((cr0 & fixed0) != fixed0 || cr0 >> 32 || ((cr0 & CR0_PG) && !(cr0 & CR0_PE)))
		return false;
	if (!cr4_ok(cr4) || (!ia32e && (cr4 & CR4_PCIDE)))
		return false;
	if (ia32e && !((cr0 & CR0_PG) && (cr4 & CR4_PAE)))
		return false;
	return !(V12(n, GUEST_CR3) & ~cpuid_pa_mask());
}

/* The new debug state has to be one that the guest hypervisor's own CPU could have (N01). FREEZE_IN_SMM is tolerated, and dropped (N02). */
static bool debug_ok(const struct vcpu *v, const struct nvmx *n)
{
	struct dbg_vcpu probe = v->dbg;

	if (!(V12(n, ENTRY_CTL) & ENTRY_LOAD_DEBUG))
		return true;
	return !(V12(n, GUEST_DR7) >> 32) && dbg_wrmsr_debugctl(&probe, V12(n, GUEST_DEBUGCTL) & ~DEBUGCTL_FREEZE_IN_SMM);
}

static bool msrs_ok(const struct nvmx *n)
{
	uint64_t efer = V12(n, GUEST_EFER);
	bool ia32e = V12(n, ENTRY_CTL) & ENTRY_IA32E;

	if ((V12(n, ENTRY_CTL) & ENTRY_LOAD_PAT) && !pat_valid(V12(n, GUEST_PAT)))
		return false;
	if (!(V12(n, ENTRY_CTL) & ENTRY_LOAD_EFER))
		return true;
	if (!efer_ok(efer) || ((efer & EFER_LMA) != 0) != ia32e)
		return false;
	return !(V12(n, GUEST_CR0) & CR0_PG) || ((efer & EFER_LMA) != 0) == ((efer & EFER_LME) != 0);
}

/* Hardware checks these too (V08, V09); emulators leave some out, and drover's own repair before an injection (V10) would hide them. */
static bool pending_ok(const struct vcpu *v, const struct nvmx *n)
{
	uint64_t pend = V12(n, GUEST_PENDING_DBG), rflags = V12(n, GUEST_RFLAGS);
	uint32_t intr = V12_32(n, GUEST_INTERRUPTIBILITY), act = V12_32(n, GUEST_ACTIVITY);
	uint64_t debugctl = V12(n, ENTRY_CTL) & ENTRY_LOAD_DEBUG ? V12(n, GUEST_DEBUGCTL) : v->dbg.debugctl;
	bool step = (rflags & RFLAGS_TF) && !(debugctl & DEBUGCTL_BTF);

	if (act != 0 && (act != 1 || !(nvmx_misc() & 1ull << 6)))
		return false;
	if (pend & ~(DR6_B_ALL | PEND_ENABLED | PEND_BS | (v->dbg.feat & DBG_FEAT_BLD ? DR6_BLD : 0) | (v->dbg.feat & DBG_FEAT_RTM ? DR6_RTM : 0)))
		return false;
	return !((intr & (INTR_STI | INTR_MOV_SS)) || act == 1) || ((pend & PEND_BS) != 0) == step;
}

static bool link_ok(const struct vcpu *v, const struct nvmx *n)
{
	uint64_t link = V12(n, LINK_POINTER);
	uint32_t revision = 0, want = NVMX_REVISION | (n->proc2 & PROC2_SHADOW ? REVISION_SHADOW : 0);

	if (link == ~0ull)
		return true;
	return pa_ok(link, 4096) && link != n->current && gmem_read(v->vm, (struct gpa){ link }, &revision, sizeof(revision)) && revision == want;
}

/* PAE paging: the four entries, from memory without EPT, from vmcs12 with it. */
static bool pdptes_ok(const struct vcpu *v, const struct nvmx *n)
{
	uint64_t e[4] = { V12(n, GUEST_PDPTE0), V12(n, GUEST_PDPTE1), V12(n, GUEST_PDPTE2), V12(n, GUEST_PDPTE3) };

	if (!(V12(n, GUEST_CR0) & CR0_PG) || !(V12(n, GUEST_CR4) & CR4_PAE) || (V12(n, ENTRY_CTL) & ENTRY_IA32E))
		return true;
	if (!nvmx_ept(n) && !gmem_read(v->vm, (struct gpa){ V12(n, GUEST_CR3) & 0xffffffe0 }, e, sizeof(e)))
		return false;
	for (unsigned i = 0; i < 4; i++)
		if ((e[i] & PTE_P) && (e[i] & (~cpuid_pa_mask() | 0x1e6)))
			return false;
	return true;
}

bool nvmx_check_guest(struct vcpu *v, const struct nvmx *n, uint64_t *qual)
{
	uint32_t info = V12_32(n, ENTRY_INTR_INFO), intr = V12_32(n, GUEST_INTERRUPTIBILITY);
	bool nmi = (info & INFO_VALID) && INFO_TYPE(info) == VMX_TYPE_NMI;

	*qual = QUAL_OTHER;
	if (!cr_ok(n) || !debug_ok(v, n) || !msrs_ok(n) || !pending_ok(v, n))
		return false;
	/* With virtual NMIs vmcs02 always has the bit; vmcs12's own choice decides whether an injected NMI may meet it. */
	if (nmi && ((intr & INTR_MOV_SS) || ((intr & INTR_NMI) && (V12(n, PIN_CTL) & PIN_VIRTUAL_NMI)))) {
		*qual = intr & INTR_MOV_SS ? QUAL_NMI : QUAL_OTHER;
		return false;
	}
	*qual = QUAL_LINK;
	if (!link_ok(v, n))
		return false;
	*qual = QUAL_PDPTE;
	return pdptes_ok(v, n);
}
