/* SPDX-License-Identifier: MIT */
/* Host exceptions and interrupts: the frame, hooks per vector, the fix-up table. */
#ifndef ARCH_X86_TRAPS_H
#define ARCH_X86_TRAPS_H

/* An instruction at `from` that faults with #UD or #GP continues at `to`. For .S files and for inline assembly alike. */
#ifdef __ASSEMBLER__
#define EXTABLE(from, to) \
	.pushsection .extable, "a"; .balign 8; .quad from, to; .popsection

	/* 256 stubs of 16 bytes: an error code, 0 where hardware pushes none, the vector, and on to `common`. */
	.macro trap_stub_table common
	.set vector, 0
	.rept 256
	.balign 16
	.if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
	.else
	pushq $0
	.endif
	pushq $vector
	jmp \common
	.set vector, vector + 1
	.endr
	.endm

	/* struct trapframe below RAX, which is pushed already. */
	.macro push_trapframe_rest
	pushq %rbx
	pushq %rcx
	pushq %rdx
	pushq %rbp
	pushq %rsi
	pushq %rdi
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	.endm

	/* All of it, RAX too. */
	.macro pop_trapframe
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rdi
	popq %rsi
	popq %rbp
	popq %rdx
	popq %rcx
	popq %rbx
	popq %rax
	.endm
#else

#include <stdbool.h>
#include <stdint.h>

#define EXTABLE(from, to) ".pushsection .extable, \"a\"; .balign 8; .quad " from ", " to "; .popsection\n"

/* As the macros above push it. */
struct trapframe {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
	uint64_t rdi, rsi, rbp, rdx, rcx, rbx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

/* Upward call: fn runs first for its vector; true: handled, the trap returns. Device vectors (>= 32) get their EOI from fn.
 * One hook per vector (a second one panics); NULL removes it. Runs with interrupts off, on the IST stack for #DB NMI #DF #MC. */
void trap_set_hook(unsigned vector, bool (*fn)(struct trapframe *));

/* Upward call, for a quirk: fn sees each #DB before everybody else, even in the middle of a world switch, when TR and GS are a guest's. So the #DB
 * gate of this CPU then uses no IST stack, and fn may use no per-CPU data. true: handled. NULL removes it and puts the stack back. */
void trap_set_db_filter(bool (*fn)(struct trapframe *));
/* Loads the IDT of this CPU (see gdt.h for the area) and registers the panic register printer. */
void traps_init(void);

/* Called by the entry stub. */
void trap_handle(struct trapframe *tf);

#endif
#endif
