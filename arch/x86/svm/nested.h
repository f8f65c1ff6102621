/* SPDX-License-Identifier: MIT */
/* What the files of nested SVM share: a guest (level 1 of the manual's words: L1) that runs a guest of its own (L2). */
#ifndef ARCH_X86_SVM_NESTED_H
#define ARCH_X86_SVM_NESTED_H

#include "arch/x86/svm/svm.h"
#include "vmm/demand.h"

/* Three control blocks: vmcb01 is drover's for L1, vmcb12 is L1's for L2 and lies in L1's memory, vmcb02 is what L2 really runs with. */

#define SVM_NESTED_ASIDS 8u  /* what L1 is told; all of its ASIDs share one of hardware's, which is flushed when L1 takes another */
#define SVM_NPT_PAGES 128u   /* of the shadow of L1's nested tables; when they are used up it begins anew */

/* vcpu->nested */
struct svm_nested {
	struct vmcb *b01, *b02;
	uint64_t vm_cr, hsave; /* MSRs as L1 sees them. What the manual lets a CPU keep at hsave drover keeps in b01 and host */
	bool gif;
	/* Of the last VMRUN. */
	uint64_t vmcb12;       /* guest-physical */
	struct vmcb in;        /* vmcb12 as it was: read once, so that what is checked is what is used */
	bool own_debugctl;     /* with LBR virtualization: L2 runs with vmcb12's, and host.debugctl is L1's */
	struct { uint64_t rip, rsp, rax, rflags, debugctl; } host; /* L1's, behind VMRUN. All else of L1's host state stays in b01 */
	struct fetch_cache fetch01; /* of L1, while L2 runs */
	uint32_t todo01, todo02; /* SVM_TODO_* for the block that is not in use */
	uint32_t asid;         /* hardware's, for L2 */
	uint32_t last_asid;    /* L1's, of the VMRUN before */
	uint64_t last_ncr3;    /* ditto; ~0: without nested paging */
	uint8_t *msrpm;        /* L0 OR L1 (N22) */
	struct demand npt;     /* the shadow */
};

static inline struct svm_nested *svm_nested_of(const struct vcpu *v)
{
	return v->nested;
}

/* nested_merge.c */
/* vmcb02 from vmcb01 and n->in. */
void svm_nested_merge(struct vcpu *v, struct svm_nested *n);
/* From vmcb02: what #VMEXIT stores into vmcb12, but for the exit itself. */
void svm_nested_store(const struct svm_nested *n, struct vmcb *to);
/* The state that VMRUN switches, between two blocks. */
void svm_nested_state(struct vmcb *to, const struct vmcb *from);
/* The branch records. */
void svm_nested_records(struct vmcb *to, const struct vmcb *from);
/* The state that VMRUN does not switch, between two blocks; records: those too, which VMLOAD and VMSAVE leave alone. */
void svm_nested_shared(struct vmcb *to, const struct vmcb *from, bool records);

/* nested_check.c: APM "Canonicalization and Consistency Checks", by what L1's CPU has. NULL, or the rule that is broken. */
const char *svm_nested_broken(const struct vmcb *b);
/* Of the state save area alone; svme: EFER_SVME if that has to be set, or 0. */
const char *svm_nested_state_broken(const struct vmcb *b, uint64_t svme);

/* nested_npt.c */
bool svm_npt_init(const struct vcpu *v, struct svm_nested *n);
void svm_npt_destroy(struct svm_nested *n);
void svm_npt_flush(struct vcpu *v, struct svm_nested *n);
/* A nested page fault of L2: the shadow has been filled; it is L1's, with error code and address in *info1, *info2; L1's tables lead to its
 * APIC's page; or it is a fetch from a page that a debugger guards, *info2 in L1's memory. */
enum npt_fault { NPT_FILLED, NPT_L1, NPT_APIC, NPT_GUARD };
enum npt_fault svm_npt_fault(struct vcpu *v, struct svm_nested *n, uint64_t *info1, uint64_t *info2);
bool svm_npt_phys(struct vcpu *v, uint64_t *pa);
bool svm_npt_access(struct vcpu *v, uint64_t *pa, uint32_t access);
/* EXITINFO1 of L2's nested page fault at v->miss. */
uint64_t svm_npt_miss(const struct vcpu *v, const struct svm_nested *n);

/* nested_exit.c */
bool svm_nested_exit(struct vcpu *v);
bool svm_nested_event(struct vcpu *v);
bool svm_nested_irq_open(const struct vcpu *v);
int svm_nested_virq(struct vcpu *v, bool take);
bool svm_nested_traps_int(const struct vcpu *v, bool icebp);
bool svm_nested_miss(struct vcpu *v);

/* nested_snapshot.c: nested.h's save, check, restore */
void svm_nested_save(struct vcpu *v, void *to);
const char *svm_nested_check(struct vcpu *v, const void *from);
void svm_nested_restore(struct vcpu *v, const void *from);

/* nested.c */
#define SVM_EXIT_INVALID (~0ull)
#define SVM_VM_CR_KNOWN 0x1full /* DPD, R_INIT, DIS_A20M, LOCK, SVMDIS */
/* The other block from now on, or the same one anew. What is cached of the old one is in it by now (svm_commit). */
void svm_nested_switch(struct vcpu *v, struct svm_nested *n, uint8_t level);
void svm_nested_regs(struct vcpu *v, uint64_t rip, uint64_t rsp, uint64_t rax, uint64_t rflags);
/* What became of L1's virtual interrupt and of V_TPR into a block of L1's. */
void svm_nested_store_vintr(struct vcpu *v, const struct svm_nested *n, struct vmcb *b);
/* #VMEXIT to L1. The debug registers are not in hardware. */
void svm_nested_leave(struct vcpu *v, uint64_t code, uint64_t info1, uint64_t info2);

#endif
