/* SPDX-License-Identifier: MIT */
/* Nested VMX: what a guest hypervisor is told that its CPU can do, and that is what is built: a subset of hardware. */
#include "arch/x86/def/cpuid.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/vmx/nested.h"
#include "vmm/cpuid.h"

#define CPUID_VMX_LEAF 1u

/* The reserved bits that read 1 (SDM appendix "VMX Capability Reporting Facility", default1 class), and which of those may be 0 by the TRUE MSRs. */
#define PIN_DEFAULT1 0x16u
#define PROC_DEFAULT1 0x0401e172u
#define EXIT_DEFAULT1 0x00036dffu
#define ENTRY_DEFAULT1 0x000011ffu

#define PROC_OFFERED (PROC_INTR_WINDOW | PROC_TSC_OFFSET | PROC_HLT | PROC_INVLPG | PROC_MWAIT | PROC_RDPMC | PROC_RDTSC | PROC_CR3_LOAD | \
		      PROC_CR3_STORE | PROC_CR8_LOAD | PROC_CR8_STORE | PROC_NMI_WINDOW | PROC_MOV_DR | PROC_IO | PROC_IO_BITMAPS | \
		      PROC_MSR_BITMAPS | PROC_MONITOR | PROC_PAUSE | PROC_SECONDARY)
#define PROC2_OFFERED (PROC2_EPT | PROC2_DESC | PROC2_RDTSCP | PROC2_VPID | PROC2_WBINVD | PROC2_UNRESTRICTED)
#define EXIT_OFFERED (EXIT_SAVE_DEBUG | EXIT_HOST64 | EXIT_ACK_INTR | EXIT_SAVE_PAT | EXIT_LOAD_PAT | EXIT_SAVE_EFER | EXIT_LOAD_EFER)
#define ENTRY_OFFERED (ENTRY_LOAD_DEBUG | ENTRY_IA32E | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER)

static bool has_timer(void)
{
	return (vmx_caps.allowed1[CTL_PIN] & PIN_TIMER) && (vmx_caps.allowed1[CTL_EXIT] & EXIT_SAVE_TIMER);
}

static uint32_t exit_offered(void)
{
	return EXIT_OFFERED | (has_timer() ? EXIT_SAVE_TIMER : 0);
}

void nvmx_allowed(enum ctl_word w, uint32_t *must, uint32_t *may)
{
	switch (w) {
	case CTL_PIN:
		*must = PIN_DEFAULT1;
		*may = PIN_DEFAULT1 | PIN_EXT_INTR | PIN_NMI | PIN_VIRTUAL_NMI | (has_timer() ? PIN_TIMER : 0);
		return;
	case CTL_PROC:
		*must = PROC_DEFAULT1 & ~(PROC_CR3_LOAD | PROC_CR3_STORE);
		*may = PROC_DEFAULT1 | (PROC_OFFERED & vmx_caps.allowed1[CTL_PROC]) | (nvmx_mtf_means != MTF_NONE ? PROC_MTF : 0);
		return;
	case CTL_PROC2:
		*must = 0;
		*may = (PROC2_OFFERED & vmx_caps.allowed1[CTL_PROC2]) | PROC2_SHADOW; /* which is software's: nested_access.c */
		return;
	case CTL_EXIT:
		*must = (EXIT_DEFAULT1 & ~EXIT_SAVE_DEBUG) | EXIT_HOST64; /* a guest hypervisor is a 64-bit one */
		*may = EXIT_DEFAULT1 | exit_offered();
		return;
	case CTL_ENTRY:
	case CTL_NR:
		*must = ENTRY_DEFAULT1 & ~ENTRY_LOAD_DEBUG;
		*may = ENTRY_DEFAULT1 | ENTRY_OFFERED;
		return;
	}
}

/* must: of the plain MSRs, in which all of the default1 class must be 1; true_msr: of the exact ones. */
static uint64_t control_msr(enum ctl_word w, bool true_msr)
{
	static const uint32_t default1[CTL_NR] = { PIN_DEFAULT1, PROC_DEFAULT1, 0, EXIT_DEFAULT1, ENTRY_DEFAULT1 };
	uint32_t must, may;

	nvmx_allowed(w, &must, &may);
	return (true_msr ? must : must | default1[w]) | (uint64_t)may << 32;
}

/* The timer's rate is hardware's. Bit 5: exits store LMA into the entry control. Bit 6: HLT is an activity state. No CR3 targets, MSR lists of 512. VMWRITE
 * goes to exit information too: without that VMCS shadowing is of little use to a hypervisor. */
uint64_t nvmx_misc(void)
{
	return (vmx_caps.misc & (MISC_TIMER_SHIFT | 1ull << 6 | MISC_INSN_LEN_0)) | 1ull << 5 | MISC_VMWRITE_ANY;
}

uint64_t nvmx_ept_vpid_cap(void)
{
	/* INVVPID of every type costs a flush of all. */
	uint64_t vpid = EPTCAP_INVVPID | 0xfull << 40;

	return (vmx_caps.ept_vpid & EPTCAP_EXEC_ONLY) | EPTCAP_WALK4 | EPTCAP_WB | EPTCAP_2M | EPTCAP_1G | EPTCAP_INVEPT | EPTCAP_INVEPT_SINGLE |
	       EPTCAP_INVEPT_ALL | vpid;
}

uint64_t nvmx_cr4_fixed1(void)
{
	return cpuid_cr4_mask() | CR4_VMXE;
}

static uint64_t highest_field(void)
{
	uint64_t max = 0;

	for (unsigned i = 0; i < N12_NR; i++)
		if (n12_fields[i].kind != N12_NONE && (n12_fields[i].field & 0x3feu) > max)
			max = n12_fields[i].field & 0x3feu;
	return max;
}

void nvmx_cpuid(struct vcpu *v, uint32_t leaf, uint32_t sub, struct cpuid_regs *r)
{
	(void)v;
	(void)sub;
	if (leaf == CPUID_VMX_LEAF)
		r->ecx |= CPUID_1_ECX_VMX;
}

static bool read_cap(const struct vcpu *v, uint32_t msr, uint64_t *val)
{
	switch (msr) {
	case MSR_FEATURE_CONTROL:
		*val = FEATURE_CONTROL_LOCK | (v->vm->nested == NESTED_ON ? FEATURE_CONTROL_VMX : 0);
		return true;
	case MSR_VMX_BASIC: /* revision, size, write-back; INS and OUTS tell their operands if hardware's do */
		*val = NVMX_REVISION | 4096ull << 32 | (uint64_t)MEMTYPE_WB << 50 | (vmx_caps.basic & 1ull << 54) | BASIC_TRUE_CTLS;
		return true;
	case MSR_VMX_PINBASED: *val = control_msr(CTL_PIN, false); return true;
	case MSR_VMX_PROCBASED: *val = control_msr(CTL_PROC, false); return true;
	case MSR_VMX_EXIT: *val = control_msr(CTL_EXIT, false); return true;
	case MSR_VMX_ENTRY: *val = control_msr(CTL_ENTRY, false); return true;
	case MSR_VMX_MISC: *val = nvmx_misc(); return true;
	case MSR_VMX_CR0_FIXED0: *val = CR0_PE | CR0_NE | CR0_PG; return true;
	case MSR_VMX_CR0_FIXED1: *val = 0xffffffff; return true;
	case MSR_VMX_CR4_FIXED0: *val = CR4_VMXE; return true;
	case MSR_VMX_CR4_FIXED1: *val = nvmx_cr4_fixed1(); return true;
	case MSR_VMX_VMCS_ENUM: *val = highest_field(); return true;
	case MSR_VMX_PROCBASED2: *val = control_msr(CTL_PROC2, true); return true;
	case MSR_VMX_EPT_VPID_CAP: *val = nvmx_ept_vpid_cap(); return true;
	case MSR_VMX_TRUE_PINBASED: *val = control_msr(CTL_PIN, true); return true;
	case MSR_VMX_TRUE_PROCBASED: *val = control_msr(CTL_PROC, true); return true;
	case MSR_VMX_TRUE_EXIT: *val = control_msr(CTL_EXIT, true); return true;
	case MSR_VMX_TRUE_ENTRY: *val = control_msr(CTL_ENTRY, true); return true;
	default: return false; /* 0x491: no VM functions */
	}
}

/* All are read-only; FEATURE_CONTROL is locked. */
int nvmx_msr(struct vcpu *v, uint32_t msr, bool write, uint64_t *val)
{
	if (msr != MSR_FEATURE_CONTROL && (msr < MSR_VMX_BASIC || msr > MSR_VMX_VMFUNC))
		return -1;
	return !write && read_cap(v, msr, val);
}
