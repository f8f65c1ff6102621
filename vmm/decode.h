/* SPDX-License-Identifier: MIT */
/* The instructions that exit: which one it is, how long it is, its operands. Pure. */
#ifndef VMM_DECODE_H
#define VMM_DECODE_H

#include <stdbool.h>
#include <stdint.h>

enum decode_kind {
	DEC_NONE, DEC_CPUID, DEC_RDMSR, DEC_WRMSR, DEC_HLT, DEC_VMMCALL, DEC_VMCALL, DEC_INVD, DEC_WBINVD, DEC_RDPMC, DEC_XSETBV, DEC_CLTS, DEC_LMSW,
	DEC_INVLPG, DEC_PAUSE, DEC_ICEBP, DEC_IN, DEC_OUT, DEC_INS, DEC_OUTS, DEC_MOV_CR, DEC_MOV_DR, DEC_SVM,
	DEC_MOV,        /* between memory and a general register, or an immediate to memory */
	/* What a kernel that runs in ring 3 cannot do by itself (PVM) */
	DEC_CLI, DEC_STI, DEC_SWAPGS, DEC_SYSCALL, DEC_SYSRET, DEC_IRET, DEC_RETF, DEC_INT3, DEC_INTO,
	DEC_INT,        /* imm: the vector */
	DEC_JMPF, DEC_CALLF, /* mem: the far pointer; else imm: offset, disp: selector */
	DEC_MOV_SREG,   /* to reg, a SEG_*, or 6, 7 */
	DEC_POP_SREG,
	DEC_LOAD_SREG,  /* LES, LDS, LSS, LFS, LGS: reg; the far pointer's offset to gpr */
	DEC_TABLE,      /* reg: 0 SGDT, 1 SIDT, 2 LGDT, 3 LIDT */
	DEC_SELECTOR,   /* reg: 0 SLDT, 1 STR, 2 LLDT, 3 LTR */
	DEC_SMSW,
	DEC_NR
};

enum decode_mode { DECODE_16, DECODE_32, DECODE_64 }; /* code segment: default operand and address size */

#define DECODE_MAX_LEN 15u
#define DECODE_NO_SEG 0xff
#define DECODE_NO_REG 0xff
#define DECODE_RIP 0xfe

struct decoded {
	uint8_t kind;      /* enum decode_kind */
	uint8_t len;       /* bytes, prefixes included */
	uint8_t seg;       /* SEG_* of an override prefix, or DECODE_NO_SEG */
	uint8_t addr_size; /* bytes: 2, 4, 8 */
	uint8_t op_size;   /* bytes of an I/O access: 1, 2, 4; of a MOV: 8 too; of what only PVM asks for: the operand size 2, 4, 8 */
	uint8_t reg, gpr;  /* MOV CR/DR: the control or debug register 0-15, the general one. SVM: reg is ModRM.rm. Others: gpr when not mem */
	bool write;        /* MOV CR/DR: to it. MOV: to memory */
	bool rep;
	bool mem;          /* the operand is in memory: base + (index << scale) + disp, cut to addr_size */
	uint8_t base, index, scale; /* GPR_*, DECODE_NO_REG; base also DECODE_RIP: of the next instruction */
	bool high8;        /* MOV: reg 4-7 are AH, CH, DH, BH */
	bool has_imm;      /* MOV: imm, sign-extended, not reg. IN, OUT: the port. RETF: imm bytes of parameters */
	uint64_t disp, imm;
};

/* Ones in the low bytes of a word: bytes is 1 to 8. */
static inline uint64_t bytes_mask(unsigned bytes)
{
	return ~0ull >> (64 - 8 * bytes);
}

/* p: n bytes that were fetched at RIP. False: not one of these, or n bytes do not hold all of it. Never guesses. */
bool decode(const uint8_t *p, unsigned n, enum decode_mode mode, struct decoded *d);

/* ---- What a single step has to know of an instruction before it runs ---- */

enum flow_kind {
	FLOW_NEXT,    /* goes on behind itself, as far as this decoder knows */
	FLOW_JUMP,    /* taken always: JMP, CALL, RET, SYSENTER, SYSEXIT */
	FLOW_COND,    /* Jcc: cond */
	FLOW_LOOP,    /* LOOPNE, LOOPE, LOOP, JCXZ: cond 0-3, counts by d.addr_size */
	FLOW_INT, FLOW_INT3, FLOW_INTO, FLOW_ICEBP, /* vector, d.len */
	FLOW_SYSCALL, FLOW_SYSRET, /* d.len; d.op_size 8: to 64-bit mode */
	FLOW_IRET, FLOW_PUSHF, FLOW_POPF,
	FLOW_SS,      /* MOV SS, POP SS: d.len */
	FLOW_NR
};

struct flow {
	uint8_t kind;    /* enum flow_kind */
	uint8_t vector;  /* of a software interrupt */
	uint8_t cond;
	bool lock;       /* a locked access of memory: LOCK, or XCHG. Its operand and length are in d, its size in d.op_size: up to 16 bytes */
	bool bits;       /* BTS, BTR, BTC with a register: that many bits (d.reg, signed) from the operand */
	struct decoded d;
};

/* As decode(), of any instruction. False: n bytes do not hold what has to be known. Opcodes that fault are not sorted out. */
bool decode_flow(const uint8_t *p, unsigned n, enum decode_mode mode, struct flow *f);
/* Is the conditional branch taken? rflags, count: RFLAGS, RCX before it. */
bool flow_taken(const struct flow *f, uint64_t rflags, uint64_t rcx);

/* The plain encoding of a kind, one that has no operand bytes: (first 4 bytes little-endian & mask) == value. len 0: the kind has none. In the
 * header so that it folds into the comparison. */
struct decode_plain {
	uint32_t value, mask;
	uint8_t len;
};

static inline struct decode_plain decode_plain(enum decode_kind kind)
{
	switch (kind) {
	case DEC_CPUID: return (struct decode_plain){ 0xa20f, 0xffff, 2 };
	case DEC_RDMSR: return (struct decode_plain){ 0x320f, 0xffff, 2 };
	case DEC_WRMSR: return (struct decode_plain){ 0x300f, 0xffff, 2 };
	case DEC_VMMCALL: return (struct decode_plain){ 0xd9010f, 0xffffff, 3 };
	case DEC_SVM: return (struct decode_plain){ 0xd8010f, 0xffffff, 3 }; /* VMRUN, the one that is frequent */
	case DEC_HLT: return (struct decode_plain){ 0xf4, 0xff, 1 };
	default: return (struct decode_plain){ 0, 0, 0 };
	}
}

#endif
