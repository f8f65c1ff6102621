/* SPDX-License-Identifier: MIT */
/* Guest state between struct vcpu and SVM's control block: fetch and commit of groups, the event to inject. */
#include "arch/x86/def/cpuid.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/dr.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/insn.h"
#include "arch/x86/lapic.h"
#include "arch/x86/svm/svm.h"

/* Fields that are plain copies: X(group, name in vcpu_state, name in the VMCB). Same-group neighbours compile to straight code. */
#define STATE_FIELDS(X) \
	X(VST_CR, cr0, cr0) \
	X(VST_CR, cr3, cr3) \
	X(VST_CR, cr4, cr4) \
	X(VST_CR2, cr2, cr2) \
	X(VST_CS, cpl, cpl) \
	X(VST_DESC, gdtr.base, gdtr.base) \
	X(VST_DESC, gdtr.limit, gdtr.limit) \
	X(VST_DESC, idtr.base, idtr.base) \
	X(VST_DESC, idtr.limit, idtr.limit) \
	X(VST_MSR, star, star) \
	X(VST_MSR, lstar, lstar) \
	X(VST_MSR, cstar, cstar) \
	X(VST_MSR, sfmask, sfmask) \
	X(VST_MSR, kernel_gs_base, kernel_gs_base) \
	X(VST_MSR, sysenter_cs, sysenter_cs) \
	X(VST_MSR, sysenter_esp, sysenter_esp) \
	X(VST_MSR, sysenter_eip, sysenter_eip) \
	X(VST_MSR, pat, g_pat)

#define STATE_SEGS(X) \
	X(VST_CS, SEG_CS, cs) \
	X(VST_CS, SEG_SS, ss) \
	X(VST_SEG, SEG_ES, es) \
	X(VST_SEG, SEG_DS, ds) \
	X(VST_SEG, SEG_FS, fs) \
	X(VST_SEG, SEG_GS, gs) \
	X(VST_SEG, SEG_LDTR, ldtr) \
	X(VST_SEG, SEG_TR, tr)

/* SVM packs VMX's bits 15:12 down to 11:8 and has no "unusable": that is P = 0. */
static void seg_fetch(struct seg *s, const struct vmcb_seg *h)
{
	s->sel = h->sel;
	s->limit = h->limit;
	s->base = h->base;
	s->ar = (h->attr & 0xffu) | (uint32_t)(h->attr & 0xf00) << 4;
	if (!(h->attr & SEG_AR_P))
		s->ar |= SEG_AR_UNUSABLE;
}

static void seg_commit(struct vmcb_seg *h, const struct seg *s)
{
	uint32_t ar = s->ar & SEG_AR_UNUSABLE ? s->ar & ~SEG_AR_P : s->ar;

	h->sel = s->sel;
	h->limit = s->limit;
	h->base = s->base;
	h->attr = (uint16_t)((ar & 0xff) | (ar >> 4 & 0xf00));
}

/* NMI blocking is kept in software: hardware does not tell it. An IRET exits before it runs; that it has completed shows
 * in RIP having moved on. Until the guest's next exit of any kind an NMI waits. */
static void nmi_fetch(struct vcpu *v, struct svm_vcpu *hw)
{
	if (hw->iret_seen && v->rip != hw->iret_rip) {
		hw->iret_seen = false;
		v->st.nmi_blocked = false;
	}
}

void svm_fetch(struct vcpu *v, uint32_t groups)
{
	struct svm_vcpu *hw = svm_hw(v);
	const struct vmcb *b = hw->vmcb;
	struct vcpu_state *st = &v->st;

#define X(group, to, from) \
	if (groups & (group)) \
		st->to = b->from;
	STATE_FIELDS(X)
#undef X
#define X(group, to, from) \
	if (groups & (group)) \
		seg_fetch(&st->seg[to], &b->from);
	STATE_SEGS(X)
#undef X
	if (groups & VST_CR)
		st->efer = (b->efer & ~EFER_SVME) | hw->svme;
	if (groups & VST_SHADOW) {
		st->shadow = b->int_state & VMCB_INT_SHADOW ? SHADOW_STI : SHADOW_NONE;
		nmi_fetch(v, hw);
	}
	if (groups & VST_DBG) {
		v->dbg.vm_dr6 = b->dr6;
		v->dbg.vm_dr7 = b->dr7;
		if (v->dbg.vm_lbrv)
			v->dbg.vm_debugctl = b->dbgctl;
	}
	v->st_valid |= groups;
}

void svm_dbg_now(const struct vcpu *v, struct dbg_now *now)
{
	const struct vmcb *b = svm_hw(v)->vmcb;

	*now = (struct dbg_now){ b->dr6, b->dr7, b->dbgctl };
}

/* ---- commit ---- */

static void commit_shadow(struct vcpu *v, struct svm_vcpu *hw)
{
	struct vmcb *b = hw->vmcb;

	b->int_state = v->st.shadow != SHADOW_NONE ? VMCB_INT_SHADOW : 0;
	/* While NMIs are blocked the guest's IRET is the only sign of the end. */
	if (((b->intercept[VMCB_I_MISC1] & VMCB_I1_IRET) != 0) != (v->st.nmi_blocked && !hw->iret_seen))
		svm_set_intercept(hw, VMCB_I_MISC1, VMCB_I1_IRET, v->st.nmi_blocked && !hw->iret_seen);
}

/* The virtual interrupt is pending no more once hardware has delivered it. */
void svm_vintr_fetch(struct svm_vcpu *hw)
{
	if (!hw->window)
		hw->vintr &= ~VMCB_V_IRQ | hw->vmcb->vintr;
}

static void commit_ctl(struct vcpu *v, struct svm_vcpu *hw)
{
	struct svm_vm *s = v->vm->hw;
	struct vmcb *b = hw->vmcb;

	svm_vintr_fetch(hw);
	hw->window = v->want_intr_window || (v->level && v->debugger.step); /* nor is a debugger's step to end in its handler (Z06) */
	/* The window is a virtual interrupt that would be taken, but exits instead. Its vector is never used. */
	svm_set_intercept(hw, VMCB_I_MISC1, VMCB_I1_VINTR, v->want_intr_window);
	if (!hw->own_tpr)
		b->vintr = v->apic.tpr >> 4 & VMCB_V_TPR; /* QEMU 10 does not intercept reads of CR8 */
	b->vintr = (b->vintr & VMCB_V_TPR) | VMCB_V_INTR_MASKING | (hw->window ? 0 : hw->vintr);
	if (v->want_intr_window)
		b->vintr |= VMCB_V_IRQ | VMCB_V_IGN_TPR | VMCB_V_PRIO_MAX;
	svm_set_intercept(hw, VMCB_I_EXC, ~(1u << VEC_DB | 1u << VEC_AC | 1u << VEC_MC), v->step.catching);
	if (v->debugger.catch_int3)
		svm_set_intercept(hw, VMCB_I_EXC, 1u << VEC_BP, true); /* Z07 */
	if (svm_quirk_int3)
		svm_set_intercept(hw, VMCB_I_MISC1, VMCB_I1_SWINT, v->debugger.catch_int3);
	if (s->debugctl_open != v->debugctl_open) {
		s->debugctl_open = v->debugctl_open;
		svm_msrpm_set(s->msrpm, MSR_DEBUGCTL, !v->debugctl_open, true);
	}
	b->clean &= ~(VMCB_CLEAN_TPR | VMCB_CLEAN_IOPM);
}

/* VMRUN does not flush what the guest's own MOV to CR would: a change made from here does it by hand. */
static void commit_cr(struct vcpu *v, struct svm_vcpu *hw)
{
	struct vmcb *b = hw->vmcb;
	uint64_t efer = v->st.efer | EFER_SVME;

	if (b->cr0 != v->st.cr0 || b->cr3 != v->st.cr3 || b->cr4 != v->st.cr4 || b->efer != efer)
		hw->todo |= SVM_TODO_FLUSH;
	b->efer = efer;
	hw->svme = v->st.efer & EFER_SVME;
}

static void commit_dbg(struct vcpu *v, struct svm_vcpu *hw)
{
	struct vmcb *b = hw->vmcb;

	b->dr6 = v->dbg.vm_dr6;
	b->dr7 = v->dbg.vm_dr7;
	svm_set_intercept(hw, VMCB_I_DR, 0xffffffff, v->dbg.vm_intercept); /* drover's part only (M07) */
	b->clean &= ~VMCB_CLEAN_DR; /* S01 */
	if (svm_feat.edx & CPUID_SVM_EDX_LBRV) {
		b->lbr_control = v->dbg.vm_lbrv ? VMCB_LBR_ENABLE : 0; /* S12 */
		b->dbgctl = v->dbg.vm_debugctl;
		b->clean &= ~VMCB_CLEAN_LBR; /* else hardware may run on with the DEBUGCTL that it remembers */
	}
	v->dbg.vm_dirty = false;
}

/* The VMCB keeps the four records while LBR virtualization is off; no guest writes them (S13). */
static uint64_t *lbr_field(struct vmcb *b, uint32_t msr)
{
	switch (msr) {
	case MSR_LASTBRANCHFROMIP: return &b->br_from;
	case MSR_LASTBRANCHTOIP: return &b->br_to;
	case MSR_LASTINTFROMIP: return &b->last_excp_from;
	case MSR_LASTINTTOIP: return &b->last_excp_to;
	}
	return NULL;
}

bool svm_lbr(struct vcpu *v, uint32_t msr, bool write, uint64_t *val)
{
	const uint64_t *field = lbr_field(svm_hw(v)->vmcb, msr);

	if (!field || write)
		return false;
	*val = *field;
	return true;
}

unsigned svm_lbr_state(struct vcpu *v, uint64_t *array, bool restore)
{
	struct vmcb *b = svm_hw(v)->vmcb;

	for (uint32_t i = 0; i < 4; i++) {
		uint64_t *field = lbr_field(b, MSR_LASTBRANCHFROMIP + i);

		if (restore)
			*field = array[i];
		else
			array[i] = *field;
	}
	b->clean &= ~VMCB_CLEAN_LBR;
	return 4;
}

/* SDM, of the P6, whose names these are: the record before an exception or interrupt is copied "prior to recording the to and from addresses of" it. */
void svm_lbr_record(struct vcpu *v, uint64_t from, uint64_t to, bool event)
{
	struct vmcb *b = svm_hw(v)->vmcb;

	if (event) {
		b->last_excp_from = b->br_from;
		b->last_excp_to = b->br_to;
	}
	b->br_from = from;
	b->br_to = to;
	b->clean &= ~VMCB_CLEAN_LBR;
}

static void commit(struct vcpu *v, struct svm_vcpu *hw, uint32_t groups)
{
	static const uint32_t clean_of[] = {
		[0] = VMCB_CLEAN_CR, /* by VST_ bit number */
		[1] = VMCB_CLEAN_SEG, [2] = VMCB_CLEAN_SEG, [3] = VMCB_CLEAN_DT, [4] = VMCB_CLEAN_NP, [7] = VMCB_CLEAN_CR2, [8] = 0,
	};
	struct vmcb *b = hw->vmcb;
	const struct vcpu_state *st = &v->st;

	if (groups & VST_CTL)
		commit_ctl(v, hw);
	if (!(groups & ~(uint32_t)(VST_CTL | VST_SHADOW)))
		return; /* as after most level switches */
	if (groups & VST_CR)
		commit_cr(v, hw); /* before the copies: it compares */
#define X(group, from, to) \
	if (groups & (group)) \
		b->to = st->from;
	STATE_FIELDS(X)
#undef X
#define X(group, from, to) \
	if (groups & (group)) \
		seg_commit(&b->to, &st->seg[from]);
	STATE_SEGS(X)
#undef X
	if ((groups & VST_MSR) && svm_feat.rdtscp)
		wrmsr(MSR_TSC_AUX, st->tsc_aux);
	for (unsigned i = 0; i < sizeof(clean_of) / sizeof(clean_of[0]); i++)
		if (groups & (1u << i))
			b->clean &= ~clean_of[i];
}

/* ---- events ---- */

/* What an event changes besides EVENTINJ. Returns its type there. */
static __attribute__((noinline)) uint32_t inject_special(struct vcpu *v, struct svm_vcpu *hw)
{
	static const uint8_t type_of[] = {
		[EVENT_INTR] = VMCB_EV_INTR, [EVENT_NMI] = VMCB_EV_NMI, [EVENT_FAULT] = VMCB_EV_EXCEPTION,
		[EVENT_SOFT_INT] = VMCB_EV_SOFT, [EVENT_PRIV_SOFT] = VMCB_EV_EXCEPTION, [EVENT_SOFT_EXC] = VMCB_EV_EXCEPTION,
	};
	struct vmcb *b = hw->vmcb;
	const struct event *e = &v->inject;

	if (e->type == EVENT_FAULT && e->vector == VEC_PF) {
		b->cr2 = e->cr2;
		write_cr2(e->cr2); /* as in svm_vcpu_load(): not every VMRUN loads it */
		b->clean &= ~VMCB_CLEAN_CR2;
	}
	if (e->type == EVENT_NMI && !(v->level && e->reinjected)) { /* one that the guest hypervisor injects is its own business */
		v->st.nmi_blocked = true;
		hw->iret_seen = false;
		svm_set_intercept(hw, VMCB_I_MISC1, VMCB_I1_IRET, true);
	}
	if (e->type >= EVENT_SOFT_INT) {
		/* The pushed RIP is that after the instruction: from nRIP where the CPU takes it, else from RIP. */
		v->rip += e->len;
		if (svm_feat.edx & CPUID_SVM_EDX_NRIPS)
			b->nrip = v->rip; /* one without would find it there after its next exits */
	}
	return type_of[e->type];
}

static void inject(struct vcpu *v, struct svm_vcpu *hw)
{
	struct event *e = &v->inject;
	bool plain = e->type == EVENT_FAULT && e->vector != VEC_PF;
	uint32_t type = plain ? VMCB_EV_EXCEPTION : inject_special(v, hw);
	uint64_t info = e->vector | type << 8 | VMCB_EV_VALID;

	if (e->has_error)
		info |= VMCB_EV_ERROR_VALID | (uint64_t)e->error << 32;
	hw->vmcb->event_inj = info;
	hw->entered.event_inj = info;
	hw->entered.event_rip = hw->entered.rip = v->rip;
	hw->entered.event_at = hw->entered.rip_at = v->exits;
	/* There is no window exit for an NMI: one that waits behind this event gets its turn by an interrupt at the handler's first instruction. */
	if ((v->want_nmi_window && !v->st.nmi_blocked) || (svm_quirk_intr_twice && e->type == EVENT_INTR))
		lapic_kick();
	e->type = EVENT_NONE;
}

/* ---- before an entry, and after a refused one ---- */

static void keep_entered(struct vcpu *v, struct svm_vcpu *hw)
{
	struct svm_entered *k = &hw->entered;
	const struct vmcb *b = hw->vmcb;

#define X(field) k->field = b->field;
	SVM_CHECKED(X)
#undef X
	k->rflags = v->rflags;
	k->rsp = v->r[GPR_RSP];
	k->rax = v->r[GPR_RAX];
	k->state_at = v->exits;
}

void svm_entry_refused(struct vcpu *v)
{
	struct svm_vcpu *hw = svm_hw(v);
	const struct svm_entered *k = &hw->entered;
	struct vmcb *b = hw->vmcb;

	if (k->event_at == v->exits)
		b->event_inj = k->event_inj;
	if (k->rip_at == v->exits)
		v->rip = b->rip = k->rip;
	b->dr6 = v->dbg.vm_dr6;
	b->dr7 = v->dbg.vm_dr7;
	if (k->state_at != v->exits)
		return;
#define X(field) b->field = k->field;
	SVM_CHECKED(X)
#undef X
	v->rflags = b->rflags = k->rflags;
	v->r[GPR_RSP] = b->rsp = k->rsp;
	v->r[GPR_RAX] = b->rax = k->rax;
}

void svm_commit(struct vcpu *v)
{
	struct svm_vcpu *hw = svm_hw(v);

	if (v->st_dirty & VST_SHADOW)
		commit_shadow(v, hw);
	if (v->st_dirty & ~(uint32_t)VST_SHADOW)
		commit(v, hw, v->st_dirty);
	v->st_dirty = 0;
}

static __attribute__((noinline)) void prepare_state(struct vcpu *v, struct svm_vcpu *hw)
{
	struct vmcb *b = hw->vmcb;
	uint32_t dirty = v->st_dirty;

	svm_commit(v);
	if (v->dbg.vm_dirty || (dirty & VST_DBG))
		commit_dbg(v, hw);
	hw->entered.rip = v->rip;
	hw->entered.rip_at = v->exits;
	if (dirty)
		keep_entered(v, hw);

	if (hw->todo & SVM_TODO_FLUSH) {
		b->tlb_control = svm_feat.flush;
		hw->todo = SVM_TODO_UNFLUSH;
	} else if (hw->todo & SVM_TODO_UNFLUSH) {
		b->tlb_control = VMCB_TLB_NONE;
		hw->todo = 0;
	}
}

void svm_prepare(struct vcpu *v)
{
	struct svm_vcpu *hw = svm_hw(v);

	if (v->st_dirty | v->dbg.vm_dirty | hw->todo)
		prepare_state(v, hw);
	if (v->inject.type != EVENT_NONE)
		inject(v, hw);
}
