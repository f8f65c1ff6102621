/* SPDX-License-Identifier: MIT */
/* This CPU's name and features, and its control registers outside of paging. */
#include "arch/x86/cpuinit.h"

#include <stddef.h>

#include "arch/lib/fmt.h"
#include "arch/lib/log.h"
#include "arch/lib/string.h"
#include "arch/x86/def/cpuid.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/insn.h"

void cpuinit(void)
{
	struct cpuid_regs r = cpuid(1, 0);
	uint64_t cr4 = read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT | (r.edx & CPUID_1_EDX_MCE ? CR4_MCE : 0);

	if (r.ecx & CPUID_1_ECX_XSAVE)
		cr4 |= CR4_OSXSAVE;
	write_cr4(cr4);
	write_cr0((read_cr0() | CR0_MP | CR0_NE) & ~(uint64_t)(CR0_EM | CR0_TS | CR0_CD | CR0_NW));
	if (r.ecx & CPUID_1_ECX_XSAVE)
		xsetbv(0, XCR0_X87 | XCR0_SSE | (r.ecx & CPUID_1_ECX_AVX ? XCR0_AVX : 0));
}

static void brand(char *out, size_t cap)
{
	char text[49] = "";
	const char *p = text;

	for (unsigned i = 0; i < 3 && cpuid(0x80000000, 0).eax >= 0x80000004; i++) {
		struct cpuid_regs r = cpuid(0x80000002 + i, 0);

		memcpy(text + 16 * i, &r, 16);
	}
	while (*p == ' ') /* Intel pads on the left */
		p++;
	str_copy(out, cap, p);
}

struct feature {
	const char *name;
	uint32_t have;
};

void cpuinit_log(void)
{
	struct cpuid_regs id = cpuid(0, 0), l1 = cpuid(1, 0), l7 = { 0 }, l81 = cpuid(0x80000001, 0);
	uint32_t family = l1.eax >> 8 & 0xf, model = l1.eax >> 4 & 0xf;
	char vendor[13] = "", name[49], line[160];
	size_t n = 0;

	if (id.eax >= 7)
		l7 = cpuid(7, 0);
	memcpy(vendor, &id.ebx, 4);
	memcpy(vendor + 4, &id.edx, 4);
	memcpy(vendor + 8, &id.ecx, 4);
	brand(name, sizeof(name));
	if (family == 6 || family == 15)
		model |= l1.eax >> 12 & 0xf0;
	if (family == 15)
		family += l1.eax >> 20 & 0xff;
	log_printf("drover: cpu: %s family 0x%x model 0x%x stepping %u, %s\n", vendor, family, model, l1.eax & 0xf, name);

	const struct feature features[] = {
		{ "vmx", l1.ecx & CPUID_1_ECX_VMX },	   { "svm", l81.ecx & CPUID_81_ECX_SVM },
		{ "nx", l81.edx & CPUID_81_EDX_NX },	   { "smep", l7.ebx & CPUID_7_EBX_SMEP },
		{ "smap", l7.ebx & CPUID_7_EBX_SMAP },	   { "xsave", l1.ecx & CPUID_1_ECX_XSAVE },
		{ "avx", l1.ecx & CPUID_1_ECX_AVX },	   { "x2apic", l1.ecx & CPUID_1_ECX_X2APIC },
		{ "rdtscp", l81.edx & CPUID_81_EDX_RDTSCP }, { "rtm", l7.ebx & CPUID_7_EBX_RTM },
		{ "buslockdetect", l7.ecx & CPUID_7_ECX_BLD }, { "dbext", l81.ecx & CPUID_81_ECX_DBEXT },
		{ "hypervisor", l1.ecx & CPUID_1_ECX_HYPERVISOR },
	};
	line[0] = '\0';
	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++)
		if (features[i].have != 0 && n < sizeof(line))
			n += fmt_snprintf(line + n, sizeof(line) - n, " %s", features[i].name);
	log_printf("drover: cpu features:%s\n", line);
}
