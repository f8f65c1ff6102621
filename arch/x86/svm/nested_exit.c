/* SPDX-License-Identifier: MIT */
/* Exits of L2: whose they are, L1's or drover's; and what waits for L2 but is L1's. */
#include "arch/x86/def/cr.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/lapic.h"
#include "arch/x86/pmem.h"
#include "arch/x86/svm/nested.h"
#include "vmm/apic.h"
#include "vmm/gmem.h"
#include "vmm/guard.h"
#include "vmm/run.h"

/* Exit codes that the tables below do not say by themselves. */
enum {
	CODE_EXCEPTION = 0x40, CODE_INTR = 0x60, CODE_NMI = 0x61, CODE_INIT = 0x63, CODE_VINTR = 0x64, CODE_SWINT = 0x75, CODE_IOIO = 0x7b, CODE_MSR = 0x7c,
	CODE_SHUTDOWN = 0x7f, CODE_VMMCALL = 0x81, CODE_ICEBP = 0x88, CODE_LAST = 0xbf, CODE_NPF = 0x400,
};
#define CODE_REFUSED 0xffffffffu

/* Codes and intercept bits run in parallel: a word of the block is 32 codes. */
static bool asked(const struct svm_nested *n, uint32_t code)
{
	return code <= CODE_LAST && (n->in.intercept[code / 32] >> code % 32 & 1);
}

/* A permission map that is not memory reads as ones. */
static bool map_bits(const struct vcpu *v, uint64_t map, uint64_t bit, unsigned count)
{
	uint8_t b[2] = { 0xff, 0xff };

	gmem_read(v->vm, (struct gpa){ (map & ~0xfffull) + bit / 8 }, b, 2);
	return ((uint32_t)b[0] | (uint32_t)b[1] << 8) >> bit % 8 & ((1u << count) - 1);
}

static bool asked_io(const struct vcpu *v, const struct svm_nested *n)
{
	const struct exit *e = &v->exit;

	return map_bits(v, n->in.iopm_pa, e->u.io.port, e->u.io.size);
}

static bool asked_msr(const struct vcpu *v, const struct svm_nested *n)
{
	static const uint32_t base[] = { 0, 0xc0000000, 0xc0010000 };
	uint32_t msr = (uint32_t)v->r[GPR_RCX];

	for (unsigned i = 0; i < sizeof(base) / sizeof(base[0]); i++)
		if (msr - base[i] < 0x2000)
			return map_bits(v, n->in.msrpm_pa, i * 0x4000u + (uint64_t)(msr - base[i]) * 2 + v->exit.u.msr.write, 1);
	return true; /* outside of the map: always */
}

/* Interrupts, NMI, SMI and INIT of the machine are the host's (N23 says the same of what L1 never asked for). */
static bool l1_wants(const struct vcpu *v, const struct svm_nested *n, uint32_t code)
{
	if ((code >= CODE_INTR && code <= CODE_INIT) || !asked(n, code))
		return false;
	if (code == CODE_EXCEPTION + VEC_MC)
		return false;
	if (code == CODE_IOIO)
		return asked_io(v, n);
	return code != CODE_MSR || asked_msr(v, n);
}

/* DR6 and GD change before the exit, not at the delivery that L1 may make of it (M05); by the policy's own merge. LBR and BTF stay as for a #DB of
 * L1's own that drover intercepts: they go at delivery. */
static void apply_db(struct vcpu *v, const struct dbg_record *r)
{
	uint64_t debugctl = v->dbg.debugctl;

	dbg_deliver(&v->dbg, r);
	v->dbg.debugctl = debugctl;
}

/* What a debugger's slots caused is taken out first (Z04); if that is all, drover's handler has it. */
static bool l1_db(struct vcpu *v)
{
	struct dbg_record r = v->exit.u.exc.db;
	uint32_t theirs = dbg_route(&v->dbg, &r.payload);

	if (theirs && !r.payload)
		return false;
	if (theirs)
		vcpu_debugger_hit(v, theirs);
	apply_db(v, &r);
	svm_nested_leave(v, CODE_EXCEPTION + VEC_DB, 0, 0);
	return true;
}

/* The instruction at which L2 was entered has not run. Its RF stays, which Bochs saves as 0 (M11). */
static void keep_rf(struct vcpu *v)
{
	const struct svm_entered *k = &svm_hw(v)->entered;

	if (k->state_at + 1 == v->exits && k->rip_at + 1 == v->exits && v->rip == k->rip)
		v->rflags |= k->rflags & RFLAGS_RF;
}

/* A debugger's: the machine model has it, with the address in L1's memory. */
static bool guarded(struct vcpu *v, uint64_t l1)
{
	v->exit.u.mem.gpa = l1;
	return false;
}

/* Without nested paging of L1's there is nobody to show the fault to: memory that the machine does not have costs L2 its life, not L1. */
static bool npf(struct vcpu *v, struct svm_nested *n)
{
	uint64_t info1, info2;

	keep_rf(v);
	if (n->in.np_control & VMCB_NP_ENABLE) {
		switch (svm_npt_fault(v, n, &info1, &info2)) {
		case NPT_FILLED: break;
		case NPT_L1: svm_nested_leave(v, CODE_NPF, info1, info2); break;
		case NPT_APIC: apic_mmio(v); break;
		case NPT_GUARD: return guarded(v, info2);
		}
		return true;
	}
	if (!asked(n, CODE_SHUTDOWN) || (n->b02->exit_info2 ^ VLAPIC_PA) < PAGE_SIZE || guard_has(v->vm, n->b02->exit_info2))
		return false; /* or the virtual APIC's page, which is L2's as well then, or a debugger's */
	svm_nested_leave(v, CODE_SHUTDOWN, 0, 0);
	return true;
}

/* An INT n that the entry injected has no instruction behind it: it has to be injected again. Else RIP is not where it was injected. Drover injects none
 * of its own. */
static bool soft_injected(const struct vcpu *v, const struct vmcb *b)
{
	const struct svm_entered *k = &svm_hw(v)->entered;

	return (b->exit_int_info & VMCB_EV_VALID) && VMCB_EV_TYPE(b->exit_int_info) == VMCB_EV_SOFT && k->event_at + 1 == v->exits &&
	       VMCB_EV_TYPE(k->event_inj) == VMCB_EV_SOFT && b->rip == k->event_rip &&
	       (k->event_inj & VMCB_EV_VECTOR) == (b->exit_int_info & VMCB_EV_VECTOR);
}

/* What drover has found while it carried out an instruction for L2, as if hardware had. */
bool svm_nested_miss(struct vcpu *v)
{
	struct svm_nested *n = svm_nested_of(v);
	bool np = n->in.np_control & VMCB_NP_ENABLE;

	if (!np && !asked(n, CODE_SHUTDOWN))
		return false;
	svm_nested_leave(v, np ? CODE_NPF : CODE_SHUTDOWN, np ? svm_npt_miss(v, n) : 0, np ? v->miss.pa : 0);
	return true;
}

bool svm_nested_exit(struct vcpu *v)
{
	struct svm_nested *n = svm_nested_of(v);
	uint32_t code = v->exit.hw_reason;

	if (v->step.over)
		return false;
	if (soft_injected(v, n->b02))
		v->exit.vectoring.type = EVENT_SOFT_INT;
	if (code == CODE_NPF)
		return npf(v, n);
	if (code == CODE_REFUSED) { /* what only hardware knows to be wrong is L1's mistake all the same */
		svm_nested_leave(v, SVM_EXIT_INVALID, 0, 0);
		return true;
	}
	if (code == CODE_VINTR && v->exit.kind == EXITK_INTR_WINDOW)
		return false;
	if (l1_wants(v, n, code)) {
		if (code == CODE_EXCEPTION + VEC_DB)
			return l1_db(v);
		svm_nested_leave(v, code, n->b02->exit_info1, n->b02->exit_info2);
		return true;
	}
	if (code == CODE_VMMCALL && !v->vm->lab) { /* drover's hypercalls are for L1; without an intercept there is no such instruction */
		vcpu_raise(v, VEC_UD, false, 0);
		return true;
	}
	return false;
}

/* ---- What waits ---- */

/* An exception that drover raises for L2 while emulating: L1's if it intercepts that vector. */
static bool l1_exception(struct vcpu *v, const struct svm_nested *n)
{
	struct event e = v->exception;

	if (e.type == EVENT_NONE || !asked(n, CODE_EXCEPTION + (e.vector & 31u)))
		return false;
	if (e.vector == VEC_DB && e.db.cls == DBG_ICEBP) /* has an intercept of its own, and L1 did not set it */
		return false;
	v->exception.type = EVENT_NONE;
	if (e.vector == VEC_DB)
		apply_db(v, &e.db);
	svm_nested_leave(v, CODE_EXCEPTION + e.vector, e.has_error ? e.error : 0, e.vector == VEC_PF ? e.cr2 : 0);
	return true;
}

/* Can L1 be interrupted, were it not for the shadow? While L2 runs with V_INTR_MASKING it is L1's IF that counts: nested.c holds the interrupt. */
static bool l1_intr(const struct vcpu *v, const struct svm_nested *n)
{
	if (event_irq(v) < 0 || (v->held & VCPU_HELD_INTR) || !asked(n, CODE_INTR))
		return false;
	return (n->in.vintr & VMCB_V_INTR_MASKING) || (v->rflags & RFLAGS_IF);
}

/* No shadow holds an exit back. What is on its way into L2 goes first (N21); the exit then comes at the handler's first instruction. */
bool svm_nested_event(struct vcpu *v)
{
	struct svm_nested *n = svm_nested_of(v);
	bool nmi, intr;

	vcpu_need(v, VST_SHADOW); /* L2's IRET may have ended the blocking of NMIs */
	nmi = v->nmi_pending && !(v->held & VCPU_HELD_NMI) && !v->st.nmi_blocked && asked(n, CODE_NMI);
	intr = l1_intr(v, n);

	if (v->exit.vectoring.type == EVENT_NONE)
		n->b02->exit_int_info = 0; /* an INT n that drover's own exit cut short is executed again: L1 must not inject it as well */
	if (v->exception.type == EVENT_TRIPLE) {
		if (!asked(n, CODE_SHUTDOWN))
			return false;
		v->exception.type = EVENT_NONE;
		svm_nested_leave(v, CODE_SHUTDOWN, 0, 0);
		return true;
	}
	if (v->exit.vectoring.type == EVENT_NONE && l1_exception(v, n))
		return true;
	if (!nmi && !intr)
		return false;
	if (v->exit.vectoring.type != EVENT_NONE || v->exception.type != EVENT_NONE) {
		lapic_kick();
		return false;
	}
	svm_nested_leave(v, nmi ? CODE_NMI : CODE_INTR, 0, 0);
	return true;
}

bool svm_nested_irq_open(const struct vcpu *v)
{
	const struct svm_nested *n = svm_nested_of(v);

	return (n->in.vintr & VMCB_V_INTR_MASKING ? n->host.rflags : v->rflags) & RFLAGS_IF;
}

bool svm_nested_traps_int(const struct vcpu *v, bool icebp)
{
	return asked(svm_nested_of(v), icebp ? CODE_ICEBP : CODE_SWINT);
}

int svm_nested_virq(struct vcpu *v, bool take)
{
	struct svm_nested *n = svm_nested_of(v);
	struct svm_vcpu *hw = svm_hw(v);
	uint64_t prio, tpr;

	svm_vintr_fetch(hw);
	prio = (hw->vintr & VMCB_V_PRIO_MAX) >> 16;
	tpr = n->b02->vintr & 0xf;
	if (!(hw->vintr & VMCB_V_IRQ) || !(v->rflags & RFLAGS_IF) || (!(hw->vintr & VMCB_V_IGN_TPR) && prio <= tpr))
		return -1;
	if (take) {
		if (asked(n, CODE_VINTR))
			return -1;
		hw->vintr &= ~VMCB_V_IRQ;
		vcpu_dirty(v, VST_CTL);
	}
	return (int)(hw->vintr >> 32 & 0xff);
}
