/* SPDX-License-Identifier: MIT */
/* Symptom: a watchpoint on a register of the APIC never fires, or fires without the step that belongs to the same instruction.
 * Cause: the page is not memory: an access to it exits and is emulated, and hardware looks at no breakpoint for what does not complete.
 * Who had it: Linux KVM (its instruction emulator matches no data breakpoint).
 * Rules: E08, E01, E10. */
#include "tests/guest/apic.h"

CODE64(ap_load, "mov (%rdi), %eax; nop;" DONE)
CODE64(ap_store, "mov %eax, (%rdi); nop;" DONE)
CODE64(ap_imm, "movl $0x20, (%rdi); nop;" DONE)
CODE64(ap_sib, "mov -0x10(%rdi,%rcx,4), %r9d; nop;" DONE)
CODE64(ap_moffs, "movabs 0xfee00080, %eax; nop;" DONE)
CODE32(ap_load32, "mov (%edi), %eax; nop;" DONE)
CODE64(ap_byte, "mov (%rdi), %ah; nop;" DONE)
CODE64(ap_word, "mov (%rdi), %ax; nop;" DONE)
CODE64(ap_quad, "mov (%rdi), %rax; nop;" DONE)

#define WATCH(rw) DR7_BP(0, rw, LEN_4)

static const struct forms {
	const char *name, *code, *want, *want_tf;
	bool compat, drover; /* drover: an access that machines do not define */
	uint32_t dr7;
} forms[] = {
	{ "load", ap_load, "DB+2/ffff0ff1", "DB+2/ffff4ff1;DB+3/ffff4ff0", false, false, WATCH(RW_RDWR) },
	{ "load.write", ap_load, "none", "DB+2/ffff4ff0;DB+3/ffff4ff0", false, false, WATCH(RW_WRITE) },
	{ "store", ap_store, "DB+2/ffff0ff1", "DB+2/ffff4ff1;DB+3/ffff4ff0", false, false, WATCH(RW_WRITE) },
	{ "store.rdwr", ap_store, "DB+2/ffff0ff1", "DB+2/ffff4ff1;DB+3/ffff4ff0", false, false, WATCH(RW_RDWR) },
	{ "imm", ap_imm, "DB+6/ffff0ff1", "DB+6/ffff4ff1;DB+7/ffff4ff0", false, false, WATCH(RW_WRITE) },
	{ "sib", ap_sib, "DB+5/ffff0ff1", "DB+5/ffff4ff1;DB+6/ffff4ff0", false, false, WATCH(RW_RDWR) },
	{ "moffs", ap_moffs, "DB+9/ffff0ff1", "DB+9/ffff4ff1;DB+a/ffff4ff0", false, false, WATCH(RW_RDWR) },
	{ "load32", ap_load32, "DB+2/ffff0ff1", "DB+2/ffff4ff1;DB+3/ffff4ff0", true, false, WATCH(RW_RDWR) },
	{ "byte", ap_byte, "DB+2/ffff0ff1", "DB+2/ffff4ff1;DB+3/ffff4ff0", false, true, WATCH(RW_RDWR) },
	{ "word", ap_word, "DB+3/ffff0ff1", "DB+3/ffff4ff1;DB+4/ffff4ff0", false, true, WATCH(RW_RDWR) },
	{ "quad", ap_quad, "DB+3/ffff0ff1", "DB+3/ffff4ff1;DB+4/ffff4ff0", false, true, WATCH(RW_RDWR) },
};

static void one(const struct forms *f, unsigned cpl, uint64_t rflags)
{
	struct run r = { .code = f->code, .cpl = cpl, .compat = f->compat, .rflags = rflags };

	r.regs = (struct regs){ .rax = 0x30, .rcx = 4, .rdi = APIC_PAGE + APIC_TPR };
	write_dr0(APIC_PAGE + APIC_TPR);
	write_dr7(DR7_INIT | f->dr7);
	run_code(&r);
	write_dr7(DR7_INIT);
	check_trace(fmt("%s.%s.%u", rflags & FL_TF ? "E10" : "E08", f->name, cpl), "the #DBs", f->code, rflags & FL_TF ? f->want_tf : f->want);
}

static void value(const char *name, const char *code, uint64_t before, uint64_t want)
{
	struct run r = { .code = code, .regs = { .rax = before, .rdi = APIC_PAGE + APIC_TPR } };

	apic_write(APIC_TPR, 0x57);
	run_code(&r);
	check_eq(fmt("E01.%s", name), "RAX behind it", r.regs.rax, want);
}

SCENARIO(e08_apic_page, "watchpoints on the APIC's page", 0)
{
	apic_begin();
	for (unsigned i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		for (unsigned cpl = 0; cpl < 4 && (!forms[i].drover || env.drover); cpl += 3) {
			one(&forms[i], cpl, 0);
			one(&forms[i], cpl, FL_TF);
		}
	check_eq("E01.imm", "the immediate is there", apic_read(APIC_TPR), 0x20);
	value("load", ap_load, 0x1122334455667788, 0x57);
	if (env.drover) {
		value("byte", ap_byte, 0x1122334455667788, 0x1122334455665788);
		value("word", ap_word, 0x1122334455667788, 0x1122334455660057);
		value("quad", ap_quad, 0x1122334455667788, 0x57);
	}
	apic_end();
}
