/* SPDX-License-Identifier: MIT */
/* Symptom: a guest's WRMSR stops the VM (VM entry fails on it), reaches hardware, or leaves half a value behind.
 * Cause: MSRs that nobody thought of pass through or read 0; a value that the CPU would refuse is stored and loaded at the next entry, where a
 * non-canonical address or a bad PAT is fatal.
 * Who had it: Linux KVM (CVE-2014-3610: non-canonical addresses), Xen (XSA-108: x2APIC MSRs out of range).
 * Rules: S10 and V17 have DEBUGCTL's; HP = what a hostile guest probes. Expected: #GP, the old value kept. */
#include "tests/guest/guest.h"

#define MSR_VM_CR 0xc0010114u
#define EFER_LME (1ul << 8)

static void unknown(void)
{
	static const struct {
		const char *name;
		uint32_t msr;
	} m[] = {
		{ "none", 0x4fff0000 },      { "none-high", 0xc0011fff },     { "last", 0xffffffff },        { "feature-control", 0x3a },
		{ "vmx-basic", 0x480 },      { "vmx-last", 0x491 },           { "vm-cr", MSR_VM_CR },        { "vm-hsave", 0xc0010117 },
		{ "svm-key", 0xc0010118 },   { "dr0-mask", 0xc0011027 },      { "dr1-mask", 0xc0011019 },    { "dr3-mask", 0xc001101b },
		{ "x2apic-id", 0x802 },      { "x2apic-icr", 0x830 },         { "x2apic-past", 0x8ff },      { "cmci", 0x280 },        
		{ "perf-select", 0x186 },    { "perf-global", 0x38f },        { "ds-area", 0x600 },          { "trace", 0x570 },
		{ "amd-perf", 0xc0010200 },  { "ibs", 0xc0011030 },           { "mtrr-def", 0x2ff },         { "mtrr-fixed", 0x250 },
		{ "smm-base", 0x9e },        { "smbase-amd", 0xc0010111 },    { "smm-mask", 0xc0010113 },    { "xss", 0xda0 },
		{ "sev-status", 0xc0010131 }, { "syscfg", 0xc0010010 },       { "iorr", 0xc0010016 },
	};

	for (unsigned i = 0; i < sizeof(m) / sizeof(m[0]); i++) {
		uint64_t v = 0x5a5a;

		check_eq(fmt("HP.msr.rd.%s", m[i].name), "RDMSR is #GP", try_rdmsr(m[i].msr, &v), VEC_GP);
		check_eq(fmt("HP.msr.wr.%s", m[i].name), "WRMSR is #GP", try_wrmsr(m[i].msr, 0), VEC_GP);
	}
	/* The patch loaders: writing only. */
	check_eq("HP.msr.wr.ucode", "microcode update is #GP", try_wrmsr(0x79, (uint64_t)watch_buf), VEC_GP);
	check_eq("HP.msr.wr.ucode-amd", "microcode update is #GP", try_wrmsr(0xc0010020, (uint64_t)watch_buf), VEC_GP);
}

static void refuse(const char *name, uint32_t msr, uint64_t good, uint64_t bad)
{
	uint64_t v = ~good;

	check_eq(fmt("HP.%s.%lx", name, bad), "#GP", try_wrmsr(msr, bad), VEC_GP);
	check_eq(fmt("HP.%s.%lx.kept", name, bad), "the old value stays", (try_rdmsr(msr, &v), v), good);
}

static void addresses(void)
{
	static const struct {
		const char *name;
		uint32_t msr;
		bool intel_only; /* AMD's SYSENTER addresses are 32 bits wide and not checked */
	} m[] = {
		{ "lstar", MSR_LSTAR, false },
		{ "cstar", MSR_CSTAR, false },
		{ "kernel-gs", MSR_KERNEL_GS_BASE, false },
		{ "fs", MSR_FS_BASE, false },
		{ "gs", MSR_GS_BASE, false },
		{ "sysenter-eip", MSR_SYSENTER_EIP, true },
		{ "sysenter-esp", MSR_SYSENTER_ESP, true },
	};
	static const uint64_t bad[] = { 0x0000800000000000, 0xffff7fffffffffff, 1ull << 63, 0x8000000000000000 | 0x1000, 0x00ff000000000000 };

	for (unsigned i = 0; i < sizeof(m) / sizeof(m[0]); i++) {
		static const uint64_t edges[] = { 0x00007fffffffffff, 0xffff800000000000 };
		uint64_t old = 0;

		if (m[i].intel_only && !env.intel)
			continue;
		try_rdmsr(m[i].msr, &old);
		for (unsigned k = 0; k < 2; k++)
			check_eq(fmt("HP.%s.edge%u", m[i].name, k), "the last canonical addresses are good", try_wrmsr(m[i].msr, edges[k]), NO_FAULT);
		for (unsigned k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
			refuse(m[i].name, m[i].msr, edges[1], bad[k]);
		try_wrmsr(m[i].msr, old);
	}
}

static void pat(void)
{
	uint64_t old = 0, v = 0;

	try_rdmsr(MSR_PAT, &old);
	for (unsigned i = 0; i < 64; i += 8) {
		uint64_t rest = old & ~(0xffull << i);

		refuse(fmt("pat%u", i / 8), MSR_PAT, old, rest | 2ull << i);
		refuse(fmt("pat%u", i / 8), MSR_PAT, old, rest | 3ull << i);
		refuse(fmt("pat%u", i / 8), MSR_PAT, old, rest | 0x80ull << i);
	}
	check_eq("HP.pat.good", "each valid type, swapped", try_wrmsr(MSR_PAT, 0x0001040506070600), NO_FAULT);
	check_eq("HP.pat.good.read", "reads back", (try_rdmsr(MSR_PAT, &v), v), 0x0001040506070600);
	try_wrmsr(MSR_PAT, old);
}

static void efer(void)
{
	uint64_t old = 0;

	try_rdmsr(MSR_EFER, &old);
	for (unsigned i = 0; i < 3; i++)
		refuse("efer", MSR_EFER, old, old | (uint64_t[]){ 1ul << 1, 1ul << 9, 1ul << 63 }[i]);
	refuse("efer.svme", MSR_EFER, old, old | 1ul << 12);
	refuse("efer.lme", MSR_EFER, old, old & ~EFER_LME); /* with paging on */
	for (unsigned bit = 16; bit < 63; bit += 6)
		refuse("efer", MSR_EFER, old, old | 1ul << bit);
	check_eq("HP.efer.same", "its own value is good", try_wrmsr(MSR_EFER, old), NO_FAULT);
}

SCENARIO(hostile_msrs, "a guest that probes MSRs: unknown ones, bad values", SCN_DROVER)
{
	if (env.nested)
		scenario_skip("a VM that may be a hypervisor; another VM runs this");
	unknown();
	addresses();
	pat();
	efer();
}
