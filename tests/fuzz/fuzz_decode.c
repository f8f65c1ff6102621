/* SPDX-License-Identifier: MIT */
/* The decoder against Capstone, any bytes in any mode. Input: the mode, then the bytes at RIP, which may end anywhere. */
#include "capstone_kinds.h"
#include "fuzz.h"

/* The prefixes in front of the opcode: of F2 and F3 the last counts, REX only when nothing follows it but the opcode. */
struct head {
	unsigned opcode; /* where it is */
	enum decode_mode mode;
	bool lock, opsize, addrsize;
	uint8_t rep, rex, seg;
};

static struct head head_of(const uint8_t *p, unsigned n, enum decode_mode mode)
{
	struct head h = { .mode = mode, .seg = DECODE_NO_SEG };

	for (; h.opcode < n; h.opcode++) {
		uint8_t b = p[h.opcode];

		if (mode == DECODE_64 && b >= 0x40 && b <= 0x4f) {
			h.rex = b;
			continue;
		}
		if (b == 0xf2 || b == 0xf3)
			h.rep = b;
		else if ((b & 0xe7) == 0x26)
			h.seg = mode == DECODE_64 ? h.seg : b >> 3 & 3; /* ES, CS, SS, DS */
		else if (b == 0x64 || b == 0x65)
			h.seg = b - 0x60; /* FS, GS */
		else if (b == 0x66)
			h.opsize = true;
		else if (b == 0x67)
			h.addrsize = true;
		else if (b == 0xf0)
			h.lock = true;
		else
			break;
		h.rex = 0;
	}
	return h;
}

/* What Capstone calls it, or DEC_NONE. PAUSE is F3 90 without REX.B: Capstone has other names for it in some modes. */
static unsigned kind_of(const cs_insn *in, const struct head *h)
{
	const uint8_t *op = in->bytes + h->opcode;

	if (in->id == X86_INS_NOP || in->id == X86_INS_XCHG || in->id == X86_INS_PAUSE)
		return op[0] == 0x90 && h->rep == 0xf3 && !(h->rex & 1) ? DEC_PAUSE : DEC_NONE;
	if (in->id == X86_INS_SWAPGS && h->mode != DECODE_64)
		return DEC_NONE; /* #UD there */
	for (unsigned i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		if (same[i].id == in->id)
			return same[i].kind;
	if ((in->id == X86_INS_MOV || in->id == X86_INS_MOVABS) &&
	    ((op[0] & 0xfc) == 0xa0 || (((op[0] & 0xfc) == 0x88 || (op[0] & 0xfe) == 0xc6) && op[1] < 0xc0)))
		return DEC_MOV;
	if (sreg_kind(in, op) != DEC_NONE)
		return sreg_kind(in, op);
	if (in->id == X86_INS_MOV && op[0] == 0x0f && (op[1] & 0xfc) == 0x20)
		return op[1] & 1 ? DEC_MOV_DR : DEC_MOV_CR;
	return DEC_NONE;
}

static csh handle(enum decode_mode mode)
{
	static const cs_mode modes[] = { [DECODE_16] = CS_MODE_16, [DECODE_32] = CS_MODE_32, [DECODE_64] = CS_MODE_64 };
	static csh open[3];

	if (open[mode] == 0) {
		FUZZ_CHECK(cs_open(CS_ARCH_X86, modes[mode], &open[mode]) == CS_ERR_OK, "no Capstone");
		cs_option(open[mode], CS_OPT_DETAIL, CS_OPT_ON);
	}
	return open[mode];
}

/* Exactly the bytes of the instruction are enough, one less never is, and what follows them changes nothing. */
static void check_bytes(const uint8_t *p, unsigned n, enum decode_mode mode, bool ok, const struct decoded *d)
{
	struct decoded other;

	for (unsigned cut = 0; cut < n; cut++) {
		uint8_t *copy = fuzz_exact(p, cut);
		bool enough = decode(copy, cut, mode, &other);

		free(copy);
		FUZZ_CHECK(enough == (ok && cut >= d->len), "%u of %u bytes", cut, n);
		FUZZ_CHECK(!enough || memcmp(&other, d, sizeof(other)) == 0, "%u of %u bytes make another instruction", cut, n);
	}
	FUZZ_CHECK(!ok || (d->len >= 1 && d->len <= DECODE_MAX_LEN && d->len <= n), "length %u of %u", d->len, n);
	FUZZ_CHECK(!ok || (d->kind > DEC_NONE && d->kind < DEC_NR), "kind %u", d->kind);
}

/* Bytes of an I/O access: by the manuals REX.W wins over 66, and a size of 64 bits means 32 here. Capstone 4 differs where REX.W stands beside 66 or 67,
 * and drops a 66 that stands before F2 or F3. */
static void check_io(const cs_x86 *x, const cs_insn *in, const struct decoded *d, const struct head *h)
{
	bool string = d->kind == DEC_INS || d->kind == DEC_OUTS, to_port = d->kind == DEC_OUT || d->kind == DEC_OUTS;
	unsigned wide = h->rex & 8 ? 4 : (h->mode == DECODE_16) == h->opsize ? 4 : 2, size = in->bytes[h->opcode] & 1 ? wide : 1;

	if (!string && d->kind != DEC_IN && d->kind != DEC_OUT)
		return;
	FUZZ_CHECK(d->op_size == size, "mode %u: %s %s, but %u bytes, not %u", h->mode, in->mnemonic, in->op_str, d->op_size, size);
	if (!(h->rex & 8) && !(h->opsize && h->rep))
		FUZZ_CHECK(x->operands[to_port].size == size, "mode %u: %s %s, but %u bytes", h->mode, in->mnemonic, in->op_str, size);
	FUZZ_CHECK(!string || d->rep == (h->rep != 0), "%s %s, but rep %u", in->mnemonic, in->op_str, d->rep);
}

/* MOV's two operands. Capstone 4 loses the size of what has 66 beside REX.W or a repeat prefix. */
static void check_mov(const cs_x86 *x, const cs_insn *in, const struct decoded *d, const struct head *h)
{
	const cs_x86_op *m = &x->operands[d->write ? 0 : 1], *r = &x->operands[d->write ? 1 : 0];
	uint64_t mask = d->addr_size == 8 ? ~0ull : (1ull << 8 * d->addr_size) - 1;
	unsigned wide = h->rex & 8 ? 8 : (h->mode == DECODE_16) == h->opsize ? 4 : 2, size = in->bytes[h->opcode] & 1 ? wide : 1;

	FUZZ_CHECK(d->op_size == size, "%s %s, but %u bytes, not %u", in->mnemonic, in->op_str, d->op_size, size);
	FUZZ_CHECK(x->op_count == 2 && m->type == X86_OP_MEM, "%s %s, but write %u", in->mnemonic, in->op_str, d->write);
	FUZZ_CHECK(((uint64_t)m->mem.disp & mask) == (d->disp & mask), "%s %s, but displacement 0x%llx", in->mnemonic, in->op_str,
		   (unsigned long long)d->disp);
	FUZZ_CHECK(capstone_gpr(m->mem.base) == d->base && capstone_gpr(m->mem.index) == d->index, "%s %s, but base %u, index %u", in->mnemonic, in->op_str, d->base,
		   d->index);
	FUZZ_CHECK(d->index == DECODE_NO_REG || d->addr_size == 2 || m->mem.scale == 1 << d->scale, "%s %s, but scale %u", in->mnemonic, in->op_str, d->scale);
	FUZZ_CHECK(d->has_imm == (r->type == X86_OP_IMM), "%s %s, but immediate %u", in->mnemonic, in->op_str, d->has_imm);
	if (h->opsize && (h->rep || h->rex & 8))
		return;
	mask = d->op_size == 8 ? ~0ull : (1ull << 8 * d->op_size) - 1;
	if (d->has_imm)
		FUZZ_CHECK(((uint64_t)r->imm & mask) == (d->imm & mask), "%s %s, but 0x%llx", in->mnemonic, in->op_str, (unsigned long long)d->imm);
	else
		FUZZ_CHECK(capstone_gpr(r->reg) == d->reg + (d->high8 ? 0x100u : 0), "%s %s, but register %u", in->mnemonic, in->op_str, d->reg);
}

/* A segment register's number as the manuals have it. */
static unsigned seg_of(unsigned reg)
{
	static const unsigned id[6] = { X86_REG_ES, X86_REG_CS, X86_REG_SS, X86_REG_DS, X86_REG_FS, X86_REG_GS };

	for (unsigned i = 0; i < 6; i++)
		if (id[i] == reg)
			return i;
	return 0xff;
}

static bool is_ring(unsigned kind)
{
	return kind == DEC_MOV_SREG || kind == DEC_LOAD_SREG || kind == DEC_TABLE || kind == DEC_SELECTOR || kind == DEC_SMSW || kind == DEC_LMSW ||
	       kind == DEC_INVLPG || kind == DEC_JMPF || kind == DEC_CALLF;
}

/* ModRM's operand of what only a kernel in ring 3 needs, the segment register, the immediate. */
static void check_ring(const cs_x86 *x, const cs_insn *in, const struct decoded *d, const struct head *h)
{
	uint64_t mask = d->addr_size == 8 ? ~0ull : (1ull << 8 * d->addr_size) - 1;
	unsigned wide = h->rex & 8 ? 8 : (h->mode == DECODE_16) == h->opsize ? 4 : 2;

	if (d->kind == DEC_MOV_SREG || d->kind == DEC_POP_SREG)
		FUZZ_CHECK(seg_of(x->operands[0].reg) == d->reg, "%s %s, but segment register %u", in->mnemonic, in->op_str, d->reg);
	if (d->kind == DEC_INT)
		FUZZ_CHECK((x->operands[0].imm & 0xff) == (int64_t)d->imm, "%s %s, but vector 0x%llx", in->mnemonic, in->op_str, (unsigned long long)d->imm);
	if (d->kind == DEC_RETF && d->has_imm)
		FUZZ_CHECK((x->operands[0].imm & 0xffff) == (int64_t)d->imm, "%s %s, but 0x%llx", in->mnemonic, in->op_str, (unsigned long long)d->imm);
	if (is_ring(d->kind) || d->kind == DEC_IRET || d->kind == DEC_RETF || d->kind == DEC_SYSRET)
		FUZZ_CHECK(d->op_size == wide, "%s %s, but %u bytes, not %u", in->mnemonic, in->op_str, d->op_size, wide);
	if (!is_ring(d->kind))
		return;
	for (unsigned i = 0; i < x->op_count; i++) {
		const cs_x86_op *m = &x->operands[i];

		if (m->type == X86_OP_MEM) {
			FUZZ_CHECK(d->mem && ((uint64_t)m->mem.disp & mask) == (d->disp & mask), "%s %s, but displacement 0x%llx", in->mnemonic, in->op_str,
				   (unsigned long long)d->disp);
			FUZZ_CHECK(capstone_gpr(m->mem.base) == d->base && capstone_gpr(m->mem.index) == d->index, "%s %s, but base %u, index %u", in->mnemonic,
				   in->op_str, d->base, d->index);
		} else if (m->type == X86_OP_REG && seg_of(m->reg) == 0xff) {
			FUZZ_CHECK(capstone_gpr(m->reg) == d->gpr, "%s %s, but register %u", in->mnemonic, in->op_str, d->gpr);
		}
	}
}

/* Operands, as far as Capstone tells them. */
static void check_operands(const cs_insn *in, const struct decoded *d, const struct head *h)
{
	const cs_x86 *x = &in->detail->x86;
	const uint8_t *op = in->bytes + h->opcode;

	if (d->kind == DEC_MOV_CR || d->kind == DEC_MOV_DR) {
		unsigned first = d->kind == DEC_MOV_CR ? X86_REG_CR0 : X86_REG_DR0, at = d->write ? 0 : 1;

		FUZZ_CHECK(x->op_count == 2 && x->operands[at].reg == first + d->reg, "%s %s, but register %u, write %u", in->mnemonic, in->op_str, d->reg,
			   d->write);
	}
	check_io(x, in, d, h);
	check_ring(x, in, d, h);
	if (d->kind == DEC_MOV)
		check_mov(x, in, d, h);
	FUZZ_CHECK(d->kind != DEC_LMSW || d->mem == (op[2] < 0xc0), "%s %s, but memory %u", in->mnemonic, in->op_str, d->mem);
	FUZZ_CHECK(d->seg == h->seg, "segment %u, not %u", d->seg, h->seg);
	FUZZ_CHECK(x->addr_size == d->addr_size, "%s %s, but addresses of %u bytes, not %u", in->mnemonic, in->op_str, d->addr_size, x->addr_size);
}

/* What Capstone is shown: MOV CR and MOV DR ignore ModRM's mod (both manuals), Capstone takes a memory operand out of it. */
static void normalize(uint8_t *p, unsigned n, const struct head *h)
{
	if (h->opcode + 2 < n && p[h->opcode] == 0x0f && (p[h->opcode + 1] & 0xfc) == 0x20)
		p[h->opcode + 2] |= 0xc0;
}

/* Capstone 4 knows no MOV with both 66 and a repeat prefix in some forms, and refuses control and debug registers that only fault (CR1, DR8); the decoder
 * leaves that to who emulates. */
static bool no_such_register(const struct decoded *d)
{
	return (d->kind == DEC_MOV_CR && d->reg != 0 && d->reg != 2 && d->reg != 3 && d->reg != 4 && d->reg != 8) || (d->kind == DEC_MOV_DR && d->reg >= 8) ||
	       (d->kind == DEC_MOV_SREG && (d->reg == 1 || d->reg > 5));
}

/* What Capstone 4 has no rule for, by the manuals. LOCK: #UD on all that the decoder knows, but before MOV CR it is AMD's way to CR8-15. VMCALL and XSETBV:
 * #UD with 66, F2 or F3. True: judged. */
static bool by_manual(const uint8_t *p, unsigned n, const struct head *h, bool ok, const struct decoded *d)
{
	const uint8_t *op = p + h->opcode;
	unsigned left = n > DECODE_MAX_LEN ? DECODE_MAX_LEN : n;

	left = h->opcode < left ? left - h->opcode : 0;
	if (left >= 3 && op[0] == 0x0f && op[1] == 0x01 && (op[2] == 0xc1 || op[2] == 0xd1) && (h->lock || h->opsize || h->rep)) {
		FUZZ_CHECK(!ok, "VMCALL or XSETBV with a prefix that makes it #UD is decoded");
		return true;
	}
	if (!h->lock)
		return false;
	if (left >= 3 && op[0] == 0x0f && (op[1] == 0x20 || op[1] == 0x22)) {
		FUZZ_CHECK(ok && d->kind == DEC_MOV_CR && d->reg >= 8 && d->len == h->opcode + 3, "LOCK MOV CR: %u, register %u", ok, d->reg);
		return true;
	}
	FUZZ_CHECK(!ok, "kind %u with LOCK is decoded", d->kind);
	return true;
}

static void against_capstone(uint8_t *p, unsigned n, enum decode_mode mode, bool ok, const struct decoded *d)
{
	struct head h = head_of(p, n, mode);
	cs_insn *in = NULL;
	size_t found;
	unsigned kind;

	if (by_manual(p, n, &h, ok, d))
		return;
	normalize(p, n, &h);
	found = cs_disasm(handle(mode), p, n, 0x1000, 1, &in);
	kind = found ? kind_of(in, &h) : DEC_NONE;
	if (ok && found) {
		FUZZ_CHECK(d->len == in->size, "mode %u: %s %s has %u bytes, not %u", mode, in->mnemonic, in->op_str, in->size, d->len);
		FUZZ_CHECK(d->kind == kind, "mode %u: %s %s is kind %u, not %u", mode, in->mnemonic, in->op_str, kind, d->kind);
		check_operands(in, d, &h);
	} else if (ok) {
		/* SDM "REX Prefixes": REX.R is ignored where ModRM names a segment register; Capstone counts it. */
		FUZZ_CHECK(no_such_register(d) || (d->kind == DEC_MOV_SREG && (h.rex & 4)) || ((d->kind == DEC_MOV || is_ring(d->kind)) && h.rep && h.opsize),
			   "mode %u: kind %u, but Capstone knows no such instruction", mode, d->kind);
	} else {
		FUZZ_CHECK(kind == DEC_NONE, "mode %u: %s %s, kind %u, is not decoded", mode, in->mnemonic, in->op_str, kind);
	}
	if (found)
		cs_free(in, found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	enum decode_mode mode = (enum decode_mode)(fuzz_take(&in, 1) % 3);
	unsigned n = in.n < 24 ? (unsigned)in.n : 24;
	uint8_t *p = fuzz_exact(in.p, n);
	struct decoded d;
	bool ok = decode(p, n, mode, &d);

	check_bytes(p, n, mode, ok, &d);
	against_capstone(p, n, mode, ok, &d);
	free(p);
	return 0;
}
