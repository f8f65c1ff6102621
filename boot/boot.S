/* SPDX-License-Identifier: MIT */
/* Multiboot headers, and the way from 32-bit protected mode to 64-bit C in the top 2 GiB. */
#include "boot/multiboot.h"

#define KERNEL_BASE 0xffffffff80000000
#define PHYS(sym) (sym - KERNEL_BASE)
#define BOOT_STACK_SIZE 32768
/* CPUID 0x80000001 EDX, as def/cpuid.h has them with a C suffix that not every assembler takes. */
#define EDX_LM (1 << 29)
#define EDX_NX (1 << 20)

	.section .boot.header, "a", @progbits
	.balign 8
	/* Multiboot 2. Every tag is optional for the loader except those that it must understand. */
mb2_header:
	.long MB2_HEADER_MAGIC, 0, mb2_header_end - mb2_header
	.long -(MB2_HEADER_MAGIC + 0 + (mb2_header_end - mb2_header))
	.balign 8
	.word 3, 0 /* entry address: the loader must not take a 64-bit one from the file */
	.long 12, boot_entry
	.balign 8
	/* No framebuffer tag: GRUB 2.06 then loads a video driver under BIOS too, and dies in it on Bochs. Under UEFI GRUB hands over
	 * the mode that gfxpayload names, without being asked. */
	.word 6, 0 /* modules on page boundaries */
	.long 8
	.balign 8
	.word 0, 0
	.long 8
mb2_header_end:

	.balign 4
	.long MB1_HEADER_MAGIC, MB1_HEADER_PAGE_ALIGN | MB1_HEADER_MEMORY
	.long -(MB1_HEADER_MAGIC + (MB1_HEADER_PAGE_ALIGN | MB1_HEADER_MEMORY))

	.section .boot, "ax", @progbits
	.code32
	/* EAX: loader's magic, EBX: its information. Protected mode, flat segments, no paging, interrupts off; no stack. */
	.globl boot_entry
boot_entry:
	cli
	cld
	movl %eax, %ebp
	movl %ebx, %esi
	movl $PHYS(boot_stack_top), %esp

	/* Long mode there? Without leaf 0x80000001 no. */
	movl $0x80000000, %eax
	cpuid
	cmpl $0x80000001, %eax
	jb no_long_mode
	movl $0x80000001, %eax
	cpuid
	testl $EDX_LM, %edx
	jz no_long_mode
	movl %edx, %edi

	/* The first 4 GiB at 0 and at the direct map, the first 1 GiB in the top 2 GiB; 2 MiB pages, all of it until paging_init. */
	movl $PHYS(boot_pd), %ebx
	xorl %ecx, %ecx
1:	movl %ecx, %eax
	shll $21, %eax
	orl $0x83, %eax /* P, W, PS */
	movl %eax, (%ebx, %ecx, 8)
	incl %ecx
	cmpl $2048, %ecx
	jb 1b
	movl $PHYS(boot_pdpt), %ebx
	movl $(PHYS(boot_pd) + 3), %eax
	movl %eax, (%ebx)
	movl %eax, PHYS(boot_pdpt_high) + 510 * 8
	addl $4096, %eax
	movl %eax, 8(%ebx)
	addl $4096, %eax
	movl %eax, 16(%ebx)
	addl $4096, %eax
	movl %eax, 24(%ebx)
	movl $(PHYS(boot_pdpt) + 3), PHYS(boot_pml4)
	movl $(PHYS(boot_pdpt) + 3), PHYS(boot_pml4) + 256 * 8
	movl $(PHYS(boot_pdpt_high) + 3), PHYS(boot_pml4) + 511 * 8

	movl $PHYS(boot_pml4), %eax
	movl %eax, %cr3
	movl $0x620, %eax /* PAE, OSFXSR, OSXMMEXCPT; whatever firmware left on (PCIDE, SMAP, VMXE) is off */
	movl %eax, %cr4
	movl $0xc0000080, %ecx
	rdmsr
	orl $0x100, %eax /* LME */
	testl $EDX_NX, %edi
	jz 2f
	orl $0x800, %eax /* NXE */
2:	wrmsr
	movl $0x80010033, %eax /* PG, WP, NE, ET, MP, PE; caches on */
	movl %eax, %cr0
	lgdt boot_gdt_ptr
	ljmp $8, $boot64

no_long_mode:
	/* No driver is up: say it where an emulator or a serial line shows it, and stop. */
	movl $no_long_mode_text, %esi
1:	lodsb
	testb %al, %al
	jz 2f
	outb %al, $0xe9
	movw $0x3f8, %dx
	outb %al, %dx
	jmp 1b
2:	movb $0x23, %al /* EXIT_NOVIRT */
	outb %al, $0xf4
3:	hlt
	jmp 3b
no_long_mode_text:
	.asciz "drover: the CPU has no long mode\n"

	.code64
boot64:
	xorl %eax, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl %eax, %fs
	movl %eax, %gs
	movabsq $boot_high, %rax
	jmp *%rax

	.balign 8
boot_gdt:
	.quad 0, 0x00af9b000000ffff
boot_gdt_ptr:
	.word boot_gdt_ptr - boot_gdt - 1
	.long boot_gdt

	.text
boot_high:
	movq $boot_stack_top, %rsp
	movl %ebp, %edi
	movl %esi, %esi
	xorl %ebp, %ebp
	call boot_main
1:	hlt
	jmp 1b

	.section .bss.boot, "aw", @nobits
	.balign 4096
boot_pml4:
	.skip 4096
boot_pdpt:
	.skip 4096
boot_pdpt_high:
	.skip 4096
boot_pd:
	.skip 4 * 4096
	.globl boot_stack_guard
boot_stack_guard: /* unmapped by paging_init */
	.skip 4096
boot_stack:
	.skip BOOT_STACK_SIZE
boot_stack_top:
	.section .note.GNU-stack, "", @progbits
