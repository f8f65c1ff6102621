/* SPDX-License-Identifier: MIT */
/* What the files of the PVM backend share. Nobody else includes it. The guest's kernel and its users both run in hardware ring 3; v->st.cpl, 0 or 3, tells
 * which ("virtual mode"). All state groups but VST_SEG are v->st's own: no hardware holds them. */
#ifndef ARCH_X86_PVM_PVM_H
#define ARCH_X86_PVM_PVM_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86/pvm/area.h"
#include "arch/x86/pvm/mmu.h"
#include "vmm/backend.h"

/* The last PML4 slot: the host's range, in every address space. A guest has what is below, or what is canonical in the lower half. */
#define PVM_HOST_BASE DBG_RING3_HOST_BASE

/* Selectors in the second page of a GDT view: beyond all that a guest can have. The order from KCODE on is what SYSCALL wants. */
#define PVM_GUEST_GDT 512 /* entries */
#define PVM_KCODE 0x1008
#define PVM_KDATA 0x1010
#define PVM_GDT_BYTES 0x2000u

enum pvm_view { PVM_KERNEL, PVM_USER, PVM_VIEWS };

struct pvm_vcpu { /* v->hw */
	struct pvm_mmu mmu;
	uint64_t *gdt[PVM_VIEWS];                 /* PVM_GDT_BYTES each: the guest's half is seg.c's, the other pvm.c's */
	uint8_t gdt_copy[PVM_GUEST_GDT * 8];      /* the bytes that the views were made of */
	unsigned gdt_copy_len;
	uint64_t fs_base, gs_base;                /* of the guest; in step between runs. st.seg[].base once VST_SEG is valid; committed with it */
	uint16_t known_sel[4];                    /* of DS, ES, FS, GS: the hardware selectors that st.seg[] is of */
	uint16_t cs, ss, ds, es, fs, gs;          /* hardware's selectors: loaded at an entry, read at an exit */
	uint64_t trap_vector, trap_error, trap_cr2; /* the last exit; trap_vector: also PVM_TRAP_* */
	uint32_t host_db;                         /* payload of a #DB that came in the switcher (P15) */
	uint64_t live_shadow;                     /* for vcpu_live: bit 0, a shadow is open */
	uint64_t entry_rip, entry_rflags;         /* of the last entry: RFLAGS as the guest has them */
	bool stack16;                             /* compatibility mode on a 16-bit stack: IRETQ loads no more of RSP */
	bool again;                               /* the instruction at entry_rip has faulted unseen by the guest, and runs again: with RF in hardware (V15) */
	bool gdt_fresh;                           /* seg.c: the copy has been compared in what is being emulated or delivered now */
	bool hidden_tf;                           /* shadow.c: the entry's TF is drover's */
	uint8_t hidden_kind;                      /* ditto: enum flow_kind of the instruction under it */
};

static inline struct pvm_vcpu *pvm_hw(const struct vcpu *v)
{
	return v->hw;
}

/* space.c. The PML4 entry for slot 511 of every shadow root. */
uint64_t pvm_host_slot(void);

/* vcpu.c. commit: the dirty state groups, before an entry. */
bool pvm_vm_init(struct vm *vm);
void pvm_vm_destroy(struct vm *vm);
bool pvm_vcpu_init(struct vcpu *v);
void pvm_vcpu_destroy(struct vcpu *v);
void pvm_fetch(struct vcpu *v, uint32_t groups);
void pvm_commit(struct vcpu *v);
void pvm_dump(struct vcpu *v);
unsigned pvm_audit(struct vcpu *v);

/* quirk.c: at bring-up. db_twice: two #DBs may nest in the switcher. */
extern bool pvm_quirk_db_twice;
void pvm_quirk_init(struct cpu *c);

/* seg.c: both views from the guest's GDT; gdt_changed: its bytes differ from the copy, and both have been rebuilt. */
void pvm_gdt_rebuild(struct vcpu *v);
bool pvm_gdt_changed(struct vcpu *v);
/* MOV, POP or a far pointer into a segment register, SEG_* but CS; sel: any. All checks at the virtual CPL. False: a fault is queued. */
bool pvm_load_seg(struct vcpu *v, unsigned seg, uint16_t sel);
/* Another virtual mode: st.cpl, 0 or 3, and with it the view; both are made anew if the guest's GDT has changed. */
void pvm_set_cpl(struct vcpu *v, unsigned cpl);

/* insn.c: the instruction at RIP, which has faulted with #GP, #NP, #SS or #UD (hw->trap_vector, trap_error), carried out at the virtual CPL. Queues the
 * guest's fault if it is one. On the slow path, interrupts on. RFLAGS.RF is the guest's at the instruction. */
void pvm_emulate(struct vcpu *v);

/* deliver.c. v->inject through the guest's IDT, RFLAGS pushed as it is (event.c has set RF). False: nothing is to be entered: a fault of the delivery is
 * queued, combined with the event, or the VM has been stopped; exit.vectoring is empty. Always clears v->inject.type. Within be->run: interrupts off, DR7 off. */
bool pvm_deliver(struct vcpu *v);
/* SYSCALL, by star, lstar, cstar, sfmask: RIP is behind it, RCX and R11 are written here. #UD if EFER.SCE is 0. False: a fault is queued. */
bool pvm_syscall(struct vcpu *v);

#endif
