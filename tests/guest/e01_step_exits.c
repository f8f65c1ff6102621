/* SPDX-License-Identifier: MIT */
/* Symptom: a debugger that single-steps skips the instruction behind CPUID (or any that the hypervisor emulates); malware
 * uses it to tell a virtual machine.
 * Cause: the exit handler moves RIP and forgets that TF was 1 at the start of the instruction.
 * Who had it: nearly everybody once; Linux KVM until the 2016 series that made kvm_skip_emulated_instruction().
 * Rules: E01, E02, A20. Each instruction once idle (debug registers untouched since the last exit), once live. */
#include "tests/guest/guest.h"

struct insn {
	const char *name;
	uint8_t bytes[4];
	uint8_t len;
	bool user;              /* legal in ring 3 (with IOPL 3) */
	uint64_t rax, rcx, rdx; /* operands; OWN_x: the register's present value */
	enum { PLAIN, OWN_CR0, OWN_CR3, OWN_CR4, OWN_EFER, CALL_AMD, CALL_INTEL } kind;
};

static const struct insn insns[] = {
	{ "cpuid", { 0x0f, 0xa2 }, 2, true, 0, 0, 0, PLAIN },
	{ "cpuid-hv", { 0x0f, 0xa2 }, 2, true, 0x40000000, 0, 0, PLAIN },
	{ "rdmsr", { 0x0f, 0x32 }, 2, false, 0, MSR_EFER, 0, PLAIN },
	{ "wrmsr", { 0x0f, 0x30 }, 2, false, 0, MSR_KERNEL_GS_BASE, 0, PLAIN },
	{ "wrmsr-efer", { 0x0f, 0x30 }, 2, false, 0, MSR_EFER, 0, OWN_EFER },
	{ "in", { 0xec }, 1, true, 0, 0, 0x3fd, PLAIN },
	{ "in-imm", { 0xe4, 0x80 }, 2, true, 0, 0, 0, PLAIN },
	{ "in4", { 0xed }, 1, true, 0, 0, 0x80, PLAIN },
	{ "in2", { 0x66, 0xed }, 2, true, 0, 0, 0x80, PLAIN },
	{ "out", { 0xee }, 1, true, 0x5a, 0, 0x3ff, PLAIN },
	{ "out-imm", { 0xe6, 0x80 }, 2, true, 0x5a, 0, 0, PLAIN },
	{ "mov-from-cr0", { 0x0f, 0x20, 0xc0 }, 3, false, 0, 0, 0, PLAIN },
	{ "mov-to-cr0", { 0x0f, 0x22, 0xc0 }, 3, false, 0, 0, 0, OWN_CR0 },
	{ "mov-from-cr3", { 0x0f, 0x20, 0xd8 }, 3, false, 0, 0, 0, PLAIN },
	{ "mov-to-cr3", { 0x0f, 0x22, 0xd8 }, 3, false, 0, 0, 0, OWN_CR3 },
	{ "mov-to-cr4", { 0x0f, 0x22, 0xe0 }, 3, false, 0, 0, 0, OWN_CR4 },
	{ "mov-to-cr8", { 0x44, 0x0f, 0x22, 0xc0 }, 4, false, 0, 0, 0, PLAIN },
	{ "clts", { 0x0f, 0x06 }, 2, false, 0, 0, 0, PLAIN },
	{ "mov-from-dr0", { 0x0f, 0x21, 0xc0 }, 3, false, 0, 0, 0, PLAIN },
	{ "mov-to-dr0", { 0x0f, 0x23, 0xc0 }, 3, false, 0x1000, 0, 0, PLAIN },
	{ "mov-from-dr7", { 0x0f, 0x21, 0xf8 }, 3, false, 0, 0, 0, PLAIN },
	{ "mov-to-dr7", { 0x0f, 0x23, 0xf8 }, 3, false, DR7_INIT, 0, 0, PLAIN },
	{ "mov-to-dr6", { 0x0f, 0x23, 0xf0 }, 3, false, DR6_INIT, 0, 0, PLAIN },
	{ "wbinvd", { 0x0f, 0x09 }, 2, false, 0, 0, 0, PLAIN },
	{ "invlpg", { 0x0f, 0x01, 0x38 }, 3, false, 0, 0, 0, PLAIN },
	{ "rdtsc", { 0x0f, 0x31 }, 2, true, 0, 0, 0, PLAIN },
	{ "pause", { 0xf3, 0x90 }, 2, true, 0, 0, 0, PLAIN },
	{ "vmmcall", { 0x0f, 0x01, 0xd9 }, 3, true, HC_NOP, 0, 0, CALL_AMD },
	{ "vmcall", { 0x0f, 0x01, 0xc1 }, 3, true, HC_NOP, 0, 0, CALL_INTEL },
};

static void operands(struct run *r, const struct insn *i)
{
	uint64_t v = i->rax;

	if (i->kind == OWN_CR0)
		v = read_cr0();
	else if (i->kind == OWN_CR3)
		v = read_cr3();
	else if (i->kind == OWN_CR4)
		v = read_cr4();
	else if (i->kind == OWN_EFER)
		try_rdmsr(MSR_EFER, &v);
	r->regs = (struct regs){ .rax = v, .rcx = i->rcx, .rdx = i->rdx };
}

static void step(const struct insn *i, unsigned cpl, bool compat, bool live)
{
	struct run r = { .code = code_make(i->bytes, i->len), .cpl = cpl, .iopl = cpl, .compat = compat, .rflags = FL_TF };

	operands(&r, i);
	write_dr6(DR6_INIT);
	if (!live) {
		fx(FX_CPUID);
		fx(FX_SLOW);
	}
	run_code(&r);
	check_trace(fmt("E01.%s.%u%s.%s", i->name, cpl, compat ? ".32" : "", live ? "live" : "idle"), "one #DB behind it, one behind the NOP",
		    r.code, fmt("DB+%x/ffff4ff0;DB+%x/ffff4ff0", i->len, i->len + 1));
}

SCENARIO(e01_step_exits, "TF steps over instructions that exit", 0)
{
	for (unsigned n = 0; n < sizeof(insns) / sizeof(insns[0]); n++) {
		const struct insn *i = &insns[n];
		bool call = i->kind == CALL_AMD || i->kind == CALL_INTEL;

		if (call && (!env.drover || env.amd != (i->kind == CALL_AMD)))
			continue;
		for (unsigned live = 0; live < 2; live++) {
			step(i, 0, false, live);
			if (i->user) {
				step(i, 3, false, live);
				step(i, 3, true, live);
			}
		}
	}
}
