/* SPDX-License-Identifier: MIT */
/* Execution of guest scripts, one instruction after the other, with the debug exceptions that each causes. */
#include <string.h>

#include "model/cpu.h"
#include "model/ring3.h"
#include "model/tlb.h"

#define TF 0x100ull
#define IF 0x200ull
#define RF 0x10000ull
#define BD 0x2000u
#define BS 0x4000u
#define BLD 0x800u
#define GD 0x2000ull
#define END_PORT 0xf4

/* ---- Events in the guest ---- */

static int find(const struct sw_guest *g, uint64_t rip)
{
	for (unsigned i = 0; i < g->nr; i++)
		if (g->at[i] == rip)
			return (int)i;
	return -1;
}

/* Vector 1 enters the handler script. The handler of any other exception notes it and skips the instruction, that of an interrupt comes back to it. */
static void enter_handler(struct sw_guest *g, unsigned vector)
{
	int i = find(g, g->rip);

	g->shadow = false; /* a delivery ends it, and what it held back is lost unless an instruction told it (A25) */
	g->held = 0;
	if (vector == 2 || vector >= 32) {
		sw_record(g, R_EXC, vector, vector, g->rip);
		return;
	}
	if (vector != 1) {
		sw_record(g, R_EXC, vector, vector, g->rip);
		g->rip += i < 0 ? 1 : g->len[i];
		g->rflags &= ~RF;
		g->in_rep = 0;
		return;
	}
	sw_record(g, R_DB, 0, g->rip, g->rflags & (TF | RF));
	g->saved_rip = g->rip;
	g->saved_rflags = g->rflags;
	g->rip = G_HANDLER;
	g->rflags &= ~(TF | RF | IF); /* an interrupt gate */
}

/* The #DB reaches the guest: what the manuals let it do to DR6, DR7 and DEBUGCTL. */
static void truth_db(struct sw_guest *g, uint32_t cause)
{
	g->true_dr6 = sw_dr6_after(g->true_dr6, cause, sw.phys);
	g->true_dr7 &= ~GD;
	g->true_debugctl &= ~(SW_LBR | SW_BTF);
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
		g->raised = cause & ~(uint32_t)g->held_slots; /* the rest is a debugger's */
		if (ctl->db_applied && sw.clears_debugctl)
			sw.debugctl &= ~(SW_LBR | SW_BTF);
		if (ctl->db_applied) {
			sw.dr6 = ref_dr6_after(sw.dr6, cause | extra, sw.phys);
			sw.dr7 &= ~GD;
		}
		return true;
	}
	sw.dr6 = ref_dr6_after(sw.dr6, cause | extra, sw.phys);
	sw.dr7 &= ~GD;
	sw.debugctl &= ~(SW_LBR | SW_BTF);
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
	if (ctl->dr && ctl->dr_first)
		return out_of_guest(x, X_DR);
	if ((n == 4 || n == 5) && g->de)
		return fault(g, 6);
	if (g->user)
		return fault(g, 13);
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
	sw_record(g, R_DR, n, g->r[0], 0);
	return DONE;
}

static void access(struct sw_guest *g, enum ref_access kind, uint64_t addr, unsigned len)
{
	g->last_kind = (uint8_t)kind;
	g->last_addr = addr;
	g->last_len = (uint8_t)len;
}

/* On the bare CPU. */
static enum outcome msr_here(struct sw_guest *g, const struct gop *o)
{
	uint32_t nr = sw_msr_number(o);
	uint64_t v = o->a;
	int slot = sw_mask_slot(nr);

	if (o->kind == G_RDMSR) {
		v = sw.debugctl;
		if (nr != 0x1d9 && sw_debug_msr(nr, false, &v) != 1)
			return fault(g, 13);
		g->r[0] = (uint32_t)v;
		sw_record(g, R_MSR, 0, v, nr);
		return DONE;
	}
	if (nr == 0x1d9 ? !sw_debugctl_write(v, &sw.debugctl) : sw_debug_msr(nr, true, &v) != 1)
		return fault(g, 13);
	if (slot >= 0)
		g->true_mask[slot] = (uint32_t)v;
	g->true_debugctl = sw.debugctl;
	return DONE;
}

static enum outcome msr(struct sw_guest *g, const struct gop *o, const struct sw_ctl *ctl, struct sw_exit *x)
{
	g->r[1] = sw_msr_number(o);
	x->write = o->kind == G_WRMSR;
	if (x->write) {
		g->r[0] = (uint32_t)o->a;
		g->r[2] = o->a >> 32;
	}
	if (ctl->bare)
		return msr_here(g, o);
	if (x->write || !ctl->debugctl_open || g->r[1] != 0x1d9)
		return out_of_guest(x, X_MSR);
	g->r[0] = (uint32_t)sw.debugctl;
	sw_record(g, R_MSR, 0, g->r[0], 0x1d9);
	return DONE;
}

/* ---- String instructions: each element is a boundary ---- */

static void first_element(struct sw_guest *g, const struct gop *o)
{
	int i = (int)(o - g->op) + 1;

	if (g->in_rep == i)
		return;
	g->in_rep = i;
	g->rep_left = o->n;
	if (o->kind == G_OUTS) {
		g->r[6] = o->b;
		g->r[2] = o->a;
		g->r[1] = o->n;
	}
}

static enum outcome outs(struct sw_guest *g, const struct gop *o, const struct sw_ctl *ctl, struct sw_exit *x)
{
	first_element(g, o);
	x->port = (uint16_t)o->a;
	x->string = true;
	x->rep = o->n > 1;
	if (!ctl->bare)
		return out_of_guest(x, X_IO);
	g->more_hits = sw_live_hits(REF_PORT, o->a, 1, g->de);
	access(g, REF_READ, o->b + o->n - g->rep_left, 1);
	g->rep_left--;
	return DONE;
}

static enum outcome execute(struct sw_guest *g, const struct gop *o, const struct sw_ctl *ctl, struct sw_exit *x)
{
	switch ((enum gop_kind)o->kind) {
	case G_NOP: case G_SPLIT_LOCK: return DONE;
	case G_INT3: return ctl->ring3 ? (g->rip++, out_of_guest(x, X_INT3)) : fault(g, 3);
	case G_SYSCALL:
		if (ctl->ring3)
			return g->rip += 2, out_of_guest(x, X_SYSCALL);
		g->r[1] = g->rip + 2;
		g->r[11] = g->rflags;
		g->rip = R3_SYSCALL - 2;
		g->rflags &= ~TF;
		return DONE;
	case G_JMP:
		sw_branch(g->rip, g->rip + 2);
		return DONE;
	case G_MOV_SS:
		if (ctl->ring3 && !ctl->user)
			return g->r[0] = R3_KDATA, out_of_guest(x, X_MOV_SS);
		if (o->a)
			access(g, REF_READ, o->a, 2);
		return DONE;
	case G_REP_STOS:
		first_element(g, o);
		access(g, REF_WRITE, o->a + o->n - g->rep_left, 1);
		g->rep_left--;
		return DONE;
	case G_OUTS: return outs(g, o, ctl, x);
	case G_PUSHF:
		sw_record(g, R_FLAGS, 0, g->rflags & TF, 0); /* RF is pushed as 0 */
		return DONE;
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
		g->rflags = (g->rflags & ~(TF | IF)) | (o->a & 1 ? TF : 0) | (o->a & 2 ? IF : 0);
		return DONE;
	case G_HLT: return ctl->bare ? DONE : out_of_guest(x, X_HLT);
	case G_CPUID:
		g->r[0] = o->a;
		g->r[1] = 0;
		if (ctl->bare && (o->flags & GOP_SHOW)) /* leaf 7 */
			sw_record(g, R_HC, 0, sw_debugctl_bits(sw.phys) & SW_BUS_LOCK ? 1u << 24 : 0, 0);
		return ctl->bare ? DONE : out_of_guest(x, X_CPUID);
	case G_HC:
		g->r[0] = o->a;
		g->r[3] = o->b;
		g->r[1] = o->c;
		g->r[2] = o->d;
		if (ctl->bare && (o->flags & GOP_SHOW))
			sw_record(g, R_HC, 0, 0, 0);
		return ctl->bare ? DONE : out_of_guest(x, X_HC);
	case G_WRMSR: case G_RDMSR: return msr(g, o, ctl, x);
	case G_ICEBP: case G_IRET: case G_END: break;
	}
	return DONE;
}

/* ICEBP: a trap with no cause. AMD leaves DR6 alone, Intel rewrites B0-3. RIP is behind it before anything else. */
static bool icebp(struct sw_guest *g, const struct sw_ctl *ctl, struct sw_exit *x)
{
	if (ctl->ring3 && g->amd) { /* nothing tells it from a #DB without a cause */
		g->shadow = false;
		g->held = 0;
		g->rip++;
		g->rflags &= ~RF;
		x->kind = X_ICEBP;
		g->raised = SW_KEEPS_DR6;
		return true;
	}
	if (ctl->icebp) {
		x->kind = X_ICEBP;
		g->raised = g->amd ? SW_KEEPS_DR6 : 0;
		return true;
	}
	g->shadow = false;
	g->held = 0;
	g->rip++;
	g->rflags &= ~RF;
	if (g->amd) {
		sw.dr7 &= ~GD;
		g->true_dr7 &= ~GD;
		sw.debugctl &= ~(SW_LBR | SW_BTF);
		g->true_debugctl &= ~(SW_LBR | SW_BTF);
		enter_handler(g, 1);
		return false;
	}
	g->last_len = 0;
	return raise_db(g, ctl, x, 0);
}

/* ---- One instruction ---- */

/* It is over: the traps that are due. MOV SS holds them, and any of its own, for one instruction more. */
static void retire(struct sw_guest *g, const struct gop *o, struct sw_exit *x, const struct sw_ctl *ctl, bool tf, uint32_t *pending)
{
	uint32_t causes = g->more_hits;
	bool string = o->kind == G_REP_STOS || o->kind == G_OUTS, more = string && g->rep_left;

	if (more) {
		g->rflags |= RF;
	} else {
		g->rip += x->len;
		g->rflags &= ~RF;
		if (string)
			g->in_rep = 0;
	}
	if (g->last_len)
		causes |= sw_live_hits(g->last_kind, g->last_addr, g->last_len, g->de);
	if (o->kind == G_SPLIT_LOCK) {
		causes |= (sw.debugctl & SW_BUS_LOCK) && sw.phys.bld ? BLD : 0;
		x->bus_lock = ctl->bus_lock_exit;
	}
	if (o->kind == G_MOV_SS) {
		g->held |= causes;
		g->shadow = true;
		return;
	}
	if (tf && o->kind != G_SYSCALL && (!(sw.debugctl & SW_BTF) || o->kind == G_JMP))
		causes |= BS;
	*pending |= causes | g->held;
	g->held = 0;
	g->shadow = false;
}

/* Executes the instruction at RIP. True: guest mode ends. Sets *pending to the traps that are due after it. */
static bool step(struct sw_guest *g, const struct sw_ctl *ctl, struct sw_exit *x, int i, uint32_t *pending)
{
	const struct gop *o = &g->op[i];
	uint64_t tf = g->rflags & TF;
	enum outcome out;

	x->len = g->len[i];
	g->last_len = 0;
	g->more_hits = 0;
	if (o->kind == G_END)
		return x->kind = ctl->bare ? X_END : X_IO, x->port = END_PORT, x->port_in = 0, g->r[0] = 0x10, true;
	if (o->kind == G_ICEBP)
		return icebp(g, ctl, x);
	if (o->kind == G_IRET && ctl->ring3)
		return out_of_guest(x, X_IRET);
	if (o->kind == G_IRET) {
		sw_branch(g->rip, g->saved_rip);
		g->rip = g->saved_rip;
		g->rflags = g->saved_rflags | RF;
		return false;
	}
	out = execute(g, o, ctl, x);
	if (out == EXITED) {
		if (x->kind != X_DB) {
			g->rflags &= ~RF; /* saved as 0 by an instruction's exit */
			sw_due_after_emulation(g, o, ctl, tf);
		}
		return true;
	}
	if (out == DONE)
		retire(g, o, x, ctl, tf, pending);
	return false;
}

/* ---- Guest mode ---- */

/* What comes between two instructions, in the order of the manuals. True: guest mode ends. */
static bool between(struct sw_guest *g, const struct sw_ctl *ctl, struct sw_exit *x, int i)
{
	if (g->shadow)
		return false;
	if (ctl->nmi_window)
		return out_of_guest(x, X_NMI_WINDOW);
	if (ctl->intr_window && (g->rflags & IF))
		return out_of_guest(x, X_INTR_WINDOW);
	if (!(g->op[i].flags & GOP_IRQ) || g->irq_done[i] || ctl->bare)
		return false;
	g->irq_done[i] = true;
	return out_of_guest(x, X_INTR);
}

/* Traps at the start: the control block's, which MOV SS holds back and an injected event drops. */
static uint32_t at_entry(struct sw_guest *g, const struct sw_ctl *ctl)
{
	uint32_t pending = (uint32_t)(ctl->pending & (0xf | BLD | BS));

	if (ctl->bare)
		return 0;
	g->shadow = ctl->mov_ss;
	g->held = g->shadow ? pending & ~BS : 0; /* BS there says no more than TF does */
	if (ctl->inject) {
		if (ctl->inject_vector == 1)
			truth_db(g, g->raised);
		enter_handler(g, ctl->inject_vector);
		g->handled = ctl->ring3 && ctl->inject_vector != 1;
		return 0;
	}
	if (g->shadow)
		return 0;
	g->raised = pending & ~(uint32_t)g->held_slots;
	return pending;
}

void sw_guest_run(struct sw_guest *g, const struct sw_ctl *ctl, struct sw_exit *x)
{
	uint32_t pending, hits;
	int i;

	memset(x, 0, sizeof(*x));
	g->handled = false;
	pending = at_entry(g, ctl);
	if (g->handled) {
		x->kind = X_HANDLED;
		return;
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
			x->bus_lock = false;
			continue;
		}
		if (x->bus_lock) {
			x->kind = X_BUS_LOCK;
			return;
		}
		if (g->rip == R3_SYSCALL) { /* its handler: SYSRET */
			sw_record(g, R_EXC, 0, 0x100, g->r[1]);
			if (ctl->ring3) {
				x->kind = X_SYSRET;
				return;
			}
			g->rip = g->r[1];
			g->rflags = g->r[11];
			continue;
		}
		i = find(g, g->rip);
		if (i < 0 || ++g->steps > 20000) {
			g->dead = true;
			x->kind = X_DEAD;
			return;
		}
		if (between(g, ctl, x, i))
			return;
		g->last_len = 0;
		hits = g->rflags & RF || (g->shadow && !g->amd) ? 0 : sw_live_hits(REF_FETCH, g->rip, 1, g->de); /* A23 */
		if (hits) {
			if (raise_db(g, ctl, x, hits))
				return;
			continue;
		}
		if (sw_ring3_fault(g, ctl, x, i) || sw_fetch_exits(g, ctl, x, i))
			return;
		if (step(g, ctl, x, i, &pending)) {
			g->exited_at = i + 1;
			return;
		}
	}
}
