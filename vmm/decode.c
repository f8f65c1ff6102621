/* SPDX-License-Identifier: MIT */
/* A decoder for the few instructions that exit. Prefixes as the manuals allow them: any number, the last of a group counts, REX last of all. */
#include "vmm/decode.h"

#include "vmm/vcpu.h"

struct cursor {
	const uint8_t *p;
	unsigned n, at;
	enum decode_mode mode;
	bool opsize, addrsize, lock;
	uint8_t rep, rex; /* rep: f2, f3 or 0 */
};

static bool next(struct cursor *c, uint8_t *b)
{
	if (c->at >= c->n || c->at >= DECODE_MAX_LEN)
		return false;
	*b = c->p[c->at++];
	return true;
}

/* False: the bytes ended. *b: the first byte that is no prefix. */
static bool prefixes(struct cursor *c, struct decoded *d, uint8_t *b)
{
	for (;;) {
		if (!next(c, b))
			return false;
		switch (*b) {
		case 0x26: d->seg = SEG_ES; break;
		case 0x2e: d->seg = SEG_CS; break;
		case 0x36: d->seg = SEG_SS; break;
		case 0x3e: d->seg = SEG_DS; break;
		case 0x64: d->seg = SEG_FS; break;
		case 0x65: d->seg = SEG_GS; break;
		case 0x66: c->opsize = true; break;
		case 0x67: c->addrsize = true; break;
		case 0xf0: c->lock = true; break;
		case 0xf2: case 0xf3: c->rep = *b; break;
		default:
			if (c->mode != DECODE_64 || (*b & 0xf0) != 0x40)
				return true;
			c->rex = *b; /* counts only when the opcode follows at once */
			continue;
		}
		c->rex = 0;
	}
}

/* n bytes, little-endian, sign-extended. */
static bool number(struct cursor *c, unsigned n, uint64_t *out)
{
	uint64_t v = 0;
	uint8_t b = 0;

	for (unsigned i = 0; i < n; i++) {
		if (!next(c, &b))
			return false;
		v |= (uint64_t)b << 8 * i;
	}
	*out = n && n < 8 && (b & 0x80) ? v | ~0ull << 8 * n : v;
	return true;
}

/* 16-bit addresses have their own registers. */
static unsigned memory16(struct decoded *d, unsigned mod, unsigned rm)
{
	static const uint8_t base[8] = { GPR_RBX, GPR_RBX, GPR_RBP, GPR_RBP, GPR_RSI, GPR_RDI, GPR_RBP, GPR_RBX };

	d->index = rm < 4 ? (rm & 1 ? GPR_RDI : GPR_RSI) : DECODE_NO_REG;
	if (mod == 0 && rm == 6)
		return 2;
	d->base = base[rm];
	return mod == 0 ? 0 : mod == 1 ? 1 : 2;
}

/* What follows a ModRM byte of a memory operand. */
static bool memory(struct cursor *c, struct decoded *d, uint8_t modrm)
{
	unsigned mod = modrm >> 6, rm = modrm & 7, disp = mod == 1 ? 1 : mod == 2 ? 4 : 0, b_ext = (c->rex & 1u) << 3, x_ext = (c->rex & 2u) << 2;
	uint8_t b;

	d->mem = true;
	if (d->addr_size == 2)
		return number(c, memory16(d, mod, rm), &d->disp);
	if (rm == 4) {
		if (!next(c, &b))
			return false;
		rm = b & 7;
		d->scale = b >> 6;
		d->index = (uint8_t)((b >> 3 & 7u) | x_ext);
		if (d->index == GPR_RSP) {
			d->index = DECODE_NO_REG;
			d->scale = 0;
		}
		if (mod == 0 && rm == 5)
			disp = 4;
		else
			d->base = (uint8_t)(rm | b_ext);
	} else if (mod == 0 && rm == 5) {
		disp = 4;
		d->base = c->mode == DECODE_64 ? DECODE_RIP : DECODE_NO_REG;
	} else {
		d->base = (uint8_t)(rm | b_ext);
	}
	return number(c, disp, &d->disp);
}

/* 0F 01: a group by ModRM. */
static bool decode_0f01(struct cursor *c, struct decoded *d)
{
	uint8_t m;

	if (!next(c, &m))
		return false;
	switch (m) {
	case 0xc1: d->kind = DEC_VMCALL; return !c->opsize && !c->rep;
	case 0xd1: d->kind = DEC_XSETBV; return !c->opsize && !c->rep;
	case 0xd9: d->kind = DEC_VMMCALL; return true;
	case 0xd8: case 0xda: case 0xdb: case 0xdc: case 0xdd: case 0xde: case 0xdf:
		d->kind = DEC_SVM; /* VMRUN, VMLOAD, VMSAVE, STGI, CLGI, SKINIT, INVLPGA */
		d->reg = m & 7;
		return true;
	}
	d->gpr = (uint8_t)((m & 7) | (c->rex & 1) << 3);
	d->mem = m >> 6 != 3;
	if ((m >> 3 & 7) == 6)
		d->kind = DEC_LMSW;
	else if ((m >> 3 & 7) == 7 && d->mem)
		d->kind = DEC_INVLPG;
	else
		return false;
	return !d->mem || memory(c, d, m);
}

/* 0F 20-23. ModRM's mod is ignored: always registers. LOCK before MOV CR0 is AMD's way to CR8 outside 64-bit mode. */
static bool decode_mov(struct cursor *c, struct decoded *d, uint8_t op)
{
	uint8_t m;

	if (!next(c, &m))
		return false;
	d->kind = op & 1 ? DEC_MOV_DR : DEC_MOV_CR;
	d->write = op & 2;
	d->reg = (uint8_t)((m >> 3 & 7) | (c->rex & 4) << 1 | (c->lock && !(op & 1) ? 8 : 0));
	d->gpr = (uint8_t)((m & 7) | (c->rex & 1) << 3);
	return op & 1 ? !c->lock : true;
}

static bool decode_0f(struct cursor *c, struct decoded *d)
{
	uint8_t op;

	if (!next(c, &op))
		return false;
	if (op >= 0x20 && op <= 0x23)
		return decode_mov(c, d, op);
	if (c->lock)
		return false;
	switch (op) {
	case 0x01: return decode_0f01(c, d);
	case 0x06: d->kind = DEC_CLTS; return true;
	case 0x08: d->kind = DEC_INVD; return true;
	case 0x09: d->kind = DEC_WBINVD; return true; /* with F3 too: WBNOINVD, which has the same intercept, or WBINVD where there is none */
	case 0x30: d->kind = DEC_WRMSR; return true;
	case 0x32: d->kind = DEC_RDMSR; return true;
	case 0x33: d->kind = DEC_RDPMC; return true;
	case 0xa2: d->kind = DEC_CPUID; return true;
	}
	return false;
}

static bool decode_io(struct cursor *c, struct decoded *d, uint8_t op)
{
	static const uint8_t kind[] = { [0] = DEC_IN, [1] = DEC_OUT };
	bool wide = op & 1, def32 = c->mode != DECODE_16;
	uint8_t imm;

	d->op_size = !wide ? 1 : (c->rex & 8) || def32 != c->opsize ? 4 : 2; /* REX.W wins over 66, and 64 bits mean 32 here */
	if ((op & 0xfc) == 0x6c) {
		d->kind = op & 2 ? DEC_OUTS : DEC_INS;
		d->rep = c->rep != 0;
		return true;
	}
	d->kind = kind[op >> 1 & 1];
	return op >= 0xec || next(c, &imm);
}

/* 88-8B, A0-A3, C6 and C7 /0, with an operand in memory. */
static bool decode_plain_mov(struct cursor *c, struct decoded *d, uint8_t op)
{
	uint8_t m;

	d->kind = DEC_MOV;
	d->op_size = !(op & 1) ? 1 : c->rex & 8 ? 8 : (c->mode == DECODE_16) == c->opsize ? 4 : 2;
	if ((op & 0xfc) == 0xa0) { /* AL, AX, EAX or RAX, and an absolute address */
		d->mem = true;
		d->write = op & 2;
		return number(c, d->addr_size, &d->disp);
	}
	if (!next(c, &m) || m >> 6 == 3)
		return false;
	d->reg = (uint8_t)((m >> 3 & 7) | (c->rex & 4) << 1);
	d->has_imm = op >= 0xc6;
	d->write = d->has_imm || !(op & 2);
	d->high8 = d->op_size == 1 && !c->rex && d->reg >= 4 && !d->has_imm;
	if (!memory(c, d, m))
		return false;
	return !d->has_imm || ((m >> 3 & 7) == 0 && number(c, d->op_size == 8 ? 4 : d->op_size, &d->imm));
}

bool decode(const uint8_t *p, unsigned n, enum decode_mode mode, struct decoded *d)
{
	struct cursor c = { .p = p, .n = n, .mode = mode };
	uint8_t op;
	bool ok;

	*d = (struct decoded){ .seg = DECODE_NO_SEG, .base = DECODE_NO_REG, .index = DECODE_NO_REG };
	if (!prefixes(&c, d, &op))
		return false;
	d->addr_size = mode == DECODE_64 ? (c.addrsize ? 4 : 8) : (mode == DECODE_32) != c.addrsize ? 4 : 2;
	if (op == 0x0f)
		ok = decode_0f(&c, d);
	else if (c.lock)
		ok = false;
	else if ((op & 0xfc) == 0x6c || (op & 0xf4) == 0xe4)
		ok = decode_io(&c, d, op);
	else if ((op & 0xfc) == 0x88 || (op & 0xfc) == 0xa0 || (op & 0xfe) == 0xc6)
		ok = decode_plain_mov(&c, d, op);
	else {
		d->kind = op == 0xf4 ? DEC_HLT : op == 0xf1 ? DEC_ICEBP : op == 0x90 && c.rep == 0xf3 && !(c.rex & 1) ? DEC_PAUSE : DEC_NONE;
		ok = d->kind != DEC_NONE;
	}
	d->len = (uint8_t)c.at;
	return ok;
}
