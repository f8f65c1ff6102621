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
	{ X86_INS_CLI, DEC_CLI }, { X86_INS_STI, DEC_STI }, { X86_INS_SWAPGS, DEC_SWAPGS }, { X86_INS_SYSCALL, DEC_SYSCALL }, { X86_INS_SYSRET, DEC_SYSRET },
	{ X86_INS_IRET, DEC_IRET }, { X86_INS_IRETD, DEC_IRET }, { X86_INS_IRETQ, DEC_IRET }, { X86_INS_RETF, DEC_RETF }, { X86_INS_RETFQ, DEC_RETF },
	{ X86_INS_INT3, DEC_INT3 }, { X86_INS_INTO, DEC_INTO }, { X86_INS_INT, DEC_INT }, { X86_INS_LJMP, DEC_JMPF }, { X86_INS_LCALL, DEC_CALLF },
	{ X86_INS_LES, DEC_LOAD_SREG }, { X86_INS_LDS, DEC_LOAD_SREG }, { X86_INS_LSS, DEC_LOAD_SREG }, { X86_INS_LFS, DEC_LOAD_SREG },
	{ X86_INS_LGS, DEC_LOAD_SREG }, { X86_INS_SGDT, DEC_TABLE }, { X86_INS_SIDT, DEC_TABLE }, { X86_INS_LGDT, DEC_TABLE }, { X86_INS_LIDT, DEC_TABLE },
	{ X86_INS_SLDT, DEC_SELECTOR }, { X86_INS_STR, DEC_SELECTOR }, { X86_INS_LLDT, DEC_SELECTOR }, { X86_INS_LTR, DEC_SELECTOR }, { X86_INS_SMSW, DEC_SMSW },
	{ X86_INS_INSD, DEC_INS }, { X86_INS_OUTSB, DEC_OUTS }, { X86_INS_OUTSW, DEC_OUTS }, { X86_INS_OUTSD, DEC_OUTS },
};

/* Loads of segment registers have the names of others. op: the opcode's first bytes; DEC_NONE: not one. */
static inline unsigned sreg_kind(const cs_insn *in, const uint8_t *op)
{
	if (in->id == X86_INS_MOV && op[0] == 0x8e)
		return DEC_MOV_SREG;
	if (in->id == X86_INS_POP && (op[0] == 0x07 || op[0] == 0x17 || op[0] == 0x1f || (op[0] == 0x0f && (op[1] == 0xa1 || op[1] == 0xa9))))
		return DEC_POP_SREG;
	return DEC_NONE;
}

#endif
