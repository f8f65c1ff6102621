/* SPDX-License-Identifier: MIT */
/* Debug traps that wait: held back by MOV SS, in the pending-debug field, behind or before other events. */
#include "arch/x86/def/dr.h"
#include "arch/x86/def/hypercall.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/vmx/internal.h"
#include "both.h"

#define MOV_SS(at) { G_MOV_SS, .a = (at) }

/* ---- MOV SS, by hardware ---- */

BOTH(A23_held_one_instruction)
{
	static const struct gop ops[] = { TF_ON, MOV_SS(0), { G_NOP }, TF_OFF, WR(0, 0x5000), WR(7, 0x30402), MOV_SS(0x5000), { G_NOP }, { G_NOP }, HC(HC_LAB_SLOW),
					  MOV_SS(0x5000), { G_NOP }, { G_NOP }, TF_ON, MOV_SS(0x5000), { G_NOP }, TF_OFF };
	struct machine m;

	if (!run_full(&m, amd, "A23.bare", OPS(ops), OPS(show_all)))
		return;
	tap_eq(rec_of(&m, R_DB, 0), m.g[0].at[3], id(amd, "A23.step"), "no step after MOV SS, one after the instruction behind it");
	tap_eq(rec_of(&m, R_DB, 2), m.g[0].at[8], id(amd, "A23.data"), "a breakpoint that MOV SS hit: likewise, by the owner");
	tap_eq(rec_of(&m, R_DB, 3), m.g[0].at[12], id(amd, "A23.armed"), "and by a guest that is not");
	tap_eq(rec_of(&m, R_DB, 4), m.g[0].at[16], id(amd, "A23.both"), "step and hit: one #DB");
	machine_stop(&m);
}

/* A code breakpoint behind MOV SS: Intel holds it back for good, AMD does not. */
BOTH(A23_code)
{
	static const struct gop ops[] = { WR(1, G_MAIN + 11), WR(7, 0x404), HC(HC_LAB_SLOW), MOV_SS(0), { G_NOP }, { G_PUSHF } };
	static const struct gop none[] = { { G_NOP } };
	struct machine m;

	if (!run_full(&m, amd, "A23.code_bare", OPS(ops), OPS(none)))
		return;
	tap_eq(machine_recs(&m, 0, R_DB), amd, id(amd, "A23.code"), "a code breakpoint behind MOV SS");
	machine_stop(&m);
}

/* ---- MOV SS, and the instruction behind it exits ---- */

BOTH(V12_emulated_behind_mov_ss)
{
	static const struct gop ops[] = { WR(0, 0x5000), WR(7, 0x30402), HC(HC_LAB_SLOW), TF_ON, MOV_SS(0x5000), { G_CPUID }, TF_OFF };
	static const struct gop svm[] = { TF_ON, MOV_SS(0), { G_CPUID }, TF_OFF }; /* it keeps no breakpoints for an exit: steps only */
	struct machine m;

	if (!run_full(&m, amd, "V12.bare", amd ? svm : ops, amd ? 4 : 7, OPS(show_all)))
		return;
	tap_eq(machine_recs(&m, 0, R_DB), 2, id(amd, "V12.one"), "MOV SS and what is emulated behind it: one #DB (and the POPF's)");
	tap_eq(rec_of(&m, R_DR, 0), amd ? 0xffff4ff0 : 0xffff4ff1, id(amd, "V12.bits"), "with the bits of both");
	machine_stop(&m);
}

/* On the fast path too, which has no place for a trap. */
TEST(V12_fast_behind_mov_ss)
{
	static const struct gop ops[] = { WR(0, 0x5000), WR(7, 0x30402), HC(HC_LAB_FAST), MOV_SS(0x5000), HC(HC_LAB_FAST), { G_NOP }, { G_CPUID } };
	struct machine m;

	if (!run_full(&m, false, "V12.fast_bare", OPS(ops), OPS(show_dr67)))
		return;
	tap_eq(rec_of(&m, R_DB, 0), m.g[0].at[5], "V12.fast", "what MOV SS held back comes behind a fast exit, not later");
	machine_stop(&m);
}

/* The exit does not emulate, but runs the instruction again: what is held back stays in the field. */
TEST(V11_kept)
{
	static const struct gop ops[] = { WR(0, 0x5000), WR(7, 0x30402), HC(HC_LAB_SLOW), MOV_SS(0x5000), RD(0), { G_NOP }, HC(HC_LAB_SLOW), TF_ON, MOV_SS(0x5000), RD(0), TF_OFF };
	struct machine m;

	if (!run_full(&m, false, "V11.bare", OPS(ops), OPS(show_all)))
		return;
	tap_eq(rec_of(&m, R_DB, 0), m.g[0].at[5], "V11.after", "watched MOV SS, then a MOV DR that makes the guest an owner: the #DB comes after that");
	tap_eq(rec_of(&m, R_DR, 1), 0xffff0ff1, "V11.bits", "with the breakpoint's bit");
	machine_stop(&m);
}

/* General detect behind MOV SS under TF: the entry that injects it is under the shadow, and hardware saved no pending step with it (XSA-308). */
BOTH(V09_gd_in_shadow)
{
	static const struct gop live[] = { WR(7, 0x2400), TF_ON, MOV_SS(0), RD(0), TF_OFF };
	static const struct gop idle[] = { WR(7, 0x2400), HC(HC_LAB_SLOW), TF_ON, MOV_SS(0), RD(0), TF_OFF };
	static const struct gop gd_on[] = { WR(7, 0x2400), MOV_SS(0), RD(0), HC(HC_LAB_SLOW), WR(7, 0x2400), TF_ON, MOV_SS(0), RD(1), TF_OFF, { G_CPUID } };
	struct machine m;

	if (!run_full(&m, amd, "V09.live", OPS(live), OPS(show_all)))
		return;
	tap_eq(rec_of(&m, R_DR, 0), 0xffff2ff0, id(amd, "V09.gd"), "general detect, and the entry was taken");
	machine_stop(&m);
	if (!run_full(&m, amd, "V10.idle", OPS(idle), OPS(show_all)))
		return;
	tap_eq(rec_of(&m, R_DR, 0), 0xffff2ff0, id(amd, "V10.gd"), "the same, raised by software");
	machine_stop(&m);
	if (!run_full(&m, amd, "V10.mixed", OPS(gd_on), OPS(show_all)))
		return;
	machine_stop(&m);
}

/* The debug exception of ICEBP behind MOV SS drops what was held back (A25). */
BOTH(V14_icebp_in_shadow)
{
	static const struct gop ops[] = { TF_ON, MOV_SS(0), { G_ICEBP }, TF_OFF, WR(0, 0x5000), WR(7, 0x30402), HC(HC_LAB_SLOW), MOV_SS(0x5000), { G_ICEBP }, { G_NOP } };
	struct machine m;

	if (!run_full(&m, amd, "V14.shadow", OPS(ops), OPS(show_dr67)))
		return;
	tap_eq(machine_recs(&m, 0, R_DB), 3, id(amd, "V14.once"), "one #DB each, and the POPF's");
	machine_stop(&m);
}

/* WRMSR turns BTF on and off behind MOV SS with TF on. */
BOTH(V20_btf_flips)
{
	static const struct gop on[] = { TF_ON, MOV_SS(0), WM(DEBUGCTL_MSR, 2), { G_NOP }, { G_JMP }, TF_OFF };
	static const struct gop off[] = { WM(DEBUGCTL_MSR, 2), TF_ON, MOV_SS(0), WM(DEBUGCTL_MSR, 0), { G_NOP }, TF_OFF };
	static const struct gop bad[] = { WM(DEBUGCTL_MSR, 2), TF_ON, MOV_SS(0), WM(DEBUGCTL_MSR, 0x80), { G_NOP }, { G_JMP }, TF_OFF };
	struct machine m;

	if (!run_full(&m, amd, "V20.on", OPS(on), OPS(show_all)))
		return;
	tap_eq(rec_of(&m, R_DB, 0), m.g[0].at[5], id(amd, "V20.branch"), "BTF on: no step before the jump's");
	machine_stop(&m);
	if (!run_full(&m, amd, "V20.off", OPS(off), OPS(show_all)))
		return;
	tap_eq(rec_of(&m, R_DB, 0), m.g[0].at[4], id(amd, "V20.step"), "BTF off: a step of the WRMSR itself");
	machine_stop(&m);
	if (!run_full(&m, amd, "V20.fault", OPS(bad), OPS(show_all)))
		return;
	machine_stop(&m);
}

/* ---- Traps of emulated instructions, and other events ---- */

/* VMX raises them at the entry: each comes back as an intercepted #DB. */
BOTH(V13_by_hardware)
{
	static const struct gop ops[] = { TF_ON, { G_CPUID }, { G_OUT, .a = 0x80 }, TF_OFF };
	struct machine m;

	if (!run_full(&m, amd, "V13.bare", OPS(ops), OPS(show_all)))
		return;
	if (!amd) {
		unsigned dbs = 0;

		for (unsigned i = 0; i < sw.nr_log; i++)
			dbs += sw.log[i].op == OP_EXIT && sw.log[i].v == 0;
		tap_eq(dbs, 3, "V13.exits", "each step of an emulated instruction went through the pending-debug field");
	}
	machine_stop(&m);
}

TEST(V08_pending_field)
{
	struct tap_set s = { .id = "V08.field" }, back = { .id = "V11.field" };

	for (unsigned p = 0; p < 1u << 17; p++) {
		uint64_t f = dbg_pending_from_payload(p);

		tap_case(&s, f & ~0x580full, 0, "payload 0x%x", p);
		tap_case(&s, !!(f & 0x1000), !!(p & 0xf), "bit 12 for payload 0x%x", p);
		tap_case(&back, dbg_payload_from_pending(f | 0x1000), p & 0x480f, "payload 0x%x", p);
	}
	tap_end(&s, "no reserved bit, and bit 12 iff a breakpoint is in it");
	tap_end(&back, "and back, without bit 12");
}

BOTH(A35_trap_before_nmi)
{
	static const struct gop nmi[] = { TF_ON, { G_HC, .a = HC_LAB_INJECT, .b = LAB_NMI }, TF_OFF, { G_CPUID } };
	static const struct gop irq[] = { { G_POPF, .a = 3 }, { G_HC, .a = HC_LAB_INJECT, .b = LAB_IRQ, .c = 0x40 }, { G_POPF, .a = 2 }, { G_NOP } };
	struct machine m;
	unsigned at = 0;

	for (unsigned k = 0; k < 2; k++) {
		const struct rec *r;

		if (!machine_start(&m, amd, full(amd)) || !machine_add(&m, k ? irq : nmi, 4, OPS(show_all)))
			return;
		machine_run(&m);
		while (at < m.g[0].nr_rec && m.g[0].rec[at].kind != R_DB)
			at++;
		r = machine_rec(&m, 0, R_EXC, 0);
		tap_eq(rec_of(&m, R_DB, 0), m.g[0].at[2], id(amd, k ? "A35.trap_irq" : "A35.trap"), "the trap of the hypercall comes");
		tap_ok(r && r > &m.g[0].rec[at], id(amd, k ? "A35.irq" : "A35.nmi"), "%s asked for by the same instruction comes after its trap",
		       k ? "an interrupt" : "an NMI");
		if (r && !k)
			tap_ok(r->b >= G_HANDLER, id(amd, "A35.in_handler"), "in the #DB's handler");
		if (r && k)
			tap_ok(r->b < G_HANDLER, id(amd, "A35.behind_handler"), "behind the #DB's handler, which has interrupts off");
		at = 0;
		sw_report(id(amd, "trap_before"));
		machine_stop(&m);
	}
}

/* ---- String I/O: all causes of one element are one #DB (E10), one per element (E04) ---- */

BOTH(E10_outs)
{
	static const struct gop ops[] = { WR(0, 0x80), WR(1, 0x5001), WR(7, 0x00320409 | 0x4), TF_ON, { G_OUTS, .a = 0x80, .b = 0x5001, .n = 1 },
					  { G_OUTS, .a = 0x81, .b = 0x5000, .n = 3 }, { G_REP_STOS, .a = 0x5000, .n = 3 }, TF_OFF };
	struct machine m;

	if (!machine_start(&m, amd, full(amd)) || !machine_add(&m, OPS(ops), OPS(show_dr67)))
		return;
	m.vm[0]->vcpu->st.cr4 |= 8;
	machine_run(&m);
	tap_eq(rec_of(&m, R_DR, 0), 0xffff4ff3, id(amd, "E10.outs"), "a stepped OUTS of a watched byte to a watched port: BS, B0 and B1 at once");
	tap_eq(machine_recs(&m, 0, R_DB), 8, id(amd, "E04.count"), "REP OUTS and REP STOS: one #DB per element");
	machine_same_as_bare(&m, 0, id(amd, "E10.bare"));
	sw_report(id(amd, "outs"));
	machine_stop(&m);
}

/* ---- The queue ---- */

BOTH(E13_payload_apart)
{
	static const struct gop ops[] = { { G_NOP } };
	struct machine m;
	struct vcpu *v;

	if (!machine_start(&m, amd, full(amd)))
		return;
	v = machine_add(&m, OPS(ops), OPS(show_all));
	v->dbg.dr7 = 0x2400;
	v->dbg.debugctl = 3;
	vcpu_raise_db(v, &(struct dbg_record){ .payload = 0x4000, .cls = DBG_TRAP });
	tap_eq(v->dbg.dr6, 0xffff0ff0, id(amd, "E13.dr6"), "a queued #DB has not touched DR6");
	tap_ok(v->dbg.dr7 == 0x2400 && v->dbg.debugctl == 3, id(amd, "E13.rest"), "nor DR7.GD and DEBUGCTL");
	vcpu_raise_db(v, &(struct dbg_record){ .payload = 1, .cls = DBG_TRAP });
	tap_eq(v->exception.db.payload, 0x4001, id(amd, "A34.queue"), "two causes at one boundary are one #DB");
	v->exception.type = EVENT_NONE;
	vcpu_raise(v, VEC_GP, true, 8);
	vcpu_raise_db(v, &(struct dbg_record){ .payload = 0x4000, .cls = DBG_TRAP });
	tap_ok(v->exception.vector == VEC_GP && v->exception.error == 8, id(amd, "E17.kept"), "a #DB does not overwrite a fault");
	v->exception.type = EVENT_NONE;
	v->exit.vectoring = (struct event){ .type = EVENT_FAULT, .vector = VEC_PF };
	vcpu_raise_db(v, &(struct dbg_record){ .payload = 0x4000, .cls = DBG_TRAP });
	tap_eq(v->exception.vector, VEC_DB, id(amd, "E17.benign"), "and never makes a double fault");
	v->exception.type = EVENT_NONE;
	v->level = 1;
	v->exit.vectoring = (struct event){ .type = EVENT_FAULT, .vector = VEC_DF, .has_error = true };
	vcpu_raise(v, VEC_GP, true, 0);
	tap_ok(v->exception.type == EVENT_TRIPLE && !v->stopped, id(amd, "NB.triple"), "a nested guest's triple fault is its hypervisor's, not the VM's end");
	v->level = 0;
	v->exit.vectoring.type = EVENT_NONE;
	v->exception.type = EVENT_NONE;
	machine_stop(&m);
}
