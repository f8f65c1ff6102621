/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor inside a guest comes back from its own guest with wrong registers, at the wrong instruction, or not at all.
 * Cause: the level switch forgets a field, skips an instruction twice, or handles for the guest's guest what the guest has asked to see.
 * Who had it: every nested implementation while it was young; Linux KVM's nested SVM lost CR2 (cd3ff653ae0b), EXITINTINFO and the interrupt shadow.
 * Rules: NB = the base that groups N and M stand on: VM entry, exit, and what each carries. */
#include "tests/guest/l1.h"

CODE64(n00_regs, "mov %rbx, %rax; add $5, %rax; mov %r8, %r15; not %r9;" L2_END "n00_after: nop; inc %r15;" L2_END)
CODE64(n00_hypercall, "mov $0x77, %eax; vmmcall;" L2_END)
CODE64(n00_hypercall_vmx, "mov $0x77, %eax; vmcall;" L2_END)
CODE64(n00_ud, "ud2;" L2_END)
CODE64(n00_pf, "movb %al, (%rbx);" L2_END)
CODE64(n00_out, "mov $0x80, %edx; outb %al, %dx;" L2_END)
CODE64(n00_rdmsr, "mov $0xc0000080, %ecx; rdmsr; .globl n00_cpuid; n00_cpuid:" L2_END)
LABEL(n00_cpuid);
CODE64(n00_hlt, "hlt;" L2_END)
CODE64(n00_tsc, "rdtsc; shl $32, %rdx; or %rdx, %rax; mov %rax, %r8;" L2_END)
CODE64(n00_cr, "mov %cr4, %rax; mov %rax, %r8; xor $8, %rax; mov %rax, %cr4; mov %cr4, %rax; mov %rbx, %cr2; mov %cr2, %rcx;" L2_END)
CODE64(n00_nop, "nop;" L2_END)

static void registers(void)
{
	struct l2 g = { .code = n00_regs, .regs = { .rbx = 100, .rcx = 3, .rsi = 6, .rdi = 7, .rbp = 8, .r8 = 0x1234567890, .r9 = 0, .r14 = 14 } };

	l1_run(&g);
	check_eq("NB.cpuid", "CPUID exits", g.exit.kind, L1_CPUID);
	check_eq("NB.rip", "at the instruction", g.rip - (uint64_t)n00_regs, 13);
	check_eq("NB.rax", "RAX", g.regs.rax, 105);
	check_eq("NB.r15", "R15", g.regs.r15, 0x1234567890);
	check_eq("NB.r9", "R9", g.regs.r9, ~0ul);
	check_eq("NB.kept", "the others as they were", g.regs.rcx == 3 && g.regs.rsi == 6 && g.regs.rdi == 7 && g.regs.rbp == 8 && g.regs.r14 == 14, 1);
	check_eq("NB.vectoring", "nothing was cut short", g.exit.vectoring.type, L1_EV_NONE);
	g.rip += 2;
	l1_run(&g);
	check_eq("NB.again.rip", "entered again behind CPUID", g.rip - (uint64_t)n00_regs, 19);
	check_eq("NB.again.r15", "goes on with its registers", g.regs.r15, 0x1234567891);
}

static void kinds(void)
{
	struct l2 g = { .code = env.amd ? n00_hypercall : n00_hypercall_vmx };

	l1_run(&g);
	check_eq("NB.hypercall", "the hypercall instruction exits to L1", g.exit.kind, L1_HYPERCALL);
	check_eq("NB.hypercall.rip", "at it", g.rip - (uint64_t)g.code, 5);
	g = (struct l2){ .code = n00_ud };
	l1_run(&g);
	check_eq("NB.ud", "an exception exits", g.exit.kind == L1_EXCEPTION ? g.exit.vector : 99, VEC_UD);
	g = (struct l2){ .code = n00_out, .io = true };
	l1_run(&g);
	check_eq("NB.io", "OUT exits where L1 asks", g.exit.kind, L1_IO);
	g = (struct l2){ .code = n00_out };
	l1_run(&g);
	check_eq("NB.io.free", "and not where it does not", g.exit.kind, L1_CPUID);
	g = (struct l2){ .code = n00_rdmsr, .msr = true };
	l1_run(&g);
	check_eq("NB.msr", "RDMSR exits where L1 asks", g.exit.kind, L1_MSR);
	g = (struct l2){ .code = n00_rdmsr };
	l1_run(&g);
	check_eq("NB.msr.free", "and not where it does not", g.exit.kind == L1_CPUID ? g.rip : 0, (uint64_t)n00_cpuid);
	check_eq("NB.msr.efer", "EFER has LMA", g.regs.rax >> 10 & 1, 1);
	g = (struct l2){ .code = n00_hlt, .hlt = true };
	l1_run(&g);
	check_eq("NB.hlt", "HLT exits where L1 asks", g.exit.kind, L1_HLT);
}

static void memory(void)
{
	struct l2 g = { .code = n00_pf, .regs = { .rbx = 0x8000000000 } };
	uint64_t cr4 = read_cr4();

	l1_run(&g);
	check_eq("NB.pf", "#PF exits", g.exit.kind == L1_EXCEPTION ? g.exit.vector : 99, VEC_PF);
	g = (struct l2){ .code = n00_cr, .regs = { .rbx = 0xabc000 } };
	l1_run(&g);
	check_eq("NB.cr2", "CR2 of L2 at the exit", g.cr2, 0xabc000);
	check_eq("NB.cr2.l1", "and in L1's register: no part of the host state", g.exit.l1_cr2, 0xabc000);
	check_eq("NB.cr4.entry", "CR4 as its control block has it", g.regs.r8, cr4);
	check_eq("NB.cr4", "CR4 is L2's own: it turns DE on", g.regs.rax, cr4 | CR4_DE);
	check_eq("NB.cr4.l1", "and its hypervisor has it off", read_cr4(), cr4);
	check_eq("NB.cr2.l2", "and reads CR2", g.regs.rcx, 0xabc000);
}

static void tsc(void)
{
	struct l2 g = { .code = n00_tsc, .tsc_offset = 1ul << 50 };
	uint64_t t = rdtsc();

	l1_run(&g);
	check_eq("NB.tsc", "TSC with L1's offset", (g.regs.r8 - t) >> 50, 1);
	check_eq("NB.tsc.l1", "L1's own has none", (rdtsc() - t) >> 50, 0);
}

static bool go_on(struct trap_frame *f, struct trap_rec *rec)
{
	(void)f;
	(void)rec;
	return true;
}

static void events(void)
{
	struct l2 g = { .code = n00_nop, .inject = { L1_EV_INTR, VEC_INT80, false, 0 }, .rflags = FL_IF };

	trap_clear();
	l1_run(&g);
	check_trace("NB.inject.intr", "an injected interrupt goes through L2's IDT", n00_nop, "I80+0");
	check_eq("NB.inject.intr.exit", "and L2 goes on", g.exit.kind, L1_CPUID);
	/* Not intercepted although L1 has the intercept of that vector: an injected event is never asked about (N11). */
	g = (struct l2){ .code = n00_nop, .inject = { L1_EV_EXCEPTION, VEC_GP, true, 0x1234 } };
	trap_clear();
	trap_set_hook(VEC_GP, go_on);
	l1_run(&g);
	trap_set_hook(VEC_GP, NULL);
	check_trace("N11.inject.fault", "an injected fault with its error code", n00_nop, "GP+0(1234)");
	check_eq("N11.inject.fault.exit", "and L2 goes on", g.exit.kind, L1_CPUID);
	g = (struct l2){ .code = n00_nop, .inject = { L1_EV_SOFT, VEC_INT80, false, 0 } };
	trap_clear();
	l1_run(&g);
	check_eq("NB.inject.soft", "INT n too", trap_count(VEC_INT80), 1);
}

SCENARIO(n00_nested, "L1 runs L2: registers, exits, injection", SCN_NESTED)
{
	l1_begin();
	registers();
	kinds();
	memory();
	tsc();
	events();
	l1_end();
}
