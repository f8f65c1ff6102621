/* SPDX-License-Identifier: MIT */
/* The VM-entry checks of the guest-state area in software. Source: SDM "Checks on the Guest State Area", subsection by subsection. */
#include "arch/x86/def/cr.h"
#include "arch/x86/def/dr.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/def/pte.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/vmx/internal.h"

#define rule vmx_audit_rule

/* What the checks of one section need from another. */
struct ctx {
	uint64_t cr0, cr4, rflags;
	uint32_t cs_ar, ss_ar, info;
	bool ia32e, v86, pe;
};

static unsigned audit_registers(const struct ctx *c)
{
	uint64_t fixed0 = vmx_caps.cr0_fixed0 & ~(CR0_PE | CR0_PG), efer = vmcs_read(VMCS_GUEST_EFER);
	unsigned n = 0;

	n += rule((c->cr0 & fixed0) == fixed0 && !(c->cr0 & ~vmx_caps.cr0_fixed1), "CR0 fixed bits", c->cr0);
	n += rule(!(c->cr0 & CR0_PG) || c->pe, "CR0.PG needs CR0.PE", c->cr0);
	n += rule((c->cr4 & vmx_caps.cr4_fixed0) == vmx_caps.cr4_fixed0 && !(c->cr4 & ~vmx_caps.cr4_fixed1), "CR4 fixed bits", c->cr4);
	n += rule(!c->ia32e || ((c->cr0 & CR0_PG) && (c->cr4 & CR4_PAE)), "IA-32e mode needs CR0.PG and CR4.PAE", c->cr4);
	n += rule(c->ia32e || !(c->cr4 & CR4_PCIDE), "CR4.PCIDE needs IA-32e mode", c->cr4);
	n += rule(!(vmcs_read(VMCS_GUEST_CR3) & ~(PTE_ADDR | 0xfff)), "CR3 within the physical-address width", vmcs_read(VMCS_GUEST_CR3));
	n += rule(!(vmcs_read(VMCS_GUEST_DEBUGCTL) & ~0xffc7ull), "DEBUGCTL reserved bits are 0", vmcs_read(VMCS_GUEST_DEBUGCTL));
	n += rule(!(vmcs_read(VMCS_GUEST_DR7) >> 32), "V07: DR7 bits 63:32 are 0", vmcs_read(VMCS_GUEST_DR7));
	n += rule(is_canonical(vmcs_read(VMCS_GUEST_SYSENTER_ESP)), "SYSENTER_ESP is canonical", vmcs_read(VMCS_GUEST_SYSENTER_ESP));
	n += rule(is_canonical(vmcs_read(VMCS_GUEST_SYSENTER_EIP)), "SYSENTER_EIP is canonical", vmcs_read(VMCS_GUEST_SYSENTER_EIP));
	n += rule(pat_valid(vmcs_read(VMCS_GUEST_PAT)), "PAT types exist", vmcs_read(VMCS_GUEST_PAT));
	n += rule(!(efer & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)), "EFER reserved bits are 0", efer);
	n += rule(((efer & EFER_LMA) != 0) == c->ia32e, "EFER.LMA equals the IA-32e mode guest control", efer);
	n += rule(!(c->cr0 & CR0_PG) || ((efer & EFER_LMA) != 0) == ((efer & EFER_LME) != 0), "EFER.LMA equals LME with paging", efer);
	return n;
}

struct segment {
	const char *sel, *base, *limit, *ar; /* rule texts */
	uint16_t f_sel, f_base, f_limit, f_ar;
};
#define SEGMENT(S) \
	{ #S " selector", #S " base", #S " limit or granularity", #S " access rights", VMCS_GUEST_##S##_SEL, VMCS_GUEST_##S##_BASE, \
	  VMCS_GUEST_##S##_LIMIT, VMCS_GUEST_##S##_AR }
static const struct segment seg_cs = SEGMENT(CS), seg_ss = SEGMENT(SS), seg_tr = SEGMENT(TR), seg_ldtr = SEGMENT(LDTR);
static const struct segment seg_data[] = { SEGMENT(DS), SEGMENT(ES), SEGMENT(FS), SEGMENT(GS) };

static bool granularity_ok(uint32_t limit, uint32_t ar)
{
	if ((limit & 0xfff) != 0xfff && (ar & SEG_AR_G))
		return false;
	return !(limit & 0xfff00000) || (ar & SEG_AR_G);
}

/* P, reserved bits, granularity: the same for every usable segment. s: the S bit that it must have. */
static unsigned audit_common(const struct segment *g, uint32_t s)
{
	uint32_t ar = vmcs_read32(g->f_ar), limit = vmcs_read32(g->f_limit);

	return rule((ar & SEG_AR_P) && (ar & SEG_AR_S) == s && !(ar & 0xfffe0f00), g->ar, ar) + rule(granularity_ok(limit, ar), g->limit, limit);
}

static unsigned audit_v86(const struct segment *g)
{
	return rule(vmcs_read(g->f_base) == vmcs_read(g->f_sel) << 4, g->base, vmcs_read(g->f_base)) +
	       rule(vmcs_read(g->f_limit) == 0xffff, g->limit, vmcs_read(g->f_limit)) + rule(vmcs_read(g->f_ar) == 0xf3, g->ar, vmcs_read(g->f_ar));
}

static unsigned audit_cs_ss(const struct ctx *c)
{
	uint32_t cs_type = c->cs_ar & SEG_AR_TYPE, cs_dpl = c->cs_ar >> SEG_AR_DPL_SHIFT & 3, ss_dpl = c->ss_ar >> SEG_AR_DPL_SHIFT & 3;
	unsigned n = 0;

	if (c->v86)
		return audit_v86(&seg_cs) + audit_v86(&seg_ss);
	n += rule(!(vmcs_read(VMCS_GUEST_CS_BASE) >> 32), "CS base bits 63:32 are 0", vmcs_read(VMCS_GUEST_CS_BASE));
	n += rule(cs_type == 3 || ((cs_type & 9) == 9), "CS type is accessed code (or 3, unrestricted guest)", c->cs_ar);
	n += rule(cs_type != 3 || cs_dpl == 0, "CS of type 3 has DPL 0", c->cs_ar);
	n += rule((cs_type != 9 && cs_type != 11) || cs_dpl == ss_dpl, "non-conforming CS.DPL equals SS.DPL", c->cs_ar);
	n += rule((cs_type != 13 && cs_type != 15) || cs_dpl <= ss_dpl, "conforming CS.DPL <= SS.DPL", c->cs_ar);
	n += rule(!(c->cs_ar & SEG_AR_UNUSABLE), "CS is usable", c->cs_ar);
	n += rule(!c->ia32e || !(c->cs_ar & SEG_AR_L) || !(c->cs_ar & SEG_AR_DB), "CS.L and CS.D are not both 1", c->cs_ar);
	n += audit_common(&seg_cs, SEG_AR_S);
	n += rule((cs_type != 3 && c->pe) || ss_dpl == 0, "SS.DPL is 0 in real mode", c->ss_ar);
	if (c->ss_ar & SEG_AR_UNUSABLE)
		return n;
	n += rule((c->ss_ar & 0xb) == 3, "SS type is accessed writable data", c->ss_ar);
	n += rule(!(vmcs_read(VMCS_GUEST_SS_BASE) >> 32), "SS base bits 63:32 are 0", vmcs_read(VMCS_GUEST_SS_BASE));
	return n + audit_common(&seg_ss, SEG_AR_S);
}

static unsigned audit_data(const struct ctx *c)
{
	unsigned n = 0;

	for (size_t i = 0; i < 4; i++) {
		const struct segment *g = &seg_data[i];
		uint32_t ar = vmcs_read32(g->f_ar);
		uint64_t base = vmcs_read(g->f_base);

		if (c->v86) {
			n += audit_v86(g);
			continue;
		}
		if (i >= 2)
			n += rule(is_canonical(base), g->base, base);
		if (ar & SEG_AR_UNUSABLE)
			continue;
		if (i < 2)
			n += rule(!(base >> 32), g->base, base);
		n += rule((ar & 1) && (!(ar & 8) || (ar & 2)), g->ar, ar); /* accessed; code must be readable */
		n += audit_common(g, SEG_AR_S);
	}
	return n;
}

static unsigned audit_system(const struct ctx *c)
{
	uint32_t tr = vmcs_read32(VMCS_GUEST_TR_AR), ldtr = vmcs_read32(VMCS_GUEST_LDTR_AR);
	unsigned n = 0;

	n += rule(!(vmcs_read(VMCS_GUEST_TR_SEL) & 4), "TR selector's TI is 0", vmcs_read(VMCS_GUEST_TR_SEL));
	n += rule(!(tr & SEG_AR_UNUSABLE), "TR is usable", tr);
	n += rule((tr & SEG_AR_TYPE) == 11 || ((tr & SEG_AR_TYPE) == 3 && !c->ia32e), "TR is a busy TSS", tr);
	n += rule(is_canonical(vmcs_read(VMCS_GUEST_TR_BASE)), seg_tr.base, vmcs_read(VMCS_GUEST_TR_BASE));
	n += audit_common(&seg_tr, 0);
	if (!(ldtr & SEG_AR_UNUSABLE)) {
		n += rule(!(vmcs_read(VMCS_GUEST_LDTR_SEL) & 4), "LDTR selector's TI is 0", vmcs_read(VMCS_GUEST_LDTR_SEL));
		n += rule((ldtr & SEG_AR_TYPE) == 2, "LDTR is an LDT", ldtr);
		n += rule(is_canonical(vmcs_read(VMCS_GUEST_LDTR_BASE)), seg_ldtr.base, vmcs_read(VMCS_GUEST_LDTR_BASE));
		n += audit_common(&seg_ldtr, 0);
	}
	n += rule(is_canonical(vmcs_read(VMCS_GUEST_GDTR_BASE)) && !(vmcs_read(VMCS_GUEST_GDTR_LIMIT) >> 16), "GDTR", vmcs_read(VMCS_GUEST_GDTR_LIMIT));
	n += rule(is_canonical(vmcs_read(VMCS_GUEST_IDTR_BASE)) && !(vmcs_read(VMCS_GUEST_IDTR_LIMIT) >> 16), "IDTR", vmcs_read(VMCS_GUEST_IDTR_LIMIT));
	return n;
}

static unsigned audit_rip_rflags(const struct ctx *c)
{
	uint64_t rip = vmcs_read(VMCS_GUEST_RIP);
	bool long64 = c->ia32e && (c->cs_ar & SEG_AR_L);
	bool intr = (c->info & INFO_VALID) && INFO_TYPE(c->info) == VMX_TYPE_INTR;
	unsigned n = 0;

	n += rule(long64 ? rip >> 48 == 0 || rip >> 48 == 0xffff : !(rip >> 32), "RIP fits the mode", rip);
	n += rule((c->rflags & RFLAGS_BIT1) && !(c->rflags & ~0x3f7fd7ull), "RFLAGS reserved bits", c->rflags);
	n += rule(!(c->rflags & RFLAGS_VM) || (!c->ia32e && c->pe), "RFLAGS.VM fits the mode", c->rflags);
	n += rule(!intr || (c->rflags & RFLAGS_IF), "an injected interrupt needs RFLAGS.IF", c->rflags);
	return n;
}

static unsigned audit_activity(const struct ctx *c, uint32_t intr)
{
	uint32_t act = vmcs_read32(VMCS_GUEST_ACTIVITY), type = INFO_TYPE(c->info);
	bool event = c->info & INFO_VALID;
	unsigned n = 0;

	n += rule(act == 0 || (act <= 3 && (vmx_caps.misc >> (5 + act) & 1)), "activity state exists", act);
	n += rule(act != 1 || !(c->ss_ar >> SEG_AR_DPL_SHIFT & 3), "HLT activity needs SS.DPL 0", act);
	n += rule(act == 0 || !(intr & (INTR_STI | INTR_MOV_SS)), "a shadow needs active state", act);
	n += rule(!(intr & ~0x1fu), "interruptibility reserved bits are 0", intr);
	n += rule((intr & (INTR_STI | INTR_MOV_SS)) != (INTR_STI | INTR_MOV_SS), "STI and MOV SS shadows exclude each other", intr);
	n += rule(!(intr & INTR_STI) || (c->rflags & RFLAGS_IF), "an STI shadow needs RFLAGS.IF", intr);
	n += rule(!(intr & INTR_SMI), "no SMI blocking outside SMM", intr);
	n += rule(!event || type != VMX_TYPE_INTR || !(intr & (INTR_STI | INTR_MOV_SS)), "an injected interrupt needs no shadow", intr);
	n += rule(!event || type != VMX_TYPE_NMI || !(intr & INTR_MOV_SS), "an injected NMI needs no MOV SS shadow", intr);
	n += rule(!event || type != VMX_TYPE_NMI || !(intr & INTR_NMI), "an injected NMI needs no NMI blocking", intr);
	return n;
}

static unsigned audit_pending_dbg(const struct ctx *c, uint32_t intr)
{
	uint64_t pend = vmcs_read(VMCS_GUEST_PENDING_DBG), btf = vmcs_read(VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF;
	bool step = (c->rflags & RFLAGS_TF) && !btf;
	bool held = (intr & (INTR_STI | INTR_MOV_SS)) || vmcs_read(VMCS_GUEST_ACTIVITY) == 1;
	unsigned n = 0;

	n += rule(!(pend & ~0x1580full), "V08: pending debug exceptions: reserved bits are 0", pend);
	n += rule(!(pend & DR6_RTM) || ((pend & PEND_ENABLED) && !(pend & 0x400f) && !(intr & INTR_MOV_SS)), "V08: pending RTM stands alone", pend);
	n += rule(!held || ((pend & PEND_BS) != 0) == step, "V09: under a shadow or HLT, pending BS equals TF and not BTF", pend);
	return n;
}

static unsigned audit_rest(const struct ctx *c)
{
	unsigned n = rule(vmcs_read(VMCS_LINK_POINTER) == ~0ull || (vmcs_read32(VMCS_PROC2_CTL) & PROC2_SHADOW), "VMCS link pointer is ~0, or a shadow's",
			  vmcs_read(VMCS_LINK_POINTER));

	if (!(c->cr0 & CR0_PG) || !(c->cr4 & CR4_PAE) || c->ia32e)
		return n;
	for (unsigned i = 0; i < 4; i++) {
		uint64_t e = vmcs_read((enum vmcs_field)(VMCS_GUEST_PDPTE0 + 2 * i));

		n += rule(!(e & PTE_P) || !(e & (~PTE_ADDR & ~0xfffull)) , "PDPTE reserved bits are 0", e);
		n += rule(!(e & PTE_P) || !(e & 0x1e6), "PDPTE reserved low bits are 0", e);
	}
	return n;
}

unsigned vmx_audit_guest(void)
{
	struct ctx c = {
		.cr0 = vmcs_read(VMCS_GUEST_CR0), .cr4 = vmcs_read(VMCS_GUEST_CR4), .rflags = vmcs_read(VMCS_GUEST_RFLAGS),
		.cs_ar = vmcs_read32(VMCS_GUEST_CS_AR), .ss_ar = vmcs_read32(VMCS_GUEST_SS_AR), .info = vmcs_read32(VMCS_ENTRY_INTR_INFO),
		.ia32e = (vmcs_read(VMCS_ENTRY_CTL) & ENTRY_IA32E) != 0,
	};
	uint32_t intr = vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY);

	c.v86 = (c.rflags & RFLAGS_VM) != 0;
	c.pe = (c.cr0 & CR0_PE) != 0;
	return audit_registers(&c) + audit_cs_ss(&c) + audit_data(&c) + audit_system(&c) + audit_rip_rflags(&c) + audit_activity(&c, intr) +
	       audit_pending_dbg(&c, intr) + audit_rest(&c);
}
