/* SPDX-License-Identifier: MIT */
/* unsigned vmx_enter(struct vcpu *v, struct vmx_vcpu *hw): the world switch. See internal.h for the result.
 * Guest RSP, RIP and RFLAGS are VMCS fields; the other registers are v->r[], at 8 * encoding. */
#define HW_HOST_RSP 0
#define HW_LAUNCHED 8
#define VMCS_HOST_RSP 0x6c14

	.text
	.globl vmx_enter
	.type vmx_enter, @function
vmx_enter:
	push %rbp
	push %rbx
	push %r12
	push %r13
	push %r14
	push %r15
	push %rdi
	cmp %rsp, HW_HOST_RSP(%rsi) /* the stack is nearly always where it was: saves a VMWRITE */
	je 1f
	mov %rsp, HW_HOST_RSP(%rsi)
	mov $VMCS_HOST_RSP, %edx
	vmwrite %rsp, %rdx
	jna .Lfail
1:	cmpb $0, HW_LAUNCHED(%rsi) /* the moves below keep the flags */
	mov 0(%rdi), %rax
	mov 8(%rdi), %rcx
	mov 16(%rdi), %rdx
	mov 24(%rdi), %rbx
	mov 40(%rdi), %rbp
	mov 48(%rdi), %rsi
	mov 64(%rdi), %r8
	mov 72(%rdi), %r9
	mov 80(%rdi), %r10
	mov 88(%rdi), %r11
	mov 96(%rdi), %r12
	mov 104(%rdi), %r13
	mov 112(%rdi), %r14
	mov 120(%rdi), %r15
	mov 56(%rdi), %rdi
	jne 2f
	vmlaunch
	jmp .Lfail
2:	vmresume
.Lfail:	/* VMfail: CF = invalid, ZF = valid. The guest's registers in memory are as they were. */
	mov $2, %eax
	jz 3f
	mov $1, %eax
3:	pop %rdi
	jmp .Lout
	.size vmx_enter, . - vmx_enter

	.globl vmx_exit_entry
	.type vmx_exit_entry, @function
vmx_exit_entry: /* HOST_RIP; RSP = HOST_RSP, where v was pushed; RFLAGS = 2 */
	push %rdi
	mov 8(%rsp), %rdi
	mov %rax, 0(%rdi)
	mov %rcx, 8(%rdi)
	mov %rdx, 16(%rdi)
	mov %rbx, 24(%rdi)
	mov %rbp, 40(%rdi)
	mov %rsi, 48(%rdi)
	popq 56(%rdi)
	mov %r8, 64(%rdi)
	mov %r9, 72(%rdi)
	mov %r10, 80(%rdi)
	mov %r11, 88(%rdi)
	mov %r12, 96(%rdi)
	mov %r13, 104(%rdi)
	mov %r14, 112(%rdi)
	mov %r15, 120(%rdi)
	add $8, %rsp
	xor %eax, %eax
.Lout:	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbx
	pop %rbp
	ret
	.size vmx_exit_entry, . - vmx_exit_entry
	.section .note.GNU-stack, "", @progbits
