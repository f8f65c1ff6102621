/* SPDX-License-Identifier: MIT */
/* Every VMX control bit that drover has an opinion on, "wanted against allowed", on one screen; and the checks that follow from it. */
#include "arch/lib/fmt.h"
#include "arch/lib/log.h"
#include "arch/x86/def/cpuid.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/vmx/internal.h"

enum want {
	MUST,   /* refused without it */
	LIKE,   /* on where there is such a control */
	OFF,    /* refused where the CPU forces it on */
	MAY,    /* as OFF, but other code turns it on where it is allowed */
	TOGGLE, /* changes at run time: both values must be possible; starts at 0 */
};

struct ctl_bit {
	uint8_t word, bit, want;
	const char *name;
};

/* clang-format off */
static const struct ctl_bit bits[] = {
	{ CTL_PIN, 0, MUST, "external-interrupt exiting" },
	{ CTL_PIN, 3, MUST, "NMI exiting" },
	{ CTL_PIN, 5, MUST, "virtual NMIs" },
	{ CTL_PIN, 6, MAY, "preemption timer" }, /* vmcs.c: quirk vmx-if0-intr */
	{ CTL_PROC, 2, TOGGLE, "interrupt-window exiting" },
	{ CTL_PROC, 3, OFF, "TSC offsetting" },
	{ CTL_PROC, 7, MUST, "HLT exiting" },
	{ CTL_PROC, 9, OFF, "INVLPG exiting" },
	{ CTL_PROC, 10, MUST, "MWAIT exiting" },
	{ CTL_PROC, 11, MUST, "RDPMC exiting" },
	{ CTL_PROC, 12, OFF, "RDTSC exiting" },
	{ CTL_PROC, 15, OFF, "CR3-load exiting" }, /* forced on without the TRUE capability MSRs */
	{ CTL_PROC, 16, OFF, "CR3-store exiting" },
	{ CTL_PROC, 19, MUST, "CR8-load exiting" }, /* else the guest sets the host's task priority */
	{ CTL_PROC, 20, MUST, "CR8-store exiting" },
	{ CTL_PROC, 21, OFF, "TPR shadow" },
	{ CTL_PROC, 22, TOGGLE, "NMI-window exiting" },
	{ CTL_PROC, 23, TOGGLE, "MOV-DR exiting" },
	{ CTL_PROC, 24, MUST, "unconditional I/O exiting" },
	{ CTL_PROC, 25, OFF, "I/O bitmaps" },
	{ CTL_PROC, 27, OFF, "monitor trap flag" },
	{ CTL_PROC, 28, MUST, "MSR bitmaps" },
	{ CTL_PROC, 29, MUST, "MONITOR exiting" },
	{ CTL_PROC, 30, OFF, "PAUSE exiting" },
	{ CTL_PROC, 31, MUST, "secondary controls" },
	{ CTL_PROC2, 0, OFF, "APIC-access virtualization" },
	{ CTL_PROC2, 1, MUST, "EPT" },
	{ CTL_PROC2, 2, OFF, "descriptor-table exiting" },
	{ CTL_PROC2, 3, LIKE, "RDTSCP" },
	{ CTL_PROC2, 5, LIKE, "VPID" },
	{ CTL_PROC2, 6, MUST, "WBINVD exiting" },
	{ CTL_PROC2, 7, MUST, "unrestricted guest" },
	{ CTL_PROC2, 10, OFF, "PAUSE-loop exiting" },
	{ CTL_PROC2, 12, OFF, "INVPCID" }, /* off: #UD in the guest, whose CPUID has no PCID */
	{ CTL_PROC2, 13, OFF, "VM functions" },
	{ CTL_PROC2, 14, MAY, "VMCS shadowing" }, /* nested_shadow.c */
	{ CTL_PROC2, 17, OFF, "page-modification logging" },
	{ CTL_PROC2, 18, OFF, "EPT-violation #VE" },
	{ CTL_PROC2, 20, OFF, "XSAVES" }, /* off: #UD in the guest, so IA32_XSS needs no switching */
	{ CTL_PROC2, 25, OFF, "TSC scaling" },
	{ CTL_PROC2, 30, MAY, "VMM bus-lock detection" }, /* vmcs.c: for a VM with buslock=exit (V21) */
	{ CTL_EXIT, 2, MUST, "save debug controls" }, /* rule V07 */
	{ CTL_EXIT, 9, MUST, "64-bit host" },
	{ CTL_EXIT, 12, OFF, "load PERF_GLOBAL_CTRL (exit)" },
	{ CTL_EXIT, 15, OFF, "acknowledge interrupt on exit" },
	{ CTL_EXIT, 18, MUST, "save PAT" },
	{ CTL_EXIT, 19, MUST, "load PAT (exit)" },
	{ CTL_EXIT, 20, MUST, "save EFER" },
	{ CTL_EXIT, 21, MUST, "load EFER (exit)" },
	{ CTL_EXIT, 22, OFF, "save preemption timer" },
	{ CTL_ENTRY, 2, MUST, "load debug controls" }, /* rule V07 */
	{ CTL_ENTRY, 9, TOGGLE, "IA-32e mode guest" },
	{ CTL_ENTRY, 10, OFF, "entry to SMM" },
	{ CTL_ENTRY, 11, OFF, "deactivate dual-monitor treatment" },
	{ CTL_ENTRY, 13, OFF, "load PERF_GLOBAL_CTRL (entry)" },
	{ CTL_ENTRY, 14, MUST, "load PAT (entry)" },
	{ CTL_ENTRY, 15, MUST, "load EFER (entry)" },
};
/* clang-format on */
#define NR_BITS (sizeof(bits) / sizeof(bits[0]))

static const char *const word_name[CTL_NR] = { "pin", "proc", "proc2", "exit", "entry" };

/* The TRUE MSRs tell which of the bits that were once "reserved 1" may be 0. */
static bool read_allowance(struct vmx_caps *c)
{
	static const uint32_t plain[CTL_NR] = { MSR_VMX_PINBASED, MSR_VMX_PROCBASED, MSR_VMX_PROCBASED2, MSR_VMX_EXIT, MSR_VMX_ENTRY };
	static const uint32_t exact[CTL_NR] = { MSR_VMX_TRUE_PINBASED, MSR_VMX_TRUE_PROCBASED, MSR_VMX_PROCBASED2, MSR_VMX_TRUE_EXIT,
						MSR_VMX_TRUE_ENTRY };
	const uint32_t *msr = c->basic & BASIC_TRUE_CTLS ? exact : plain;

	for (unsigned w = 0; w < CTL_NR; w++) {
		uint64_t v = 0;

		if (w == CTL_PROC2 && !(c->allowed1[CTL_PROC] & PROC_SECONDARY))
			continue; /* no such MSR; "secondary controls" will be found missing */
		if (!rdmsr_safe(msr[w], &v))
			return false;
		c->allowed0[w] = (uint32_t)v;
		c->allowed1[w] = (uint32_t)(v >> 32);
	}
	return true;
}

static bool fit_bit(struct vmx_caps *c, const struct ctl_bit *b, char *reason, size_t size)
{
	uint32_t m = 1u << b->bit;
	bool can = c->allowed1[b->word] & m, forced = c->allowed0[b->word] & m;

	if ((b->want == MUST || b->want == TOGGLE) && !can) {
		fmt_snprintf(reason, size, "VMX: CPU lacks %s", b->name);
		return false;
	}
	if ((b->want == OFF || b->want == MAY || b->want == TOGGLE) && forced) {
		fmt_snprintf(reason, size, "VMX: CPU forces %s", b->name);
		return false;
	}
	if (b->want == MUST || (b->want == LIKE && can))
		c->base[b->word] |= m;
	return true;
}

bool vmx_ctl_init(struct vmx_caps *c, char *reason, size_t size)
{
	bool ok = rdmsr_safe(MSR_VMX_BASIC, &c->basic) && rdmsr_safe(MSR_VMX_MISC, &c->misc) &&
		  rdmsr_safe(MSR_VMX_CR0_FIXED0, &c->cr0_fixed0) && rdmsr_safe(MSR_VMX_CR0_FIXED1, &c->cr0_fixed1) &&
		  rdmsr_safe(MSR_VMX_CR4_FIXED0, &c->cr4_fixed0) && rdmsr_safe(MSR_VMX_CR4_FIXED1, &c->cr4_fixed1) && read_allowance(c);

	if (!ok) {
		fmt_snprintf(reason, size, "VMX: capability MSRs cannot be read");
		return false;
	}
	for (unsigned w = 0; w < CTL_NR; w++)
		c->base[w] = c->allowed0[w];
	for (size_t i = 0; i < NR_BITS; i++)
		if (!fit_bit(c, &bits[i], reason, size))
			return false;
	c->tsc_aux = (cpuid(0x80000001, 0).edx & CPUID_81_EDX_RDTSCP) != 0 && (c->base[CTL_PROC2] & PROC2_RDTSCP);
	return true;
}

void vmx_ctl_log(enum ctl_word w, uint32_t value)
{
	log_printf("drover:   %s=0x%08x:", word_name[w], value);
	for (size_t i = 0; i < NR_BITS; i++)
		if (bits[i].word == w && (value & 1u << bits[i].bit))
			log_printf(" %s;", bits[i].name);
	log_printf("\n");
}

const char *vmx_ctl_violation(enum ctl_word w, uint32_t value)
{
	uint32_t bad = (vmx_caps.allowed0[w] & ~value) | (value & ~vmx_caps.allowed1[w]);

	if (!bad)
		return NULL;
	for (size_t i = 0; i < NR_BITS; i++)
		if (bits[i].word == w && (bad & 1u << bits[i].bit))
			return bits[i].name;
	return "a reserved bit";
}
