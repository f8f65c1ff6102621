/* SPDX-License-Identifier: MIT */
/* Symptom: a guest's kernel reaches its hypervisor: reads the switcher's memory, jumps or returns into its segments, makes it fault on its own IRET.
 * Cause: in ring 3 nothing but page tables, a descriptor table and the checks of an emulator stands between the two. Each selector, address, RIP and RSP that a guest
 * can give is one that the host will load for it.
 * Who had it: Xen PV (CVE-2012-0217, SYSRET to an address that is not canonical; XSA-260; the LDT and GDT checks), lguest, each ring compression so far.
 * Rules: P21, P15, P19; HP = what a hostile guest probes. Random, by `seed=` and `count=`, and then each page and each selector. Expected: the manual's faults, as on a machine with nothing there. */
#include "tests/guest/garbage.h"

#define COUNT 400u
#define HOST 0xffffff8000000000ul
#define LENT 0x1030u /* and the next: docs/pvm.md, "What a guest can see" */
#define IMAGE 0xffffffff80000000ul

CODE64(p21_load, "movb (%rbx), %al;" DONE)
CODE64(p21_store, "movb %al, (%rbx);" DONE)
CODE64(p21_jmp, "jmp *%rbx;")
CODE64(p21_call, "call *%rbx;")
CODE64(p21_ret, "push %rbx; ret;")
CODE64(p21_jmpf, "ljmpl *(%rdi);")
CODE64(p21_callf, ".byte 0x48, 0xff, 0x1f;") /* lcall *(%rdi), m16:64 */
CODE64(p21_retf, "push %rcx; push %rbx; lretq;")
CODE64(p21_iret, "push %rdx; push %rsi; push %r8; push %rcx; push %rbx; iretq;")
CODE64(p21_es, "mov %ecx, %es;" DONE)
CODE64(p21_fs, "mov %ecx, %fs;" DONE)
CODE64(p21_ss, "mov %ecx, %ss;" DONE)
CODE64(p21_lldt, "lldt %cx;" DONE)
CODE64(p21_ltr, "ltr %cx;" DONE)
CODE64(p21_lar, "xor %eax, %eax; lar %ecx, %eax; setz %bl; lsl %ecx, %edx; setz %bh; verr %cx; setz %cl;" DONE)
CODE64(p21_pages, "1: .globl p21_pages_read; p21_pages_read: movb (%rbx), %al; .globl p21_pages_write; p21_pages_write: movb %al, (%rbx); add $0x1000, %rbx;"
		  "dec %ecx; jnz 1b;" DONE)
LABEL(p21_pages_read);
LABEL(p21_pages_write);
/* EDI: how many of the selectors from ECX on, below EDX, LAR, LSL, VERR or VERW find; not those at R8. */
CODE64(p21_selectors, "xor %edi, %edi; 1: mov %ecx, %esi; and $0xfff0, %esi; cmp %r8d, %esi; je 3f; lar %ecx, %eax; jz 2f; lsl %ecx, %eax; jz 2f;"
		      "verr %cx; jz 2f; verw %cx; jnz 3f; 2: inc %edi; 3: add $1, %ecx; cmp %edx, %ecx; jb 1b;" DONE)
CODE64(p21_lent, "xor %eax, %eax; mov %ecx, %es; lar %ecx, %eax;" DONE)
CODE64(p21_sysenter, "sysenter;")
CODE64(p21_stack, "mov %rbx, %rsp; ud2;")
CODE64(p21_stack_push, "mov %rbx, %rsp; push %rax;")
CODE64(p21_sysret, "sysretq;")
CODE32(p21_stack16, "mov %esp, %edx; mov %ss, %esi; mov %cx, %ss; mov %ebx, %esp; cli; mov %esp, %eax; mov %esi, %ss; mov %edx, %esp;" DONE)
CODE32(p21_limit, "nop; cli; int $0x81;")

static struct {
	uint64_t offset;
	uint16_t sel;
} __attribute__((packed)) far_pointer;

static uint64_t host_address(void)
{
	switch (pick(5)) {
	case 0: return HOST + (rnd() & 0x7fff);
	case 1: return 0xffffffff80000000 + (rnd() & 0x3fffff);
	case 2: return ~0ul - (rnd() & 0xfff);
	case 3: return HOST + (rnd() & 0x7fffffffff);
	default: return 0xffffffff80000000 + (rnd() & 0x7fffffff);
	}
}

static uint64_t noncanonical(void)
{
	uint64_t a = rnd() << 9 ^ rnd();

	return (a & ~(1ul << 63)) | 1ul << 62; /* bits 62 and 63 differ */
}

/* Beyond the guest's table, so that there is nothing; the host's own descriptors among them. The two slots that PVM lends to what the guest has in CS and SS
 * are not asked for here but by lent(). */
static uint16_t selector(void)
{
	static const uint16_t host[] = { 0x1008, 0x1010, 0x1018, 0x1020, 0x1028, 0x1040, 0xff8, 0x1ff8 };
	uint16_t sel = pick(2) ? (uint16_t)(host[pick(8)] | pick(8)) : (uint16_t)rnd();

	if (sel < SEL_FREE + 8 || (sel & ~15) == LENT)
		sel |= 0x2000;
	return sel;
}

/* ---- What may happen ---- */

static unsigned wrong[64];
static const char *kinds[64];

static void judge(unsigned kind, const char *name, const struct run *r, bool ok)
{
	kinds[kind] = name;
	if (ok)
		return;
	if (!wrong[kind]++)
		note("%s at CPL %u: ended by vector %u at 0x%lx, error 0x%lx; rbx=0x%lx rcx=0x%lx", name, r->cpl, r->end, r->end_rip,
		     trap_log.n ? trap_log.rec[trap_log.n - 1].err : 0, r->regs.rbx, r->regs.rcx);
}

static const struct trap_rec *last(void)
{
	return trap_log.n ? &trap_log.rec[trap_log.n - 1] : trap_nth(0, 1000);
}

static struct run attack(const char *code, unsigned cpl)
{
	struct run r = { .code = code, .cpl = cpl, .allow = 1 << VEC_PF | 1 << VEC_GP | 1 << VEC_UD | 1 << VEC_SS | 1 << VEC_DF | 1 << 11 };

	r.regs = (struct regs){ .rdi = (uint64_t)&far_pointer, .r8 = FL_FIXED, .rsi = (uint64_t)watch_buf, .rdx = cpl ? SEL_UDATA : SEL_KDATA };
	return r;
}

static bool ended(const struct run *r, unsigned vec, uint64_t err)
{
	return r->end == vec && last()->err == err;
}

/* ---- Attacks ---- */

static void memory(unsigned cpl)
{
	static const char *const code[] = { p21_load, p21_store, p21_jmp, p21_call, p21_ret };
	unsigned k = pick(5);
	struct run r = attack(code[k], cpl);
	uint64_t at = host_address();

	r.regs.rbx = at;
	r.regs.rax = 0x5a;
	run_code(&r);
	judge(k, k == 0 ? "read" : k == 1 ? "write" : "fetch", &r, r.end == VEC_PF && last()->cr2 == at && !(last()->err & 1) && r.regs.rax == 0x5a);
}

static void segments(unsigned cpl)
{
	static const char *const code[] = { p21_jmpf, p21_callf, p21_retf, p21_iret, p21_es, p21_fs, p21_ss, p21_lldt, p21_ltr };
	static const char *const name[] = { "far-jmp", "far-call", "far-ret", "iret", "mov-es", "mov-fs", "mov-ss", "lldt", "ltr" };
	unsigned k = pick(9);
	struct run r = attack(code[k], cpl);
	uint16_t sel = selector();

	far_pointer.offset = pick(2) ? host_address() : (uint64_t)p21_load;
	far_pointer.sel = sel;
	if (k == 0) /* m16:32 */
		*(volatile uint16_t *)((uint64_t)&far_pointer + 4) = sel;
	else if (k == 1 && env.amd) { /* no m16:64 */
		far_pointer.offset = (uint64_t)p21_load | (uint64_t)sel << 32;
	}
	r.regs.rbx = pick(2) ? host_address() : (uint64_t)p21_load;
	r.regs.rcx = sel;
	run_code(&r);
	judge(8 + k, name[k], &r, ended(&r, VEC_GP, k >= 7 && cpl ? 0 : sel & ~3u));
}

/* Kernel to user and kernel to kernel, with a frame whose RIP, RSP, SS or RFLAGS is nonsense. */
static void returns(void)
{
	struct run r = attack(p21_iret, 0);
	unsigned k = pick(4);

	r.regs.rcx = SEL_UCODE64;
	r.regs.rdx = SEL_UDATA;
	r.regs.rbx = k == 0 ? noncanonical() : k == 1 ? host_address() : (uint64_t)p21_load;
	if (k == 2)
		r.regs.rdx = selector();
	if (k == 3) { /* all flags but TF: IOPL, NT, VM, RF, AC, VIF, VIP, ID */
		r.regs.r8 = rnd() & ~FL_TF;
		r.regs.rbx = host_address(); /* faults at once */
	}
	r.regs.rsi = pick(2) ? noncanonical() : host_address();
	run_code(&r);
	if (k == 0)
		judge(20, "iret-rip", &r, ended(&r, VEC_GP, 0) && r.end_rip != r.regs.rbx);
	else if (k == 2)
		judge(21, "iret-ss", &r, ended(&r, VEC_GP, r.regs.rdx & 0xfffc));
	else
		judge(22 + k, k == 1 ? "iret-host" : "iret-flags", &r, r.end == VEC_PF && r.end_rip == r.regs.rbx && (last()->cs & 3) == 3 && last()->cr2 == r.regs.rbx);
}

static void addresses(unsigned cpl)
{
	static const char *const code[] = { p21_jmp, p21_ret, p21_load, p21_stack, p21_stack_push };
	unsigned k = pick(5);
	struct run r = attack(code[k], cpl);
	bool ok;

	r.regs.rbx = (k == 4 && cpl) || (k >= 3 && pick(2)) ? host_address() : noncanonical(); /* a push at none: push_nowhere() */
	run_code(&r);
	if (k < 3)
		ok = ended(&r, VEC_GP, 0);
	else if (cpl == 0)
		ok = r.end == VEC_DF; /* no stack for the first fault, nor for the one of its delivery */
	else
		ok = k == 3 ? r.end == VEC_UD : r.end == VEC_PF;
	judge(28 + k, k < 2 ? "rip" : k == 2 ? "address" : k == 3 ? "bad-stack" : "bad-stack-push", &r, ok);
}

static void sysret(void)
{
	struct run r = attack(p21_sysret, 0);

	r.regs.rcx = pick(2) ? noncanonical() : host_address();
	r.regs.r11 = rnd() & ~FL_TF;
	run_code(&r);
	/* Intel: #GP of SYSRET itself, in the kernel; AMD: of the fetch, in user mode */
	judge(34, "sysret", &r, r.regs.rcx < HOST ? ended(&r, VEC_GP, 0) : r.end == VEC_PF && r.end_rip == r.regs.rcx && (last()->cs & 3) == 3);
}

static void rest(unsigned cpl)
{
	struct run r = attack(p21_sysenter, cpl);
	uint16_t sel = selector();

	run_code(&r);
	judge(35, "sysenter", &r, ended(&r, VEC_GP, 0) || r.end == VEC_UD);
	r = attack(p21_lar, cpl);
	r.regs.rcx = sel;
	run_code(&r);
	judge(36, "lar-lsl-verr", &r, r.end == 0x81 && r.regs.rax == 0 && (r.regs.rbx & 0xffff) == 0 && (r.regs.rcx & 0xff) == 0);
}

/* Breakpoints anywhere in the host's range, of any type, beside all that. */
static void breakpoints(void)
{
	uint32_t dr7 = DR7_INIT;

	for (unsigned i = 0; i < 4; i++) {
		(void)try_mov_to_dr(i, host_address());
		if (pick(2))
			dr7 |= DR7_BP(i, pick(4), pick(4));
	}
	write_dr7(dr7);
}

/* The guest's own tables may have something in the host's range; under PVM it is not there all the same, without there is nothing special about it. */
static void own_mapping(void)
{
	uint64_t at = 0xffffffffc0000000;
	uint8_t v = 0;
	unsigned vec;

	map_2m(at, 0x200000);
	vec = try_read8(at, &v);
	check_eq("P21.mapped", "what the guest maps in the host's range", vec, env.pvm ? VEC_PF : NO_FAULT);
	map_2m(0xffffffff80000000, 0x200000);
	vec = try_read8(0xffffffff80100000, &v);
	check_eq("P21.mapped-over", "what it maps over the switcher", vec, env.pvm ? VEC_PF : NO_FAULT);
}

/* ---- Not at random: each page, each selector ---- */

static struct {
	unsigned user, reads, writes, wrong;
	uint64_t at;
} pages;

static bool page_hook(struct trap_frame *f, struct trap_rec *rec)
{
	bool read = f->rip == (uint64_t)p21_pages_read;
	uint64_t error = (read ? 0 : 2) | (pages.user ? 4 : 0);

	if (!read && f->rip != (uint64_t)p21_pages_write)
		return false;
	if (rec->cr2 != f->rbx || f->err != error || (f->rax & 0xff) != 0x5a) {
		pages.wrong++;
		pages.at = f->rbx;
	}
	*(read ? &pages.reads : &pages.writes) += 1;
	f->rip += 2;
	return true;
}

/* A read or a write that no #PF is for goes on in silence: each has to be counted. */
static void each_page(const char *what, uint64_t from, unsigned n)
{
	for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
		struct run r = attack(p21_pages, cpl);

		pages.user = cpl;
		pages.reads = pages.writes = pages.wrong = 0;
		r.regs.rbx = from;
		r.regs.rcx = n;
		r.regs.rax = 0x5a;
		trap_set_hook(VEC_PF, page_hook);
		run_code(&r);
		trap_set_hook(VEC_PF, NULL);
		if (pages.wrong)
			note("another #PF than one of a page that is not there, at 0x%lx", pages.at);
		check_eq(fmt("P21.pages.%s.%u", what, cpl), "no page is there: a #PF for each read and each write", pages.reads + pages.writes - pages.wrong, 2 * n);
	}
}

static void each_selector(void)
{
	for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
		struct run r = attack(p21_selectors, cpl);

		r.regs.rcx = SEL_FREE + 8;
		r.regs.rdx = 0x10000;
		r.regs.r8 = LENT;
		run_code(&r);
		check_eq(fmt("P21.selectors.%u", cpl), "none of the host's is found by LAR, LSL, VERR, VERW", r.regs.rdi, 0);
	}
}

/* The two that PVM makes of what the guest itself has in CS or SS: as data or code of DPL 3, or not at all. */
static void lent(void)
{
	unsigned bad = 0;

	for (unsigned sel = LENT; sel < LENT + 16; sel++)
		for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
			struct run r = attack(p21_lent, cpl);
			bool ok;

			r.regs.rcx = sel;
			run_code(&r);
			ok = ended(&r, VEC_GP, sel & ~3u) || (env.pvm && r.end == VEC_DONE && (r.regs.rax & 0xf000) == 0xf000);
			if (!ok && !bad++)
				note("selector 0x%x at CPL %u: vector %u, rights 0x%lx", sel, cpl, r.end, r.regs.rax);
		}
	check_eq("P21.lent", "#GP, or a segment of user mode", bad, 0);
}

static void push_nowhere(void)
{
	struct run r = attack(p21_stack_push, 3);

	r.regs.rbx = 0x4000000000000000;
	run_code(&r);
	check_eq("P21.push-nowhere", "at an address that is not canonical: #SS", r.end, VEC_SS);
}

/* An instruction that is emulated ends at the limit of its code segment: the next one is beyond, and so would be the host's IRET to it. */
static void code_limit(void)
{
	static uint64_t stack[1024] __attribute__((aligned(16)));
	struct run r = attack(p21_iret, 0);
	uint64_t base = (uint64_t)p21_limit;

	gdt_set(SEL_FREE, 0x00409b0000000001ul | (base & 0xffffff) << 16 | (base & 0xff000000) << 32); /* 32-bit code of 2 bytes */
	r.regs.rcx = SEL_FREE;
	r.regs.rbx = 0;
	r.regs.rsi = (uint64_t)(stack + 1000);
	run_code(&r);
	gdt_set(SEL_FREE, 0);
	check_eq("P21.limit", "#GP(0)", r.end, VEC_GP);
	check_eq("P21.limit.rip", "beyond the limit", r.end_rip, 2);
}

/* A 16-bit stack in compatibility mode: IRET to it loads SP alone, and what else ESP has is that of whoever makes the IRET. Here CLI is what the host returns from. */
static void stack16(void)
{
	static const uint32_t esp[] = { 0xabcd1234, 0xffff8000, 0x00010000, 0x80000ffc };

	for (unsigned i = 0; i < sizeof(esp) / sizeof(esp[0]); i++)
		for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
			struct run r = attack(p21_stack16, cpl);

			r.compat = true;
			r.iopl = 3;
			gdt_set(SEL_FREE, 0x008f93000000ffff | (uint64_t)cpl << 45);
			r.regs.rcx = SEL_FREE | cpl;
			r.regs.rbx = esp[i];
			run_code(&r);
			check_eq(fmt("P21.stack16.%x.%u", esp[i], cpl), "ESP is as it was", r.end == VEC_DONE ? r.regs.rax : 1ul << 32 | r.end, esp[i]);
		}
	gdt_set(SEL_FREE, 0);
}

SCENARIO(p21_escape, "what a kernel in ring 3 may try, at random", 0)
{
	uint64_t efer = 0, sysenter_cs = 0;
	unsigned count = env.count ? (unsigned)env.count : COUNT;

	garbage_begin();
	try_rdmsr(MSR_EFER, &efer);
	try_wrmsr(MSR_EFER, efer | EFER_SCE);
	try_rdmsr(MSR_SYSENTER_CS, &sysenter_cs);
	try_wrmsr(MSR_SYSENTER_CS, 0); /* no way in, or SYSENTER would take one that another scenario has left */
	try_wrmsr(MSR_STAR, (uint64_t)SEL_KCODE64 << 32 | (uint64_t)SEL_UCODE32 << 48);
	for (unsigned i = 0; i < count; i++) {
		unsigned cpl = pick(2) ? 3 : 0;

		if (pick(4) == 0)
			breakpoints();
		switch (pick(8)) {
		case 0: case 1: memory(cpl); break;
		case 2: case 3: segments(cpl); break;
		case 4: returns(); break;
		case 5: addresses(cpl); break;
		case 6: sysret(); break;
		default: rest(cpl); break;
		}
	}
	debug_state_reset();
	for (unsigned k = 0; k < 64; k++)
		if (kinds[k])
			check_eq(fmt("P21.%s.%u", kinds[k], k), "as where there is nothing, each time", wrong[k] != 0, 0); /* how often is the seed's */
	code_limit();
	stack16();
	push_nowhere();
	each_selector();
	lent();
	each_page("image", IMAGE, 1024);
	each_page("first", HOST, 16);
	each_page("last", 0ul - 16 * 4096, 16);
	own_mapping();
	try_wrmsr(MSR_SYSENTER_CS, sysenter_cs);
	try_wrmsr(MSR_EFER, efer);
}
