/* SPDX-License-Identifier: MIT */
/* Trap stubs, entry to and return from snippets, scenario contexts, and the way out of long mode. */

	.macro push_regs
	pushq %rax
	pushq %rbx
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %rbp
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	.endm
	.macro pop_regs
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rbp
	popq %rdi
	popq %rsi
	popq %rdx
	popq %rcx
	popq %rbx
	popq %rax
	.endm

	.text
	/* One stub of 16 bytes per vector; 8, 10-14, 17, 21, 29 and 30 come with an error code. */
	.globl trap_stubs
	.balign 16
trap_stubs:
	.set vec, 0
	.rept 256
	.balign 16
	.if !(vec == 8 || (vec >= 10 && vec <= 14) || vec == 17 || vec == 21 || vec == 29 || vec == 30)
	pushq $0
	.endif
	pushq $vec
	jmp trap_common
	.set vec, vec + 1
	.endr

	.balign 16
trap_common:
	cld
	push_regs
	movq %rsp, %rdi
	movq %rsp, %rbx
	andq $-16, %rsp
	call trap_entry
	movq %rbx, %rsp
	pop_regs
	addq $16, %rsp
	.globl trap_iret
trap_iret:
	iretq

	/* void run_enter(const struct trap_frame *f): save the C context, load everything from f. run_leave() comes back here. */
	.globl run_enter
run_enter:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, run_saved_rsp
	movq %rdi, %rsp
	pop_regs
	addq $16, %rsp
	iretq

	/* noreturn void run_leave(void): called on a trap's stack, which is dropped. */
	.globl run_leave
run_leave:
	movq run_saved_rsp, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	pushq $2
	popfq
	ret

	/* int ctx_save(void): 0 when called, 1 when ctx_throw() came back to it. One context. */
	.globl ctx_save, ctx_throw
ctx_save:
	movq (%rsp), %rax
	movq %rax, ctx_buf
	leaq 8(%rsp), %rax
	movq %rax, ctx_buf + 8
	movq %rbx, ctx_buf + 16
	movq %rbp, ctx_buf + 24
	movq %r12, ctx_buf + 32
	movq %r13, ctx_buf + 40
	movq %r14, ctx_buf + 48
	movq %r15, ctx_buf + 56
	xorl %eax, %eax
	ret
ctx_throw:
	pushq $2
	popfq
	movl $0x10, %eax
	movl %eax, %ss
	movq ctx_buf + 8, %rsp
	movq ctx_buf + 16, %rbx
	movq ctx_buf + 24, %rbp
	movq ctx_buf + 32, %r12
	movq ctx_buf + 40, %r13
	movq ctx_buf + 48, %r14
	movq ctx_buf + 56, %r15
	movl $1, %eax
	jmp *ctx_buf

	/* noreturn void legacy32_enter(const void *code32, uint32_t arg) */
	.globl legacy32_enter
legacy32_enter:
	cli
	pushq $0x18
	pushq $1f
	lretq
	.code32
1:	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $main_stack_top, %esp
	movl %cr0, %eax
	andl $0x7fffffff, %eax
	movl %eax, %cr0
	movl $0xc0000080, %ecx
	rdmsr
	andl $~0x100, %eax
	wrmsr
	lidt no_idt
	movl %esi, %eax
	jmp *%edi
	.code64

	.section .rodata
	.balign 8
no_idt:
	.word 0
	.quad 0

	.section .bss
	.balign 8
run_saved_rsp:
	.skip 8
ctx_buf:
	.skip 64

	.section .note.GNU-stack, "", @progbits
