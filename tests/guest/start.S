/* SPDX-License-Identifier: MIT */
/* Entry of the guest image: multiboot 1 (32-bit) and a 64-bit entry named by an ELF note. Both first save the debug
 * registers as found (rule Z08), then go to long mode with the runtime's own page tables and call guest_main(). */

#define MB_MAGIC 0x1badb002
#define MB_FLAGS 0x3 /* page-aligned modules, memory information */

	.section .multiboot, "a"
	.balign 4
	.long MB_MAGIC
	.long MB_FLAGS
	.long -(MB_MAGIC + MB_FLAGS)

	/* Note "drover" type 1: the 64-bit entry, called in long mode with EAX and EBX as multiboot gives them and the
	 * image identity-mapped. Multiboot 1 has no way to say this. */
	.section .note.drover, "a", @note
	.balign 4
	.long 7, 8, 1
	.asciz "drover"
	.balign 4
	.quad start64

	.section .text.start, "ax"
	.code32
	.globl start32
start32:
	cli
	cld
	movl %dr0, %ecx
	movl %ecx, boot_capture
	movl %dr1, %ecx
	movl %ecx, boot_capture + 8
	movl %dr2, %ecx
	movl %ecx, boot_capture + 16
	movl %dr3, %ecx
	movl %ecx, boot_capture + 24
	movl %dr6, %ecx
	movl %ecx, boot_capture + 32
	movl %dr7, %ecx
	movl %ecx, boot_capture + 40
	movl %eax, boot_magic
	movl %ebx, boot_info

	movl $boot_pml4, %eax
	movl %eax, %cr3
	movl %cr4, %eax
	orl $0x20, %eax			/* PAE */
	movl %eax, %cr4
	movl $0xc0000080, %ecx		/* EFER.LME */
	rdmsr
	orl $0x100, %eax
	wrmsr
	movl %cr0, %eax
	andl $~0x6000000c, %eax		/* CD, NW, EM and TS off */
	orl $0x80000003, %eax		/* PG, MP, PE */
	movl %eax, %cr0
	lgdt boot_gdtr
	ljmp $0x08, $long_mode

	.code64
	.globl start64
start64:
	cli
	cld
	movq %dr0, %rcx
	movq %rcx, boot_capture
	movq %dr1, %rcx
	movq %rcx, boot_capture + 8
	movq %dr2, %rcx
	movq %rcx, boot_capture + 16
	movq %dr3, %rcx
	movq %rcx, boot_capture + 24
	movq %dr6, %rcx
	movq %rcx, boot_capture + 32
	movq %dr7, %rcx
	movq %rcx, boot_capture + 40
	movl %eax, boot_magic
	movl %ebx, boot_info
	movl $boot_pml4, %eax
	movq %rax, %cr3
	lgdt boot_gdtr
	movq $main_stack_top, %rsp	/* who calls gives none */
	pushq $0x08
	pushq $long_mode
	lretq

long_mode:
	movl $0x2b, %eax		/* user data everywhere: IRET to ring 3 would drop a ring-0 one */
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %fs
	movl %eax, %gs
	movl $0x10, %eax
	movl %eax, %ss
	movq $main_stack_top, %rsp
	xorl %ebp, %ebp
	call guest_main
1:	cli
	hlt
	jmp 1b

	.section .data
	.globl boot_capture, boot_magic, boot_info, guest_gdt, boot_gdtr
	/* In .data, not .bss: a loader that clears .bss has done so before us, but then nobody need know that. */
	.balign 8
boot_capture:	.fill 7, 8, 0
boot_magic:	.long 0
boot_info:	.long 0

	.balign 16
guest_gdt:
	.quad 0
	.quad 0x00af9b000000ffff	/* 08 ring-0 64-bit code */
	.quad 0x00cf93000000ffff	/* 10 ring-0 data */
	.quad 0x00cf9b000000ffff	/* 18 ring-0 32-bit code */
	.quad 0x00cffb000000ffff	/* 20 ring-3 32-bit code */
	.quad 0x00cff3000000ffff	/* 28 ring-3 data */
	.quad 0x00affb000000ffff	/* 30 ring-3 64-bit code */
	.quad 0, 0			/* 38 TSS */
	.quad 0				/* 48 TSS of legacy mode */
	.quad 0				/* 50 free */
guest_gdt_end:
	.word 0
boot_gdtr:
	.word guest_gdt_end - guest_gdt - 1
	.quad guest_gdt

	/* 0-4 GiB identity, 2 MiB pages, present, writable, user. */
	.globl boot_pml4
	.balign 4096
boot_pml4:
	.quad boot_pdpt + 7
	.fill 511, 8, 0
boot_pdpt:
	.quad boot_pd + 7, boot_pd + 0x1007, boot_pd + 0x2007, boot_pd + 0x3007
	.fill 508, 8, 0
boot_pd:
	.set page, 0
	.rept 2048
	.quad page + 0x87
	.set page, page + 0x200000
	.endr

	.section .bss
	.balign 4096
	.globl main_stack_top, ist_db_top, ist_nmi_top, ist_df_top, ist_mc_top, rsp0_top, snippet_stack_top
	.skip 0x8000
main_stack_top:
	.skip 0x4000
ist_db_top:
	.skip 0x1000
ist_nmi_top:
	.skip 0x1000
ist_df_top:
	.skip 0x1000
ist_mc_top:
	.skip 0x4000
rsp0_top:
	.skip 0x2000
snippet_stack_top:

	.section .note.GNU-stack, "", @progbits
