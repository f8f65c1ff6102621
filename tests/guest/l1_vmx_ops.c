/* SPDX-License-Identifier: MIT */
/* l1.h by Intel's VMX: on top of l1_vmx.h, with tables of its own. */
#include "tests/guest/l1.h"
#include "tests/guest/l1_vmx.h"

#define EPT_WB (6ul << 3)
#define EPT_LARGE 0x80ul
#define VC_PROC_TSC_OFFSET (1u << 3)
#define VF_TSC_OFFSET 0x2010
#define VC_PIN_VIRTUAL_NMI (1u << 5)

static uint64_t ept[5][512] __attribute__((aligned(4096))); /* root, 512 GiB, the first GiB, the second, the window */
static const struct l2 *current;

/* unsigned l1_vmx_launch(struct regs *r, uint64_t rflags): 0 after an exit, else 1 or 2 as l1_vmx_enter has it. */
unsigned l1_vmx_launch(struct regs *r, uint64_t rflags);
LABEL(l1_vmx_vmlaunch);
LABEL(l1_vmx_behind);
__asm__(".pushsection .text; .globl l1_vmx_launch, l1_vmx_vmlaunch, l1_vmx_behind; l1_vmx_launch:"
	"push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15; push %rdi; mov %rsi, %r10;"
	"mov $0x6c14, %eax; vmwrite %rsp, %rax; mov $0x6c16, %eax; lea l1_vmx_behind(%rip), %rcx; vmwrite %rcx, %rax; push %r10;"
	"mov 0(%rdi), %rax; mov 8(%rdi), %rbx; mov 16(%rdi), %rcx; mov 24(%rdi), %rdx; mov 32(%rdi), %rsi; mov 48(%rdi), %rbp;"
	"mov 56(%rdi), %r8; mov 64(%rdi), %r9; mov 72(%rdi), %r10; mov 80(%rdi), %r11; mov 88(%rdi), %r12; mov 96(%rdi), %r13;"
	"mov 104(%rdi), %r14; mov 112(%rdi), %r15; mov 40(%rdi), %rdi;"
	"popfq; l1_vmx_vmlaunch: vmlaunch;"
	"mov $1, %eax; mov $2, %ecx; cmovz %ecx, %eax; cli; pop %rdi; jmp 4f;"
	"l1_vmx_behind: nop; xchg %rdi, (%rsp);" /* RSP as above */
	"mov %rax, 0(%rdi); mov %rbx, 8(%rdi); mov %rcx, 16(%rdi); mov %rdx, 24(%rdi); mov %rsi, 32(%rdi); popq 40(%rdi); mov %rbp, 48(%rdi);"
	"mov %r8, 56(%rdi); mov %r9, 64(%rdi); mov %r10, 72(%rdi); mov %r11, 80(%rdi); mov %r12, 88(%rdi); mov %r13, 96(%rdi);"
	"mov %r14, 104(%rdi); mov %r15, 112(%rdi); mov $0x2b, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %fs; mov %eax, %gs; xor %eax, %eax;"
	"4: pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp; ret; .popsection");

/* ---- Tables ---- */

static void begin(void)
{
	vmx_start();
	for (unsigned i = 0; i < 512; i++) {
		ept[2][i] = (uint64_t)i << 21 | EPT_WB | EPT_LARGE | 7;
		ept[3][i] = ept[4][i] = 0;
	}
	ept[0][0] = (uint64_t)ept[1] | 7;
	ept[1][0] = (uint64_t)ept[2] | 7;
	ept[1][1] = (uint64_t)ept[3] | 7;
	ept[3][0] = (uint64_t)ept[4] | 7;
}

static void map(unsigned slot, const volatile void *page, unsigned rights)
{
	ept[4][slot & 511] = !rights ? 0 : (uint64_t)page | EPT_WB | (rights & 7) | (rights & L1_RESERVED ? 1ul << 51 : 0);
}

/* ---- One run ---- */

static void tune(struct vmx_l2 *r)
{
	const struct l2 *g = current;

	if (g->rip)
		r->rip = g->rip;
	vf_set(VF_RIP, r->rip);
	vf_change(VF_EXIT, VC_EXIT_ACK, 0);
	vf_change(VF_PROC, VC_PROC_HLT, (g->hlt ? VC_PROC_HLT : 0) | (g->tsc_offset ? VC_PROC_TSC_OFFSET : 0));
	if (g->tsc_offset)
		vf_set(VF_TSC_OFFSET, g->tsc_offset);
	if (g->paging) {
		ept[0][0] = (uint64_t)ept[1] | (g->read_only ? 5 : 7);
		vf_set(VF_PROC2, vf(VF_PROC2) | VC_PROC2_EPT);
		vf_set(VF_EPTP, (uint64_t)ept[0] | 6 | 3 << 3);
	}
	vf_set(VF_SHADOW, g->shadow);
	if (g->flush)
		vmx_invept(1, (uint64_t)ept[0] | 6 | 3 << 3);
}

static enum l1_kind kind_of(const struct vmx_l2 *r)
{
	static const uint8_t kind[] = {
		[VX_OTHER] = L1_OTHER, [VX_EXC] = L1_EXCEPTION, [VX_INTR] = L1_INTR, [VX_NMI] = L1_NMI, [VX_CPUID] = L1_CPUID, [VX_HLT] = L1_HLT,
		[VX_DR] = L1_MOVDR, [VX_IO] = L1_IO, [VX_MSR] = L1_MSR, [VX_MEM] = L1_MEM, [VX_TIMER] = L1_OTHER, [VX_SHUTDOWN] = L1_OTHER,
		[VX_INVALID] = L1_INVALID,
	};

	return r->reason == 18 ? L1_HYPERCALL : r->reason == 49 ? L1_MEM : (enum l1_kind)kind[r->exit];
}

static struct l1_event vectoring(void)
{
	static const uint8_t type[8] = { L1_EV_INTR, L1_EV_NONE, L1_EV_NMI, L1_EV_EXCEPTION, L1_EV_SOFT, L1_EV_EXCEPTION, L1_EV_EXCEPTION };
	uint64_t info = vf(0x4408);

	if (!(info >> 31 & 1))
		return (struct l1_event){ .type = L1_EV_NONE };
	return (struct l1_event){ type[info >> 8 & 7], info & 0xff, (info >> 11 & 1) != 0, info >> 11 & 1 ? (uint32_t)vf(0x440a) : 0 };
}

static void outcome(struct l2 *g, const struct vmx_l2 *r)
{
	uint64_t qual = vf(VF_QUALIFICATION), info = vf(VF_INTR_INFO);

	g->exit.code = vf(VF_REASON);
	g->exit.kind = kind_of(r);
	g->exit.info1 = qual;
	g->exit.info2 = 0;
	g->exit.gpa = g->exit.kind == L1_MEM ? vf(VF_GPA) : 0;
	g->exit.vector = g->exit.kind == L1_EXCEPTION ? info & 0xff : 0;
	g->exit.payload = g->exit.kind == L1_EXCEPTION && (info & 0xff) == VEC_DB ? qual : 0;
	g->exit.dr = g->exit.kind == L1_MOVDR ? qual & 7 : 0;
	g->exit.write = g->exit.kind == L1_MEM ? qual >> 1 & 1 : g->exit.kind == L1_MSR ? r->reason == 32 : !(qual >> 4 & 1);
	g->exit.vectoring = vectoring();
	g->rip = vf(VF_RIP);
	g->rflags = vf(VF_RFLAGS);
	g->dr7 = vf(VF_DR7);
	g->shadow = vf(VF_SHADOW) & 3;
	g->inject.type = L1_EV_NONE;
}

static void run(struct l2 *g)
{
	static const uint8_t type[] = { [L1_EV_NONE] = VE_NONE, [L1_EV_INTR] = VE_INTR, [L1_EV_NMI] = VE_NMI, [L1_EV_EXCEPTION] = VE_EXC,
					[L1_EV_SOFT] = VE_SOFT_INT };
	struct vmx_l2 r = {
		.code = g->code, .exceptions = ~g->own, .dr7 = g->dr7, .rflags = g->rflags, .tune = tune, .event = type[g->inject.type],
		.event_vector = (uint8_t)g->inject.vector, .event_has_error = g->inject.has_error, .event_error = g->inject.error,
		.want = (g->movdr ? VW_DR : 0) | (g->intr ? VW_INTR : 0) | (g->nmi ? VW_NMI : 0) | (g->io ? VW_IO : 0) | (g->msr ? VW_MSR : 0),
	};
	unsigned fail;

	if (g->tweak || g->block || g->lab)
		scenario_error("a tweak, a second block and a lab for L2 are SVM's");
	current = g;
	vmx_prepare(&r);
	__asm__ volatile("mov %0, %%cr2" ::"r"(g->cr2));
	write_dr6(g->dr6 ? g->dr6 : DR6_INIT);
	fail = l1_vmx_launch(&g->regs, g->l1_rflags | FL_FIXED);
	if (fail)
		scenario_error("VMLAUNCH: %u, error %lu", fail, fail == 2 ? vf(VF_ERROR) : 0);
	g->exit.l1_dr6 = g->dr6 = read_dr6();
	g->exit.l1_dr7 = read_dr7();
	g->exit.l1_cr2 = g->cr2 = read_cr2();
	vmx_read_exit(&r);
	outcome(g, &r);
}

const struct l1_ops l1_vmx = { begin, vmx_stop, run, map, l1_vmx_vmlaunch, l1_vmx_behind };
