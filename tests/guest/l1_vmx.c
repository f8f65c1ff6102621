/* SPDX-License-Identifier: MIT */
/* l1_vmx.h: regions, the control fields that the CPU's capabilities leave, one entry and exit. */
#include "tests/guest/l1_vmx.h"

#define MSR_FEATURE_CONTROL 0x3au
#define MSR_VMX(n) (0x480u + (n))
#define CR4_VMXE (1ul << 13)
#define CR0_NE (1ul << 5)

struct region {
	uint32_t revision, abort;
	uint8_t rest[4088];
};
static struct region on_region __attribute__((aligned(4096))), main_region __attribute__((aligned(4096))), spare __attribute__((aligned(4096)));
static uint8_t all_msrs[4096] __attribute__((aligned(4096)));
static uint8_t l2_stack[0x4000] __attribute__((aligned(16)));
static uint64_t ept[7][512] __attribute__((aligned(4096))); /* PML4, PDPT, four PDs, one PT */

static uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (uint64_t)hi << 32 | lo;
}

/* ---- Instructions ---- */

static unsigned outcome(bool cf, bool zf)
{
	uint64_t error = 0;

	if (cf)
		return VMX_INVALID;
	if (!zf)
		return VMX_OK;
	__asm__ volatile("vmread %1, %0" : "=r"(error) : "r"((uint64_t)VF_ERROR) : "cc");
	return VMX_ERROR((unsigned)error);
}

#define VMX_POINTER(name, insn)                                                                                                          \
	unsigned name(uint64_t pa)                                                                                                       \
	{                                                                                                                                \
		bool cf, zf;                                                                                                             \
		__asm__ volatile(insn " %2" : "=@ccc"(cf), "=@ccz"(zf) : "m"(pa) : "memory");                                            \
		return outcome(cf, zf);                                                                                                  \
	}
VMX_POINTER(vmx_on, "vmxon")
VMX_POINTER(vmx_clear, "vmclear")
VMX_POINTER(vmx_ptrld, "vmptrld")

unsigned vmx_read(uint64_t field, uint64_t *v)
{
	uint64_t got = 0;
	bool cf, zf;

	__asm__ volatile("vmread %3, %2" : "=@ccc"(cf), "=@ccz"(zf), "+r"(got) : "r"(field));
	*v = got;
	return outcome(cf, zf);
}

unsigned vmx_write(uint64_t field, uint64_t v)
{
	bool cf, zf;

	__asm__ volatile("vmwrite %3, %2" : "=@ccc"(cf), "=@ccz"(zf) : "r"(field), "r"(v));
	return outcome(cf, zf);
}

static unsigned invalidate(bool ept_insn, uint64_t type, uint64_t id)
{
	struct { uint64_t id, linear; } d = { id, 0 };
	bool cf, zf;

	if (ept_insn)
		__asm__ volatile("invept %2, %3" : "=@ccc"(cf), "=@ccz"(zf) : "m"(d), "r"(type) : "memory");
	else
		__asm__ volatile("invvpid %2, %3" : "=@ccc"(cf), "=@ccz"(zf) : "m"(d), "r"(type) : "memory");
	return outcome(cf, zf);
}

unsigned vmx_invept(uint64_t type, uint64_t eptp) { return invalidate(true, type, eptp); }
unsigned vmx_invvpid(uint64_t type, uint64_t vpid) { return invalidate(false, type, vpid); }

uint64_t vf(uint64_t field)
{
	uint64_t v;
	unsigned bad = vmx_read(field, &v);

	if (bad)
		scenario_error("VMREAD of field 0x%lx: 0x%x", field, bad);
	return v;
}

void vf_set(uint64_t field, uint64_t v)
{
	unsigned bad = vmx_write(field, v);

	if (bad)
		scenario_error("VMWRITE of field 0x%lx: 0x%x", field, bad);
}

void vf_change(uint64_t field, uint64_t clear, uint64_t set)
{
	vf_set(field, (vf(field) & ~clear) | set);
}

/* ---- The switch ---- */

/* unsigned l1_vmx_enter(struct regs *r, uint64_t resume): 0 after an exit, 1 VMfailInvalid, 2 VMfailValid. */
unsigned l1_vmx_enter(struct regs *r, uint64_t resume);
__asm__(".pushsection .text; .globl l1_vmx_enter; l1_vmx_enter:\n"
	"push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15; push %rdi\n"
	"mov $0x6c14, %eax; vmwrite %rsp, %rax\n"
	"mov $0x6c16, %eax; lea 2f(%rip), %rcx; vmwrite %rcx, %rax\n"
	"test %rsi, %rsi\n"
	"mov 0(%rdi), %rax; mov 8(%rdi), %rbx; mov 16(%rdi), %rcx; mov 24(%rdi), %rdx; mov 32(%rdi), %rsi; mov 48(%rdi), %rbp\n"
	"mov 56(%rdi), %r8; mov 64(%rdi), %r9; mov 72(%rdi), %r10; mov 80(%rdi), %r11; mov 88(%rdi), %r12; mov 96(%rdi), %r13\n"
	"mov 104(%rdi), %r14; mov 112(%rdi), %r15; mov 40(%rdi), %rdi\n"
	"jnz 1f; vmlaunch; jmp 3f\n"
	"1: vmresume\n"
	"3: mov $1, %eax; mov $2, %ecx; cmovz %ecx, %eax; pop %rdi; jmp 4f\n"
	"2: xchg %rdi, (%rsp)\n" /* exit: RSP as above */
	"mov %rax, 0(%rdi); mov %rbx, 8(%rdi); mov %rcx, 16(%rdi); mov %rdx, 24(%rdi); mov %rsi, 32(%rdi); popq 40(%rdi); mov %rbp, 48(%rdi)\n"
	"mov %r8, 56(%rdi); mov %r9, 64(%rdi); mov %r10, 72(%rdi); mov %r11, 80(%rdi); mov %r12, 88(%rdi); mov %r13, 96(%rdi)\n"
	"mov %r14, 104(%rdi); mov %r15, 112(%rdi)\n"
	"mov $0x2b, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %fs; mov %eax, %gs\n"
	"xor %eax, %eax\n"
	"4: pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp; ret\n"
	".popsection");

static unsigned enter_raw(bool resume)
{
	struct regs r = { 0 };
	unsigned fail = l1_vmx_enter(&r, resume);

	return fail == 0 ? VMX_OK : outcome(fail == 1, fail == 2);
}

unsigned vmx_launch(void) { return enter_raw(false); }
unsigned vmx_relaunch(void) { return enter_raw(true); }

/* ---- On and off ---- */

uint32_t *vmx_spare(void)
{
	spare.revision = (uint32_t)rdmsr(MSR_VMX(0)) & 0x7fffffff;
	return &spare.revision;
}

uint64_t vmx_region_on(void) { return (uint64_t)&on_region; }
uint64_t vmx_region(void) { return (uint64_t)&main_region; }

void vmx_start(void)
{
	uint64_t control = 0;
	uint32_t r[4];
	unsigned bad;

	cpuid(1, 0, r);
	if (!env.intel || !(r[2] >> 5 & 1))
		scenario_skip(env.intel ? "no VMX in this CPU" : "VMX only: this is an AMD CPU");
	if (try_rdmsr(MSR_FEATURE_CONTROL, &control) != NO_FAULT || (control & 5) != 5)
		scenario_skip("VMX is locked off");
	on_region.revision = main_region.revision = (uint32_t)rdmsr(MSR_VMX(0)) & 0x7fffffff;
	write_cr0(read_cr0() | CR0_NE);
	write_cr4(read_cr4() | CR4_VMXE);
	bad = vmx_on((uint64_t)&on_region);
	if (bad && bad != VMX_ERROR(15)) /* on already: a scenario before has ended early */
		scenario_error("VMXON: 0x%x", bad);
	bad = vmx_clear((uint64_t)&main_region);
	if (!bad)
		bad = vmx_ptrld((uint64_t)&main_region);
	if (bad)
		scenario_error("VMCLEAR, VMPTRLD: 0x%x", bad);
}

void vmx_stop(void)
{
	__asm__ volatile("vmxoff" ::: "cc", "memory");
	write_cr4(read_cr4() & ~CR4_VMXE);
}

/* ---- Fields ---- */

/* What is asked for, with the bits that must be 1, without those that may not. */
static uint64_t fit(uint32_t msr, uint32_t want)
{
	uint64_t cap = rdmsr(msr);

	return (want | (uint32_t)cap) & cap >> 32;
}

static void write_host(void)
{
	struct { uint16_t limit; uint64_t base; } __attribute__((packed)) gdt, idt;
	uint64_t *tss;

	__asm__ volatile("sgdt %0; sidt %1" : "=m"(gdt), "=m"(idt));
	tss = (uint64_t *)(gdt.base + SEL_TSS);
	vf_set(VF_HOST_CR0, read_cr0());
	vf_set(VF_HOST_CR3, read_cr3());
	vf_set(VF_HOST_CR4, read_cr4());
	for (uint64_t f = VF_HOST_ES; f < VF_HOST_TR; f += 2)
		vf_set(f, f == VF_HOST_CS ? SEL_KCODE64 : SEL_KDATA);
	vf_set(VF_HOST_TR, SEL_TSS);
	vf_set(VF_HOST_TR_BASE, (tss[0] >> 16 & 0xffffff) | (tss[0] >> 56) << 24 | tss[1] << 32);
	vf_set(VF_HOST_FS_BASE, 0);
	vf_set(VF_HOST_FS_BASE + 2, 0);
	vf_set(VF_HOST_GDTR, gdt.base);
	vf_set(VF_HOST_IDTR, idt.base);
	for (uint64_t f = 0x6c10; f <= 0x6c12; f += 2)
		vf_set(f, 0);
	vf_set(0x4c00, 0);
	vf_set(VF_HOST_EFER, rdmsr(MSR_EFER));
	/* the nested guest has the same */
	vf_set(VF_TR_BASE, vf(VF_HOST_TR_BASE));
	vf_set(VF_GDTR_BASE, gdt.base);
	vf_set(VF_GDTR_LIMIT, gdt.limit);
	vf_set(VF_IDTR_BASE, idt.base);
	vf_set(VF_IDTR_LIMIT, idt.limit);
}

static void write_segments(unsigned cpl)
{
	for (unsigned i = 0; i < 8; i++) { /* ES CS SS DS FS GS LDTR TR */
		vf_set(VF_ES_SEL + 2 * i, SEL_UDATA);
		vf_set(VF_ES_LIMIT + 2 * i, 0xffffffff);
		vf_set(VF_ES_AR + 2 * i, 0xc0f3);
		if (i != 7)
			vf_set(VF_ES_BASE + 2 * i, 0);
	}
	vf_set(VF_CS_SEL, cpl ? SEL_UCODE64 : SEL_KCODE64);
	vf_set(VF_ES_AR + 2, cpl ? 0xa0fb : 0xa09b);
	vf_set(VF_SS_SEL, cpl ? SEL_UDATA : SEL_KDATA);
	vf_set(VF_ES_AR + 4, cpl ? 0xc0f3 : 0xc093);
	vf_set(VF_ES_SEL + 12, 0);
	vf_set(VF_ES_AR + 12, 0x10000); /* LDTR: unusable */
	vf_set(VF_TR_SEL, SEL_TSS);
	vf_set(VF_ES_LIMIT + 14, 0x67);
	vf_set(VF_ES_AR + 14, 0x8b);
}

/* Identity for 4 GiB: 2 MiB pages, and 4 KiB ones for the 2 MiB that the image's data are in. */
static void build_ept(void)
{
	uint64_t split = (uint64_t)watch_buf >> 21;

	ept[0][0] = (uint64_t)ept[1] | 7;
	for (unsigned i = 0; i < 4; i++)
		ept[1][i] = (uint64_t)ept[2 + i] | 7;
	for (unsigned i = 0; i < 2048; i++)
		ept[2 + i / 512][i % 512] = (uint64_t)i << 21 | 6 << 3 | 0x80 | 7;
	for (unsigned i = 0; i < 512; i++)
		ept[6][i] = split << 21 | (uint64_t)i << 12 | 6 << 3 | 7;
	ept[2][split] = (uint64_t)ept[6] | 7;
}

void vmx_protect(const volatile void *addr, unsigned rights)
{
	uint64_t *e = &ept[6][(uint64_t)addr >> 12 & 511];

	*e = (*e & ~7ull) | rights;
	vmx_invept(1, (uint64_t)ept[0] | 6 | 3 << 3);
}

static void write_controls(const struct vmx_l2 *r)
{
	uint32_t proc = VC_PROC_HLT | VC_PROC_SECONDARY;

	vf_set(VF_PIN, fit(MSR_VMX(13), (r->want & VW_INTR ? VC_PIN_INTR : 0) | (r->want & VW_NMI ? VC_PIN_NMI : 0)));
	proc |= (r->want & VW_DR ? VC_PROC_MOV_DR : 0) | (r->want & VW_IO ? VC_PROC_IO : 0) | (r->want & VW_MSR ? 0 : VC_PROC_MSR_BITMAPS);
	vf_set(VF_PROC, fit(MSR_VMX(14), proc));
	vf_set(VF_PROC2, fit(MSR_VMX(11), r->own_tables ? VC_PROC2_EPT : 0));
	vf_set(VF_EXIT, fit(MSR_VMX(15), VC_EXIT_SAVE_DEBUG | VC_EXIT_HOST64 | VC_EXIT_ACK | VC_EXIT_LOAD_EFER));
	vf_set(VF_ENTRY, fit(MSR_VMX(16), VC_ENTRY_LOAD_DEBUG | VC_ENTRY_IA32E | VC_ENTRY_LOAD_EFER));
	vf_set(VF_EXCEPTIONS, r->exceptions);
	vf_set(VF_MSR_BITMAP, (uint64_t)all_msrs);
	vf_set(0x4006, 0);
	vf_set(0x4008, 0);
	vf_set(VF_CR3_COUNT, 0);
	vf_set(VF_MSR_STORE_COUNT, 0);
	vf_set(VF_MSR_EXIT_LOAD_COUNT, 0);
	vf_set(VF_MSR_LOAD_COUNT, 0);
	if (r->own_tables)
		vf_set(VF_EPTP, (uint64_t)ept[0] | 6 | 3 << 3);
}

static void write_event(const struct vmx_l2 *r)
{
	static const uint8_t type[] = { 0, 0, 2, 3, 4, 5, 6, 7 };

	vf_set(VF_EVENT, r->event ? 1u << 31 | (r->event_has_error ? 1u << 11 : 0) | (uint32_t)type[r->event] << 8 | r->event_vector : 0);
	vf_set(VF_EVENT_ERROR, r->event_error);
	vf_set(VF_EVENT_LEN, r->event_len);
}

static void write_registers(const struct vmx_l2 *r)
{
	vf_set(VF_RIP, r->rip);
	vf_set(VF_RSP, r->rsp);
	vf_set(VF_RFLAGS, r->rflags | FL_FIXED);
	write_event(r);
}

void vmx_prepare(struct vmx_l2 *r)
{
	unsigned bad = vmx_clear((uint64_t)&main_region);

	if (!bad)
		bad = vmx_ptrld((uint64_t)&main_region);
	if (bad)
		scenario_error("VMCLEAR, VMPTRLD: 0x%x", bad);
	build_ept();
	write_controls(r);
	write_host();
	write_segments(r->cpl);
	vf_set(VF_CR0, read_cr0());
	vf_set(VF_CR3, read_cr3());
	vf_set(VF_CR4, read_cr4());
	for (uint64_t f = VF_CR0_MASK; f <= VF_CR4_SHADOW; f += 2)
		vf_set(f, 0);
	vf_set(VF_EFER, rdmsr(MSR_EFER));
	vf_set(VF_DR7, r->dr7 ? r->dr7 : DR7_INIT);
	vf_set(VF_DEBUGCTL, r->debugctl);
	vf_set(VF_LINK, ~0ull);
	vf_set(VF_PENDING, 0);
	vf_set(VF_SHADOW, 0);
	vf_set(VF_ACTIVITY, 0);
	vf_set(0x482a, 0);
	vf_set(0x6824, 0);
	vf_set(0x6826, 0);
	r->rip = (uint64_t)r->code;
	r->rsp = (uint64_t)(l2_stack + sizeof(l2_stack) - 64);
	write_registers(r);
	if (r->tune)
		r->tune(r);
}

/* ---- The exit ---- */

static unsigned kind_of(uint64_t reason, unsigned type)
{
	if (reason >> 31)
		return VX_INVALID;
	switch (reason & 0xffff) {
	case 0: return type == 2 ? VX_NMI : VX_EXC;
	case 1: return VX_INTR;
	case 2: return VX_SHUTDOWN;
	case 10: return VX_CPUID;
	case 12: return VX_HLT;
	case 29: return VX_DR;
	case 30: return VX_IO;
	case 31: case 32: return VX_MSR;
	case 48: return VX_MEM;
	case 52: return VX_TIMER;
	default: return VX_OTHER;
	}
}

void vmx_read_exit(struct vmx_l2 *r)
{
	static const uint8_t event_of[8] = { VE_INTR, VE_NONE, VE_NMI, VE_EXC, VE_SOFT_INT, VE_ICEBP, VE_SOFT_EXC, VE_NONE };
	uint64_t info = vf(VF_INTR_INFO);

	r->reason = vf(VF_REASON);
	r->exit = kind_of(r->reason, (unsigned)(info >> 8 & 7));
	r->payload = vf(VF_QUALIFICATION);
	r->rip = vf(VF_RIP);
	r->rsp = vf(VF_RSP);
	r->rflags = vf(VF_RFLAGS);
	r->dr7 = vf(VF_DR7);
	r->debugctl = vf(VF_DEBUGCTL);
	r->gpa = vf(VF_GPA);
	r->vector = (unsigned)(info & 0xff);
	r->type = event_of[info >> 8 & 7];
	r->error = info >> 11 & 1 ? vf(VF_INTR_ERROR) : 0;
	r->len = (unsigned)vf(VF_INSN_LEN);
	r->event = VE_NONE;
}

static void enter(struct vmx_l2 *r, bool resume)
{
	unsigned fail = l1_vmx_enter(&r->regs, resume);

	if (fail)
		scenario_error("%s: 0x%x", resume ? "VMRESUME" : "VMLAUNCH", outcome(fail == 1, fail == 2));
	vmx_read_exit(r);
}

void vmx_run(struct vmx_l2 *r)
{
	vmx_prepare(r);
	enter(r, false);
}

void vmx_resume(struct vmx_l2 *r)
{
	write_registers(r);
	enter(r, true);
}
