/* SPDX-License-Identifier: MIT */
/* What the files of the SVM backend share. Nobody else includes it. */
#ifndef ARCH_X86_SVM_SVM_H
#define ARCH_X86_SVM_SVM_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86/def/vmcb.h"
#include "vmm/backend.h"

/* Guest DR6 and DR7 are in the VMCB, host DR6 is not put back (H06), DEBUGCTL is switched with LBR virtualization only (S07), and an intercepted
 * #DB has already changed DR6 and DR7.GD (S05). */
#define SVM_DBG_CAPS (DBG_CAP_VM_DR6 | DBG_CAP_VM_DR7 | DBG_CAP_DB_APPLIED | DBG_CAP_LBRV)

/* What the CPU has, read once by probe. */
struct svm_features {
	uint32_t edx;        /* CPUID 8000_000A EDX */
	uint32_t nr_asids;
	bool rdtscp, xsave, monitor, dbext32;
	uint32_t clean;      /* VMCB_CLEAN_* to claim after an exit: 0 when the CPU has no clean bits */
	uint8_t flush;       /* VMCB_TLB_* that flushes one guest */
};
extern struct svm_features svm_feat;

/* vm->hw */
#define SVM_OPEN_WORDS 8u
struct svm_vm {
	uint8_t *msrpm;
	uint32_t asid;
	uint16_t open[SVM_OPEN_WORDS]; /* 64-bit words of msrpm that may have a 0 in them; all others are ones */
	uint16_t nr_open;
	bool debugctl_open; /* msrpm lets the guest read DEBUGCTL: the lab's */
};

/* What the next entry has to do besides loading registers. */
enum { SVM_TODO_FLUSH = 1u << 0, SVM_TODO_UNFLUSH = 1u << 1 };

/* What the entry checks look at, besides DR6 and DR7 (dbg.vm_dr6, dbg.vm_dr7) and EVENTINJ. */
#define SVM_CHECKED(X) X(efer) X(cr4) X(cr3) X(cr0) X(cs) X(cpl) X(g_pat)

/* A refused entry may overwrite the control block's save area with the host's state: emulators do. So that the audit sees what was entered, the checked
 * fields are kept whenever drover has written the block; what a guest changes by itself between two such entries is legal anyway. */
struct svm_entered {
	struct vmcb_seg cs;
	uint64_t efer, cr4, cr3, cr0, g_pat, rsp, rax, rflags;
	uint64_t state_at; /* v->exits at the entry that the above are of */
	uint64_t rip, rip_at;
	uint64_t event_inj, event_at;
	uint64_t event_rip; /* where the event of that entry found the guest, or is to bring it back */
	uint8_t cpl;
};

/* vcpu->hw */
struct svm_vcpu {
	struct vmcb *vmcb;
	uint64_t vmcb_pa;
	uint64_t host_pa; /* this CPU's VMSAVE area; set by vcpu_load */
	uint32_t todo;    /* SVM_TODO_* */
	uint32_t floor[VMCB_I_NR]; /* intercepts that stay whatever drover itself needs: the guest hypervisor's, while its guest runs (M07) */
	uint64_t vintr;   /* ditto: the virtual interrupt that it offers its guest. Stands back while drover's own window is open */
	bool own_tpr;     /* CR8 of what runs is V_TPR, not the virtual APIC's: a guest's guest with V_INTR_MASKING */
	bool window;      /* the control block's virtual interrupt is drover's window, or held off */
	uint64_t svme;    /* EFER.SVME as what runs sees it: the control block's is always set */
	bool iret_seen;   /* an IRET that ends NMI blocking was met at iret_rip and has not been seen to complete */
	uint64_t iret_rip;
	struct svm_entered entered;
};

static inline struct svm_vcpu *svm_hw(const struct vcpu *v)
{
	return v->hw;
}

/* vmcb.c */
bool svm_vm_init(struct vm *vm);
void svm_vm_destroy(struct vm *vm);
bool svm_vcpu_init(struct vcpu *v);
void svm_vcpu_destroy(struct vcpu *v);
void svm_msrpm_set(uint8_t *msrpm, uint32_t msr, bool read, bool write); /* true: intercepted */
void svm_set_intercept(struct svm_vcpu *hw, unsigned word, uint32_t bits, bool on);
uint32_t svm_next_asid(void);
/* The control block that this vcpu runs with from now on. */
void svm_use_vmcb(struct vcpu *v, struct vmcb *b);

/* state.c */
void svm_fetch(struct vcpu *v, uint32_t groups);
void svm_dbg_now(const struct vcpu *v, struct dbg_now *now);
/* What became of the guest hypervisor's virtual interrupt into hw->vintr. */
void svm_vintr_fetch(struct svm_vcpu *hw);
/* The dirty state groups into the control block. */
void svm_commit(struct vcpu *v);
/* All that is dirty into the control block: state groups, debug fields, event, flush. */
void svm_prepare(struct vcpu *v);
/* After a refused entry: what was entered back into the control block and v. */
void svm_entry_refused(struct vcpu *v);
/* backend.h: lbr, lbr_state */
bool svm_lbr(struct vcpu *v, uint32_t msr, bool write, uint64_t *val);
unsigned svm_lbr_state(struct vcpu *v, uint64_t *array, bool restore);
void svm_lbr_record(struct vcpu *v, uint64_t from, uint64_t to, bool event);

/* exit.c */
void svm_decode(struct vcpu *v, struct cpu *c);
const char *svm_exit_name(uint64_t code);

/* quirk.c. init: at bring-up. db_cause, if no_cause: puts the cause of an intercepted #DB into VMCB.DR6 where the emulator did not. rip: linear.
 * intr_twice: an injected interrupt comes again unless the guest exits soon. int3: INT3 exits as INT n does. */
extern bool svm_quirk_no_cause, svm_quirk_intr_twice, svm_quirk_int3;
void svm_quirk_init(struct cpu *c);
void svm_quirk_db_cause(struct vcpu *v, struct cpu *c, struct vmcb *b, uint64_t rip);

/* nested.c: the guest as a hypervisor. loaded: its vcpu has come to this CPU */
extern const struct nested_ops svm_nested;
void svm_nested_loaded(struct vcpu *v);

/* audit.c */
bool svm_pat_illegal(uint64_t pat);
bool svm_event_illegal(const struct vmcb *b);
void svm_dump(struct vcpu *v);
unsigned svm_audit(struct vcpu *v);

/* switch.S. GIF and IF are 0 before and after. Loads v->r[] except RAX and RSP, which like RIP and RFLAGS travel in the VMCB. */
void svm_switch(struct vcpu *v, uint64_t vmcb_pa, uint64_t host_pa);
extern const uint8_t svm_switch_exited[]; /* the instruction behind VMRUN */

#endif
