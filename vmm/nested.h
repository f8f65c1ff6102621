/* SPDX-License-Identifier: MIT */
/* A guest that is a hypervisor itself: what a backend offers for it, and where the machine model asks. Levels: 0 the guest, 1 its own guest. */
#ifndef VMM_NESTED_H
#define VMM_NESTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86/insn.h"

struct vcpu;

enum nested_option { NESTED_OFF, NESTED_ON, NESTED_LOCKED }; /* locked: the feature is announced, and firmware has locked it off */

/* All of them between two runs of the vcpu, with its debug registers out of hardware; none may be called for a VM with nested=off. "NULL: ..." tells which of
 * them a backend may leave out. Physical addresses are bytes; "the guest" is the hypervisor (level 0), "the nested guest" is level 1. */
struct nested_ops {
	/* With the vcpu, if its VM has nested != NESTED_OFF. False: out of memory, and destroy is to be called. destroy: also after a failed init. */
	bool (*init)(struct vcpu *v);
	void (*destroy)(struct vcpu *v);
	/* To the state after RESET or INIT: level 0, the feature off. Cannot fail. */
	void (*reset)(struct vcpu *v);
	/* What CPUID announces: changes what the model gave for this leaf and subleaf. */
	void (*cpuid)(struct vcpu *v, uint32_t leaf, uint32_t sub, struct cpuid_regs *r);
	/* Bits of EFER and CR4 that the guest may set besides the model's: EFER.SVME, CR4.VMXE. */
	uint64_t efer, cr4;
	/* Bits of CR0 and CR4 that may not become 0 now: the caller's #GP. NULL: none. */
	uint64_t (*cr0_fixed)(const struct vcpu *v);
	uint64_t (*cr4_fixed)(const struct vcpu *v);
	/* An MSR of the feature, by its number. -1: not one of them, *val is as it was; 0: #GP(0), which the caller raises; 1: done, *val is what was read. A write
	 * of EFER is asked for as well, and then made by the caller unless 0. */
	int (*msr)(struct vcpu *v, uint32_t msr, bool write, uint64_t *val);
	/* One of the feature's instructions has exited and is the guest's to use: carried out, or its fault queued, or the nested guest is what runs next. Each
	 * ends with one of these; RIP is moved here. */
	void (*insn)(struct vcpu *v);
	/* An exit of the nested guest (v->level 1), before the machine model handles it. True: it was the guest's, which is what runs next, or has been handled.
	 * v->step.over: no exit but the end of one of drover's steps, with kind NONE: nobody's. */
	bool (*exit)(struct vcpu *v);
	/* With v->level 1, before an event is selected: what waits (v->exception, NMI, interrupt) may be an exit to the guest instead. True: it was, and v->level
	 * is 0. Interrupts are off. */
	bool (*event)(struct vcpu *v);
	/* INIT has come. True: it waits, or is an exit to the guest. False: the vcpu is to be reset. NULL: false always. */
	bool (*init_signal)(struct vcpu *v);
	/* With v->level 1: where what the nested guest takes for a physical address lies in the guest's memory; *pa: in and out. False: nowhere, *pa is void. For
	 * page tables and code: read rights are taken for granted. NULL: they are the same. */
	bool (*phys)(struct vcpu *v, uint64_t *pa);
	/* With v->level 1: would an interrupt end its HLT now? It may be the guest's, by whose IF it goes then. NULL: as RFLAGS.IF says. */
	bool (*irq_open)(const struct vcpu *v);
	/* With v->level 1: is INT n, or ICEBP, of the nested guest an exit to the guest? Then hardware is to meet it. NULL: never. */
	bool (*traps_int)(const struct vcpu *v, bool icebp);
	/* With v->level 1: the vector, 0-255, of a virtual interrupt that the guest has posted and that is due, or -1. take: it is taken, to be injected; not if it
	 * is to be an exit. NULL: there are none. */
	int (*virq)(struct vcpu *v, bool take);
	/* As phys, for data, with rights: access: WALK_W or 0. Sets accessed and dirty bits of the guest's tables. False: also where the rights are missing. NULL:
	 * as phys. */
	bool (*access)(struct vcpu *v, uint64_t *pa, uint32_t access);
	/* With v->level 1: v->miss is an exit to the guest, which runs next. False: it is not, and nothing has changed but drover's tables: the instruction may be
	 * tried again. NULL: never. */
	bool (*miss)(struct vcpu *v);
	/* Guest-physical memory of the guest has been remapped: translations of the nested guest that drover keeps are void. Cannot fail. */
	void (*flush)(struct vcpu *v);
	/* What the backend keeps of the levels, for a snapshot (M13). state_size: its bytes; 0: there is no such thing. save: each byte is written. check: the first
	 * field that cannot be restored on this vcpu, by name, or NULL. restore: after check, from memory that nobody else writes; nothing is left of what was
	 * there before. */
	size_t state_size;
	void (*save)(struct vcpu *v, void *to);
	const char *(*check)(struct vcpu *v, const void *from);
	void (*restore)(struct vcpu *v, const void *from);
};

#endif
