/* SPDX-License-Identifier: MIT */
/* The control block that L2 runs with, from drover's for L1 and L1's for L2: a table with the kind of each field. */
#include "arch/lib/string.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/pmem.h"
#include "arch/x86/svm/nested.h"
#include "vmm/gmem.h"

enum kind {
	EITHER, /* intercepts: drover's or L1's */
	STATE,  /* L2's: from vmcb12 at VMRUN, back into it at #VMEXIT */
	SHARED, /* not switched by VMRUN and #VMEXIT: L2 goes on with L1's and leaves L1 its own. VMLOAD and VMSAVE move most of it */
	SYSTEM, /* SHARED, but the debug records, which VMLOAD and VMSAVE do not touch */
};

/* Not here: what is drover's alone (IOPM: every port exits; AVIC, GHCB, CET), what is computed below, and what goes through struct vcpu: RIP, RSP, RAX,
 * RFLAGS, DR6, DR7, the event. */
#define F(kind, field) { kind, offsetof(struct vmcb, field), sizeof(((struct vmcb *)0)->field) }
static const struct {
	uint8_t kind;
	uint16_t off, size;
} fields[] = {
	F(EITHER, intercept[VMCB_I_CR]), F(EITHER, intercept[VMCB_I_DR]), F(EITHER, intercept[VMCB_I_EXC]), F(EITHER, intercept[VMCB_I_MISC1]),
	F(EITHER, intercept[VMCB_I_MISC2]), F(EITHER, intercept[VMCB_I_MISC3]),
	F(STATE, int_state), F(STATE, es), F(STATE, cs), F(STATE, ss), F(STATE, ds), F(STATE, gdtr), F(STATE, idtr), F(STATE, cpl), F(STATE, efer),
	F(STATE, cr4), F(STATE, cr3), F(STATE, cr0), F(STATE, cr2),
	F(SHARED, fs), F(SHARED, gs), F(SHARED, ldtr), F(SHARED, tr), F(SHARED, star), F(SHARED, lstar), F(SHARED, cstar), F(SHARED, sfmask),
	F(SHARED, kernel_gs_base), F(SHARED, sysenter_cs), F(SHARED, sysenter_esp), F(SHARED, sysenter_eip),
	F(SYSTEM, br_from), F(SYSTEM, br_to), F(SYSTEM, last_excp_from), F(SYSTEM, last_excp_to),
};
#undef F

static void copy(struct vmcb *to, const struct vmcb *from, unsigned kind)
{
	for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (fields[i].kind == kind)
			memcpy((uint8_t *)to + fields[i].off, (const uint8_t *)from + fields[i].off, fields[i].size);
}

void svm_nested_store(const struct svm_nested *n, struct vmcb *to)
{
	copy(to, n->b02, STATE);
}

void svm_nested_records(struct vmcb *to, const struct vmcb *from)
{
	copy(to, from, SYSTEM);
}

void svm_nested_shared(struct vmcb *to, const struct vmcb *from, bool records)
{
	copy(to, from, SHARED);
	if (records)
		copy(to, from, SYSTEM);
}

/* An SMI is the host's, whatever L1 asks for. */
static void either(struct svm_vcpu *hw, struct vmcb *b, const struct vmcb *b01, const struct vmcb *in)
{
	for (unsigned i = 0; i < VMCB_I_NR; i++) {
		hw->floor[i] = in->intercept[i] & (i == VMCB_I_MISC1 ? ~VMCB_I1_SMI : ~0u);
		b->intercept[i] = b01->intercept[i] | hw->floor[i];
	}
}

/* L1's map may close what drover's leaves open; the other way round it exits to drover first. A map that is not memory reads as ones. */
static void merge_msrpm(struct vcpu *v, struct svm_nested *n)
{
	const struct svm_vm *s = v->vm->hw;
	const uint64_t *ours = (const uint64_t *)(const void *)s->msrpm;
	uint64_t *to = (uint64_t *)(void *)n->msrpm;
	bool asked = n->in.intercept[VMCB_I_MISC1] & VMCB_I1_MSR;

	for (unsigned i = 0; i < VMCB_MSRPM_SIZE / 8; i++) {
		uint64_t theirs = ~0ull;

		to[i] = ours[i];
		if (!asked || ours[i] == ~0ull)
			continue;
		gmem_read(v->vm, (struct gpa){ (n->in.msrpm_pa & ~0xfffull) + i * 8 }, &theirs, 8);
		to[i] |= theirs;
	}
}

#define CR8_WRITE (1u << (16 + 8))

/* Without V_INTR_MASKING L2's CR8 is L1's. Its virtual interrupt goes on by drover's hand: state.c, commit_ctl. */
static void merge_vintr(struct svm_vcpu *hw, struct svm_nested *n)
{
	const uint64_t offer = VMCB_V_IRQ | VMCB_V_PRIO_MAX | VMCB_V_IGN_TPR | VMCB_V_VECTOR;

	hw->vintr = n->in.vintr & offer;
	hw->window = false;
	hw->own_tpr = n->in.vintr & VMCB_V_INTR_MASKING;
	n->b02->vintr = VMCB_V_INTR_MASKING | hw->vintr | (n->in.vintr & VMCB_V_TPR);
	if (hw->own_tpr)
		n->b02->intercept[VMCB_I_CR] &= ~CR8_WRITE | hw->floor[VMCB_I_CR];
}

static void merge_paging(struct vcpu *v, struct svm_nested *n)
{
	struct vmcb *b = n->b02;
	bool np = n->in.np_control & VMCB_NP_ENABLE;
	uint64_t ncr3 = np ? n->in.n_cr3 : ~0ull;

	if (n->in.tlb_control || n->in.asid != n->last_asid || ncr3 != n->last_ncr3 || n->asid == n->b01->asid)
		svm_npt_flush(v, n);
	if (n->in.tlb_control == VMCB_TLB_FLUSH_ALL)
		n->todo01 |= SVM_TODO_FLUSH;
	n->last_asid = n->in.asid;
	n->last_ncr3 = ncr3;
	b->np_control = VMCB_NP_ENABLE;
	b->n_cr3 = np ? virt_to_phys(n->npt) : v->vm->slat_root;
	b->g_pat = np ? n->in.g_pat : n->b01->g_pat;
	b->asid = n->asid;
}

void svm_nested_merge(struct vcpu *v, struct svm_nested *n)
{
	struct svm_vcpu *hw = svm_hw(v);
	struct vmcb *b = n->b02;

	either(hw, b, n->b01, &n->in);
	copy(b, &n->in, STATE);
	copy(b, n->b01, SHARED);
	copy(b, n->b01, SYSTEM);
	b->int_state &= VMCB_INT_SHADOW;
	b->cpl &= 3;
	b->iopm_pa = n->b01->iopm_pa;
	merge_msrpm(v, n);
	b->msrpm_pa = virt_to_phys(n->msrpm);
	v->tsc_offset = n->in.tsc_offset;
	b->tsc_offset = n->b01->tsc_offset + n->in.tsc_offset;
	merge_vintr(hw, n);
	merge_paging(v, n);
	b->exit_int_info = b->event_inj = b->nrip = 0;
	b->clean = 0;
}
