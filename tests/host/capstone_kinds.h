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

/* GPR_*; + 0x100: AH, CH, DH, BH; DECODE_RIP; DECODE_NO_REG: none of these. */
static inline unsigned capstone_gpr(unsigned reg)
{
	static const struct {
		unsigned id[4]; /* 8, 16, 32, 64 bits */
	} names[16] = {
		{ { X86_REG_AL, X86_REG_AX, X86_REG_EAX, X86_REG_RAX } }, { { X86_REG_CL, X86_REG_CX, X86_REG_ECX, X86_REG_RCX } },
		{ { X86_REG_DL, X86_REG_DX, X86_REG_EDX, X86_REG_RDX } }, { { X86_REG_BL, X86_REG_BX, X86_REG_EBX, X86_REG_RBX } },
		{ { X86_REG_SPL, X86_REG_SP, X86_REG_ESP, X86_REG_RSP } }, { { X86_REG_BPL, X86_REG_BP, X86_REG_EBP, X86_REG_RBP } },
		{ { X86_REG_SIL, X86_REG_SI, X86_REG_ESI, X86_REG_RSI } }, { { X86_REG_DIL, X86_REG_DI, X86_REG_EDI, X86_REG_RDI } },
		{ { X86_REG_R8B, X86_REG_R8W, X86_REG_R8D, X86_REG_R8 } }, { { X86_REG_R9B, X86_REG_R9W, X86_REG_R9D, X86_REG_R9 } },
		{ { X86_REG_R10B, X86_REG_R10W, X86_REG_R10D, X86_REG_R10 } }, { { X86_REG_R11B, X86_REG_R11W, X86_REG_R11D, X86_REG_R11 } },
		{ { X86_REG_R12B, X86_REG_R12W, X86_REG_R12D, X86_REG_R12 } }, { { X86_REG_R13B, X86_REG_R13W, X86_REG_R13D, X86_REG_R13 } },
		{ { X86_REG_R14B, X86_REG_R14W, X86_REG_R14D, X86_REG_R14 } }, { { X86_REG_R15B, X86_REG_R15W, X86_REG_R15D, X86_REG_R15 } },
	};
	static const unsigned high[4] = { X86_REG_AH, X86_REG_CH, X86_REG_DH, X86_REG_BH };

	for (unsigned i = 0; i < 16; i++)
		for (unsigned k = 0; k < 4; k++)
			if (names[i].id[k] == reg)
				return i;
	for (unsigned i = 0; i < 4; i++)
		if (high[i] == reg)
			return 0x100 + i + 4;
	return reg == X86_REG_RIP || reg == X86_REG_EIP ? DECODE_RIP : DECODE_NO_REG; /* also EIZ and RIZ: no index */
}

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
