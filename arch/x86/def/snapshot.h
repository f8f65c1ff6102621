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

#endif
