/* SPDX-License-Identifier: MIT */
/* Symptom: with gdb attached a guest finds TF in what PUSHF pushes or in R11, an INT3 of its own is swallowed, a byte of its code is 0xcc for ever; or gdb's step
 * lands somewhere else than the CPU's would.
 * Or a guest that sums up its own code finds another sum while gdb has breakpoints there.
 * Cause: a debugger that uses the guest's own means and does not hide it.
 * Who had it: Linux KVM (94fe45da48f9: TF inside handlers; P13 for the INT3).
 * Rules: Z03, Z06, Z07, P13. `make check-gdb` drives gdb over it (tests/run/gdbcheck.py); alone it runs through. count=1: it spins until gdb sets gdb_go; 2: with
 * interrupts on. */
#include "tests/guest/guest.h"

#define VEC_IRQ 0x40

extern volatile uint64_t gdb_counter, gdb_go; /* by these names gdb finds them */
volatile uint64_t gdb_counter, gdb_go;
void gdb_here(unsigned n);
void gdb_work(uint64_t n);
void gdb_spin(void);

/* STEPS of gdbcheck.py has the labels in the order in which they are stepped on. */
CODE64(gdb_list,
       "nop; .globl gl_cpuid; gl_cpuid: cpuid; .globl gl_cli; gl_cli: cli;"
       ".globl gl_ss; gl_ss: mov %ss, %eax; .globl gl_pair; gl_pair: mov %eax, %ss; nop; .globl gl_pushf; gl_pushf: pushfq; .globl gl_pop; gl_pop: pop %r8;"
       ".globl gl_ecx; gl_ecx: mov $3, %ecx; .globl gl_rep; gl_rep: rep stosb; .globl gl_syscall; gl_syscall: syscall; nop;"
       ".globl gl_entry; gl_entry: mov %r11, %r9; .globl gl_frame; gl_frame: mov %rsp, %r10; mov %ss, %eax; push %rax; push %r10; pushfq; mov %cs, %eax; push %rax;"
       "lea gl_back(%rip), %rax; push %rax; .globl gl_iret; gl_iret: iretq; nop; .globl gl_back; gl_back: sti; .globl gl_hlt; gl_hlt: hlt;"
       ".globl gl_behind; gl_behind: nop; .globl gl_end; gl_end: cli;" DONE)
CODE64(gdb_int3, "nop; int3; nop;" DONE)
CODE64(gdb_stores, "movb $1, (%rdi); nop; movb $2, 8(%rdi); nop; movb $3, 16(%rdi); nop; movb $4, 24(%rdi); nop; movb $5, 32(%rdi); nop;" DONE)
LABEL(gl_entry);

/* Where gdb stops to look; told apart by RDI. */
__attribute__((noinline)) void gdb_here(unsigned n)
{
	__asm__ volatile("" : : "r"(n) : "memory");
}

__attribute__((noinline)) void gdb_work(uint64_t n)
{
	gdb_counter += n;
}

__attribute__((noinline)) void gdb_spin(void)
{
	while (!gdb_go)
		;
}

static uint64_t sum(void)
{
	const volatile uint8_t *p = (const volatile uint8_t *)gdb_list;
	uint64_t s = 0;

	for (unsigned i = 0; i < 160; i++)
		s = s * 31 + p[i];
	p = (const volatile uint8_t *)(uintptr_t)gdb_work;
	for (unsigned i = 0; i < 16; i++)
		s = s * 31 + p[i];
	return s;
}

static bool irq_hook(struct trap_frame *f, struct trap_rec *rec)
{
	(void)f;
	(void)rec;
	return true;
}

static void list(void)
{
	struct run r = { .code = gdb_list, .regs = { .rdi = (uint64_t)(uintptr_t)&watch_buf[40] } };
	uint64_t efer = 0;

	try_rdmsr(MSR_EFER, &efer);
	try_wrmsr(MSR_EFER, efer | EFER_SCE);
	try_wrmsr(MSR_STAR, (uint64_t)SEL_KCODE64 << 32 | (uint64_t)SEL_UCODE32 << 48);
	try_wrmsr(MSR_LSTAR, (uint64_t)(uintptr_t)gl_entry);
	try_wrmsr(MSR_SFMASK, FL_IF);
	trap_set_hook(VEC_IRQ, irq_hook);
	hypercall(HC_LAB_INJECT, LAB_IRQ, VEC_IRQ, 0);
	gdb_here(1);
	run_code(&r);
	check_eq("Z03.rep", "it has run: the REP went three rounds", r.regs.rdi, (uint64_t)(uintptr_t)&watch_buf[43]);
	check_eq("Z03.pushf", "PUSHF pushes no TF", r.regs.r8 & (FL_TF | FL_FIXED), FL_FIXED);
	check_eq("Z03.r11", "SYSCALL saves none", r.regs.r9 & (FL_TF | FL_FIXED), FL_FIXED);
	check_eq("Z03.flags", "none is left", r.end_rflags & (FL_TF | FL_FIXED), FL_FIXED);
	check_eq("Z03.db", "no #DB comes to the guest", trap_count(VEC_DB), 0);
	__asm__ volatile("sti; nop; nop; cli"); /* where it was held off for steps (Z06) */
	check_eq("Z06.irq", "the interrupt that waited comes, once", trap_count(VEC_IRQ), 1);
	try_wrmsr(MSR_EFER, efer);
	try_wrmsr(MSR_SFMASK, 0);
}

static void own_int3(void)
{
	struct run r = { .code = gdb_int3, .resume = 1ull << VEC_BP };

	gdb_here(2);
	run_code(&r);
	check_trace("P13.int3", "an INT3 of the guest's own is its own", gdb_int3, "BP+2");
	check_eq("Z03.frame", "no TF in its frame, stepped or not", trap_nth(VEC_BP, 0)->rflags & FL_TF, 0);
	check_eq("A28.frame", "nor RF, in a page that is watched or not", trap_nth(VEC_BP, 0)->rflags & FL_RF, 0);
}

/* Its code is summed up in between, while gdb has a breakpoint in it. */
static void work(uint64_t before)
{
	bool lbr = debugctl_acts(); /* drover steps it for the records then, or hardware has them */
	unsigned changed = 0;

	gdb_counter = 0;
	if (lbr)
		try_wrmsr(MSR_DEBUGCTL, DEBUGCTL_LBR);
	gdb_here(3);
	for (unsigned i = 0; i < 10; i++) {
		gdb_work(i);
		changed += sum() != before;
	}
	if (lbr)
		try_wrmsr(MSR_DEBUGCTL, 0);
	check_eq("Z04.counter", "the work is done", gdb_counter, 45);
	check_eq("Z07.read", "its code reads as ever meanwhile", changed, 0);
}

/* Arms slots one after the other, whoever else wants some. */
static void slots(unsigned n, const char *want)
{
	struct run r = { .code = gdb_stores, .regs = { .rdi = (uint64_t)(uintptr_t)&watch_buf[0] } };
	uint64_t dr7 = DR7_INIT, a = (uint64_t)(uintptr_t)&watch_buf[0];

	for (unsigned i = 0; i < sizeof(watch_buf); i++)
		watch_buf[i] = 0;
	write_dr0(a);
	write_dr1(a + 8);
	write_dr2(a + 16);
	write_dr3(a + 24);
	for (unsigned i = 0; i < n; i++)
		dr7 |= DR7_BP(i, RW_WRITE, LEN_1);
	write_dr7(dr7);
	gdb_here(4 + n);
	run_code(&r);
	check_trace(fmt("Z01.%u", n), "the guest gets its own hits, and no others", gdb_stores, want);
	check_eq(fmt("Z01.%u.dr7", n), "and reads its own DR7", read_dr7(), dr7);
	check_eq(fmt("Z01.%u.dr3", n), "and DR3", read_dr3(), a + 24);
	debug_state_reset();
}

SCENARIO(z03_stepped, "what gdb is driven over: steps, an INT3, a loop, breakpoints of the guest's own", SCN_BY_NAME | SCN_LAB)
{
	uint64_t before = sum();

	gdb_here(0);
	list();
	own_int3();
	work(before);
	for (unsigned n = 0; n <= 4; n++)
		slots(n, n == 0 ? "none" : n == 1 ? "DB+3/ffff0ff1" : n == 2 ? "DB+3/ffff0ff1;DB+8/ffff0ff2" :
		      n == 3 ? "DB+3/ffff0ff1;DB+8/ffff0ff2;DB+d/ffff0ff4" : "DB+3/ffff0ff1;DB+8/ffff0ff2;DB+d/ffff0ff4;DB+12/ffff0ff8");
	if (env.count) {
		print("# z03_stepped: spins\n");
		console_drain();
		if (env.count > 1)
			__asm__ volatile("sti");
		gdb_spin();
		__asm__ volatile("cli");
		check_eq("Z04.go", "what gdb wrote is there", gdb_go, 1);
	}
	gdb_here(9);
	check_eq("Z07.text", "no byte of its code has changed", sum(), before);
}
