/* SPDX-License-Identifier: MIT */
/* The control block that L2 runs with, from drover's for L1 and L1's for L2, by the kind that def/vmcb.h gives each field. */
#include "arch/lib/string.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/pmem.h"
#include "arch/x86/svm/nested.h"
#include "vmm/gmem.h"

/* The copies are generated: what is of another kind is nothing. */
#define NONE(field)
#define COPY(field) to->field = from->field;
#define X(kind, field) kind(field)

static void copy_state(struct vmcb *restrict to, const struct vmcb *restrict from)
{
#define EITHER NONE
#define STATE COPY
#define SHARED NONE
#define RECORD NONE
	VMCB_NESTED(X)
#undef STATE
#undef SHARED
#define STATE NONE
}

static void copy_shared(struct vmcb *restrict to, const struct vmcb *restrict from)
{
#define SHARED COPY
	VMCB_NESTED(X)
#undef SHARED
#undef RECORD
#define SHARED NONE
}

void svm_nested_records(struct vmcb *restrict to, const struct vmcb *restrict from)
{
#define RECORD COPY
	VMCB_NESTED(X)
#undef RECORD
#undef EITHER
#define RECORD NONE
}

/* An SMI is the host's, whatever L1 asks for. */
static void either(struct svm_vcpu *hw, struct vmcb *b, const struct vmcb *b01, const struct vmcb *in)
{
	const uint32_t smi[VMCB_I_NR] = { [VMCB_I_MISC1] = VMCB_I1_SMI };

#define WORD(i, field) hw->floor[i] = in->field & ~smi[i]; b->field = b01->field | hw->floor[i];
#define EITHER(field) WORD(&b->field - b->intercept, field)
	VMCB_NESTED(X)
}
#undef X

void svm_nested_state(struct vmcb *to, const struct vmcb *from)
{
	copy_state(to, from);
}

void svm_nested_store(const struct svm_nested *n, struct vmcb *to)
{
	copy_state(to, n->b02);
}

void svm_nested_shared(struct vmcb *to, const struct vmcb *from, bool records)
{
	copy_shared(to, from);
	if (records)
		svm_nested_records(to, from);
}

/* L1's map may close what drover's leaves open; the other way round it exits to drover first. So only the few words are merged in which drover leaves
 * something open; the rest was ones from the start. L1 need not tell when it changes its map. A map that is not memory reads as ones. */
static void merge_msrpm(struct vcpu *v, struct svm_nested *n)
{
	const struct svm_vm *s = v->vm->hw;
	const uint64_t *ours = (const uint64_t *)(const void *)s->msrpm;
	uint64_t *to = (uint64_t *)(void *)n->msrpm;
	bool asked = n->in.intercept[VMCB_I_MISC1] & VMCB_I1_MSR;

	for (unsigned k = 0; k < s->nr_open; k++) {
		unsigned i = s->open[k];
		uint64_t theirs = ~0ull;

		if (asked)
			gmem_read(v->vm, (struct gpa){ (n->in.msrpm_pa & ~0xfffull) + i * 8 }, &theirs, 8);
		to[i] = ours[i] | (asked ? theirs : 0);
	}
}

#define CR8 (1u << (16 + 8) | 1u << 8)

/* Without V_INTR_MASKING L2's CR8 is L1's. Its virtual interrupt goes on by drover's hand: state.c, commit_ctl. */
static void merge_vintr(struct svm_vcpu *hw, struct svm_nested *n)
{
	const uint64_t offer = VMCB_V_IRQ | VMCB_V_PRIO_MAX | VMCB_V_IGN_TPR | VMCB_V_VECTOR;

	hw->vintr = n->in.vintr & offer;
	hw->window = false;
	hw->own_tpr = n->in.vintr & VMCB_V_INTR_MASKING;
	n->b02->vintr = VMCB_V_INTR_MASKING | hw->vintr | (n->in.vintr & VMCB_V_TPR);
	if (hw->own_tpr)
		n->b02->intercept[VMCB_I_CR] &= ~CR8 | hw->floor[VMCB_I_CR];
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
	b->n_cr3 = np ? virt_to_phys(demand_root(&n->npt, 0)) : v->vm->slat_root;
	b->g_pat = np ? n->in.g_pat : n->b01->g_pat;
	b->asid = n->asid;
}

void svm_nested_merge(struct vcpu *v, struct svm_nested *n)
{
	struct svm_vcpu *hw = svm_hw(v);
	struct vmcb *b = n->b02;

	either(hw, b, n->b01, &n->in);
	copy_state(b, &n->in);
	copy_shared(b, n->b01);
	svm_nested_records(b, n->b01);
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
