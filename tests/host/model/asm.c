/* SPDX-License-Identifier: MIT */
/* Assembles guest scripts: real encodings in guest memory, since the machine model decodes some of them. */
#include <string.h>

#include "model/cpu.h"

#define END_PORT 0xf4

static unsigned put32(uint8_t *p, uint64_t v)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
	return 4;
}

static unsigned encode(const struct sw_guest *g, const struct gop *o, uint8_t *p)
{
	unsigned n = 0;

	switch ((enum gop_kind)o->kind) {
	case G_NOP: p[n++] = 0x90; break;
	case G_HLT: p[n++] = 0xf4; break;
	case G_MOV_TO_DR:
	case G_MOV_FROM_DR:
		p[n++] = 0x0f;
		p[n++] = o->kind == G_MOV_TO_DR ? 0x23 : 0x21;
		p[n++] = (uint8_t)(0xc0 | o->n << 3); /* EAX */
		break;
	case G_STORE:
	case G_LOAD:
		if (o->n == 2)
			p[n++] = 0x66;
		p[n++] = (uint8_t)((o->kind == G_STORE ? 0xa2 : 0xa0) | (o->n > 1));
		n += put32(p + n, o->a);
		break;
	case G_OUT: p[n++] = 0xe6; p[n++] = (uint8_t)o->a; break;
	case G_IN: p[n++] = 0xe4; p[n++] = (uint8_t)o->a; break;
	case G_POPF: p[n++] = 0x9d; break;
	case G_PUSHF: p[n++] = 0x9c; break;
	case G_JMP: p[n++] = 0xeb; p[n++] = 0; break;
	case G_MOV_SS:
		p[n++] = 0x8e;
		p[n++] = !o->a ? 0xd0 : sw.ring3 ? 0x14 : 0x15;
		if (o->a && sw.ring3)
			p[n++] = 0x25; /* SIB: no base */
		if (o->a)
			n += put32(p + n, o->a);
		break;
	case G_REP_STOS: p[n++] = 0xf3; p[n++] = 0xaa; break;
	case G_OUTS:
		if (o->n > 1)
			p[n++] = 0xf3;
		p[n++] = 0x6e;
		break;
	case G_ICEBP: p[n++] = 0xf1; break;
	case G_CPUID: p[n++] = 0x0f; p[n++] = 0xa2; break;
	case G_HC: p[n++] = 0x0f; p[n++] = 0x01; p[n++] = g->amd ? 0xd9 : 0xc1; break;
	case G_WRMSR: p[n++] = 0x0f; p[n++] = 0x30; break;
	case G_RDMSR: p[n++] = 0x0f; p[n++] = 0x32; break;
	case G_SPLIT_LOCK: p[n++] = 0xf0; p[n++] = 0xff; p[n++] = 0x00; break;
	case G_MOV_TO_CR: p[n++] = 0x0f; p[n++] = 0x22; p[n++] = (uint8_t)(0xc0 | o->n << 3); break; /* EAX */
	case G_INVLPG: p[n++] = 0x0f; p[n++] = 0x01; p[n++] = 0x38; break; /* [EAX] */
	case G_WREFER: p[n++] = 0x0f; p[n++] = 0x30; break;
	case G_INT3: p[n++] = 0xcc; break;
	case G_SYSCALL: p[n++] = 0x0f; p[n++] = 0x05; break;
	case G_IRET:
		if (sw.ring3) /* 64-bit code */
			p[n++] = 0x48;
		p[n++] = 0xcf;
		break;
	case G_END: p[n++] = 0xe6; p[n++] = END_PORT; break;
	}
	return n;
}

static uint32_t place(struct sw_guest *g, const struct gop *o, uint32_t at)
{
	unsigned i = g->nr++;

	g->op[i] = *o;
	g->at[i] = at;
	g->len[i] = (uint8_t)encode(g, o, g->ram + at);
	return at + g->len[i];
}

void sw_assemble(struct sw_guest *g, uint8_t *ram, bool amd, const struct gop *main_ops, unsigned nr_main, const struct gop *handler, unsigned nr_handler)
{
	static const struct gop end = { .kind = G_END }, iret = { .kind = G_IRET };
	uint32_t at = G_MAIN;

	memset(g, 0, sizeof(*g));
	g->ram = ram;
	g->amd = amd;
	if (nr_main + nr_handler + 2 > G_MAX) {
		g->dead = true;
		return;
	}
	for (unsigned i = 0; i < nr_main; i++)
		at = place(g, &main_ops[i], at);
	place(g, &end, at);
	at = G_HANDLER;
	for (unsigned i = 0; i < nr_handler; i++)
		at = place(g, &handler[i], at);
	place(g, &iret, at);
	g->rip = G_MAIN;
	g->rflags = 2;
	g->true_dr6 = 0xffff0ff0;
	g->true_dr7 = 0x400;
	g->true_dr6_known = true;
}
