/* SPDX-License-Identifier: MIT */
/* The decoder against Capstone: random prefixes before the instructions that it claims, and random bytes. Seeded. */
#include <stdio.h>
#include <string.h>

#include "capstone_kinds.h"
#include "random_insns.h"
#include "tap.h"

/* Bytes after which something that decode() knows may follow; the rest is random. */
static const uint8_t starts[][4] = {
	{ 2, 0x0f, 0xa2 }, { 2, 0x0f, 0x30 }, { 2, 0x0f, 0x32 }, { 1, 0xf4 }, { 2, 0x0f, 0x01 }, { 2, 0x0f, 0x08 }, { 2, 0x0f, 0x09 }, { 2, 0x0f, 0x33 },
	{ 2, 0x0f, 0x06 }, { 1, 0x90 }, { 1, 0xf1 }, { 1, 0xe4 }, { 1, 0xe5 }, { 1, 0xe6 }, { 1, 0xe7 }, { 1, 0xec }, { 1, 0xed }, { 1, 0xee }, { 1, 0xef },
	{ 1, 0x88 }, { 1, 0x89 }, { 1, 0x8a }, { 1, 0x8b }, { 1, 0xa0 }, { 1, 0xa1 }, { 1, 0xa2 }, { 1, 0xa3 }, { 1, 0xc6 }, { 1, 0xc7 }, { 2, 0xc7, 0x05 },
	{ 1, 0x6c }, { 1, 0x6d }, { 1, 0x6e }, { 1, 0x6f }, { 2, 0x0f, 0x20 }, { 2, 0x0f, 0x21 }, { 2, 0x0f, 0x22 }, { 2, 0x0f, 0x23 }, { 1, 0x0f }, { 0 },
	{ 1, 0xfa }, { 1, 0xfb }, { 3, 0x0f, 0x01, 0xf8 }, { 2, 0x0f, 0x05 }, { 2, 0x0f, 0x07 }, { 1, 0xcf }, { 1, 0xca }, { 1, 0xcb }, { 1, 0xcc }, { 1, 0xcd }, { 1, 0xce },
	{ 1, 0xff }, { 1, 0x9a }, { 1, 0xea }, { 1, 0x8e }, { 1, 0x07 }, { 1, 0x17 }, { 1, 0x1f }, { 2, 0x0f, 0xa1 }, { 2, 0x0f, 0xa9 }, { 1, 0xc4 }, { 1, 0xc5 },
	{ 2, 0x0f, 0xb2 }, { 2, 0x0f, 0xb4 }, { 2, 0x0f, 0xb5 }, { 2, 0x0f, 0x00 },
};
#define NR_STARTS (sizeof(starts) / sizeof(starts[0]))
static const uint8_t prefix[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x48, 0x41, 0x44, 0x4f };

/* F3 90. Capstone has other names for it in some modes. Of F2 and F3 the last one counts, and with REX.B it is an XCHG. */
static bool is_pause(const cs_insn *in)
{
	uint8_t rep = 0, rex = 0;

	for (unsigned i = 0; i + 1 < in->size; i++) {
		rex = in->bytes[i];
		rep = rex == 0xf2 || rex == 0xf3 ? rex : rep;
	}
	return in->bytes[in->size - 1] == 0x90 && rep == 0xf3 && !((rex & 0xf0) == 0x40 && (rex & 1));
}

/* What Capstone calls it, or DEC_NONE. */
static unsigned kind_of(const cs_insn *in)
{
	const cs_x86 *x = &in->detail->x86;

	if (in->id == X86_INS_NOP || in->id == X86_INS_XCHG || in->id == X86_INS_PAUSE)
		return is_pause(in) ? DEC_PAUSE : DEC_NONE;
	for (unsigned i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		if (same[i].id == in->id)
			return same[i].kind;
	if (in->id == X86_INS_MOV || in->id == X86_INS_MOVABS) {
		uint8_t op = x->opcode[0];

		if ((op & 0xfc) == 0xa0 || (((op & 0xfc) == 0x88 || (op & 0xfe) == 0xc6) && x->modrm < 0xc0))
			return DEC_MOV;
	}
	if (sreg_kind(in, x->opcode) != DEC_NONE)
		return sreg_kind(in, x->opcode);
	if (in->id == X86_INS_MOV && x->opcode[0] == 0x0f && (x->opcode[1] & 0xfc) == 0x20)
		return x->opcode[1] & 1 ? DEC_MOV_DR : DEC_MOV_CR;
	return DEC_NONE;
}

/* Where Capstone 4 and the manuals differ, by the manuals: it takes registers out of the ModRM's mod (MOV CR and DR ignore it), refuses control and
 * debug registers that only fault, drops prefixes in its own way before 0F 01, and has no LOCK rule. */
static bool comparable(const uint8_t *p, unsigned n, const struct decoded *d)
{
	for (unsigned i = 0; i < n; i++)
		if (p[i] == 0xf0 || (i + 2 < n && p[i] == 0x0f && p[i + 1] == 0x01 && memchr(p, 0xf2, i)) ||
		    (i + 2 < n && p[i] == 0x0f && p[i + 1] == 0x01 && (memchr(p, 0xf3, i) || memchr(p, 0x66, i))))
			return false;
	return d->kind != DEC_MOV_CR && d->kind != DEC_MOV_DR ? true : d->len && p[d->len - 1] >= 0xc0;
}

static void hex(const uint8_t *p, char *out)
{
	for (unsigned i = 0; i < 15; i++)
		sprintf(out + 3 * i, "%02x ", p[i]);
}

static void one(csh h, enum decode_mode mode, const uint8_t bytes[16], struct tap_set sets[4])
{
	struct decoded d, shorter;
	bool ok = decode(bytes, 15, mode, &d);
	cs_insn *in = NULL;
	size_t n = cs_disasm(h, bytes, 15, 0x1000, 1, &in);
	char text[64];

	hex(bytes, text);
	if (ok && comparable(bytes, d.len, &d) && n) {
		tap_case(&sets[0], d.len, in->size, "mode %u: %s(%s %s)", mode, text, in->mnemonic, in->op_str);
		tap_case(&sets[1], d.kind, kind_of(in), "mode %u: %s(%s %s)", mode, text, in->mnemonic, in->op_str);
	}
	if (n && kind_of(in) != DEC_NONE && comparable(bytes, in->size, &d) && !(in->id == X86_INS_SWAPGS && mode != DECODE_64)) /* #UD there */
		tap_case(&sets[2], ok, true, "mode %u: %s(%s %s) is not decoded", mode, text, in->mnemonic, in->op_str);
	if (ok) { /* one byte less than it needs is never enough, and exactly that many always is */
		tap_case(&sets[3], decode(bytes, d.len - 1u, mode, &shorter), false, "mode %u: %s", mode, text);
		tap_case(&sets[3], decode(bytes, d.len, mode, &shorter), true, "mode %u: %s", mode, text);
	}
	if (n)
		cs_free(in, n);
}

TEST(decode_capstone)
{
	struct tap_set sets[4] = { { .id = "decode.length" }, { .id = "decode.kind" }, { .id = "decode.missed" }, { .id = "decode.bytes" } };
	const struct insn_mix mix = { starts, NR_STARTS, prefix, sizeof(prefix), 4, 90, .one = one };

	random_insns(&mix, sets);
	tap_end(&sets[0], "lengths are Capstone's");
	tap_end(&sets[1], "and so are the instructions");
	tap_end(&sets[2], "nothing that Capstone knows as one of them is missed");
	tap_end(&sets[3], "cut bytes are refused");
}

/* Capstone 4 is wrong here: the manual's "66H is ignored when REX.W is 1". Found by tests/fuzz/fuzz_decode.c. */
TEST(decode_io_size)
{
	static const struct {
		uint8_t bytes[4], n, mode, size;
	} t[] = {
		{ { 0xed }, 1, DECODE_16, 2 }, { { 0x66, 0xed }, 2, DECODE_16, 4 }, { { 0xed }, 1, DECODE_32, 4 }, { { 0x66, 0xef }, 2, DECODE_32, 2 },
		{ { 0x66, 0xe5, 0x80 }, 3, DECODE_64, 2 }, { { 0x48, 0xed }, 2, DECODE_64, 4 }, { { 0x66, 0x48, 0xed }, 3, DECODE_64, 4 },
		{ { 0x66, 0x4f, 0x6f }, 3, DECODE_64, 4 }, { { 0x48, 0x66, 0xed }, 3, DECODE_64, 2 }, { { 0x66, 0x48, 0xec }, 3, DECODE_64, 1 },
	};
	struct tap_set s = { .id = "decode.io_size" };

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct decoded d;

		tap_case(&s, decode(t[i].bytes, t[i].n, t[i].mode, &d) ? d.op_size : 0, t[i].size, "case %u", i);
	}
	tap_end(&s, "the size of a port access: 66, REX.W over it, REX before a prefix ignored");
}
