/* SPDX-License-Identifier: MIT */
/* Symptom: a kernel that is stepped in a guest without hardware virtualization loses the step behind CLI, LGDT or IRETQ; a breakpoint on one of them hits
 * twice, or never.
 * Cause: in ring 3 these fault and are emulated, and each emulation has to retire the instruction as a CPU does: RF off, the step, the shadows.
 * Who had it: EMULTYPE_PVM_GP of the PVM series goes through KVM's emulator, whose gaps are E01 to E05.
 * Rules: P20, E01, E11, A20. Each instruction stepped, and with an exec breakpoint on it. Native everywhere but under PVM. */
#include "tests/guest/guest.h"

extern const uint8_t boot_gdtr[];

CODE64(p20_cli, "cli; nop;" DONE)
CODE64(p20_sti, "sti; nop; cli;" DONE)
CODE64(p20_lgdt, "lgdt (%rbx); nop;" DONE)
CODE64(p20_lldt, "lldt %ax; nop;" DONE)
CODE64(p20_swapgs, "swapgs; swapgs; nop;" DONE)
CODE64(p20_invlpg, "invlpg (%rbx); nop;" DONE)
CODE64(p20_cpuid, "invlpg 0xffffffffff4d5650; cpuid; nop;" DONE) /* under PVM the two are one instruction: docs/pvm.md */
CODE64(p20_call, "invlpg 0xffffffffff4d5650; vmmcall; nop;" DONE) /* a hypercall there on both vendors; plain ones: e01_step_exits */
CODE64(p20_hlt, "hlt; nop;" DONE)
CODE64(p20_msr, "mov $0xc0000102, %ecx; rdmsr; wrmsr; nop;" DONE)
CODE64(p20_out, "mov $0x80, %edx; out %al, %dx; nop;" DONE)
CODE64(p20_mov_ds, "mov %ecx, %ds; nop;" DONE)
CODE64(p20_lss, "lss (%rsi), %edx; nop;" DONE)
CODE64(p20_retf, "push $8; lea 1f(%rip), %rax; push %rax; lretq; 1: nop;" DONE)
CODE64(p20_iretq, "mov %rsp, %rcx; push $0x10; push %rcx; pushfq; push $8; lea 1f(%rip), %rax; push %rax; iretq; 1: nop;" DONE)
CODE64(p20_jmpf, "mov %rsp, %rcx; ljmpl *(%rdi); nop; nop;" DONE)

static const struct {
	const char *name, *code;
	uint8_t at, ends[10]; /* of the instruction in question; where each instruction ends */
	enum { ANYWHERE, ONLY_PVM, PVM_HLT, ELSEWHERE } where; /* PVM_HLT: stepped over its breakpoint, too, since nothing else ends it */
} steps[] = {
	{ "cli", p20_cli, 0, { 1, 2 }, ANYWHERE },
	{ "sti", p20_sti, 0, { 1, 2, 3 }, ANYWHERE },
	{ "lgdt", p20_lgdt, 0, { 3, 4 }, ANYWHERE },
	{ "lldt", p20_lldt, 0, { 3, 4 }, ANYWHERE },
	{ "swapgs", p20_swapgs, 3, { 3, 6, 7 }, ANYWHERE },
	{ "invlpg", p20_invlpg, 0, { 3, 4 }, ANYWHERE },
	{ "cpuid", p20_cpuid, 8, { 8, 10, 11 }, ELSEWHERE },
	{ "cpuid-pair", p20_cpuid, 0, { 10, 11 }, ONLY_PVM },
	{ "hypercall", p20_call, 0, { 11, 12 }, ONLY_PVM },
	{ "hlt", p20_hlt, 0, { 1, 2 }, PVM_HLT }, /* on a bare machine: a24_sti_hlt */
	{ "rdmsr", p20_msr, 5, { 5, 7, 9, 10 }, ANYWHERE },
	{ "wrmsr", p20_msr, 7, { 5, 7, 9, 10 }, ANYWHERE },
	{ "out", p20_out, 5, { 5, 6, 7 }, ANYWHERE },
	{ "mov-ds", p20_mov_ds, 0, { 2, 3 }, ANYWHERE },
	{ "lss", p20_lss, 0, { 3, 4 }, ANYWHERE },
	{ "retf", p20_retf, 10, { 2, 9, 10, 12, 13 }, ANYWHERE },
	{ "iretq", p20_iretq, 17, { 3, 5, 6, 7, 9, 16, 17, 19, 20 }, ANYWHERE },
	{ "jmpf", p20_jmpf, 3, { 3, 6, 7 }, ANYWHERE },
};

static struct {
	uint32_t offset;
	uint16_t sel;
} __attribute__((packed)) far_jump;
static const struct {
	uint32_t offset;
	uint16_t sel;
} __attribute__((packed)) far_ss = { 0, SEL_KDATA };

static struct run run_of(unsigned i)
{
	struct run r = { .code = steps[i].code };

	r.regs.rbx = (uint64_t)boot_gdtr;
	r.regs.rcx = SEL_UDATA;
	r.regs.rsi = (uint64_t)&far_ss;
	r.regs.rdi = (uint64_t)&far_jump;
	return r;
}

static const char *want(const uint8_t ends[10])
{
	static char text[200];
	unsigned at = 0;

	for (unsigned n = 0; n < 10 && ends[n]; n++)
		for (const char *s = fmt("%sDB+%x/ffff4ff0", n ? ";" : "", ends[n]); *s; s++)
			text[at++] = *s;
	text[at] = 0;
	return text;
}

SCENARIO(p20_emulated_steps, "steps and breakpoints over a kernel's own instructions", 0)
{
	far_jump.offset = (uint32_t)(uint64_t)(p20_jmpf + 6); /* over its NOP */
	far_jump.sel = SEL_KCODE64;
	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		FOR_FX(k)
		{
			struct run r = run_of(i);
			const char *id = fmt("%s.%s", steps[i].name, fx_name(k));

			if (env.pvm && steps[i].where == ELSEWHERE) {
				check_skip(fmt("P20.step.%s", id), "one step behind each", "PVM takes the two for one instruction");
				check_skip(fmt("P20.exec.%s", id), "one hit, before it", "PVM takes the two for one instruction");
				continue;
			}
			if (!env.pvm && (steps[i].where == ONLY_PVM || steps[i].where == PVM_HLT))
				continue;
			r.rflags = FL_TF;
			fx(k);
			run_code(&r);
			check_trace(fmt("P20.step.%s", id), "one step behind each", steps[i].code, want(steps[i].ends));
			r = run_of(i);
			r.rflags = steps[i].where == PVM_HLT ? FL_TF : 0;
			write_dr2((uint64_t)steps[i].code + steps[i].at);
			write_dr7(DR7_INIT | DR7_BP(2, RW_EXEC, LEN_1));
			fx(k);
			run_code(&r);
			write_dr7(DR7_INIT);
			write_dr2(0);
			check_trace(fmt("P20.exec.%s", id), "one hit, before it", steps[i].code,
				    fmt("DB+%x/ffff0ff4%s%s", steps[i].at, steps[i].where == PVM_HLT ? ";" : "", steps[i].where == PVM_HLT ? want(steps[i].ends) : ""));
		}
}
