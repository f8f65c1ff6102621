/* SPDX-License-Identifier: MIT */
/* l1.h by AMD's SVM. Offsets and codes from the APM's appendices, on purpose not from drover's headers. */
#include "tests/guest/l1.h"

#define MSR_VM_HSAVE 0xc0010117u
#define EFER_NXE (1ul << 11) /* of the nested tables too */
#define EFER_SVME (1ul << 12)

/* Control area, state save area. */
enum {
	C_CR = 0x00, C_DR = 0x04, C_EXC = 0x08, C_MISC1 = 0x0c, C_MISC2 = 0x10, C_IOPM = 0x40, C_MSRPM = 0x48, C_TSC = 0x50, C_ASID = 0x58, C_TLB = 0x5c,
	C_VINTR = 0x60, C_SHADOW = 0x68, C_CODE = 0x70, C_INFO1 = 0x78, C_INFO2 = 0x80, C_INTINFO = 0x88, C_NP = 0x90, C_EVENT = 0xa8, C_NCR3 = 0xb0, C_NRIP = 0xc8,
	S_ES = 0x400, S_CS = 0x410, S_SS = 0x420, S_DS = 0x430, S_GDTR = 0x460, S_IDTR = 0x480, S_CPL = 0x4cb, S_EFER = 0x4d0, S_CR4 = 0x548, S_CR3 = 0x550,
	S_CR0 = 0x558, S_DR7 = 0x560, S_DR6 = 0x568, S_RFLAGS = 0x570, S_RIP = 0x578, S_RSP = 0x5d8, S_RAX = 0x5f8, S_CR2 = 0x640, S_PAT = 0x668,
};
#define I1_INTR (1u << 0)
#define I1_NMI (1u << 1)
#define I1_CPUID (1u << 18)
#define I1_HLT (1u << 24)
#define I1_IOIO (1u << 27)
#define I1_MSR (1u << 28)
#define I1_SHUTDOWN (1u << 31)
#define I2_VMRUN (1u << 0)
#define I2_VMMCALL (1u << 1)
#define EV_VALID (1ul << 31)
#define EV_ERROR (1ul << 11)
#define V_INTR_MASKING (1ul << 24)

#define PAGE __attribute__((aligned(4096)))
static uint8_t vmcbs[2][4096] PAGE, hsave[4096] PAGE, iopm[0x3000] PAGE, msrpm[0x2000] PAGE, stack[8192] PAGE;
static uint64_t npt[5][512] PAGE; /* root, 512 GiB, the first GiB, the second, the window */

static uint8_t *vmcb = vmcbs[0]; /* of this run */

static void put64(unsigned at, uint64_t v) { *(volatile uint64_t *)(vmcb + at) = v; }
static uint64_t get64(unsigned at) { return *(volatile uint64_t *)(vmcb + at); }
static void put32(unsigned at, uint32_t v) { *(volatile uint32_t *)(vmcb + at) = v; }

/* void l1_svm_switch(uint64_t vmcb, struct regs *r, uint64_t rflags). struct regs: rax rbx rcx rdx rsi rdi rbp r8-r15; RAX is in the VMCB. No CLGI: with GIF 0
 * breakpoints are discarded (APM "Global Interrupt Flag"), and M11 wants one on VMRUN. */
void l1_svm_switch(uint64_t block, struct regs *r, uint64_t rflags);
LABEL(l1_svm_vmrun);
LABEL(l1_svm_behind);
__asm__(".pushsection .text; .globl l1_svm_switch, l1_svm_vmrun, l1_svm_behind; l1_svm_switch:"
	"push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rsi; push %rdx;"
	"mov %rdi, %rax; mov 8(%rsi), %rbx; mov 16(%rsi), %rcx; mov 24(%rsi), %rdx; mov 40(%rsi), %rdi; mov 48(%rsi), %rbp; mov 56(%rsi), %r8;"
	"mov 64(%rsi), %r9; mov 72(%rsi), %r10; mov 80(%rsi), %r11; mov 88(%rsi), %r12; mov 96(%rsi), %r13; mov 104(%rsi), %r14; mov 112(%rsi), %r15;"
	"mov 32(%rsi), %rsi; popfq; l1_svm_vmrun: vmrun %rax; l1_svm_behind: nop; stgi; cli; xchg %rdi, (%rsp);"
	"mov %rbx, 8(%rdi); mov %rcx, 16(%rdi); mov %rdx, 24(%rdi); mov %rsi, 32(%rdi); mov %rbp, 48(%rdi); mov %r8, 56(%rdi); mov %r9, 64(%rdi);"
	"mov %r10, 72(%rdi); mov %r11, 80(%rdi); mov %r12, 88(%rdi); mov %r13, 96(%rdi); mov %r14, 104(%rdi); mov %r15, 112(%rdi);"
	"pop %rcx; mov %rcx, 40(%rdi); pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret; .popsection");

/* ---- On and off ---- */

static void begin(void)
{
	uint64_t efer = 0;
	uint32_t r[4];

	cpuid(0x80000001, 0, r);
	if (!(r[2] >> 2 & 1))
		scenario_skip("no SVM in this CPU model");
	cpuid(0x8000000a, 0, r);
	try_rdmsr(MSR_EFER, &efer);
	if (try_wrmsr(MSR_EFER, efer | EFER_SVME | EFER_NXE) != NO_FAULT)
		scenario_error("setting EFER.SVME faults");
	try_wrmsr(MSR_VM_HSAVE, (uint64_t)hsave);
	for (unsigned i = 0; i < 512; i++) {
		npt[2][i] = (uint64_t)i << 21 | 0xe7; /* P, W, U, A, D, PS */
		npt[3][i] = npt[4][i] = 0;
	}
	npt[0][0] = (uint64_t)npt[1] | 7;
	npt[1][0] = (uint64_t)npt[2] | 7;
	npt[1][1] = (uint64_t)npt[3] | 7;
	npt[3][0] = (uint64_t)npt[4] | 7;
}

static void end(void)
{
	uint64_t efer = 0;

	try_rdmsr(MSR_EFER, &efer);
	try_wrmsr(MSR_EFER, efer & ~(EFER_SVME | EFER_NXE));
}

static void map(unsigned slot, const volatile void *page, unsigned rights)
{
	npt[4][slot & 511] = !rights ? 0 : (uint64_t)page | 5 | (rights & L1_WRITE) | (rights & L1_EXEC ? 0 : 1ul << 63) | (rights & L1_RESERVED ? 1ul << 51 : 0);
}

/* ---- One run ---- */

static void segment(unsigned at, uint16_t sel, uint16_t attr)
{
	put32(at, sel | (uint32_t)attr << 16);
	put32(at + 4, 0xffffffff);
	put64(at + 8, 0);
}

static void state(const struct l2 *g)
{
	struct { uint16_t limit; uint64_t base; } __attribute__((packed)) t;
	uint64_t efer = 0;

	segment(S_ES, SEL_UDATA, 0xcf3);
	segment(S_DS, SEL_UDATA, 0xcf3);
	segment(S_SS, SEL_KDATA, 0xc93);
	segment(S_CS, SEL_KCODE64, 0xa9b);
	__asm__ volatile("sgdt %0" : "=m"(t));
	put32(S_GDTR + 4, t.limit);
	put64(S_GDTR + 8, t.base);
	__asm__ volatile("sidt %0" : "=m"(t));
	put32(S_IDTR + 4, t.limit);
	put64(S_IDTR + 8, t.base);
	try_rdmsr(MSR_EFER, &efer);
	vmcb[S_CPL] = 0;
	put64(S_EFER, efer);
	put64(S_CR0, read_cr0());
	put64(S_CR3, read_cr3());
	put64(S_CR4, read_cr4());
	put64(S_CR2, g->cr2);
	put64(S_DR6, g->dr6 ? g->dr6 : DR6_INIT);
	put64(S_DR7, g->dr7 ? g->dr7 : DR7_INIT);
	put64(S_RFLAGS, g->rflags | FL_FIXED);
	put64(S_RIP, g->rip ? g->rip : (uint64_t)g->code);
	put64(S_RSP, (uint64_t)stack + sizeof(stack) - 64);
	put64(S_RAX, g->regs.rax);
	put64(S_PAT, 0x0007040600070406ul);
}

static void controls(const struct l2 *g)
{
	static const uint64_t type[] = { [L1_EV_INTR] = 0, [L1_EV_NMI] = 2, [L1_EV_EXCEPTION] = 3, [L1_EV_SOFT] = 4 };
	const struct l1_event *e = &g->inject;

	put32(C_DR, g->movdr);
	put32(C_EXC, ~g->own);
	put32(C_MISC1, I1_CPUID | I1_SHUTDOWN | (g->intr ? I1_INTR : 0) | (g->nmi ? I1_NMI : 0) | (g->hlt ? I1_HLT : 0) | (g->io ? I1_IOIO : 0) |
			       (g->msr ? I1_MSR : 0));
	put32(C_MISC2, I2_VMRUN | (g->lab ? 0 : I2_VMMCALL));
	for (unsigned i = 0; i < sizeof(iopm); i++)
		iopm[i] = 0xff;
	for (unsigned i = 0; i < sizeof(msrpm); i++)
		msrpm[i] = 0xff;
	put64(C_IOPM, (uint64_t)iopm);
	put64(C_MSRPM, (uint64_t)msrpm);
	put64(C_TSC, g->tsc_offset);
	put32(C_ASID, 1);
	put32(C_TLB, g->flush);
	put64(C_VINTR, V_INTR_MASKING);
	put64(C_SHADOW, g->shadow);
	put64(C_NP, g->paging);
	put64(C_NCR3, (uint64_t)npt[0]);
	put64(C_NRIP, g->rip ? g->rip : (uint64_t)g->code); /* what a soft interrupt pushes where the CPU has next-RIP */
	npt[0][0] = (uint64_t)npt[1] | (g->read_only ? 5 : 7);
	if (e->type)
		put64(C_EVENT, e->vector | type[e->type] << 8 | EV_VALID | (e->has_error ? EV_ERROR | (uint64_t)e->error << 32 : 0));
}

static enum l1_kind kind_of(uint64_t code)
{
	switch (code) {
	case 0x20 ... 0x3f: return L1_MOVDR;
	case 0x40 ... 0x5f: return L1_EXCEPTION;
	case 0x60: return L1_INTR;
	case 0x61: return L1_NMI;
	case 0x64: return L1_WINDOW;
	case 0x72: return L1_CPUID;
	case 0x78: return L1_HLT;
	case 0x7b: return L1_IO;
	case 0x7c: return L1_MSR;
	case 0x81: return L1_HYPERCALL;
	case 0x400: return L1_MEM;
	case 0xffffffff: case ~0ul: return L1_INVALID; /* emulators disagree on the upper half */
	default: return L1_OTHER;
	}
}

static struct l1_event vectoring(uint64_t info)
{
	static const uint8_t type[8] = { [0] = L1_EV_INTR, [2] = L1_EV_NMI, [3] = L1_EV_EXCEPTION, [4] = L1_EV_SOFT };

	if (!(info & EV_VALID))
		return (struct l1_event){ .type = L1_EV_NONE };
	return (struct l1_event){ type[info >> 8 & 7], info & 0xff, (info & EV_ERROR) != 0, (uint32_t)(info >> 32) };
}

static void outcome(struct l2 *g)
{
	uint64_t code = get64(C_CODE), info1 = get64(C_INFO1);

	g->exit.kind = kind_of(code);
	g->exit.code = code;
	g->exit.info1 = info1;
	g->exit.info2 = g->exit.gpa = get64(C_INFO2);
	g->exit.vector = g->exit.dr = 0;
	g->exit.write = g->exit.kind == L1_MEM ? info1 >> 1 & 1 : g->exit.kind == L1_MSR ? info1 & 1 : code >= 0x30;
	if (g->exit.kind == L1_EXCEPTION)
		g->exit.vector = code & 0x1f;
	if (g->exit.kind == L1_MOVDR)
		g->exit.dr = code & 0xf;
	g->exit.vectoring = vectoring(get64(C_INTINFO));
	g->rip = get64(S_RIP);
	g->rflags = get64(S_RFLAGS);
	g->regs.rax = get64(S_RAX);
	g->dr6 = get64(S_DR6);
	g->dr7 = get64(S_DR7);
	g->cr2 = get64(S_CR2);
	g->shadow = get64(C_SHADOW) & 1;
	g->inject.type = L1_EV_NONE;
}

uint8_t *l1_block(unsigned i)
{
	return vmcbs[i & 1];
}

static void run(struct l2 *g)
{
	vmcb = vmcbs[g->block & 1];
	for (unsigned i = 0; i < sizeof(vmcbs[0]); i += 8)
		put64(i, 0);
	state(g);
	controls(g);
	if (g->tweak)
		g->tweak(vmcb);
	l1_svm_switch((uint64_t)vmcb, &g->regs, g->l1_rflags | FL_FIXED);
	g->exit.l1_dr6 = read_dr6();
	g->exit.l1_dr7 = read_dr7();
	g->exit.l1_cr2 = read_cr2();
	outcome(g);
}

const struct l1_ops l1_svm = { begin, end, run, map, l1_svm_vmrun, l1_svm_behind };
