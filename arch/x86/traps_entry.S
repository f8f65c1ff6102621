/* SPDX-License-Identifier: MIT */
/* The 256 entry stubs, in pages of their own, and the accessors whose faults are fixed up. */
#include "arch/x86/traps.h"

	.section .entry.text, "ax", @progbits
	.balign 4096
	/* Each stub is 16 bytes: trap_stubs + 16 * vector. Vectors 8, 10-14, 17, 21, 29, 30 come with an error code. */
	.globl trap_stubs
trap_stubs:
	trap_stub_table trap_common

	.balign 16
trap_common:
	cld
	pushq %rax
	push_trapframe_rest
	movq %rsp, %rdi
	call trap_handle
	pop_trapframe
	addq $16, %rsp
	iretq
	.balign 4096, 0xcc

	.text
	/* bool rdmsr_safe(uint32_t msr, uint64_t *v) */
	.globl rdmsr_safe
	.type rdmsr_safe, @function
rdmsr_safe:
	movl %edi, %ecx
1:	rdmsr
	shlq $32, %rdx
	orq %rdx, %rax
	movq %rax, (%rsi)
	movl $1, %eax
	ret
2:	movq $0, (%rsi)
	xorl %eax, %eax
	ret
	EXTABLE(1b, 2b)
	.size rdmsr_safe, . - rdmsr_safe

	/* bool wrmsr_safe(uint32_t msr, uint64_t v) */
	.globl wrmsr_safe
	.type wrmsr_safe, @function
wrmsr_safe:
	movl %edi, %ecx
	movl %esi, %eax
	movq %rsi, %rdx
	shrq $32, %rdx
1:	wrmsr
	movl $1, %eax
	ret
2:	xorl %eax, %eax
	ret
	EXTABLE(1b, 2b)
	.size wrmsr_safe, . - wrmsr_safe
	.section .note.GNU-stack, "", @progbits
