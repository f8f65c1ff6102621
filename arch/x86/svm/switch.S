/* SPDX-License-Identifier: MIT */
/* SVM's world switch: svm_switch(struct vcpu *v, uint64_t vmcb_pa, uint64_t host_pa). r[i] of the vcpu lies at i * 8 (asserted in svm.c). */

	.text
	.globl svm_switch
	.type svm_switch, @function
svm_switch:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	push %rdx
	push %rdi

	mov %rsi, %rax
	mov 0x08(%rdi), %rcx
	mov 0x10(%rdi), %rdx
	mov 0x18(%rdi), %rbx
	mov 0x28(%rdi), %rbp
	mov 0x30(%rdi), %rsi
	mov 0x40(%rdi), %r8
	mov 0x48(%rdi), %r9
	mov 0x50(%rdi), %r10
	mov 0x58(%rdi), %r11
	mov 0x60(%rdi), %r12
	mov 0x68(%rdi), %r13
	mov 0x70(%rdi), %r14
	mov 0x78(%rdi), %r15
	mov 0x38(%rdi), %rdi

	/* With V_INTR_MASKING it is the IF at VMRUN that lets host interrupts end the guest. GIF is 0: nothing is taken here. */
	sti
	vmload %rax
	vmrun %rax
	.globl svm_switch_exited
svm_switch_exited: /* where the quirk svm-stray-db meets its #DB */
	vmsave %rax	/* RAX and RSP are the host's again, the other registers still the guest's; so is GS: no per-CPU access yet */
	cli

	xchg %rdi, (%rsp)
	mov %rcx, 0x08(%rdi)
	mov %rdx, 0x10(%rdi)
	mov %rbx, 0x18(%rdi)
	mov %rbp, 0x28(%rdi)
	mov %rsi, 0x30(%rdi)
	mov %r8, 0x40(%rdi)
	mov %r9, 0x48(%rdi)
	mov %r10, 0x50(%rdi)
	mov %r11, 0x58(%rdi)
	mov %r12, 0x60(%rdi)
	mov %r13, 0x68(%rdi)
	mov %r14, 0x70(%rdi)
	mov %r15, 0x78(%rdi)
	pop %rcx
	mov %rcx, 0x38(%rdi)

	pop %rax
	vmload %rax
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret
	.size svm_switch, . - svm_switch

	.section .note.GNU-stack, "", @progbits
