/* SPDX-License-Identifier: MIT */
/* Guest scripts: real encodings in guest memory, since the machine model decodes some of them, and the execution of one after the other. */
#include <string.h>

#include "model/cpu.h"
#include "model/tlb.h"

#define TF 0x100ull
#define RF 0x10000ull
#define BD 0x2000u
#define BS 0x4000u
#define BLD 0x800u
#define GD 0x2000ull
#define END_PORT 0xf4

/* ---- Assembler ---- */

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
	case G_ICEBP: p[n++] = 0xf1; break;
	case G_CPUID: p[n++] = 0x0f; p[n++] = 0xa2; break;
	case G_HC: p[n++] = 0x0f; p[n++] = 0x01; p[n++] = g->amd ? 0xd9 : 0xc1; break;
	case G_WRMSR: p[n++] = 0x0f; p[n++] = 0x30; break;
	case G_RDMSR: p[n++] = 0x0f; p[n++] = 0x32; break;
	case G_SPLIT_LOCK: p[n++] = 0xf0; p[n++] = 0xff; p[n++] = 0x00; break;
	case G_MOV_TO_CR: p[n++] = 0x0f; p[n++] = 0x22; p[n++] = (uint8_t)(0xc0 | o->n << 3); break; /* EAX */
	case G_INVLPG: p[n++] = 0x0f; p[n++] = 0x01; p[n++] = 0x38; break; /* [EAX] */
	case G_WREFER: p[n++] = 0x0f; p[n++] = 0x30; break;
	case G_IRET: p[n++] = 0xcf; break;
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

/* ---- Events in the guest ---- */

static void record(struct sw_guest *g, enum rec_kind kind, unsigned n, uint64_t a, uint64_t b)
{
	if (g->nr_rec < G_RECS)
		g->rec[g->nr_rec++] = (struct rec){ .kind = (uint8_t)kind, .n = (uint8_t)n, .a = a, .b = b };
}

static int find(const struct sw_guest *g, uint64_t rip)
{
	for (unsigned i = 0; i < g->nr; i++)
		if (g->at[i] == rip)
			return (int)i;
	return -1;
}

/* Vector 1 enters the handler script. The handler of any other exception notes it and skips the instruction. */
static void enter_handler(struct sw_guest *g, unsigned vector)
{
	int i = find(g, g->rip);

	if (vector != 1) {
		record(g, R_EXC, vector, vector, g->rip);
		g->rip += i < 0 ? 1 : g->len[i];
		return;
	}
	record(g, R_DB, 0, g->rip, g->rflags & TF);
	g->saved_rip = g->rip;
	g->saved_rflags = g->rflags;
	g->rip = G_HANDLER;
	g->rflags &= ~(TF | RF);
}

/* The #DB reaches the guest: what the manuals let it do to DR6, DR7 and DEBUGCTL. */
static void truth_db(struct sw_guest *g, uint32_t cause)
{
	g->true_dr6 = ref_dr6_after(g->true_dr6, cause, sw.phys);
	g->true_dr7 &= ~GD;
}

/* Slots that match the last access but are not enabled: hardware may set their B bits too. */
static uint32_t disabled_hits(const struct sw_guest *g)
{
	uint32_t hits = 0;

	if (!sw.shows_disabled)
		return 0;
	for (unsigned i = 0; i < 4; i++)
		if (!ref_enabled(sw.dr7, i) && (ref_match(sw.dr[i], sw.dr7, i, REF_FETCH, g->rip, 1, g->de) ||
						(g->last_len && ref_match(sw.dr[i], sw.dr7, i, g->last_kind, g->last_addr, g->last_len, g->de))))
			hits |= 1u << i;
	return hits;
}

/* A #DB with this cause. True: it exits. */
static bool raise_db(struct sw_guest *g, const struct sw_ctl *ctl, struct sw_exit *x, uint32_t cause)
{
	uint32_t extra = disabled_hits(g);

	if (ctl->db) {
		x->kind = X_DB;
		x->cause = cause | extra;
		g->raised = cause;
		if (ctl->db_applied) {
			sw.dr6 = ref_dr6_after(sw.dr6, cause | extra, sw.phys);
			sw.dr7 &= ~GD;
		}
		return true;
	}
	sw.dr6 = ref_dr6_after(sw.dr6, cause | extra, sw.phys);
	sw.dr7 &= ~GD;
	sw.debugctl &= ~3ull;
	truth_db(g, cause | extra);
	enter_handler(g, 1);
	return false;
}

/* ---- Instructions ---- */

enum outcome { DONE, EXITED, FAULTED };

static enum outcome fault(struct sw_guest *g, unsigned vector)
{
	enter_handler(g, vector);
	return FAULTED;
}

static enum outcome out_of_guest(struct sw_exit *x, enum sw_exit_kind kind)
{
	x->kind = (uint8_t)kind;
	return EXITED;
}

static void live_write(struct sw_guest *g, unsigned n, uint64_t v)
{
	if (n < 4)
		sw.dr[n] = g->true_dr[n] = v;
	else if (n == 6)
		sw.dr6 = g->true_dr6 = ref_dr6_written(v, sw.phys);
	else
		sw.dr7 = g->true_dr7 = ref_dr7_written(v, sw.phys);
	if (n == 6)
		g->true_dr6_known = true;
}

static enum outcome mov_dr(struct sw_guest *g, const struct gop *o, const struct sw_ctl *ctl, struct sw_exit *x)
{
	unsigned n = o->n;
	bool write = o->kind == G_MOV_TO_DR;

	g->r[0] = write ? o->a : g->r[0];
	x->dr = (uint8_t)n;
	x->write = write;
	if (ctl->dr && ctl->dr_first) {
		if (g->true_dr7 & GD)
			g->raised = BD;
		return out_of_guest(x, X_DR);
	}
	if ((n == 4 || n == 5) && g->de)
		return fault(g, 6);
	if (sw.dr7 & GD)
		return raise_db(g, ctl, x, BD) ? EXITED : FAULTED;
	if (ctl->dr)
		return out_of_guest(x, X_DR);
	if (n == 4 || n == 5)
		n += 2;
	if (write) {
		live_write(g, n, o->a);
		return DONE;
	}
	g->r[0] = (uint32_t)(n < 4 ? sw.dr[n] : n == 6 ? sw.dr6 : sw.dr7);
	record(g, R_DR, n, g->r[0], 0);
	return DONE;
}

static void access(struct sw_guest *g, enum ref_access kind, uint64_t addr, unsigned len)
{
	g->last_kind = (uint8_t)kind;
	g->last_addr = addr;
	g->last_len = (uint8_t)len;
}

static enum outcome msr(struct sw_guest *g, const struct gop *o, const struct sw_ctl *ctl, struct sw_exit *x)
{
	uint64_t allowed = g->amd ? 0x3f : 3;

	g->r[1] = 0x1d9;
	x->write = o->kind == G_WRMSR;
	if (x->write) {
		g->r[0] = (uint32_t)o->a;
		g->r[2] = o->a >> 32;
	}
	if (!ctl->bare && (x->write || !ctl->debugctl_open))
		return out_of_guest(x, X_MSR);
	if (!x->write) { /* bare or open: what the CPU holds. The bare CPU stores nothing, which is what the guest is promised */
		g->r[0] = ctl->bare ? 0 : (uint32_t)sw.debugctl;
		record(g, R_MSR, 0, g->r[0], 0);
		return DONE;
	}
	return o->a & ~allowed ? fault(g, 13) : DONE;
}

static enum outcome execute(struct sw_guest *g, const struct gop *o, const struct sw_ctl *ctl, struct sw_exit *x)
{
	switch ((enum gop_kind)o->kind) {
	case G_NOP: case G_SPLIT_LOCK: return DONE;
	case G_MOV_TO_DR: case G_MOV_FROM_DR: return mov_dr(g, o, ctl, x);
	case G_STORE: case G_LOAD:
		access(g, o->kind == G_STORE ? REF_WRITE : REF_READ, o->a, o->n);
		return o->flags & GOP_TLB && tlb_execute(g, o, ctl, x) ? EXITED : DONE;
	case G_MOV_TO_CR: case G_INVLPG: return tlb_execute(g, o, ctl, x) ? EXITED : DONE;
	case G_WREFER:
		g->r[1] = 0xc0000080;
		g->r[0] = (uint32_t)o->a;
		g->r[2] = o->a >> 32;
		x->write = true;
		return ctl->bare ? DONE : out_of_guest(x, X_MSR);
	case G_OUT: case G_IN:
		x->port = (uint16_t)o->a;
		x->port_in = o->kind == G_IN;
		if (!ctl->bare)
			return out_of_guest(x, X_IO);
		access(g, REF_PORT, o->a, 1);
		return DONE;
	case G_POPF:
		g->rflags = o->a ? g->rflags | TF : g->rflags & ~TF;
		return DONE;
	case G_HLT: return ctl->bare ? DONE : out_of_guest(x, X_HLT);
	case G_CPUID:
		g->r[0] = o->a;
		g->r[1] = 0;
		return ctl->bare ? DONE : out_of_guest(x, X_CPUID);
	case G_HC:
		g->r[0] = o->a;
		g->r[3] = o->b;
		g->r[1] = o->c;
		g->r[2] = o->d;
		if (ctl->bare && (o->flags & GOP_SHOW))
			record(g, R_HC, 0, 0, 0);
		return ctl->bare ? DONE : out_of_guest(x, X_HC);
	case G_WRMSR: case G_RDMSR: return msr(g, o, ctl, x);
	case G_ICEBP: case G_IRET: case G_END: break;
	}
	return DONE;
}

/* ICEBP: a trap with no cause. AMD leaves DR6 alone, Intel rewrites B0-3. RIP is behind it before anything else. */
static bool icebp(struct sw_guest *g, const struct sw_ctl *ctl, struct sw_exit *x)
{
	if (ctl->icebp) {
		x->kind = X_ICEBP;
		g->raised = 0;
		return true;
	}
	g->rip++;
	g->rflags &= ~RF;
	if (g->amd) {
		sw.dr7 &= ~GD;
		g->true_dr7 &= ~GD;
		enter_handler(g, 1);
		return false;
	}
	g->last_len = 0;
	return raise_db(g, ctl, x, 0);
}

static uint32_t enabled_hits(const struct sw_guest *g, enum ref_access kind, uint64_t addr, unsigned len)
{
	uint32_t hits = 0;

	for (unsigned i = 0; i < 4; i++)
		if (ref_enabled(sw.dr7, i) && ref_match(sw.dr[i], sw.dr7, i, kind, addr, len, g->de))
			hits |= 1u << i;
	return hits;
}

static uint32_t true_hits(const struct sw_guest *g, enum ref_access kind, uint64_t addr, unsigned len)
{
	uint32_t hits = 0;

	for (unsigned i = 0; i < 4; i++)
		if (ref_enabled(g->true_dr7, i) && ref_match(g->true_dr[i], g->true_dr7, i, kind, addr, len, g->de))
			hits |= 1u << i;
	return hits;
}

/* What an emulated instruction left in the registers is recorded when the guest comes back behind it. */
static void note_emulated(struct sw_guest *g)
{
	const struct gop *o;
	int i = g->exited_at - 1;

	g->exited_at = 0;
	if (i < 0 || g->rip != g->at[i] + g->len[i])
		return;
	o = &g->op[i];
	if (o->kind == G_RDMSR)
		record(g, R_MSR, 0, (uint32_t)g->r[0], 0);
	if (o->kind == G_HC && (o->flags & GOP_SHOW))
		record(g, R_HC, 0, g->r[0], 0);
}

/* Executes the instruction at RIP. True: guest mode ends. Sets *pending to the traps that are due after it. */
static bool step(struct sw_guest *g, const struct sw_ctl *ctl, struct sw_exit *x, int i, uint32_t *pending)
{
	const struct gop *o = &g->op[i];
	uint64_t tf = g->rflags & TF;
	enum outcome out;

	x->len = g->len[i];
	g->last_len = 0;
	if (o->kind == G_END)
		return x->kind = ctl->bare ? X_END : X_IO, x->port = END_PORT, x->port_in = 0, g->r[0] = 0x10, true;
	if (o->kind == G_ICEBP)
		return icebp(g, ctl, x);
	if (o->kind == G_IRET) {
		g->rip = g->saved_rip;
		g->rflags = g->saved_rflags | RF;
		return false;
	}
	out = execute(g, o, ctl, x);
	if (out == EXITED) {
		if (x->kind != X_DB)
			g->rflags &= ~RF; /* saved as 0 by an instruction's exit */
		if (x->kind != X_DB && x->kind != X_DR) /* what the machine model is to raise when it has carried it out */
			g->raised = (tf ? BS : 0) | (x->kind == X_IO ? true_hits(g, REF_PORT, o->a, 1) : 0);
		return true;
	}
	if (out == FAULTED)
		return false;
	g->rip += g->len[i];
	g->rflags &= ~RF;
	if (g->last_len)
		*pending |= enabled_hits(g, g->last_kind, g->last_addr, g->last_len);
	if (o->kind == G_SPLIT_LOCK && (sw.debugctl & 4) && sw.phys.bld)
		*pending |= BLD;
	if (tf && !(sw.debugctl & 2)) /* with BTF only a branch steps, and the scripts have none */
		*pending |= BS;
	return false;
}

void sw_guest_run(struct sw_guest *g, const struct sw_ctl *ctl, struct sw_exit *x)
{
	uint32_t pending = (uint32_t)(ctl->pending & 0x1e80f);
	uint32_t hits;
	int i;

	memset(x, 0, sizeof(*x));
	note_emulated(g);
	if (ctl->inject) {
		if (ctl->inject_vector == 1)
			truth_db(g, g->raised);
		pending = 0;
		enter_handler(g, ctl->inject_vector);
	}
	if (sw.kicked) {
		sw.kicked = false;
		x->kind = X_INTR;
		return;
	}
	for (;;) {
		if (pending) {
			hits = pending;
			pending = 0;
			if (raise_db(g, ctl, x, hits))
				return;
			continue;
		}
		i = find(g, g->rip);
		if (i < 0 || ++g->steps > 20000) {
			g->dead = true;
			x->kind = X_DEAD;
			return;
		}
		if ((g->op[i].flags & GOP_IRQ) && !g->irq_done[i] && !ctl->bare) {
			g->irq_done[i] = true;
			x->kind = X_INTR;
			return;
		}
		g->last_len = 0;
		hits = g->rflags & RF ? 0 : enabled_hits(g, REF_FETCH, g->rip, 1);
		if (hits) {
			if (raise_db(g, ctl, x, hits))
				return;
			continue;
		}
		if (step(g, ctl, x, i, &pending)) {
			g->exited_at = i + 1;
			return;
		}
	}
}

void sw_run_bare(struct sw_guest *g, struct ref_cpu phys)
{
	struct sw_cpu kept = sw;
	struct sw_ctl ctl = { .bare = true };
	struct sw_exit x;

	sw_reset(g->amd, phys);
	sw.guest = true;
	sw_guest_run(g, &ctl, &x);
	sw = kept;
}
