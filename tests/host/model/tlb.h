/* SPDX-License-Identifier: MIT */
/* The tagged TLB of the software CPU. It forgets nothing but what the manuals say a flush removes, so that a flush that is missing shows. */
#ifndef MODEL_TLB_H
#define MODEL_TLB_H

#include <stdbool.h>
#include <stdint.h>

struct gop;
struct sw_ctl;
struct sw_exit;
struct sw_guest;
struct vmcb;

/* How this CPU differs from one that has everything. */
struct tlb_cpu {
	uint32_t svm_lacks;  /* bits of CPUID 8000_000A EDX */
	uint32_t nr_asids;   /* 0: 16 */
	uint64_t vpid_lacks; /* bits of IA32_VMX_EPT_VPID_CAP */
	bool more_exits;     /* MOV to CR3 and INVLPG exit unasked: what forced controls, or a hypervisor below, look like */
};

#define TLB_SIZE 256
#define TLB_NO_VALUE (~0ull) /* in a record: a page fault */

/* A translation of one 4 KiB page. */
struct tlb_entry {
	bool valid, gphys, global; /* gphys: VMX's guest-physical mapping */
	uint64_t tag;              /* SVM: ASID; VMX: EP4TA */
	uint64_t vpid;             /* VMX, not gphys */
	uint64_t page, host;       /* linear or guest-physical page; host page */
	bool write, exec;
};

struct tlb {
	bool on; /* else everything here does nothing */
	struct tlb_cpu cpu;
	struct tlb_entry e[TLB_SIZE];
	unsigned next;
	/* Others have used this CPU: a tag holds translations of theirs, until a flush that covers it. */
	bool foreign;
	uint64_t clean[16];
	unsigned nr_clean;
	/* Counts of what drover did, and of accesses. */
	unsigned entries, hits, stale, refused;
	unsigned svm_flushes, invepts, invvpids;
	char first[160]; /* the first stale hit */
	/* Called at the end of guest mode number at_exit_nr (from 1), in the place of a machine model that changes something there. */
	void (*at_exit)(void *arg);
	void *at_exit_arg;
	unsigned at_exit_nr;
};
extern struct tlb tlb;

/* Before machine_start(): a CPU with this TLB. After: plain again. */
void tlb_start(struct tlb_cpu cpu);
void tlb_stop(void);
/* Somebody else has just used the CPU, with every tag there is: before a machine starts, or between two VMs. */
void tlb_foreign(void);
unsigned tlb_flushes(void);
/* Entries that are valid now. */
unsigned tlb_filled(void);

/* ---- Hooks of the software CPU ---- */

uint32_t tlb_svm_features(uint32_t edx);
uint32_t tlb_svm_asids(uint32_t ebx);
uint64_t tlb_vpid_cap(uint64_t v);
void tlb_svm_enter(struct vmcb *b);
void tlb_svm_leave(struct vmcb *b);
void tlb_vmx_enter(uint64_t *f);
void tlb_vmx_leave(uint64_t *f);
bool tlb_invept(uint64_t type, uint64_t eptp);
bool tlb_invvpid(uint64_t type, uint16_t vpid);
/* G_STORE and G_LOAD with GOP_TLB, G_MOV_TO_CR, G_INVLPG. True: it exits. */
bool tlb_execute(struct sw_guest *g, const struct gop *o, const struct sw_ctl *ctl, struct sw_exit *x);

#endif
