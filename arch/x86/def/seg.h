/* SPDX-License-Identifier: MIT */
/* Segment access rights in VMX's format, exception vectors. */
#ifndef ARCH_X86_DEF_SEG_H
#define ARCH_X86_DEF_SEG_H

/* Access rights as VMX lays them out: bits 3:0 type, 4 S, 6:5 DPL, 7 P, 12 AVL, 13 L, 14 D/B, 15 G, 16 unusable. */
#define SEG_AR_TYPE 0xfu
#define SEG_AR_S (1u << 4)
#define SEG_AR_DPL_SHIFT 5
#define SEG_AR_P (1u << 7)
#define SEG_AR_L (1u << 13)
#define SEG_AR_DB (1u << 14)
#define SEG_AR_G (1u << 15)
#define SEG_AR_UNUSABLE (1u << 16)
#define SEG_AR_CODE32 0xc09bu  /* flat 32-bit code, accessed */
#define SEG_AR_CODE64 0xa09bu  /* 64-bit code, accessed */
#define SEG_AR_DATA32 0xc093u  /* flat 32-bit data, accessed */
#define SEG_AR_CODE16 0x9bu    /* as RESET leaves them */
#define SEG_AR_DATA16 0x93u
#define SEG_AR_TSS32_BUSY 0x8bu
#define SEG_AR_LDT 0x82u

#define VEC_DE 0
#define VEC_DB 1
#define VEC_NMI 2
#define VEC_BP 3
#define VEC_OF 4
#define VEC_BR 5
#define VEC_UD 6
#define VEC_NM 7
#define VEC_DF 8
#define VEC_TS 10
#define VEC_NP 11
#define VEC_SS 12
#define VEC_GP 13
#define VEC_PF 14
#define VEC_MF 16
#define VEC_AC 17
#define VEC_MC 18
#define VEC_XM 19

#endif
