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
		case 0x26: case 0x2e: case 0x36: case 0x3e:
			if (c->mode != DECODE_64) /* nothing there: not even the end of an FS before it */
				d->seg = *b == 0x26 ? SEG_ES : *b == 0x2e ? SEG_CS : *b == 0x36 ? SEG_SS : SEG_DS;
			break;
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

static bool unsigned_imm(struct cursor *c, unsigned n, uint64_t *out)
{
	if (!number(c, n, out))
		return false;
	*out &= ~0ull >> (64 - 8 * n);
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

static unsigned size_of(const struct cursor *c, bool byte)
{
	return byte ? 1 : c->rex & 8 ? 8 : (c->mode == DECODE_16) == c->opsize ? 4 : 2;
}

/* ModRM's operand: register or memory. */
static bool operand(struct cursor *c, struct decoded *d, uint8_t modrm)
{
	d->gpr = (uint8_t)((modrm & 7) | (c->rex & 1) << 3);
	d->op_size = (uint8_t)size_of(c, false);
	return modrm >> 6 == 3 || memory(c, d, modrm);
}

/* 0F 00. */
static bool decode_selector(struct cursor *c, struct decoded *d)
{
	uint8_t m;

	if (!next(c, &m))
		return false;
	d->kind = DEC_SELECTOR;
	d->reg = m >> 3 & 7;
	return d->reg < 4 && operand(c, d, m);
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
	d->reg = m >> 3 & 7;
	if (m == 0xf8 && c->mode == DECODE_64)
		d->kind = DEC_SWAPGS;
	else if (d->reg == 4)
		d->kind = DEC_SMSW;
	else if (d->reg == 6)
		d->kind = DEC_LMSW;
	else if (d->reg == 7 && m >> 6 != 3)
		d->kind = DEC_INVLPG;
	else if (d->reg < 4 && m >> 6 != 3)
		d->kind = DEC_TABLE;
	else
		return false;
	return operand(c, d, m);
}

/* LES, LDS, LSS, LFS, LGS: C4, C5, 0F B2, B4, B5. With a register C4 and C5 are VEX. */
static bool decode_load_sreg(struct cursor *c, struct decoded *d, unsigned seg)
{
	uint8_t m;

	d->kind = DEC_LOAD_SREG;
	if (!next(c, &m) || m >> 6 == 3 || !operand(c, d, m))
		return false;
	d->reg = (uint8_t)seg;
	d->gpr = (uint8_t)((m >> 3 & 7) | (c->rex & 4) << 1);
	return true;
}

static bool decode_pop_sreg(const struct cursor *c, struct decoded *d, unsigned seg)
{
	d->kind = DEC_POP_SREG;
	d->reg = (uint8_t)seg;
	d->op_size = (uint8_t)(c->mode == DECODE_64 && !c->opsize ? 8 : size_of(c, false));
	if (d->op_size == 4 && c->mode == DECODE_64)
		d->op_size = 8; /* there is no such pop */
	return true;
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
	d->op_size = (uint8_t)size_of(c, false);
	switch (op) {
	case 0x00: return decode_selector(c, d);
	case 0x01: return decode_0f01(c, d);
	case 0x05: d->kind = DEC_SYSCALL; return true;
	case 0x06: d->kind = DEC_CLTS; return true;
	case 0x07: d->kind = DEC_SYSRET; return true;
	case 0x08: d->kind = DEC_INVD; return true;
	case 0x09: d->kind = DEC_WBINVD; return true; /* with F3 too: WBNOINVD, which has the same intercept, or WBINVD where there is none */
	case 0x30: d->kind = DEC_WRMSR; return true;
	case 0x32: d->kind = DEC_RDMSR; return true;
	case 0x33: d->kind = DEC_RDPMC; return true;
	case 0xa1: case 0xa9: return decode_pop_sreg(c, d, op == 0xa1 ? SEG_FS : SEG_GS);
	case 0xa2: d->kind = DEC_CPUID; return true;
	case 0xb2: return decode_load_sreg(c, d, SEG_SS);
	case 0xb4: case 0xb5: return decode_load_sreg(c, d, op == 0xb4 ? SEG_FS : SEG_GS);
	}
	return false;
}

static bool decode_io(struct cursor *c, struct decoded *d, uint8_t op)
{
	static const uint8_t kind[] = { [0] = DEC_IN, [1] = DEC_OUT };
	bool wide = op & 1, def32 = c->mode != DECODE_16;

	d->op_size = !wide ? 1 : (c->rex & 8) || def32 != c->opsize ? 4 : 2; /* REX.W wins over 66, and 64 bits mean 32 here */
	if ((op & 0xfc) == 0x6c) {
		d->kind = op & 2 ? DEC_OUTS : DEC_INS;
		d->rep = c->rep != 0;
		return true;
	}
	d->kind = kind[op >> 1 & 1];
	d->has_imm = op < 0xec;
	return !d->has_imm || unsigned_imm(c, 1, &d->imm);
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

static bool decode_far(struct cursor *c, struct decoded *d, uint8_t op)
{
	uint8_t m;

	if (op == 0xff) {
		if (!next(c, &m) || m >> 6 == 3 || ((m >> 3 & 7) != 3 && (m >> 3 & 7) != 5))
			return false;
		d->kind = (m >> 3 & 7) == 5 ? DEC_JMPF : DEC_CALLF;
		return operand(c, d, m);
	}
	d->kind = op == 0xea ? DEC_JMPF : DEC_CALLF;
	return unsigned_imm(c, d->op_size, &d->imm) && unsigned_imm(c, 2, &d->disp);
}

static bool decode_mov_sreg(struct cursor *c, struct decoded *d)
{
	uint8_t m;

	d->kind = DEC_MOV_SREG;
	if (!next(c, &m) || !operand(c, d, m))
		return false;
	d->reg = m >> 3 & 7; /* REX.R is ignored */
	return true;
}

static bool plain(struct decoded *d, enum decode_kind kind)
{
	d->kind = (uint8_t)kind;
	return kind != DEC_NONE;
}

/* One byte, no LOCK. */
static bool decode_one(struct cursor *c, struct decoded *d, uint8_t op)
{
	bool legacy = c->mode != DECODE_64;

	d->op_size = (uint8_t)size_of(c, false);
	switch (op) {
	case 0x07: return legacy && decode_pop_sreg(c, d, SEG_ES);
	case 0x17: return legacy && decode_pop_sreg(c, d, SEG_SS);
	case 0x1f: return legacy && decode_pop_sreg(c, d, SEG_DS);
	case 0x8e: return decode_mov_sreg(c, d);
	case 0x90: return c->rep == 0xf3 && !(c->rex & 1) && plain(d, DEC_PAUSE);
	case 0x9a: case 0xea: return legacy && decode_far(c, d, op);
	case 0xc4: case 0xc5: return legacy && decode_load_sreg(c, d, op == 0xc4 ? SEG_ES : SEG_DS);
	case 0xca: d->has_imm = true; d->kind = DEC_RETF; return unsigned_imm(c, 2, &d->imm);
	case 0xcb: return plain(d, DEC_RETF);
	case 0xcc: return plain(d, DEC_INT3);
	case 0xcd: d->kind = DEC_INT; return unsigned_imm(c, 1, &d->imm);
	case 0xce: return legacy && plain(d, DEC_INTO);
	case 0xcf: return plain(d, DEC_IRET);
	case 0xf1: return plain(d, DEC_ICEBP);
	case 0xf4: return plain(d, DEC_HLT);
	case 0xfa: return plain(d, DEC_CLI);
	case 0xfb: return plain(d, DEC_STI);
	case 0xff: return decode_far(c, d, op);
	}
	return false;
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
	else
		ok = decode_one(&c, d, op);
	d->len = (uint8_t)c.at;
	return ok;
}

/* ---- Flow ---- */

/* A ModRM operand that is locked if it is memory. ext: mask of the opcode extensions that do so, 0xff for a register there. imm: bytes behind it. */
static bool locked(struct cursor *c, struct flow *f, unsigned ext, unsigned size, unsigned imm)
{
	uint64_t unused;
	uint8_t m;

	if (!next(c, &m))
		return false;
	f->d.reg = (uint8_t)((m >> 3 & 7) | (c->rex & 4) << 1);
	if (m >> 6 == 3 || !(ext >> (m >> 3 & 7) & 1))
		return true;
	f->lock = true;
	f->d.op_size = (uint8_t)size;
	return memory(c, &f->d, m) && number(c, imm, &unused);
}

static bool flow_0f(struct cursor *c, struct flow *f)
{
	uint8_t op;

	if (!next(c, &op))
		return false;
	if ((op & 0xf0) == 0x80) {
		f->kind = FLOW_COND;
		f->cond = op & 0xf;
		return true;
	}
	switch (op) {
	case 0x05: f->kind = FLOW_SYSCALL; return true;
	case 0x07: f->kind = FLOW_SYSRET; f->d.op_size = c->rex & 8 ? 8 : 4; return true;
	case 0x34: case 0x35: f->kind = FLOW_JUMP; return true;
	}
	if (!c->lock)
		return true;
	switch (op) {
	case 0xab: case 0xb3: case 0xbb: f->bits = true; return locked(c, f, 0xff, size_of(c, false), 0);
	case 0xba: return locked(c, f, 0xe0, size_of(c, false), 1);
	case 0xb0: case 0xb1: case 0xc0: case 0xc1: return locked(c, f, 0xff, size_of(c, !(op & 1)), 0);
	case 0xc7: return locked(c, f, 0x02, c->rex & 8 ? 16 : 8, 0);
	}
	return true;
}

static bool flow_lock(struct cursor *c, struct flow *f, uint8_t op)
{
	unsigned size = size_of(c, !(op & 1));

	if (op < 0x38 && (op & 7) < 2)
		return locked(c, f, 0xff, size, 0);
	switch (op) {
	case 0x80: case 0x82: case 0x83: return locked(c, f, 0x7f, op == 0x82 ? 1 : size, 1);
	case 0x81: return locked(c, f, 0x7f, size, size == 8 ? 4 : size);
	case 0x86: case 0x87: return locked(c, f, 0xff, size, 0);
	case 0xf6: case 0xf7: return locked(c, f, 0x0c, size, 0);
	case 0xfe: case 0xff: return locked(c, f, 0x03, size, 0);
	}
	return true;
}

static bool flow_op(struct cursor *c, struct flow *f, uint8_t op)
{
	uint8_t m = 0;

	switch (op) {
	case 0x17: f->kind = c->mode == DECODE_64 ? FLOW_NEXT : FLOW_SS; return true;
	case 0x8e:
		if (!next(c, &m))
			return false;
		f->kind = (m >> 3 & 7) == 2 ? FLOW_SS : FLOW_NEXT;
		return m >> 6 == 3 || memory(c, &f->d, m);
	case 0x9a: case 0xea: f->kind = c->mode == DECODE_64 ? FLOW_NEXT : FLOW_JUMP; return true;
	case 0x9c: f->kind = FLOW_PUSHF; f->d.op_size = (uint8_t)(c->mode == DECODE_64 && !c->opsize ? 8 : size_of(c, false)); return true;
	case 0x9d: f->kind = FLOW_POPF; return true;
	case 0xc2: case 0xc3: case 0xca: case 0xcb: case 0xe8: case 0xe9: case 0xeb: f->kind = FLOW_JUMP; return true;
	case 0xcc: f->kind = FLOW_INT3; f->vector = 3; return true;
	case 0xcd: f->kind = FLOW_INT; return next(c, &f->vector);
	case 0xce: f->kind = c->mode == DECODE_64 ? FLOW_NEXT : FLOW_INTO; f->vector = 4; return true;
	case 0xcf: f->kind = FLOW_IRET; return true;
	case 0xe0: case 0xe1: case 0xe2: case 0xe3: f->kind = FLOW_LOOP; f->cond = op & 3; return true;
	case 0xf1: f->kind = FLOW_ICEBP; f->vector = 1; return true;
	case 0xff:
		if (c->at >= c->n)
			return false;
		m = c->p[c->at];
		if ((m >> 3 & 7) >= 2 && (m >> 3 & 7) <= 5)
			f->kind = FLOW_JUMP;
		break;
	}
	if ((op & 0xf0) == 0x70) {
		f->kind = FLOW_COND;
		f->cond = op & 0xf;
		return true;
	}
	return c->lock || (op & 0xfe) == 0x86 ? flow_lock(c, f, op) : true;
}

bool decode_flow(const uint8_t *p, unsigned n, enum decode_mode mode, struct flow *f)
{
	struct cursor c = { .p = p, .n = n, .mode = mode };
	uint8_t op;
	bool ok;

	*f = (struct flow){ .d = { .seg = DECODE_NO_SEG, .base = DECODE_NO_REG, .index = DECODE_NO_REG } };
	if (!prefixes(&c, &f->d, &op))
		return false;
	f->d.addr_size = mode == DECODE_64 ? (c.addrsize ? 4 : 8) : (mode == DECODE_32) != c.addrsize ? 4 : 2;
	ok = op == 0x0f ? flow_0f(&c, f) : flow_op(&c, f, op);
	f->d.len = (uint8_t)c.at;
	return ok;
}

bool flow_taken(const struct flow *f, uint64_t rflags, uint64_t rcx)
{
	bool cf = rflags & 1, pf = rflags & 4, zf = rflags & 0x40, sf = rflags & 0x80, of = rflags & 0x800, yes = false;
	uint64_t mask = f->d.addr_size == 8 ? ~0ull : f->d.addr_size == 4 ? 0xffffffff : 0xffff, count = rcx & mask;

	if (f->kind == FLOW_LOOP) /* LOOP counts first */
		return f->cond == 3 ? count == 0 : count != 1 && (f->cond == 2 || zf == (f->cond == 1));
	switch (f->cond >> 1) {
	case 0: yes = of; break;
	case 1: yes = cf; break;
	case 2: yes = zf; break;
	case 3: yes = cf || zf; break;
	case 4: yes = sf; break;
	case 5: yes = pf; break;
	case 6: yes = sf != of; break;
	case 7: yes = zf || sf != of; break;
	}
	return yes != (f->cond & 1);
}
