/* SPDX-License-Identifier: MIT */
/* Which of Capstone's instructions decode() knows by which kind: what the host test and the fuzzer of the decoder both compare. */
#ifndef CAPSTONE_KINDS_H
#define CAPSTONE_KINDS_H

#include <capstone/capstone.h>

#include "vmm/decode.h"

static const struct {
	unsigned id, kind;
} same[] = {
	{ X86_INS_CPUID, DEC_CPUID }, { X86_INS_RDMSR, DEC_RDMSR }, { X86_INS_WRMSR, DEC_WRMSR }, { X86_INS_HLT, DEC_HLT }, { X86_INS_VMMCALL, DEC_VMMCALL },
	{ X86_INS_VMRUN, DEC_SVM }, { X86_INS_VMLOAD, DEC_SVM }, { X86_INS_VMSAVE, DEC_SVM }, { X86_INS_STGI, DEC_SVM }, { X86_INS_CLGI, DEC_SVM },
	{ X86_INS_SKINIT, DEC_SVM }, { X86_INS_INVLPGA, DEC_SVM },
	{ X86_INS_VMCALL, DEC_VMCALL }, { X86_INS_INVD, DEC_INVD }, { X86_INS_WBINVD, DEC_WBINVD }, { X86_INS_RDPMC, DEC_RDPMC },
	{ X86_INS_XSETBV, DEC_XSETBV }, { X86_INS_CLTS, DEC_CLTS }, { X86_INS_LMSW, DEC_LMSW }, { X86_INS_INVLPG, DEC_INVLPG },
	{ X86_INS_INT1, DEC_ICEBP }, { X86_INS_IN, DEC_IN }, { X86_INS_OUT, DEC_OUT }, { X86_INS_INSB, DEC_INS }, { X86_INS_INSW, DEC_INS },
	{ X86_INS_INSD, DEC_INS }, { X86_INS_OUTSB, DEC_OUTS }, { X86_INS_OUTSW, DEC_OUTS }, { X86_INS_OUTSD, DEC_OUTS },
};

#endif
