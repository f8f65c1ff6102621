/* SPDX-License-Identifier: MIT */
/* Symptom: a guest finds virtualization extensions that it was not meant to have and runs VMRUN, VMSAVE or VMXON on the host's CPU: VMSAVE
 * unintercepted writes to a host-physical address.
 * Cause: a CPUID bit that passes through, an intercept that is missing, a control register bit or XCR0 value that is not checked.
 * Who had it: Linux KVM (CVE-2021-3656: VMLOAD and VMSAVE of a nested guest), each new hypervisor with some new CPUID bit.
 * Rules: S11 for bus-lock detect; HP = what a hostile guest probes. Expected: #UD and #GP as on a CPU that lacks the feature, and old values kept. */
#include "tests/guest/guest.h"

struct hidden {
	const char *name;
	uint32_t leaf, sub, reg, bits; /* reg: 0-3 = EAX-EDX */
};
static const struct hidden hidden[] = {
	{ "monitor", 1, 0, 2, 1 << 3 },           { "vmx", 1, 0, 2, 1 << 5 },
	{ "smx", 1, 0, 2, 1 << 6 },               { "dtes", 1, 0, 2, 1 << 2 | 1 << 4 },
	{ "pdcm", 1, 0, 2, 1 << 15 },             { "perfctr", 0x80000001, 0, 2, 1 << 23 },
	{ "mce", 1, 0, 3, 1 << 7 },               { "mca", 1, 0, 3, 1 << 14 },
	{ "amd-mtrr", 0x80000001, 0, 3, 1 << 12 }, { "amd-mca", 0x80000001, 0, 3, 1 << 14 },
	{ "mtrr", 1, 0, 3, 1 << 12 },             { "ds", 1, 0, 3, 1 << 21 },
	{ "sgx", 7, 0, 1, 1 << 2 },               { "trace", 7, 0, 1, 1 << 25 },
	{ "S11.bld", 7, 0, 2, 1 << 24 },          { "svm", 0x80000001, 0, 2, 1 << 2 },
	{ "ibs", 0x80000001, 0, 2, 1 << 10 },     { "skinit", 0x80000001, 0, 2, 1 << 12 },
	{ "dbext", 0x80000001, 0, 2, 1 << 26 },   { "mwaitx", 0x80000001, 0, 2, 1 << 29 },
	{ "mwait-leaf", 5, 0, 0, ~0u },           { "svm-leaf", 0x8000000a, 0, 0, ~0u },
	{ "svm-leaf.d", 0x8000000a, 0, 3, ~0u },  { "perf-leaf", 0xa, 0, 0, ~0u },
	{ "trace-leaf", 0x14, 0, 0, ~0u },        { "xsaves", 0xd, 1, 0, 1 << 3 },
	{ "sev-leaf", 0x8000001f, 0, 0, ~0u },    { "ibs-leaf", 0x8000001b, 0, 0, ~0u },
};

static void cpuid_bits(void)
{
	uint32_t r[4];

	for (unsigned i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++) {
		cpuid(hidden[i].leaf, hidden[i].sub, r);
		check_eq(fmt("HP.cpuid.%s", hidden[i].name), "not shown", r[hidden[i].reg] & hidden[i].bits, 0);
	}
	cpuid(1, 0, r);
	check_eq("HP.cpuid.hypervisor", "the hypervisor bit is", r[2] >> 31, 1);
	write_dr6(DR6_INIT & ~DR6_BLD);
	check_eq("S11.dr6", "no bus-lock detect: bit 11 of DR6 cannot be cleared", read_dr6(), DR6_INIT);
	write_dr6(DR6_INIT);
	write_dr7(DR7_INIT);
}

/* RBX points at the watch buffer, all other registers are 0. */
static const struct {
	const char *name;
	uint8_t bytes[5], len;
	unsigned amd, intel; /* the vector there; 0: not asked */
} insns[] = {
	{ "vmrun", { 0x0f, 0x01, 0xd8 }, 3, VEC_UD, VEC_UD },      { "vmload", { 0x0f, 0x01, 0xda }, 3, VEC_UD, VEC_UD },
	{ "vmsave", { 0x0f, 0x01, 0xdb }, 3, VEC_UD, VEC_UD },     { "stgi", { 0x0f, 0x01, 0xdc }, 3, VEC_UD, VEC_UD },
	{ "clgi", { 0x0f, 0x01, 0xdd }, 3, VEC_UD, VEC_UD },       { "skinit", { 0x0f, 0x01, 0xde }, 3, VEC_UD, VEC_UD },
	{ "invlpga", { 0x0f, 0x01, 0xdf }, 3, VEC_UD, VEC_UD },    { "vmmcall", { 0x0f, 0x01, 0xd9 }, 3, 0, VEC_UD },
	{ "vmcall", { 0x0f, 0x01, 0xc1 }, 3, VEC_UD, 0 },          { "vmlaunch", { 0x0f, 0x01, 0xc2 }, 3, VEC_UD, VEC_UD },
	{ "vmresume", { 0x0f, 0x01, 0xc3 }, 3, VEC_UD, VEC_UD },   { "vmxoff", { 0x0f, 0x01, 0xc4 }, 3, VEC_UD, VEC_UD },
	{ "vmfunc", { 0x0f, 0x01, 0xd4 }, 3, VEC_UD, VEC_UD },     { "vmxon", { 0xf3, 0x0f, 0xc7, 0x33 }, 4, VEC_UD, VEC_UD },
	{ "vmclear", { 0x66, 0x0f, 0xc7, 0x33 }, 4, VEC_UD, VEC_UD }, { "vmptrld", { 0x0f, 0xc7, 0x33 }, 3, VEC_UD, VEC_UD },
	{ "vmptrst", { 0x0f, 0xc7, 0x3b }, 3, VEC_UD, VEC_UD },    { "vmread", { 0x0f, 0x78, 0xc1 }, 3, VEC_UD, VEC_UD },
	{ "vmwrite", { 0x0f, 0x79, 0xc1 }, 3, VEC_UD, VEC_UD },    { "invept", { 0x66, 0x0f, 0x38, 0x80, 0x03 }, 5, VEC_UD, VEC_UD },
	{ "invvpid", { 0x66, 0x0f, 0x38, 0x81, 0x03 }, 5, VEC_UD, VEC_UD }, { "getsec", { 0x0f, 0x37 }, 2, VEC_UD, VEC_UD },
	{ "monitor", { 0x0f, 0x01, 0xc8 }, 3, VEC_UD, VEC_UD },    { "mwait", { 0x0f, 0x01, 0xc9 }, 3, VEC_UD, VEC_UD },
};

static void instructions(void)
{
	for (unsigned cpl = 0; cpl < 4; cpl += 3)
		for (unsigned i = 0; i < sizeof(insns) / sizeof(insns[0]); i++) {
			unsigned want = env.amd ? insns[i].amd : insns[i].intel;
			struct run r = { .code = code_make(insns[i].bytes, insns[i].len), .cpl = cpl, .allow = 1 << VEC_UD | 1 << VEC_GP };

			if (!want)
				continue;
			r.regs.rbx = (uint64_t)watch_buf;
			run_code(&r);
			check_eq(fmt("HP.insn.%s.%u", insns[i].name, cpl), "#UD", r.end, want);
			check_eq(fmt("HP.insn.rip.%s.%u", insns[i].name, cpl), "at the instruction", r.end_rip - (uint64_t)r.code, 0);
		}
}

/* ---- Control registers ---- */

static unsigned try_write_cr0(uint64_t v)
{
	try_begin();
	__asm__ volatile("1: mov %0, %%cr0\n2:\n" EXTABLE("1b", "2b")::"r"(v) : "memory");
	return try_end();
}

static unsigned try_write_cr3(uint64_t v)
{
	try_begin();
	__asm__ volatile("1: mov %0, %%cr3\n2:\n" EXTABLE("1b", "2b")::"r"(v) : "memory");
	return try_end();
}

#define CR0_PE 1ul
#define CR0_NW (1ul << 29)
#define CR0_CD (1ul << 30)
#define CR4_PAE (1ul << 5)
#define CR4_MCE (1ul << 6)

static void cr4_bit(const char *name, unsigned bit)
{
	uint64_t old = read_cr4();

	check_eq(fmt("HP.cr4.%s", name), "#GP", try_write_cr4(old | 1ul << bit), VEC_GP);
	check_eq(fmt("HP.cr4.%s.kept", name), "the old value stays", read_cr4(), old);
	if (read_cr4() != old)
		write_cr4(old);
}

/* Under SVM hardware checks these before anything exits: drover has no part in it. */
static void reserved_bits(uint64_t cr0, uint64_t cr3)
{
	if (env.svm) {
		check_skip("HP.cr0.high", "bit 32: #GP", "under SVM QEMU takes it and then refuses VMRUN");
		check_skip("HP.cr0.nw", "NW without CD: #GP", "under SVM QEMU takes it and then refuses VMRUN");
		check_skip("HP.cr0.pe", "PG without PE: #GP", "under SVM QEMU takes it and then refuses VMRUN, Bochs panics");
		check_skip("HP.cr3.high", "an address that this CPU does not have: #GP", "under SVM QEMU takes it and then refuses VMRUN");
		return;
	}
	check_eq("HP.cr0.high", "bit 32: #GP", try_write_cr0(cr0 | 1ul << 32), VEC_GP);
	check_eq("HP.cr0.nw", "NW without CD: #GP", try_write_cr0((cr0 & ~CR0_CD) | CR0_NW), VEC_GP);
	check_eq("HP.cr0.pe", "PG without PE: #GP", try_write_cr0(cr0 & ~CR0_PE), VEC_GP);
	check_eq("HP.cr3.high", "an address that this CPU does not have: #GP", try_write_cr3(cr3 | 1ul << 60), VEC_GP);
	check_eq("HP.cr3.kept", "the old value stays", read_cr3(), cr3);
}

static void control_registers(void)
{
	uint64_t cr0 = read_cr0(), cr4 = read_cr4();

	reserved_bits(cr0, read_cr3());
	cr4_bit("vmxe", 13);
	cr4_bit("smxe", 14);
	cr4_bit("pcide", 17);
	cr4_bit("reserved", 15);
	cr4_bit("high", 40);
	check_eq("HP.cr4.pae", "PAE cannot go in long mode", try_write_cr4(cr4 & ~CR4_PAE), VEC_GP);
	check_eq("HP.cr4.mce", "MCE can be set", try_write_cr4(cr4 | CR4_MCE), NO_FAULT);
	check_eq("HP.cr4.mce.read", "and reads 1", read_cr4(), cr4 | CR4_MCE);
	write_cr4(cr4 & ~CR4_MCE);
	check_eq("HP.cr4.mce.clear", "and 0 again: what the host needs does not show", read_cr4(), cr4 & ~CR4_MCE);
	write_cr4(cr4);
	check_eq("HP.cr0.kept", "the old value stays", read_cr0(), cr0);
	check_eq("HP.cr0.cd", "CD can be set", try_write_cr0(cr0 | CR0_CD), NO_FAULT);
	check_eq("HP.cr0.cd.read", "and reads 1", read_cr0(), cr0 | CR0_CD);
	check_eq("HP.cr0.cdnw", "with NW too", (try_write_cr0(cr0 | CR0_CD | CR0_NW), read_cr0()), cr0 | CR0_CD | CR0_NW);
	write_cr0(cr0);
	check_eq("HP.cr0.back", "and 0 again", read_cr0(), cr0);
}

static void xcr0(void)
{
	static const uint64_t bad[] = { 0, 2, 4, 5, 1ull << 63 | 3, 1ull << 62 | 3, 0x10003, 0x200 | 3 };
	uint64_t cr4 = read_cr4(), old = 0, v;

	if (!env.xsave) {
		check_skip("HP.xcr0", "XSETBV", "no XSAVE in this CPU model");
		return;
	}
	write_cr4(cr4 & ~CR4_OSXSAVE);
	check_eq("HP.xcr0.osxsave", "XSETBV without CR4.OSXSAVE is #UD", try_xsetbv(0, 3), VEC_UD);
	write_cr4(cr4 | CR4_OSXSAVE);
	check("HP.xcr0.read", "XGETBV reads it, with x87 on", try_xgetbv(0, &old) == NO_FAULT && (old & 1));
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		check_eq(fmt("HP.xcr0.%lx", bad[i]), "a bad value is #GP", try_xsetbv(0, bad[i]), VEC_GP);
		check_eq(fmt("HP.xcr0.%lx.kept", bad[i]), "and changes nothing", (v = 0, try_xgetbv(0, &v), v), old);
	}
	check_eq("HP.xcr0.register", "there is no XCR1", try_xsetbv(1, 3), VEC_GP);
	check_eq("HP.xcr0.good", "x87 and SSE are a good value", try_xsetbv(0, 3), NO_FAULT);
	check_eq("HP.xcr0.good.read", "which reads back", (v = 0, try_xgetbv(0, &v), v), 3);
	try_xsetbv(0, old);
	write_cr4(cr4);
}

SCENARIO(hostile_insns, "a guest that probes for what is hidden: CPUID, instructions, CR0, CR4, XCR0", SCN_DROVER)
{
	if (env.nested)
		scenario_skip("a VM that may be a hypervisor; another VM runs this");
	cpuid_bits();
	instructions();
	control_registers();
	xcr0();
}
