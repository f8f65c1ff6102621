/* SPDX-License-Identifier: MIT */
/* Guest state between struct vcpu and the VMCS, group by group: a table of plain fields, and the fields with rules of their own. */
#include "arch/lib/string.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/def/pte.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/quirks.h"
#include "arch/x86/tsc.h"
#include "arch/x86/vmx/internal.h"
#include "vmm/cpuid.h"
#include "vmm/gva.h"

/* ---- Plain fields ---- */

struct slot {
	uint16_t field, off; /* off: in struct vcpu_state */
	uint8_t size;        /* bytes there */
};

#define SLOT(f, member) { VMCS_GUEST_##f, offsetof(struct vcpu_state, member), sizeof(((struct vcpu_state *)0)->member) }
#define SEG(NAME) \
	SLOT(NAME##_SEL, seg[SEG_##NAME].sel), SLOT(NAME##_AR, seg[SEG_##NAME].ar), SLOT(NAME##_LIMIT, seg[SEG_##NAME].limit), \
		SLOT(NAME##_BASE, seg[SEG_##NAME].base)

static const struct slot slots_cs[] = { SEG(CS), SEG(SS) };
static const struct slot slots_seg[] = { SEG(ES), SEG(DS), SEG(FS), SEG(GS), SEG(LDTR), SEG(TR) };
static const struct slot slots_desc[] = { SLOT(GDTR_BASE, gdtr.base), SLOT(GDTR_LIMIT, gdtr.limit), SLOT(IDTR_BASE, idtr.base),
					  SLOT(IDTR_LIMIT, idtr.limit) };
static const struct slot slots_msr[] = { SLOT(SYSENTER_CS, sysenter_cs), SLOT(SYSENTER_ESP, sysenter_esp), SLOT(SYSENTER_EIP, sysenter_eip),
					 SLOT(PAT, pat) };

static void fetch_slots(struct vcpu_state *st, const struct slot *s, size_t n)
{
	for (; n--; s++) {
		void *p = (char *)st + s->off;
		uint64_t v = vmcs_read(s->field);

		if (s->size == 8)
			*(uint64_t *)p = v;
		else if (s->size == 4)
			*(uint32_t *)p = (uint32_t)v;
		else
			*(uint16_t *)p = (uint16_t)v;
	}
}

static void commit_slots(const struct vcpu_state *st, const struct slot *s, size_t n)
{
	for (; n--; s++) {
		const void *p = (const char *)st + s->off;

		vmcs_write(s->field, s->size == 8 ? *(const uint64_t *)p : s->size == 4 ? *(const uint32_t *)p : *(const uint16_t *)p);
	}
}

#define FETCH(st, slots) fetch_slots(st, slots, sizeof(slots) / sizeof((slots)[0]))
#define COMMIT(st, slots) commit_slots(st, slots, sizeof(slots) / sizeof((slots)[0]))

/* ---- CR0, CR4, EFER ---- */

/* The guest owns every CR0 bit but these. NE must be 1 in VMX operation. CD and NW would make all guest memory uncached; hardware would
 * let the guest have them. PE and PG are free with an unrestricted guest. */
#define CR0_OWNED (CR0_NE | CR0_CD | CR0_NW)
/* CR4 bits that the guest may change without an exit. MCE is not one: a machine check under CR4.MCE = 0 shuts the machine down. Nor are
 * those that the guest's CPUID does not announce: the machine model answers with #GP. */
#define CR4_FREE (CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | \
		  CR4_FSGSBASE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP)
#define CR4_OWNED (~CR4_FREE)

static void fetch_cr(const struct vcpu *v, struct vcpu_state *st)
{
	if (__builtin_expect(v->level, 0)) {
		struct vmx_nested_cr c;

		vmx_nested_cr(v, &c);
		st->cr0 = (vmcs_read(VMCS_GUEST_CR0) & ~CR0_OWNED) | (c.own0 & CR0_OWNED);
		st->cr4 = (vmcs_read(VMCS_GUEST_CR4) & ~CR4_OWNED) | (c.own4 & CR4_OWNED);
		st->cr3 = vmcs_read(VMCS_GUEST_CR3);
		st->efer = vmcs_read(VMCS_GUEST_EFER);
		return;
	}
	st->cr0 = (vmcs_read(VMCS_GUEST_CR0) & ~CR0_OWNED) | (vmcs_read(VMCS_CR0_SHADOW) & CR0_OWNED);
	st->cr4 = (vmcs_read(VMCS_GUEST_CR4) & ~CR4_OWNED) | (vmcs_read(VMCS_CR4_SHADOW) & CR4_OWNED);
	st->cr3 = vmcs_read(VMCS_GUEST_CR3);
	st->efer = vmcs_read(VMCS_GUEST_EFER);
}

/* The four PDPTEs are loaded by MOV to CR3, and by hardware where the guest does that itself. Where software set CR0, CR3 or CR4 for a
 * guest in PAE paging, software has to do it (SDM "Checks on Guest Page-Directory-Pointer-Table Entries"). Entries in memory that the next entry
 * would refuse are not taken: the old ones stay in force, as they do after a MOV that faults. */
static void commit_pdptes(struct vcpu *v)
{
	uint64_t reserved = ~cpuid_pa_mask() | 0x1e6, e[4];
	const uint8_t *table = gva_phys(v, v->st.cr3 & 0xffffffe0, sizeof(e));

	if (!table)
		return;
	memcpy(e, table, sizeof(e)); /* once: what is checked is what is written, whatever the guest's devices do */
	for (unsigned i = 0; i < 4; i++)
		if ((e[i] & 1) && (e[i] & reserved))
			return;
	for (unsigned i = 0; i < 4; i++)
		vmcs_write((enum vmcs_field)(VMCS_GUEST_PDPTE0 + 2 * i), e[i]);
}

static void commit_cr(struct vcpu *v)
{
	struct vcpu_state *st = &v->st;
	struct vmx_nested_cr c = { 0 };
	bool lma = (st->efer & EFER_LME) && (st->cr0 & CR0_PG);
	uint32_t entry;

	if (__builtin_expect(v->level, 0)) {
		vmx_nested_own_cr(v, st->cr0, st->cr4);
		vmx_nested_cr(v, &c);
	} else if (v->nested) {
		c.fixed0 = vmx_nested.cr0_fixed(v);
	}
	/* A mask covers bits above 31, but CR0 has none that may be 1. */
	vmcs_write(VMCS_CR0_MASK, CR0_OWNED | c.fixed0 | c.mask0);
	vmcs_write(VMCS_CR4_MASK, CR4_OWNED | c.mask4);
	vmcs_write(VMCS_CR0_SHADOW, (st->cr0 & ~c.mask0) | (c.shadow0 & c.mask0));
	vmcs_write(VMCS_CR4_SHADOW, (st->cr4 & ~c.mask4) | (c.shadow4 & c.mask4));
	vmcs_write(VMCS_GUEST_CR0, (st->cr0 & ~(CR0_CD | CR0_NW)) | (vmx_caps.cr0_fixed0 & ~(CR0_PE | CR0_PG)));
	vmcs_write(VMCS_GUEST_CR4, st->cr4 | vmx_caps.cr4_fixed0 | (read_cr4() & CR4_MCE));
	vmcs_write(VMCS_GUEST_CR3, st->cr3);

	/* LMA follows LME and PG, and the entry control follows LMA. Exits store LMA there, so it is read and not remembered. */
	st->efer = lma ? st->efer | EFER_LMA : st->efer & ~EFER_LMA;
	vmcs_write(VMCS_GUEST_EFER, st->efer);
	entry = vmcs_read32(VMCS_ENTRY_CTL);
	if (((entry & ENTRY_IA32E) != 0) != lma)
		vmcs_write(VMCS_ENTRY_CTL, entry ^ ENTRY_IA32E);
	if ((st->cr0 & CR0_PG) && (st->cr4 & CR4_PAE) && !lma && !c.pdptes_loaded)
		commit_pdptes(v);
}

/* ---- Shadow, pending debug exceptions ---- */

static void fetch_shadow(struct vcpu_state *st)
{
	uint32_t i = vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY);

	st->shadow = i & INTR_MOV_SS ? SHADOW_MOV_SS : i & INTR_STI ? SHADOW_STI : SHADOW_NONE;
	st->nmi_blocked = (i & INTR_NMI) != 0;
	st->pending_dbg = dbg_payload_from_pending(vmcs_read(VMCS_GUEST_PENDING_DBG));
}

static void commit_shadow(const struct vcpu *v)
{
	static const uint8_t bit[] = { [SHADOW_NONE] = 0, [SHADOW_STI] = INTR_STI, [SHADOW_MOV_SS] = INTR_MOV_SS };

	vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, bit[v->st.shadow] | (v->st.nmi_blocked ? INTR_NMI : 0));
	vmcs_write(VMCS_GUEST_PENDING_DBG, dbg_pending_from_payload(v->st.pending_dbg));
	if (v->st.shadow != SHADOW_NONE)
		vmx_sync_pending_bs(v);
}

/* The entry check wants BS = TF & !BTF under a shadow. Hardware saved the two in agreement, but software
 * may have set TF or the shadow since, or a #DB was intercepted whose BS went into the exit qualification: XSA-308 is this check
 * failing at the guest's will. */
void vmx_sync_pending_bs(const struct vcpu *v)
{
	uint64_t pend, want;

	if (!(vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & (INTR_STI | INTR_MOV_SS)))
		return;
	pend = vmcs_read(VMCS_GUEST_PENDING_DBG);
	want = (v->rflags & RFLAGS_TF) && !(v->dbg.vm_debugctl & DEBUGCTL_BTF) ? pend | PEND_BS : pend & ~PEND_BS; /* V20: as BTF is now */
	if (want != pend)
		vmcs_write(VMCS_GUEST_PENDING_DBG, want);
}

/* ---- Controls that follow the vcpu ---- */

static void set_proc(struct vmx_vcpu *hw, uint32_t bit, bool on)
{
	hw->proc = on ? hw->proc | bit : hw->proc & ~bit;
}

static void commit_dbg(struct vcpu *v, struct vmx_vcpu *hw)
{
	vmcs_write(VMCS_GUEST_DR7, v->dbg.vm_dr7);
	if (hw->debugctl != v->dbg.vm_debugctl)
		vmcs_write(VMCS_GUEST_DEBUGCTL, hw->debugctl = v->dbg.vm_debugctl);
	set_proc(hw, PROC_MOV_DR, v->dbg.vm_intercept);
	v->dbg.vm_dirty = false;
}

/* All exceptions exit during a step. */
static void catch_exceptions(struct vmx_vcpu *hw, bool on)
{
	if (on == (hw->exceptions != 0))
		return;
	if (on) {
		hw->exceptions = vmcs_read32(VMCS_EXCEPTION_BITMAP);
		hw->pf_mask = vmcs_read32(VMCS_PF_MASK);
		hw->pf_match = vmcs_read32(VMCS_PF_MATCH);
		vmcs_write(VMCS_EXCEPTION_BITMAP, 0xffffffff);
		vmcs_write(VMCS_PF_MASK, 0);
		vmcs_write(VMCS_PF_MATCH, 0);
	} else {
		vmcs_write(VMCS_PF_MASK, hw->pf_mask);
		vmcs_write(VMCS_PF_MATCH, hw->pf_match);
		vmcs_write(VMCS_EXCEPTION_BITMAP, hw->exceptions);
		hw->exceptions = 0;
	}
}

/* An entry that nothing is to run in: where host interrupts do not end a guest with IF=0 (vmx-if0-intr) the timer has to. */
static void commit_kick(const struct vcpu *v, struct vmx_vcpu *hw)
{
	bool kick = v->step.kicked && !v->level;

	if (kick == hw->kicked || !quirks_auto || !(vmx_caps.allowed1[CTL_PIN] & PIN_TIMER))
		return;
	hw->kicked = kick;
	vmcs_write(VMCS_PREEMPTION_TIMER, kick ? 0 : tsc_from_us(VMX_TIMER_US) >> (vmx_caps.misc & MISC_TIMER_SHIFT));
}

static void commit_ctl(const struct vcpu *v, struct vmx_vcpu *hw)
{
	uint8_t *read_low = hw->vm->msr_bitmap;
	uint32_t bitmap;

	catch_exceptions(hw, v->step.catching);
	commit_kick(v, hw);
	if (hw->int3 != v->debugger.catch_int3 && !v->step.catching) {
		hw->int3 = v->debugger.catch_int3; /* Z07 */
		bitmap = vmcs_read32(VMCS_EXCEPTION_BITMAP) & ~(v->level ? 0 : 1u << VEC_BP); /* a guest hypervisor may want it, too: off with its next entry */
		vmcs_write(VMCS_EXCEPTION_BITMAP, bitmap | (hw->int3 ? 1u << VEC_BP : 0));
	}
	set_proc(hw, PROC_INTR_WINDOW, v->want_intr_window);
	set_proc(hw, PROC_NMI_WINDOW, v->want_nmi_window);
	if (v->level)
		return; /* what is open there is merged at the entry (N22) */
	if (v->debugctl_open)
		read_low[MSR_DEBUGCTL / 8] &= (uint8_t)~(1u << MSR_DEBUGCTL % 8);
	else
		read_low[MSR_DEBUGCTL / 8] |= (uint8_t)(1u << MSR_DEBUGCTL % 8);
}

/* ---- Groups ---- */

void vmx_fetch(struct vcpu *v, uint32_t groups)
{
	struct vcpu_state *st = &v->st;
	struct vmx_vcpu *hw = vmx_hw(v);

	vmx_make_current(hw, this_cpu());
	if (groups & VST_CR)
		fetch_cr(v, st);
	if (groups & VST_CS) {
		FETCH(st, slots_cs);
		st->cpl = st->seg[SEG_SS].ar >> SEG_AR_DPL_SHIFT & 3; /* SS.DPL is the CPL in every mode, unusable SS included */
	}
	if (groups & VST_SEG)
		FETCH(st, slots_seg);
	if (groups & VST_DESC)
		FETCH(st, slots_desc);
	if (groups & VST_MSR) {
		FETCH(st, slots_msr);
		if (hw->loaded) /* else st has them since vcpu_put */
			vmx_msrs_read(v);
	}
	if (groups & VST_SHADOW)
		fetch_shadow(st);
	if ((groups & VST_DBG) && !v->dbg.vm_dirty) { /* what waits to be committed is newer than the VMCS */
		v->dbg.vm_dr7 = vmcs_read(VMCS_GUEST_DR7);
		if (hw->debugctl)
			v->dbg.vm_debugctl = hw->debugctl = vmcs_read(VMCS_GUEST_DEBUGCTL);
	}
	if ((groups & VST_CR2) && hw->loaded)
		st->cr2 = read_cr2();
}

void vmx_dbg_now(const struct vcpu *v, struct dbg_now *now)
{
	vmx_make_current(vmx_hw(v), this_cpu());
	*now = (struct dbg_now){ 0, vmcs_read(VMCS_GUEST_DR7), vmcs_read(VMCS_GUEST_DEBUGCTL) };
}

void vmx_commit(struct vcpu *v)
{
	struct vmx_vcpu *hw = vmx_hw(v);
	uint32_t groups = v->st_dirty, proc = hw->proc;

	if (groups & VST_CR)
		commit_cr(v);
	if (groups & VST_CS) {
		struct seg *ss = &v->st.seg[SEG_SS];

		ss->ar = (ss->ar & ~(3u << SEG_AR_DPL_SHIFT)) | (uint32_t)v->st.cpl << SEG_AR_DPL_SHIFT;
		COMMIT(&v->st, slots_cs);
	}
	if (groups & VST_SEG)
		COMMIT(&v->st, slots_seg);
	if (groups & VST_DESC)
		COMMIT(&v->st, slots_desc);
	if (groups & VST_MSR) {
		COMMIT(&v->st, slots_msr);
		vmx_msrs_write(v);
	}
	if (groups & VST_SHADOW)
		commit_shadow(v);
	if ((groups & VST_DBG) || v->dbg.vm_dirty)
		commit_dbg(v, hw);
	if (groups & VST_CR2)
		write_cr2(v->st.cr2);
	if (groups & VST_CTL)
		commit_ctl(v, hw);
	if (hw->proc != proc)
		vmcs_write(VMCS_PROC_CTL, hw->proc | hw->proc_or);
	v->st_dirty = 0;
}
