/* SPDX-License-Identifier: MIT */
/* What the host's and a PVM guest's address space share besides the switcher's code: one area per CPU that runs guests, for now one. */
#ifndef ARCH_X86_PVM_AREA_H
#define ARCH_X86_PVM_AREA_H

/* What else ends a run than the vectors of the IDT: trap_vector of struct pvm_vcpu. */
#define PVM_TRAP_SYSCALL 0x100
#define PVM_TRAP_SYSCALL32 0x101 /* ditto, from compatibility mode (AMD) */
#define PVM_TRAP_SOFT 0x102      /* INT3 or INTO, trap_error its vector, whose bytes cannot be found: RIP is behind it */
#define PVM_TRAP_LOST 0x1ff      /* the guest's registers are */

#define PVM_STUB_SIZE 16

#ifdef __ASSEMBLER__
#define GDT_KCODE 0x08
#define GDT_KDATA 0x10
#define AREA_REGS 0x1000
#define AREA_HOST_CR3 0x1080
#define AREA_HOST_RSP 0x1088
#define AREA_HOST_GS 0x1090
#define AREA_CR3 0x1098
#define AREA_FS_BASE 0x10a0
#define AREA_GS_BASE 0x10a8
#define AREA_SCRATCH 0x10b0
#define AREA_VECTOR 0x10b8
#define AREA_ERROR 0x10c0
#define AREA_RIP 0x10c8
#define AREA_CS 0x10d0
#define AREA_RFLAGS 0x10d8
#define AREA_RSP 0x10e0
#define AREA_SS 0x10e8
#define AREA_DS 0x10f0
#define AREA_ES 0x10f2
#define AREA_FS 0x10f4
#define AREA_GS 0x10f6
#define AREA_GDTR 0x10f8
#define AREA_IDTR 0x1102
#define AREA_HOST_GDTR 0x110c
#define AREA_HOST_IDTR 0x1116
#define AREA_ENTRY_RSP 0x1120
#define AREA_FRAME 0x2fd8
#else

#include <stdint.h>

#include "arch/x86/gdt.h"
#include "arch/x86/insn.h"

struct pvm_area {
	_Alignas(PAGE_SIZE) struct idt_gate idt[IDT_VECTORS];
	_Alignas(PAGE_SIZE) uint64_t r[16]; /* by enum gpr; RSP is in the frames */
	uint64_t host_cr3, host_rsp, host_gs;
	uint64_t cr3, fs_base, gs_base;      /* of the guest, as those below */
	uint64_t scratch;
	uint64_t vector, error;              /* of the exit, as the next five */
	uint64_t rip, cs, rflags, rsp, ss;
	uint16_t ds, es, fs, gs;
	struct desc_ptr gdtr, idtr, host_gdtr, host_idtr;
	uint64_t entry_rsp;                  /* where an entry finds the frame: there, or where pvm_space_stack16() says */
	uint32_t inside_db;                  /* payload of #DBs that came in the switcher */
	_Alignas(PAGE_SIZE) uint8_t stack[PAGE_SIZE - 40]; /* the exit stack, below the frame that an entry leaves by */
	struct { uint64_t rip, cs, rflags, rsp, ss; } frame;
};

extern struct pvm_area pvm_area;

/* Where the views of the GDT are while a guest runs. */
#define PVM_GDT_VA 0xffffff8000000000ull
/* 4 GiB of addresses, of which one page at a time is there: the exit stack's, for IRETQ to a 16-bit stack. */
#define PVM_STACK16_VA 0xffffff9000000000ull

struct trapframe;
void pvm_switch(void);                       /* switch.S */
void pvm_inside(struct trapframe *tf);       /* from there: a trap in the switcher */

#endif
#endif
