/* SPDX-License-Identifier: MIT */
/* Model-specific registers that drover names. */
#ifndef ARCH_X86_DEF_MSR_H
#define ARCH_X86_DEF_MSR_H

#include <stdbool.h>
#include <stdint.h>

#define MSR_TSC 0x10
#define MSR_APIC_BASE 0x1b
#define MSR_FEATURE_CONTROL 0x3a
#define FEATURE_CONTROL_LOCK (1ull << 0)
#define FEATURE_CONTROL_VMX_SMX (1ull << 1)
#define FEATURE_CONTROL_VMX (1ull << 2)
#define MSR_TSC_ADJUST 0x3b
#define MSR_BIOS_SIGN_ID 0x8b
#define MSR_MTRRCAP 0xfe
#define MSR_SYSENTER_CS 0x174
#define MSR_SYSENTER_ESP 0x175
#define MSR_SYSENTER_EIP 0x176
#define MSR_MCG_CAP 0x179
#define MSR_MISC_ENABLE 0x1a0
#define MSR_DEBUGCTL 0x1d9 /* access only through dbg_hw.h */
#define MSR_LASTBRANCHFROMIP 0x1db
#define MSR_LASTBRANCHTOIP 0x1dc
#define MSR_LASTINTFROMIP 0x1dd
#define MSR_LASTINTTOIP 0x1de
#define MSR_LBR_SELECT 0x1c8
#define MSR_LBR_TOS 0x1c9
#define MSR_LBR_FROM 0x680 /* and up: the stack */
#define MSR_LBR_TO 0x6c0
#define MSR_LBR_INFO 0xdc0
#define MSR_PAT 0x277
#define MSR_PAT_RESET 0x0007040600070406ull
#define MSR_MTRR_DEF_TYPE 0x2ff
#define MSR_VMX_BASIC 0x480
#define MSR_VMX_PINBASED 0x481
#define MSR_VMX_PROCBASED 0x482
#define MSR_VMX_EXIT 0x483
#define MSR_VMX_ENTRY 0x484
#define MSR_VMX_MISC 0x485
#define MSR_VMX_CR0_FIXED0 0x486
#define MSR_VMX_CR0_FIXED1 0x487
#define MSR_VMX_CR4_FIXED0 0x488
#define MSR_VMX_CR4_FIXED1 0x489
#define MSR_VMX_VMCS_ENUM 0x48a
#define MSR_VMX_PROCBASED2 0x48b
#define MSR_VMX_EPT_VPID_CAP 0x48c
#define MSR_VMX_TRUE_PINBASED 0x48d
#define MSR_VMX_TRUE_PROCBASED 0x48e
#define MSR_VMX_TRUE_EXIT 0x48f
#define MSR_VMX_TRUE_ENTRY 0x490
#define MSR_VMX_VMFUNC 0x491
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC_BASE 0x800
#define MSR_XSS 0xda0
#define MSR_EFER 0xc0000080
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_CSTAR 0xc0000083
#define MSR_SFMASK 0xc0000084
#define MSR_FS_BASE 0xc0000100
#define MSR_GS_BASE 0xc0000101
#define MSR_KERNEL_GS_BASE 0xc0000102
#define MSR_TSC_AUX 0xc0000103
#define MSR_HWCR 0xc0010015
#define MSR_VM_CR 0xc0010114
#define VM_CR_SVMDIS (1ull << 4)
#define VM_CR_LOCK (1ull << 3)
#define MSR_VM_HSAVE_PA 0xc0010117
#define MSR_DR1_ADDR_MASK 0xc0011019 /* DR1..3: 1019, 101a, 101b; DR0: 1027 */
#define MSR_DR0_ADDR_MASK 0xc0011027

/* Is each of PAT's eight memory types one that there is? 0, 1, 4-7. */
static inline bool pat_valid(uint64_t pat)
{
	for (unsigned i = 0; i < 64; i += 8) {
		uint64_t t = pat >> i & 0xff;

		if (t > 7 || t == 2 || t == 3)
			return false;
	}
	return true;
}

#endif
