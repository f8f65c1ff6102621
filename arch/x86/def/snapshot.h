/* SPDX-License-Identifier: MIT */
/* The debug state of a vcpu as it is carried to another machine: registers, and what has been raised and not delivered. No code. */
#ifndef ARCH_X86_DEF_SNAPSHOT_H
#define ARCH_X86_DEF_SNAPSHOT_H

#include <stdint.h>

#define SNAPSHOT_MAGIC 0x67626472u /* "rdbg" */
#define SNAPSHOT_VERSION 1u
#define SNAPSHOT_LBR_MAX 98

/* flags; unknown ones are refused */
#define SNAPSHOT_DB (1u << 0)          /* a #DB waits for delivery: payload, cls. DR6 does not have it yet (Z11) */
#define SNAPSHOT_NMI (1u << 1)         /* an NMI is pending */
#define SNAPSHOT_NMI_BLOCKED (1u << 2)
#define SNAPSHOT_EMULATED (1u << 3)    /* the #DB is the trap of an emulated instruction */
#define SNAPSHOT_FLAGS (SNAPSHOT_DB | SNAPSHOT_NMI | SNAPSHOT_NMI_BLOCKED | SNAPSHOT_EMULATED)

/* How each of the structs below begins. */
struct snapshot_head {
	uint32_t magic;
	uint16_t version;
	uint16_t size; /* of the whole struct, in bytes */
};

/* All reserved fields are 0: written so when saving, refused otherwise when restoring (Z10). */
struct dbg_snapshot {
	uint32_t magic;
	uint16_t version;
	uint16_t size;        /* of this struct, in bytes */
	uint32_t flags;
	uint32_t payload;     /* of the waiting #DB, positive polarity */
	uint8_t cls;          /* enum dbg_class, ditto */
	uint8_t shadow;       /* 0 none, 1 STI, 2 MOV SS */
	uint8_t reserved[2];
	uint32_t pending_dbg; /* held back by MOV SS */
	uint64_t dr[4];
	uint64_t dr6, dr7;    /* upper halves 0 */
	uint64_t debugctl;
	uint32_t mask[4];     /* AMD's address masks */
	uint64_t irq_pending[4]; /* by vector */
	uint32_t nr_lbr;      /* entries of lbr[] in use, as many as the CPU's records have: the backend's order */
	uint32_t reserved2;
	uint64_t lbr[SNAPSHOT_LBR_MAX];
};
_Static_assert(sizeof(struct dbg_snapshot) == 136 + 8 * SNAPSHOT_LBR_MAX, "no hidden padding: what is saved holds nothing of the host");

/* The rest of a guest that is a hypervisor itself, by SVM. The vcpu's other general registers stay as they are. */
#define SVM_SNAPSHOT_MAGIC 0x6d767364u /* "dsvm" */
#define SVM_SNAPSHOT_VERSION 1u
#define SVM_SNAPSHOT_SIZE 8296u

struct svm_nested_snapshot {
	uint32_t magic;
	uint16_t version;
	uint16_t size;        /* of this struct, in bytes */
	uint8_t level;        /* 0: the guest runs; 1: its own guest */
	uint8_t gif;
	uint8_t own_debugctl; /* level 1 with LBR virtualization of the hypervisor's: its DEBUGCTL and records are those of l1 */
	uint8_t reserved[5];
	uint64_t vm_cr, hsave; /* MSRs */
	uint64_t rip, rsp, rax, rflags; /* of what runs */
	/* Level 1 only, else 0: */
	uint64_t vmcb12;      /* guest-physical: where the exit goes */
	uint64_t host_rip, host_rsp, host_rax, host_rflags; /* the hypervisor's, behind its VMRUN */
	uint8_t block[4096];  /* a control block: controls as at VMRUN, state as now */
	uint8_t l1[4096];     /* a control block: the hypervisor's state; no controls */
};

/* The same by VMX. */
#define VMX_SNAPSHOT_MAGIC 0x786d7664u /* "dvmx" */
#define VMX_SNAPSHOT_VERSION 1u
#define VMX_SNAPSHOT_FIELDS 160
#define VMX_SNAPSHOT_SIZE (104u + 8u * VMX_SNAPSHOT_FIELDS)

/* flags; unknown ones are refused */
#define VMX_SNAPSHOT_VMXON (1u << 0)
#define VMX_SNAPSHOT_LAUNCHED (1u << 1)    /* of the current VMCS */
#define VMX_SNAPSHOT_INIT (1u << 2)        /* an INIT waits */
#define VMX_SNAPSHOT_MTF (1u << 3)         /* level 1: an MTF exit is due */
#define VMX_SNAPSHOT_NMI_BLOCKED (1u << 4) /* level 1: before the entry */

struct vmx_nested_snapshot {
	uint32_t magic;
	uint16_t version;
	uint16_t size;               /* of this struct, in bytes */
	uint32_t flags;
	uint8_t level;               /* 0: the guest runs; 1: its own guest */
	uint8_t reserved[3];
	uint64_t vmxon_pa, current;  /* guest-physical; ~0: none */
	uint64_t rip, rsp, rflags;   /* of what runs */
	/* Level 1 only, else 0: */
	uint64_t efer, pat;          /* the nested guest's */
	uint64_t timer_left;
	uint64_t l1_efer, l1_pat;    /* the hypervisor's, before the entry */
	uint64_t reserved2;
	uint64_t f[VMX_SNAPSHOT_FIELDS]; /* vmcs12, in the order of vmcs.def; level 1: its guest state as now */
};

#endif
