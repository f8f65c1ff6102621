/* SPDX-License-Identifier: MIT */
/* CPUID leaves and bits that drover names. */
#ifndef ARCH_X86_DEF_CPUID_H
#define ARCH_X86_DEF_CPUID_H

#define CPUID_1_ECX_MONITOR (1u << 3)
#define CPUID_1_ECX_VMX (1u << 5)
#define CPUID_1_ECX_SMX (1u << 6)
#define CPUID_1_ECX_PCID (1u << 17)
#define CPUID_1_ECX_X2APIC (1u << 21)
#define CPUID_1_ECX_TSC_DEADLINE (1u << 24)
#define CPUID_1_ECX_XSAVE (1u << 26)
#define CPUID_1_ECX_OSXSAVE (1u << 27)
#define CPUID_1_ECX_AVX (1u << 28)
#define CPUID_1_ECX_HYPERVISOR (1u << 31)
#define CPUID_1_EDX_MCE (1u << 7)
#define CPUID_1_EDX_APIC (1u << 9)
#define CPUID_1_EDX_MTRR (1u << 12)
#define CPUID_7_EBX_SMEP (1u << 7)
#define CPUID_7_EBX_RTM (1u << 11)
#define CPUID_7_EBX_SMAP (1u << 20)
#define CPUID_7_ECX_BLD (1u << 24) /* bus lock detect: DR6.BLD, DEBUGCTL[2] */
#define CPUID_81_ECX_SVM (1u << 2)
#define CPUID_81_ECX_DBEXT (1u << 26) /* DRn_ADDR_MASK MSRs */
#define CPUID_81_ECX_DBEXT32 (1u << 30) /* their upper 20 bits too */
#define CPUID_81_EDX_NX (1u << 20)
#define CPUID_81_EDX_PAGE1G (1u << 26)
#define CPUID_81_EDX_RDTSCP (1u << 27)
#define CPUID_81_EDX_LM (1u << 29)
#define CPUID_SVM_EDX_NPT (1u << 0)
#define CPUID_SVM_EDX_LBRV (1u << 1)
#define CPUID_SVM_EDX_SVML (1u << 2)
#define CPUID_SVM_EDX_NRIPS (1u << 3)
#define CPUID_SVM_EDX_VMCB_CLEAN (1u << 5)
#define CPUID_SVM_EDX_FLUSH_BY_ASID (1u << 6)
#define CPUID_SVM_EDX_DECODE_ASSISTS (1u << 7)

#endif
