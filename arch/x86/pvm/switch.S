/* SPDX-License-Identifier: MIT */
/* PVM's world switch: the pages that both address spaces have at the same place. Entry: pvm_switch(). Exits: the stubs of PVM's own IDT, and SYSCALL.
 * No stack but the exit stack and the IST stacks, no data but struct pvm_area, until CR3 is the host's again. Offsets: area.h, asserted in space.c. */
#include "arch/x86/pvm/area.h"
#include "arch/x86/traps.h"

#define A(field) pvm_area + AREA_##field(%rip)
#define AO(field, offset) pvm_area + AREA_##field + offset(%rip)
#define MSR_FS_BASE 0xc0000100
#define MSR_GS_BASE 0xc0000101

	.macro write_base msr, field
	movl $\msr, %ecx
	movl pvm_area + \field(%rip), %eax
	movl pvm_area + \field + 4(%rip), %edx
	wrmsr
	.endm
	.macro read_base msr, field
	movl $\msr, %ecx
	rdmsr
	movl %eax, pvm_area + \field(%rip)
	movl %edx, pvm_area + \field + 4(%rip)
	.endm

	.section .entry.text, "ax", @progbits
	.balign 4096
	.globl pvm_text_start
pvm_text_start:
	/* Each stub is 16 bytes: pvm_stubs + 16 * vector. */
	.globl pvm_stubs
pvm_stubs:
	trap_stub_table pvm_trap

	/* void pvm_switch(void): enters the guest by A(CR3), A(REGS), A(FRAME)..., returns behind its next exit. Interrupts are off, before and after.
	 * Between the write of DR7 and this, and here, nothing of the direct map may be touched: its addresses are the guest's too. */
	.balign 16
	.globl pvm_switch
	.type pvm_switch, @function
pvm_switch:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, A(HOST_RSP)
	lidt A(IDTR)			/* its gates' selector is in all GDTs, the host's IDT's in the host's alone (space.c) */
	lgdt A(GDTR)
	movq A(CR3), %rax
	movq %rax, %cr3
	movq A(ENTRY_RSP), %rsp		/* at the top of the exit stack: a fault of IRETQ pushes below it */
	movw A(DS), %ds			/* pvm.c has looked that these load */
	movw A(ES), %es
	movw A(FS), %fs
	movw A(GS), %gs
	write_base MSR_FS_BASE, AREA_FS_BASE
	write_base MSR_GS_BASE, AREA_GS_BASE
	movq AO(REGS, 0x08), %rcx
	movq AO(REGS, 0x10), %rdx
	movq AO(REGS, 0x18), %rbx
	movq AO(REGS, 0x28), %rbp
	movq AO(REGS, 0x30), %rsi
	movq AO(REGS, 0x38), %rdi
	movq AO(REGS, 0x40), %r8
	movq AO(REGS, 0x48), %r9
	movq AO(REGS, 0x50), %r10
	movq AO(REGS, 0x58), %r11
	movq AO(REGS, 0x60), %r12
	movq AO(REGS, 0x68), %r13
	movq AO(REGS, 0x70), %r14
	movq AO(REGS, 0x78), %r15
	movq A(REGS), %rax
	iretq				/* never SYSRET: RF and TF have to come back exactly (P17) */
	.size pvm_switch, . - pvm_switch

	/* SYSCALL of the guest: CPL 0, its RSP, its page tables with our slot; FMASK has cleared all flags. */
	.balign 16
	.globl pvm_syscall64, pvm_syscall32
pvm_syscall32:
	movq %rsp, A(SCRATCH)
	movq $PVM_TRAP_SYSCALL32, A(VECTOR)
	jmp 1f
pvm_syscall64:
	movq %rsp, A(SCRATCH)
	movq $PVM_TRAP_SYSCALL, A(VECTOR)
1:	leaq AO(FRAME, 40), %rsp
	pushq $3			/* SS and CS are lost, and nobody asks */
	pushq A(SCRATCH)
	pushq %r11
	pushq $3
	pushq %rcx
	pushq $0
	pushq A(VECTOR)
	/* falls through */
pvm_trap:
	pushq %rax
	testb $3, 32(%rsp)		/* CS */
	jz pvm_trap_inside
	movq %rcx, AO(REGS, 0x08)
	movq %rdx, AO(REGS, 0x10)
	movq %rbx, AO(REGS, 0x18)
	movq %rbp, AO(REGS, 0x28)
	movq %rsi, AO(REGS, 0x30)
	movq %rdi, AO(REGS, 0x38)
	movq %r8, AO(REGS, 0x40)
	movq %r9, AO(REGS, 0x48)
	movq %r10, AO(REGS, 0x50)
	movq %r11, AO(REGS, 0x58)
	movq %r12, AO(REGS, 0x60)
	movq %r13, AO(REGS, 0x68)
	movq %r14, AO(REGS, 0x70)
	movq %r15, AO(REGS, 0x78)
	popq A(REGS)
	popq A(VECTOR)
	popq A(ERROR)
	popq A(RIP)
	popq A(CS)
	popq A(RFLAGS)
	popq A(RSP)
	popq A(SS)
	movw %ds, A(DS)
	movw %es, A(ES)
	movw %fs, A(FS)
	movw %gs, A(GS)
	read_base MSR_FS_BASE, AREA_FS_BASE
	read_base MSR_GS_BASE, AREA_GS_BASE

	movq A(HOST_CR3), %rax
	movq %rax, %cr3
	lgdt A(HOST_GDTR)
	lidt A(HOST_IDTR)
	movl $GDT_KDATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	write_base MSR_GS_BASE, AREA_HOST_GS
	movq A(HOST_RSP), %rsp
	pushq $2
	popfq				/* DF, AC: the guest's until here */
	pushq $GDT_KCODE
	leaq 1f(%rip), %rax
	pushq %rax
	lretq
1:	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

	/* A trap in the code above: a #DB that MOV SS held back over the guest's INT3 or SYSCALL (P15), which is noted, and else a bug of ours or an NMI. The
	 * address space may be either one, GS too: both are put back. As struct trapframe. */
pvm_trap_inside:
	push_trapframe_rest
	cld
	movl $MSR_GS_BASE, %ecx
	rdmsr
	movl %eax, %r12d
	movl %edx, %r13d
	movq %cr3, %rbx
	movq A(HOST_CR3), %rax
	movq %rax, %cr3
	write_base MSR_GS_BASE, AREA_HOST_GS
	movq %rsp, %rdi
	movq %rsp, %rbp
	andq $-16, %rsp
	call pvm_inside
	movq %rbp, %rsp
	movq %rbx, %cr3
	movl $MSR_GS_BASE, %ecx
	movl %r12d, %eax
	movl %r13d, %edx
	wrmsr
	pop_trapframe
	testb $3, 24(%rsp)		/* pvm_inside has made the guest's end of it */
	jnz pvm_trap
	addq $16, %rsp
	iretq
	.balign 4096, 0xcc
	.globl pvm_text_end
pvm_text_end:
	.section .note.GNU-stack, "", @progbits
