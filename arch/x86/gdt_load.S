/* SPDX-License-Identifier: MIT */
/* void gdt_load(const struct desc_ptr *ptr, uint64_t code, uint64_t data): LGDT, then every segment register. */
	.text
	.globl gdt_load
	.type gdt_load, @function
gdt_load:
	lgdt (%rdi)
	movl %edx, %ds
	movl %edx, %es
	movl %edx, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	pushq %rsi
	leaq 1f(%rip), %rax
	pushq %rax
	lretq
1:	ret
	.size gdt_load, . - gdt_load
	.section .note.GNU-stack, "", @progbits
