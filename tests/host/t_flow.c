/* SPDX-License-Identifier: MIT */
/* What a single step wants to know of an instruction: its flow and its locked operand against Capstone, its condition against the CPU that runs this,
 * its gate. */
#include <capstone/capstone.h>
#include <string.h>

#include "capstone_kinds.h"
#include "pvm_guest.h"
#include "random_insns.h"
#include "vmm/debugger.h"
#include "vmm/decode.h"
#include "vmm/step.h"

static const uint8_t starts[][4] = {
	{ 1, 0x70 }, { 2, 0x0f, 0x80 }, { 1, 0xe0 }, { 1, 0xe1 }, { 1, 0xe2 }, { 1, 0xe3 }, { 1, 0xe8 }, { 1, 0xe9 }, { 1, 0xeb }, { 1, 0xc3 }, { 1, 0xc2 },
	{ 1, 0xcb }, { 1, 0xca }, { 1, 0xcc }, { 1, 0xcd }, { 1, 0xce }, { 1, 0xcf }, { 1, 0xf1 }, { 1, 0x9c }, { 1, 0x9d }, { 1, 0xff }, { 2, 0x0f, 0x05 },
	{ 2, 0x0f, 0x07 }, { 2, 0x0f, 0x34 }, { 2, 0x0f, 0x35 }, { 1, 0x17 }, { 2, 0x8e, 0xd0 }, { 1, 0x8e }, { 1, 0x86 }, { 1, 0x87 }, { 1, 0x00 }, { 1, 0x29 },
	{ 1, 0x80 }, { 1, 0x81 }, { 1, 0x83 }, { 1, 0xf6 }, { 1, 0xf7 }, { 1, 0xfe }, { 2, 0x0f, 0xab }, { 2, 0x0f, 0xb3 }, { 2, 0x0f, 0xba }, { 2, 0x0f, 0xb1 },
	{ 2, 0x0f, 0xb0 }, { 2, 0x0f, 0xc0 }, { 2, 0x0f, 0xc1 }, { 2, 0x0f, 0xc7 }, { 1, 0x9a }, { 1, 0xea }, { 1, 0x90 }, { 0 },
};
#define NR_STARTS (sizeof(starts) / sizeof(starts[0]))
static const uint8_t prefix[] = { 0x26, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf0, 0xf0, 0x48, 0x41, 0x44, 0x4f };

static unsigned kind_of(const cs_insn *in)
{
	switch (in->id) {
	case X86_INS_JMP: case X86_INS_LJMP: case X86_INS_CALL: case X86_INS_LCALL: case X86_INS_RET: case X86_INS_RETF: case X86_INS_RETFQ:
	case X86_INS_SYSENTER: case X86_INS_SYSEXIT: return FLOW_JUMP;
	case X86_INS_LOOP: case X86_INS_LOOPE: case X86_INS_LOOPNE: case X86_INS_JCXZ: case X86_INS_JECXZ: case X86_INS_JRCXZ: return FLOW_LOOP;
	case X86_INS_JO: case X86_INS_JNO: case X86_INS_JB: case X86_INS_JAE: case X86_INS_JE: case X86_INS_JNE: case X86_INS_JBE: case X86_INS_JA:
	case X86_INS_JS: case X86_INS_JNS: case X86_INS_JP: case X86_INS_JNP: case X86_INS_JL: case X86_INS_JGE: case X86_INS_JLE: case X86_INS_JG: return FLOW_COND;
	case X86_INS_INT: return FLOW_INT;
	case X86_INS_INT3: return FLOW_INT3;
	case X86_INS_INTO: return FLOW_INTO;
	case X86_INS_INT1: return FLOW_ICEBP;
	case X86_INS_IRET: case X86_INS_IRETD: case X86_INS_IRETQ: return FLOW_IRET;
	case X86_INS_PUSHF: case X86_INS_PUSHFD: case X86_INS_PUSHFQ: return FLOW_PUSHF;
	case X86_INS_POPF: case X86_INS_POPFD: case X86_INS_POPFQ: return FLOW_POPF;
	case X86_INS_SYSCALL: return FLOW_SYSCALL;
	case X86_INS_SYSRET: return FLOW_SYSRET;
	case X86_INS_MOV: case X86_INS_POP:
		return in->detail->x86.operands[0].type == X86_OP_REG && in->detail->x86.operands[0].reg == X86_REG_SS ? FLOW_SS : FLOW_NEXT;
	}
	return FLOW_NEXT;
}

/* cond of a Jcc, LOOP or JCXZ, vector of a software interrupt, by Capstone. */
static unsigned detail_of(const cs_insn *in, unsigned kind)
{
	static const unsigned jcc[] = { X86_INS_JO, X86_INS_JNO, X86_INS_JB, X86_INS_JAE, X86_INS_JE, X86_INS_JNE, X86_INS_JBE, X86_INS_JA,
					X86_INS_JS, X86_INS_JNS, X86_INS_JP, X86_INS_JNP, X86_INS_JL, X86_INS_JGE, X86_INS_JLE, X86_INS_JG };
	unsigned i = 0;

	switch (kind) {
	case FLOW_COND:
		while (i < 16 && jcc[i] != in->id)
			i++;
		return i;
	case FLOW_LOOP: return in->id == X86_INS_LOOPNE ? 0 : in->id == X86_INS_LOOPE ? 1 : in->id == X86_INS_LOOP ? 2 : 3;
	case FLOW_INT: return (uint8_t)in->detail->x86.operands[0].imm;
	}
	return kind == FLOW_INT3 ? 3 : kind == FLOW_INTO ? 4 : kind == FLOW_ICEBP;
}

static bool lockable(const cs_insn *in)
{
	switch (in->id) {
	case X86_INS_ADD: case X86_INS_OR: case X86_INS_ADC: case X86_INS_SBB: case X86_INS_AND: case X86_INS_SUB: case X86_INS_XOR: case X86_INS_NOT:
	case X86_INS_NEG: case X86_INS_INC: case X86_INS_DEC: case X86_INS_BTS: case X86_INS_BTR: case X86_INS_BTC: case X86_INS_CMPXCHG: case X86_INS_XADD:
	case X86_INS_CMPXCHG8B: case X86_INS_CMPXCHG16B: case X86_INS_XCHG: return true;
	}
	return false;
}

static void one(csh h, enum decode_mode mode, const uint8_t bytes[16], struct tap_set sets[4])
{
	bool lock = memchr(bytes, 0xf0, 5) != NULL, mem;
	const cs_x86_op *op;
	struct flow f;
	cs_insn *in = NULL;
	size_t n = cs_disasm(h, bytes, 15, 0x1000, 1, &in);

	if (!n)
		return;
	lock = false;
	for (unsigned i = 0; i < in->size && !lock; i++) { /* among the prefixes */
		if (!memchr(prefix, bytes[i], sizeof(prefix)) && bytes[i] != 0x2e && bytes[i] != 0x36 && (mode != DECODE_64 || (bytes[i] & 0xf0) != 0x40))
			break;
		lock = bytes[i] == 0xf0;
	}
	op = &in->detail->x86.operands[0];
	mem = op->type == X86_OP_MEM || (in->id == X86_INS_XCHG && (++op)->type == X86_OP_MEM);
	tap_case(&sets[0], decode_flow(bytes, in->size, mode, &f), true, "mode %u: %s %s", mode, in->mnemonic, in->op_str);
	if (!lock) {
		tap_case(&sets[1], f.kind, kind_of(in), "mode %u: %s %s", mode, in->mnemonic, in->op_str);
		tap_case(&sets[1], f.cond | f.vector, detail_of(in, f.kind), "condition or vector, mode %u: %s %s", mode, in->mnemonic, in->op_str);
	}
	if (lockable(in) && (lock || in->id == X86_INS_XCHG)) {
		tap_case(&sets[2], f.lock, mem, "mode %u: %s %s", mode, in->mnemonic, in->op_str);
		if (mem && f.lock) {
			tap_case(&sets[3], f.d.len, in->size, "length, mode %u: %s %s", mode, in->mnemonic, in->op_str);
			tap_case(&sets[3], f.d.op_size, op->size, "size, mode %u: %s %s", mode, in->mnemonic, in->op_str);
			tap_case(&sets[3], 1u << f.d.scale, f.d.index == DECODE_NO_REG ? 1 : (unsigned)op->mem.scale, "scale, mode %u: %s %s", mode, in->mnemonic, in->op_str);
			tap_case(&sets[3], (uint32_t)f.d.disp & (f.d.addr_size == 2 ? 0xffff : ~0u), (uint32_t)op->mem.disp & (f.d.addr_size == 2 ? 0xffff : ~0u),
				 "displacement, mode %u: %s %s", mode, in->mnemonic, in->op_str);
			tap_case(&sets[3], f.d.base, capstone_gpr(op->mem.base), "base, mode %u: %s %s", mode, in->mnemonic, in->op_str);
			tap_case(&sets[3], f.d.index, capstone_gpr(op->mem.index), "index, mode %u: %s %s", mode, in->mnemonic, in->op_str);
			if (in->id == X86_INS_BTS || in->id == X86_INS_BTR || in->id == X86_INS_BTC) {
				tap_case(&sets[3], f.bits, op[1].type == X86_OP_REG, "a bit by register, mode %u: %s %s", mode, in->mnemonic, in->op_str);
				if (f.bits)
					tap_case(&sets[3], f.d.reg, capstone_gpr(op[1].reg), "its register, mode %u: %s %s", mode, in->mnemonic, in->op_str);
			}
		}
	}
	cs_free(in, n);
}

/* Jcc: each condition. */
static void conditions(const uint8_t s[4], uint8_t *last, uint64_t *seed)
{
	if (s[1] == 0x70 || (s[1] == 0x0f && s[2] == 0x80))
		*last |= (uint8_t)(rnd(seed) & 15);
}

TEST(flow_capstone)
{
	struct tap_set sets[4] = { { .id = "flow.decoded" }, { .id = "flow.kind" }, { .id = "flow.lock" }, { .id = "flow.operand" } };
	const struct insn_mix mix = { starts, NR_STARTS, prefix, sizeof(prefix), 3, 91, .one = one, .vary = conditions };

	random_insns(&mix, sets);
	tap_end(&sets[0], "all bytes of an instruction are enough");
	tap_end(&sets[1], "where it goes on");
	tap_end(&sets[2], "whether it locks memory");
	tap_end(&sets[3], "and which");
}

#define SET(cc) __asm__ volatile("push %1; popfq; set" cc " %0" : "=q"(yes) : "r"(flags) : "cc", "memory")

/* What this CPU's SETcc says. The red zone is why the push is in a function of its own. */
static __attribute__((noinline)) bool by_cpu(unsigned cond, uint64_t flags)
{
	bool yes = false;

	__asm__ volatile("lea -128(%%rsp), %%rsp" ::: "memory");
	switch (cond) {
	case 0: SET("o"); break;
	case 1: SET("no"); break;
	case 2: SET("b"); break;
	case 3: SET("ae"); break;
	case 4: SET("e"); break;
	case 5: SET("ne"); break;
	case 6: SET("be"); break;
	case 7: SET("a"); break;
	case 8: SET("s"); break;
	case 9: SET("ns"); break;
	case 10: SET("p"); break;
	case 11: SET("np"); break;
	case 12: SET("l"); break;
	case 13: SET("ge"); break;
	case 14: SET("le"); break;
	case 15: SET("g"); break;
	}
	__asm__ volatile("lea 128(%%rsp), %%rsp" ::: "memory");
	return yes;
}

TEST(flow_conditions)
{
	static const uint64_t bit[] = { 1, 4, 0x40, 0x80, 0x800 };
	struct tap_set s = { .id = "flow.cond" }, loop = { .id = "flow.loop" };

	for (unsigned cond = 0; cond < 16; cond++)
		for (unsigned set = 0; set < 32; set++) {
			struct flow f = { .kind = FLOW_COND, .cond = (uint8_t)cond };
			uint64_t flags = 0x202;

			for (unsigned i = 0; i < 5; i++)
				flags |= set >> i & 1 ? bit[i] : 0;
			tap_case(&s, flow_taken(&f, flags, 0), by_cpu(cond, flags), "condition %u, flags %lx", cond, (unsigned long)flags);
		}
	/* SDM "LOOP/LOOPcc", "Jcc": which of count and ZF lets it jump. */
	for (unsigned zf = 0; zf < 2; zf++)
		for (uint64_t rcx = 0; rcx < 3; rcx++)
			for (unsigned size = 2; size <= 8; size *= 2) {
				struct flow f = { .kind = FLOW_LOOP, .d.addr_size = (uint8_t)size };
				uint64_t high = size == 8 ? 0 : 1ull << 8 * size, left = rcx - 1;

				f.cond = 0;
				tap_case(&loop, flow_taken(&f, zf << 6, rcx | high), left && !zf, "LOOPNE %lu", (unsigned long)rcx);
				f.cond = 1;
				tap_case(&loop, flow_taken(&f, zf << 6, rcx | high), left && zf, "LOOPE %lu", (unsigned long)rcx);
				f.cond = 2;
				tap_case(&loop, flow_taken(&f, zf << 6, rcx | high), left != 0, "LOOP %lu", (unsigned long)rcx);
				f.cond = 3;
				tap_case(&loop, flow_taken(&f, zf << 6, rcx | high), rcx == 0, "JCXZ %lu", (unsigned long)rcx);
			}
	tap_end(&s, "Jcc as SETcc");
	tap_end(&loop, "LOOP, LOOPE, LOOPNE, JCXZ by each width of the count");
}

/* INT 3, INT 60 and INT3 that drover would inject, for its INT3's sake or in a step, by a gate of this DPL: hardware looks at the DPL only when they run. */
TEST(Z07_gates)
{
	static const struct {
		uint8_t bytes[2], vector, type;
	} insn[] = { { { 0xcc }, VEC_BP, EVENT_SOFT_EXC }, { { 0xcd, 3 }, VEC_BP, EVENT_SOFT_INT }, { { 0xcd, 0x60 }, 0x60, EVENT_SOFT_INT } };
	struct tap_set exits = { .id = "Z07.gate" }, steps = { .id = "Z03.gate" };

	for (unsigned i = 0; i < 3 * 3 * 2; i++) {
		unsigned k = i % 3, dpl = i / 3 % 3 ? 3 : 0, cpl = i / 9 * 3, vector = insn[k].vector, other = i / 3 % 3 == 2 ? 0 : 3;
		bool refused = dpl < cpl;
		const struct event *e;

		for (unsigned step = 0; step < 2; step++) {
			pg_start(cpl);
			for (unsigned n = 0; n <= 0x60; n++)
				pg_gate(n, S_KCODE, PG_KCODE, 14, n == vector ? dpl : other, 0);
			pg_poke(pg.rip, insn[k].bytes, 2);
			if (step) {
				step_enter(&pg);
				tap_case(&steps, (uint64_t)pg.inject.type << 8 | pg.inject.vector, refused ? 0 : (uint64_t)insn[k].type << 8 | vector, "insn %u, CPL %u, DPL %u", k, cpl, dpl);
				continue;
			}
			pg.exit.kind = EXITK_EXCEPTION;
			pg.exit.u.exc.vector = VEC_BP;
			debugger_int3(&pg);
			e = pg.exit.vectoring.type != EVENT_NONE ? &pg.exit.vectoring : &pg.exception;
			tap_case(&exits, (uint64_t)e->type << 32 | e->vector << 16 | e->error, refused ? (uint64_t)EVENT_FAULT << 32 | VEC_GP << 16 | (vector * 8 + 2) :
				 (uint64_t)insn[k].type << 32 | vector << 16, "insn %u, CPL %u, DPL %u", k, cpl, dpl);
		}
	}
	tap_end(&exits, "INT n that exits: #GP in place of its event if its gate does not let it");
	tap_end(&steps, "in a step it runs by itself then");
}
