/* SPDX-License-Identifier: MIT */
/* Instructions that drover carries out for a guest script: what is true in the guest after them, and which traps are due. */
#include "model/cpu.h"

#define BD 0x2000u
#define BS 0x4000u
#define GD 0x2000ull

void sw_record(struct sw_guest *g, enum rec_kind kind, unsigned n, uint64_t a, uint64_t b)
{
	if (g->nr_rec < G_RECS)
		g->rec[g->nr_rec++] = (struct rec){ .kind = (uint8_t)kind, .n = (uint8_t)n, .a = a, .b = b };
}

uint32_t sw_msr_number(const struct gop *o)
{
	return o->b ? (uint32_t)o->b : 0x1d9;
}

static void emulated_write(struct sw_guest *g, const struct gop *o)
{
	int slot = sw_mask_slot(sw_msr_number(o));

	if (o->kind == G_WRMSR && sw_msr_number(o) == 0x1d9)
		sw_debugctl_write(o->a, &g->true_debugctl);
	else if (o->kind == G_WRMSR && slot >= 0)
		g->true_mask[slot] = (uint32_t)o->a;
	else if (o->kind == G_MOV_TO_DR && o->n < 4)
		g->true_dr[o->n] = o->a;
	else if (o->kind == G_MOV_TO_DR && !(o->n & 1))
		g->true_dr6 = ref_dr6_written(o->a, sw.phys);
	else if (o->kind == G_MOV_TO_DR)
		g->true_dr7 = ref_dr7_written(o->a, sw.phys);
}

void sw_note_emulated(struct sw_guest *g)
{
	const struct gop *o;
	int i = g->exited_at - 1;

	g->exited_at = 0;
	if (i < 0 || g->rip != g->at[i] + g->len[i])
		return;
	o = &g->op[i];
	if (o->kind == G_OUTS)
		g->in_rep = 0;
	emulated_write(g, o);
	if (o->kind == G_RDMSR)
		sw_record(g, R_MSR, 0, (uint32_t)g->r[0] | g->r[2] << 32, sw_msr_number(o));
	if (o->kind == G_MOV_FROM_DR)
		sw_record(g, R_DR, o->n == 4 || o->n == 5 ? o->n + 2u : o->n, (uint32_t)g->r[0], 0);
	if (o->kind == G_CPUID && (o->flags & GOP_SHOW))
		sw_record(g, R_HC, 0, g->r[1] & 1u << 24, 0);
	if (o->kind == G_HC && (o->flags & GOP_SHOW))
		sw_record(g, R_HC, 0, g->r[0], 0);
}

void sw_due_after_emulation(struct sw_guest *g, const struct gop *o, const struct sw_ctl *ctl, bool tf)
{
	uint64_t debugctl = g->true_debugctl;

	if (o->kind == G_MOV_TO_DR || o->kind == G_MOV_FROM_DR)
		g->raised = g->true_dr7 & GD ? BD : 0;
	else
		g->raised = 0;
	if (g->raised)
		return;
	if (o->kind == G_WRMSR && sw_msr_number(o) == 0x1d9)
		sw_debugctl_write(o->a, &debugctl);
	if (tf && !(debugctl & SW_BTF))
		g->raised |= BS;
	if (ctl->keeps_held)
		g->raised |= g->held & ~(uint32_t)g->held_slots;
	if (o->kind == G_IN || o->kind == G_OUT || o->kind == G_OUTS)
		g->raised |= sw_true_hits(g, REF_PORT, o->a, 1);
	if (o->kind == G_OUTS)
		g->raised |= sw_true_hits(g, REF_READ, g->r[6], 1);
}

void sw_run_bare(struct sw_guest *g, struct ref_cpu phys)
{
	struct sw_cpu kept = sw;
	struct sw_ctl ctl = { .bare = true, .user = g->user };
	struct sw_exit x;

	sw_reset(g->amd, phys);
	sw.guest = true;
	sw_guest_run(g, &ctl, &x);
	sw = kept;
}
