/* SPDX-License-Identifier: MIT */
/* Symptom: a guest's user loads the kernel's tables, swaps its GS, or stops interrupts: what only CPL 0 may do works in user mode.
 * Cause: a hypervisor that runs the guest's kernel in ring 3 emulates what faults there, and asks hardware's CPL, which is 3 for both, or none at all.
 * Who had it: nobody may say for PVM, whose first versions had no published tests; Xen PV guards each emulation with guest_kernel_mode().
 * Rules: P19, A08. Expected: the faults of the manual, RIP at the instruction, and nothing changed. */
#include "tests/guest/guest.h"

/* RBX points to ten bytes 00 .. 00 08 00: as a far pointer it is 0008:0, as a table a base that is canonical. RAX is 8. */
static const struct {
	const char *name;
	uint8_t bytes[4], len;
	const char *want;
} insns[] = {
	{ "cli", { 0xfa }, 1, "GP+0(0)" },
	{ "sti", { 0xfb }, 1, "GP+0(0)" },
	{ "hlt", { 0xf4 }, 1, "GP+0(0)" },
	{ "lgdt", { 0x0f, 0x01, 0x13 }, 3, "GP+0(0)" },
	{ "lidt", { 0x0f, 0x01, 0x1b }, 3, "GP+0(0)" },
	{ "lldt", { 0x0f, 0x00, 0xd0 }, 3, "GP+0(0)" },
	{ "ltr", { 0x0f, 0x00, 0xd8 }, 3, "GP+0(0)" },
	{ "invlpg", { 0x0f, 0x01, 0x3b }, 3, "GP+0(0)" },
	{ "invd", { 0x0f, 0x08 }, 2, "GP+0(0)" },
	{ "wbinvd", { 0x0f, 0x09 }, 2, "GP+0(0)" },
	{ "rdmsr", { 0x0f, 0x32 }, 2, "GP+0(0)" },
	{ "wrmsr", { 0x0f, 0x30 }, 2, "GP+0(0)" },
	{ "swapgs", { 0x0f, 0x01, 0xf8 }, 3, "GP+0(0)" },
	{ "clts", { 0x0f, 0x06 }, 2, "GP+0(0)" },
	{ "lmsw", { 0x0f, 0x01, 0xf0 }, 3, "GP+0(0)" },
	{ "lmsw-mem", { 0x0f, 0x01, 0x33 }, 3, "GP+0(0)" },
	{ "from-cr0", { 0x0f, 0x20, 0xc0 }, 3, "GP+0(0)" },
	{ "to-cr0", { 0x0f, 0x22, 0xc0 }, 3, "GP+0(0)" },
	{ "to-cr3", { 0x0f, 0x22, 0xd8 }, 3, "GP+0(0)" },
	{ "to-cr4", { 0x0f, 0x22, 0xe0 }, 3, "GP+0(0)" },
	{ "to-cr8", { 0x44, 0x0f, 0x22, 0xc0 }, 4, "GP+0(0)" },
	{ "to-dr7", { 0x0f, 0x23, 0xf8 }, 3, "GP+0(0)" },
	{ "sysret", { 0x48, 0x0f, 0x07 }, 3, "GP+0(0)" },
	{ "in", { 0xec }, 1, "GP+0(0)" },
	{ "out", { 0xee }, 1, "GP+0(0)" },
	{ "outs", { 0x6e }, 1, "GP+0(0)" },
	{ "far-jmp", { 0xff, 0x2b }, 2, "GP+0(8)" },
	{ "far-call", { 0xff, 0x1b }, 2, "GP+0(8)" },
	{ "mov-ss", { 0x8e, 0xd0 }, 2, "GP+0(8)" },
	{ "mov-ds", { 0x8e, 0xd9 }, 2, "GP+0(10)" },
	{ "int-gate0", { 0xcd, 0x0d }, 2, "GP+0(6a)" },
};

CODE64(p19_iret, "push $0x10; push %rsp; pushfq; push $8; push %rbx; iretq;" DONE)
CODE64(p19_retf, "push $8; push %rbx; lretq;" DONE)
CODE64(p19_wait, "fwait;" DONE)
CODE64(p19_fnop, "fnop;" DONE)
CODE64(p19_tables, "mov %gs:(%rbx), %al; mov %ecx, %es;" DONE)

#define SEL_TABLE 0x53u /* SEL_FREE, for user mode: only the runtime's own GDT has it */

struct kept {
	uint64_t cr0, cr3, cr4, efer, kernel_gs, gs, dr7;
};

static struct kept look(void)
{
	struct kept k = { .cr0 = read_cr0(), .cr3 = read_cr3(), .cr4 = read_cr4(), .dr7 = read_dr7() };

	try_rdmsr(MSR_EFER, &k.efer);
	try_rdmsr(MSR_KERNEL_GS_BASE, &k.kernel_gs);
	try_rdmsr(MSR_GS_BASE, &k.gs);
	return k;
}

/* What a refused instruction must not have done all the same. The tables: by a gate of the old IDT that user mode may use, a descriptor of the old GDT, and
 * the old TSS's stack, on which the first of these arrives. */
static void kept(const char *when, const struct kept *was)
{
	struct run r = { .code = p19_tables, .cpl = 3, .allow = 1 << VEC_GP | 1 << VEC_PF, .regs = { .rbx = (uint64_t)watch_buf, .rcx = SEL_TABLE } };
	struct kept now = look();

	check(fmt("P19.kept.%s", when), "CR0, CR3, CR4, EFER, KernelGSBase, GS base, DR7",
	      now.cr0 == was->cr0 && now.cr3 == was->cr3 && now.cr4 == was->cr4 && now.efer == was->efer && now.kernel_gs == was->kernel_gs && now.gs == was->gs &&
	      now.dr7 == was->dr7);
	run_code(&r);
	check_eq(fmt("P19.tables.%s", when), "GDT, IDT and TSS", r.end, VEC_DONE);
}

/* What the kernel's CR0 lets its users have of x87: WAIT is #NM with MP and TS, all else with EM or TS. In ring 3 hardware's CR0 is the host's in between. */
static void x87(void)
{
	uint64_t cr0 = read_cr0();

	for (uint64_t bits = 0; bits < 16; bits += 2)
		for (unsigned k = 0; k < 4; k++) {
			struct run r = { .code = k & 1 ? p19_fnop : p19_wait, .cpl = k & 2 ? 3 : 0, .allow = 1 << VEC_NM };
			bool nm = k & 1 ? bits & (CR0_EM | CR0_TS) : (bits & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS);

			write_cr0((cr0 & ~(CR0_MP | CR0_EM | CR0_TS)) | bits);
			fx(FX_CPUID);
			run_code(&r);
			write_cr0(cr0);
			check_eq(fmt("P19.%s.%lx.%u", k & 1 ? "fnop" : "wait", (unsigned long)bits, r.cpl), "by CR0.MP, EM and TS", r.end, nm ? VEC_NM : VEC_DONE);
		}
}

SCENARIO(p19_user_privileges, "what only the kernel may do is refused in user mode", 0)
{
	uint64_t efer = 0;
	unsigned flags = 0;
	struct kept was;

	try_rdmsr(MSR_EFER, &efer);
	try_wrmsr(MSR_EFER, efer | EFER_SCE);
	try_wrmsr(MSR_KERNEL_GS_BASE, 0x123456);
	gdt_set(SEL_FREE, 0x00cff3000000ffff);
	was = look();
	for (unsigned i = 0; i < 10; i++)
		watch_buf[i] = i == 4 ? 8 : 0;
	for (unsigned i = 0; i < sizeof(insns) / sizeof(insns[0]); i++)
		FOR_FX(k)
		{
			struct run r = { .code = code_make(insns[i].bytes, insns[i].len), .cpl = 3, .allow = 1 << VEC_GP | 1 << VEC_UD,
					 .regs = { .rax = 8, .rbx = (uint64_t)watch_buf, .rcx = MSR_KERNEL_GS_BASE, .rdx = 0x3ff, .rsi = (uint64_t)watch_buf } };

			if (insns[i].bytes[0] == 0x8e && insns[i].bytes[1] == 0xd9)
				r.regs.rcx = SEL_KDATA;
			fx(k);
			r.rflags = i & 1 ? 0 : FL_IF; /* which CLI would clear, and STI set */
			run_code(&r);
			flags += (r.end_rflags ^ r.rflags) & FL_IF ? 1 : 0;
			check_trace(fmt("P19.%s.%s", insns[i].name, fx_name(k)), "the fault", r.code, insns[i].want);
		}
	check_eq("P19.kept.if", "IF in each fault's frame", flags, 0);
	kept("insns", &was);
	for (unsigned i = 0; i < 2; i++) {
		struct run r = { .code = i ? p19_retf : p19_iret, .cpl = 3, .allow = 1 << VEC_GP, .regs = { .rbx = (uint64_t)p19_iret } };

		run_code(&r);
		check(fmt("P19.%s", i ? "retf" : "iretq"), "into the kernel: #GP(8)", r.end == VEC_GP && trap_log.n == 1 && trap_log.rec[0].err == 8);
	}
	kept("returns", &was);
	x87();
	gdt_set(SEL_FREE, 0);
	try_wrmsr(MSR_KERNEL_GS_BASE, 0);
}
