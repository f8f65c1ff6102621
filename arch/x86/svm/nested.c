/* SPDX-License-Identifier: MIT */
/* SVM for a guest: its instructions, MSRs and CPUID, and the switch between the guest (L1) and its own guest (L2). */
#include "arch/x86/svm/nested.h"

#include "arch/lib/log.h"
#include "arch/lib/string.h"
#include "arch/x86/def/cpuid.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/dr.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/def/pte.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/def/snapshot.h"
#include "arch/x86/pmem.h"
#include "vmm/cpuid.h"
#include "vmm/fetch.h"
#include "vmm/gmem.h"

/* ---- Level switch ---- */

/* GIF: interrupts and NMIs of L1 wait while it is 0, and its breakpoints are discarded (APM "Effect of the GIF on Interrupt Handling"). With V_INTR_MASKING the IF that VMRUN found holds them back from L2, too. */
static void hold(struct vcpu *v, struct svm_nested *n)
{
	bool masked = v->level && (n->in.vintr & VMCB_V_INTR_MASKING) && !(n->host.rflags & RFLAGS_IF);

	v->held = !n->gif ? VCPU_HELD_INTR | VCPU_HELD_NMI : masked ? VCPU_HELD_INTR : 0;
	v->event_pending = true;
	if (v->dbg.deaf == n->gif && dbg_armed(v->dbg.dr7))
		dbg_vm_fields_unknown(&v->dbg); /* what the block has to hold changes, and the guest's DR7 does not */
	v->dbg.deaf = !n->gif;
	dbg_settle(&v->dbg);
}

/* The other block from now on. What is cached of the old one is in it by now (svm_commit), what needs it anew is dirty. The debug registers are not in
 * hardware; what the other block holds of them is of another time. */
void svm_nested_switch(struct vcpu *v, struct svm_nested *n, uint8_t level)
{
	struct svm_vcpu *hw = svm_hw(v);
	uint8_t from = (uint8_t)v->level;

	if (level != from) { /* a refused VMRUN comes from where it goes to */
		*(from ? &n->todo02 : &n->todo01) = hw->todo;
		hw->todo = level ? n->todo02 : n->todo01;
	}
	svm_use_vmcb(v, level ? n->b02 : n->b01);
	hw->vmcb->clean = 0;
	v->level = level;
	v->exit.level = level;
	v->st_valid = 0;
	vcpu_need(v, VST_SHADOW);
	v->want_intr_window = v->want_nmi_window = false;
	vcpu_dirty(v, VST_SHADOW | VST_CTL);
	if (!level && from) {
		v->fetch = n->fetch01; /* it is compared with L1's tables before it is used */
	} else if (level && !from) {
		n->fetch01 = v->fetch;
		fetch_cache_init(&v->fetch);
	}
	dbg_vm_fields_unknown(&v->dbg);
	hold(v, n);
}

/* Behind an exit the control block is what runs: the groups need not be fetched for a look at single bits. */
static bool long64(const struct vcpu *v)
{
	const struct vmcb *b = svm_hw(v)->vmcb;

	return (b->efer & EFER_LMA) && (b->cs.attr & SEG_AR_L >> 4);
}

void svm_nested_regs(struct vcpu *v, uint64_t rip, uint64_t rsp, uint64_t rax, uint64_t rflags)
{
	v->rip = rip;
	v->r[GPR_RSP] = rsp;
	v->r[GPR_RAX] = rax;
	v->rflags = (rflags & 0x3f7fd7ull) | RFLAGS_BIT1;
}

/* L1 behind its VMRUN: APM "#VMEXIT". Its own breakpoints are off, DR6 is what L2 left (M04); a step over VMRUN is due now (M10). */
static void resume_l1(struct vcpu *v, struct svm_nested *n)
{
	uint32_t step;

	n->gif = false;
	n->b01->int_state = 0;
	svm_hw(v)->svme = EFER_SVME; /* it has run VMRUN */
	v->tsc_offset = 0;
	v->exit.vectoring.type = EVENT_NONE;
	svm_nested_regs(v, n->host.rip, n->host.rsp, n->host.rax, n->host.rflags);
	if (n->own_debugctl) {
		n->own_debugctl = false;
		v->dbg.debugctl = n->host.debugctl;
	}
	v->dbg.dr7 = DR7_INIT;
	svm_nested_switch(v, n, 0);
	step = dbg_retire(&v->dbg, n->host.rflags, 0);
	if (step)
		vcpu_raise_db(v, &(struct dbg_record){ .payload = step, .cls = DBG_TRAP, .emulated = true });
}

static void store_exit(struct vmcb *b, const struct vmcb *b02, uint64_t code, uint64_t info1, uint64_t info2)
{
	b->exit_code = code;
	b->exit_info1 = info1;
	b->exit_info2 = info2;
	b->exit_int_info = b02->exit_int_info & VMCB_EV_VALID ? b02->exit_int_info : 0;
	b->event_inj &= ~VMCB_EV_VALID;
	if (svm_feat.edx & CPUID_SVM_EDX_NRIPS)
		b->nrip = b02->nrip;
}

void svm_nested_store_vintr(struct vcpu *v, const struct svm_nested *n, struct vmcb *b)
{
	struct svm_vcpu *hw = svm_hw(v);

	svm_vintr_fetch(hw);
	b->vintr = (b->vintr & ~VMCB_V_IRQ) | (hw->vintr & VMCB_V_IRQ);
	if (hw->own_tpr)
		b->vintr = (b->vintr & ~VMCB_V_TPR) | (n->b02->vintr & VMCB_V_TPR);
}

void svm_nested_leave(struct vcpu *v, uint64_t code, uint64_t info1, uint64_t info2)
{
	struct svm_nested *n = svm_nested_of(v);
	struct svm_vcpu *hw = svm_hw(v);
	struct vmcb *b = (struct vmcb *)(void *)gmem_ptr(v->vm, (struct gpa){ n->vmcb12 }, sizeof(*b));

	svm_commit(v);
	svm_nested_store(n, b);
	b->efer = (b->efer & ~EFER_SVME) | hw->svme;
	b->rip = v->rip;
	b->rsp = v->r[GPR_RSP];
	b->rax = v->r[GPR_RAX];
	b->rflags = v->rflags;
	b->dr6 = v->dbg.dr6; /* M04 */
	b->dr7 = v->dbg.dr7;
	store_exit(b, n->b02, code, info1, info2);
	svm_nested_store_vintr(v, n, b);
	hw->own_tpr = false;
	svm_nested_shared(n->b01, n->b02, !n->own_debugctl);
	if (n->own_debugctl) { /* M08 */
		svm_nested_records(b, n->b02);
		b->dbgctl = v->dbg.debugctl;
	}
	n->b01->cr2 = n->b02->cr2; /* no part of the host state: #VMEXIT leaves L2's */
	*(n->in.np_control & VMCB_NP_ENABLE ? &b->g_pat : &n->b01->g_pat) = n->b02->g_pat;
	memset(hw->floor, 0, sizeof(hw->floor));
	hw->vintr = 0;
	hw->window = false;
	resume_l1(v, n);
}

/* EVENTINJ: injected as it is, by way of the events that an exit cut short: no merge into DR6, no intercept (N11). */
static void take_event(struct vcpu *v, const struct svm_nested *n)
{
	static const uint8_t type_of[8] = {
		[VMCB_EV_INTR] = EVENT_INTR, [VMCB_EV_NMI] = EVENT_NMI, [VMCB_EV_EXCEPTION] = EVENT_FAULT, [VMCB_EV_SOFT] = EVENT_SOFT_INT,
	};
	uint64_t ev = n->in.event_inj;
	struct event *e = &v->exit.vectoring;

	*e = (struct event){ .type = EVENT_NONE };
	if (!(ev & VMCB_EV_VALID))
		return;
	e->type = type_of[VMCB_EV_TYPE(ev)];
	e->vector = e->type == EVENT_NMI ? VEC_NMI : (uint8_t)(ev & VMCB_EV_VECTOR);
	e->has_error = e->type == EVENT_FAULT && (ev & VMCB_EV_ERROR_VALID);
	e->error = (uint32_t)(ev >> 32);
	e->cr2 = n->in.cr2;
	e->reinjected = true;
	if (e->type == EVENT_SOFT_INT && (svm_feat.edx & CPUID_SVM_EDX_NRIPS))
		v->rip = n->in.nrip; /* what such a CPU pushes */
}

/* VMRUN and #VMEXIT switch DEBUGCTL and its records only with LBR virtualization on, which only a VM with debugctl=emulate is told of. Without, L2 runs on with
 * what L1 has: source document 2 (M08, S07). Reserved bits are stripped as L1's own WRMSR would. */
static void enter_debugctl(struct vcpu *v, struct svm_nested *n)
{
	n->own_debugctl = v->dbg.soft && (n->in.lbr_control & VMCB_LBR_ENABLE);
	if (!n->own_debugctl)
		return;
	svm_nested_records(n->b02, &n->in);
	n->host.debugctl = v->dbg.debugctl;
	dbg_wrmsr_debugctl(&v->dbg, n->in.dbgctl & (DEBUGCTL_LBR | DEBUGCTL_BTF | DEBUGCTL_BUS_LOCK));
}

static void enter_l2(struct vcpu *v, struct svm_nested *n)
{
	const struct vmcb *in = &n->in;

	svm_nested_merge(v, n);
	enter_debugctl(v, n);
	svm_hw(v)->svme = EFER_SVME;
	svm_nested_regs(v, in->rip, in->rsp, in->rax, in->rflags);
	v->dbg.dr6 = dbg_dr6_fix(in->dr6, v->dbg.feat); /* M03 */
	v->dbg.dr7 = dbg_dr7_fix(in->dr7, v->dbg.feat); /* M02; DR0-3 are shared (N08) */
	svm_nested_switch(v, n, 1);
	take_event(v, n);
}

/* Once, and no more of the page than there are fields. */
static void read_block(struct vmcb *in, const uint8_t *page)
{
	memcpy(in, page, VMCB_CONTROL_END);
	memcpy((uint8_t *)in + VMCB_SAVE_START, page + VMCB_SAVE_START, VMCB_SAVE_END - VMCB_SAVE_START);
}

/* RIP is at VMRUN. */
static void vmrun(struct vcpu *v, uint64_t gpa, uint8_t *page, unsigned len)
{
	struct svm_nested *n = svm_nested_of(v);
	const char *broken;

	read_block(&n->in, page);
	vcpu_clear_shadow(v);
	svm_commit(v);
	n->vmcb12 = gpa;
	n->host.rip = v->rip + len;
	if (!long64(v))
		n->host.rip &= 0xffffffff;
	n->host.rsp = v->r[GPR_RSP];
	n->host.rax = v->r[GPR_RAX];
	n->host.rflags = v->rflags & ~RFLAGS_RF; /* VMRUN is over when L1 goes on (M11) */
	n->gif = true;
	broken = svm_nested_broken(&n->in);
	if (!broken) {
		enter_l2(v, n);
		return;
	}
	n->b02->exit_int_info = n->b02->nrip = 0;
	store_exit((struct vmcb *)(void *)page, n->b02, SVM_EXIT_INVALID, 0, 0);
	resume_l1(v, n);
}

/* ---- Instructions ---- */

enum { OP_VMRUN = 0, OP_VMLOAD = 2, OP_VMSAVE = 3, OP_STGI = 4, OP_CLGI = 5, OP_SKINIT = 6, OP_INVLPGA = 7 }; /* ModRM.rm of 0F 01 D8 */

/* "VMLOAD canonicalizes (i.e., sign-extends to 63) all base addresses in the segment registers that have been loaded." The MSRs are for the hardware to
 * judge at its own VMLOAD. */
static void vmload(struct vmcb *to, const uint8_t *page)
{
	static struct vmcb from; /* one copy, so that nothing changes meanwhile; one CPU runs guests */

	read_block(&from, page);
	from.fs.base = canonicalize(from.fs.base);
	from.gs.base = canonicalize(from.gs.base);
	from.ldtr.base = canonicalize(from.ldtr.base);
	from.tr.base = canonicalize(from.tr.base);
	from.kernel_gs_base = canonicalize(from.kernel_gs_base);
	svm_nested_shared(to, &from, false);
	to->clean = 0;
}

/* The operand in RAX: a page of L1's memory. */
static bool operand(struct vcpu *v, const struct decoded *d, uint64_t *gpa, uint8_t **page)
{
	*gpa = d->addr_size == 8 ? v->r[GPR_RAX] : v->r[GPR_RAX] & 0xffffffff;
	*page = *gpa & (PAGE_SIZE - 1) ? NULL : gmem_ptr(v->vm, (struct gpa){ *gpa }, PAGE_SIZE);
	if (!*page)
		vcpu_raise(v, VEC_GP, true, 0);
	return *page != NULL;
}

static void carry_out(struct vcpu *v, const struct decoded *d)
{
	struct svm_nested *n = svm_nested_of(v);
	uint8_t *page;
	uint64_t gpa;

	switch (d->reg) {
	case OP_VMRUN:
		if (operand(v, d, &gpa, &page))
			vmrun(v, gpa, page, d->len);
		return;
	case OP_VMLOAD: case OP_VMSAVE:
		if (!operand(v, d, &gpa, &page))
			return;
		svm_commit(v);
		if (d->reg == OP_VMLOAD)
			vmload(svm_hw(v)->vmcb, page);
		else
			svm_nested_shared((struct vmcb *)(void *)page, svm_hw(v)->vmcb, false);
		v->st_valid = 0;
		break;
	case OP_STGI: case OP_CLGI:
		n->gif = d->reg == OP_STGI;
		hold(v, n);
		break;
	default: /* INVLPGA: any page of any ASID */
		svm_npt_flush(v, n);
	}
	vcpu_skip(v, d->len);
}

/* Faults in the order of the manual: #UD (EFER.SVME, protected mode), #GP (CPL), then the operand's. SKINIT is not announced. */
static void nested_insn(struct vcpu *v)
{
	const struct svm_vcpu *hw = svm_hw(v);
	struct decoded d = { .reg = OP_VMRUN, .addr_size = 8 };

	if (v->level && v->exit.hw_reason == 0x80) { /* L1's VMRUN intercept is a condition of L2's entry */
		vcpu_raise(v, VEC_UD, false, 0);
		return;
	}
	if (!hw->svme || !(hw->vmcb->cr0 & CR0_PE) || (v->rflags & RFLAGS_VM) || v->exit.hw_reason == 0x86) {
		vcpu_raise(v, VEC_UD, false, 0);
		return;
	}
	if (vcpu_cpl(v) != 0) {
		vcpu_raise(v, VEC_GP, true, 0);
		return;
	}
	d.len = (uint8_t)fetch_insn_len(v, DEC_SVM);
	if ((d.len == 3 && v->exit.hw_reason == 0x80 && long64(v)) || fetch_decode(v, DEC_SVM, DEC_SVM, &d))
		carry_out(v, &d);
}

/* ---- CPUID and MSRs ---- */

static void nested_cpuid(struct vcpu *v, uint32_t leaf, uint32_t sub, struct cpuid_regs *r)
{
	(void)sub;
	if (leaf == 0x80000001)
		r->ecx |= CPUID_81_ECX_SVM;
	if (leaf == 0x8000000a)
		*r = (struct cpuid_regs){ .eax = 1, .ebx = SVM_NESTED_ASIDS, .edx = CPUID_SVM_EDX_NPT | (svm_feat.edx & CPUID_SVM_EDX_NRIPS) |
							       (v->dbg.soft ? CPUID_SVM_EDX_LBRV : 0) };
}

static int write_vm_cr(struct vcpu *v, struct svm_nested *n, uint64_t val)
{
	uint64_t fixed = n->vm_cr & VM_CR_LOCK ? VM_CR_LOCK | VM_CR_SVMDIS : 0;

	if (val & ~SVM_VM_CR_KNOWN)
		return 0;
	val = (val & ~fixed) | (n->vm_cr & fixed);
	vcpu_need(v, VST_CR);
	if ((val & VM_CR_SVMDIS) && (v->st.efer & EFER_SVME))
		return 0;
	n->vm_cr = val;
	return 1;
}

static int nested_msr(struct vcpu *v, uint32_t msr, bool write, uint64_t *val)
{
	struct svm_nested *n = svm_nested_of(v);

	switch (msr) {
	case MSR_EFER:
		return write && (*val & EFER_SVME) && (n->vm_cr & VM_CR_SVMDIS) ? 0 : 1;
	case MSR_VM_CR:
		if (write)
			return write_vm_cr(v, n, *val);
		*val = n->vm_cr;
		return 1;
	case MSR_VM_HSAVE_PA:
		if (write && (*val & ((PAGE_SIZE - 1) | ~cpuid_pa_mask())))
			return 0;
		*(write ? &n->hsave : val) = write ? *val : n->hsave;
		return 1;
	}
	return -1;
}

/* ---- Life ---- */

static void nested_destroy(struct vcpu *v)
{
	struct svm_nested *n = svm_nested_of(v);

	if (!n)
		return;
	if (v->level)
		svm_use_vmcb(v, n->b01);
	svm_npt_destroy(n);
	pmem_free(n->msrpm, VMCB_MSRPM_SIZE);
	pmem_free(n->b02, sizeof(*n->b02));
	pmem_free(n, sizeof(*n));
	v->nested = NULL;
}

static void nested_reset(struct vcpu *v)
{
	struct svm_nested *n = svm_nested_of(v);
	struct svm_vcpu *hw = svm_hw(v);

	svm_use_vmcb(v, n->b01);
	memset(hw->floor, 0, sizeof(hw->floor));
	hw->vintr = hw->svme = 0;
	hw->window = hw->own_tpr = false;
	n->gif = true;
	n->hsave = 0;
	n->vm_cr = v->vm->nested == NESTED_LOCKED ? VM_CR_SVMDIS | VM_CR_LOCK : 0;
	n->last_ncr3 = ~0ull;
	n->todo01 = n->todo02 = SVM_TODO_FLUSH;
	n->own_debugctl = false;
	v->held = 0;
	v->dbg.deaf = false;
}

static bool nested_init(struct vcpu *v)
{
	struct svm_nested *n = pmem_alloc(sizeof(*n), PAGE_SIZE);

	v->nested = n;
	if (!n)
		return false;
	n->b01 = svm_hw(v)->vmcb;
	n->b02 = pmem_alloc(sizeof(*n->b02), PAGE_SIZE);
	n->msrpm = pmem_alloc(VMCB_MSRPM_SIZE, PAGE_SIZE);
	if (!n->b02 || !n->msrpm || !svm_npt_init(v, n)) {
		log_printf("drover: svm: no memory for the guest's own guests\n");
		return false;
	}
	memset(n->msrpm, 0xff, VMCB_MSRPM_SIZE);
	n->asid = svm_next_asid();
	nested_reset(v);
	return true;
}

/* Both blocks: what this CPU has cached of the one that is not in use may be of another time as well. */
void svm_nested_loaded(struct vcpu *v)
{
	struct svm_nested *n = svm_nested_of(v);

	n->todo01 |= SVM_TODO_FLUSH;
	n->todo02 |= SVM_TODO_FLUSH;
}

static void nested_flush(struct vcpu *v)
{
	svm_npt_flush(v, svm_nested_of(v));
	svm_nested_loaded(v);
	svm_hw(v)->todo |= SVM_TODO_FLUSH;
}

const struct nested_ops svm_nested = {
	.init = nested_init,
	.destroy = nested_destroy,
	.reset = nested_reset,
	.cpuid = nested_cpuid,
	.efer = EFER_SVME,
	.msr = nested_msr,
	.insn = nested_insn,
	.exit = svm_nested_exit,
	.event = svm_nested_event,
	.phys = svm_npt_phys,
	.irq_open = svm_nested_irq_open,
	.virq = svm_nested_virq,
	.traps_int = svm_nested_traps_int,
	.access = svm_npt_access,
	.miss = svm_nested_miss,
	.flush = nested_flush,
	.state_size = sizeof(struct svm_nested_snapshot),
	.save = svm_nested_save,
	.check = svm_nested_check,
	.restore = svm_nested_restore,
};
