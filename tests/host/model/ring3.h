/* SPDX-License-Identifier: MIT */
/* The software CPU without any hardware help: a guest whose kernel runs in ring 3, on page tables that drover fills. */
#ifndef MODEL_RING3_H
#define MODEL_RING3_H

#include <stdbool.h>
#include <stdint.h>

struct gop;
struct sw_ctl;
struct sw_exit;
struct sw_guest;
struct vcpu;

/* Where a script's guest has its tables and stacks: below 640 KiB, above those of the boot. */
#define R3_GDT 0x98000u
#define R3_TSS 0x99000u
#define R3_IDT 0x9a000u
#define R3_STUBS 0x9c000u /* 16 bytes each */
#define R3_SYSCALL 0x9d000u
#define R3_USER_STACK 0x9e000u
#define R3_STACK 0x9f000u
#define R3_KCODE 0x08u
#define R3_KDATA 0x10u
#define R3_UDATA 0x23u
#define R3_UCODE 0x2bu

/* The first address of the host's slot, as the tests know it. */
#define R3_HOST_BASE 0xffffff8000000000ull

/* What ring 3 may do with a linear address, by the tables that start at root: CPL 3's access, access: 2 write, 16 fetch. */
struct sw_walk {
	uint64_t pa;    /* host-physical */
	uint32_t error; /* of the #PF */
	bool write;     /* it may be written */
	unsigned size;  /* of the leaf, in bits */
};
bool sw_ring3_walk(uint64_t root, uint64_t va, uint32_t access, struct sw_walk *o);

/* GDT, TSS, IDT and stack of a 64-bit guest in its memory and registers. user: it starts as a user of itself. */
void sw_ring3_guest(struct vcpu *v, bool user);
/* In guest mode before an instruction: a page that its fetch or its operand needs is not there. True: #PF. */
bool sw_ring3_fault(struct sw_guest *g, const struct sw_ctl *ctl, struct sw_exit *x, int i);
/* Checks at an entry. */
void sw_ring3_entered(const struct sw_guest *g, const struct sw_ctl *ctl);
/* At each operation of the host's: DR7 is armed for the guest, so that nothing else may happen any more, or yet (P06). dr7: it is the write that ends it. */
void sw_ring3_window(bool dr7);
/* DR7 has been written by the host. */
void sw_ring3_armed(void);

#endif
