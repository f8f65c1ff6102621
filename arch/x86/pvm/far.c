/* SPDX-License-Identifier: MIT */
/* Transfers between segments and virtual modes: IRET, far RET, JMP, CALL, SYSCALL, SYSRET. Checks in the order of the SDM's pseudocode. */
#include "arch/x86/pvm/emul.h"

#include "arch/x86/def/cr.h"
#include "vmm/cpuid.h"
#include "vmm/syscall.h"

#define RFLAGS_IRET 0x4dd5ull     /* CF, PF, AF, ZF, SF, TF, DF, OF, NT */
#define RFLAGS_IRET32 0x250000ull /* RF, AC, ID: not with a 16-bit operand */

static bool refuse(struct vcpu *v, uint8_t vec, uint32_t error)
{
	vcpu_raise(v, vec, true, error & ~3u);
	return false;
}

/* Code at rings 1 and 2 is not there: two virtual modes. */
static bool ring_exists(unsigned cpl)
{
	return cpl == 0 || cpl == 3;
}

/* The code segment that a transfer loads. ret: RPL is the new CPL; else CPL stays. False: a fault is queued. */
static bool code_segment(struct vcpu *v, uint16_t sel, bool ret, struct seg *out)
{
	unsigned cpl = v->st.cpl, rpl, dpl;
	uint64_t d[2] = { 0 };
	bool ok;

	if (pvm_null(sel))
		return refuse(v, VEC_GP, 0);
	switch (pvm_desc_read(v, sel, 8, d)) {
	case PVM_DESC_NONE: return refuse(v, VEC_GP, sel);
	case PVM_DESC_FAULT: return false;
	}
	sel = pvm_virtual_sel(v, sel, d[0]);
	rpl = sel & 3;
	dpl = pvm_desc_dpl(d[0]);
	if (!pvm_is_code(d[0]))
		return refuse(v, VEC_GP, sel);
	if (ret)
		ok = rpl >= cpl && (d[0] & PVM_DESC_CONF ? dpl <= rpl : dpl == rpl) && ring_exists(rpl);
	else
		ok = d[0] & PVM_DESC_CONF ? dpl <= cpl : rpl <= cpl && dpl == cpl;
	if (!ok || ((d[0] & PVM_DESC_L) && (d[0] & PVM_DESC_DB)))
		return refuse(v, VEC_GP, sel);
	return pvm_desc_load(v, sel, d[0], VEC_NP, (uint16_t)((sel & ~3u) | (ret ? rpl : cpl)), out);
}

static bool target_ok(struct vcpu *v, const struct seg *cs, uint64_t rip)
{
	if (cs->ar & SEG_AR_L ? is_canonical(rip) : rip <= cs->limit)
		return true;
	return refuse(v, VEC_GP, 0);
}

/* A segment that the outer level may not have is null there. FS and GS keep their bases: nobody can use them but by MSR. */
static void drop_inner(struct vcpu *v, unsigned cpl)
{
	static const uint8_t data[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

	vcpu_need(v, VST_SEG);
	for (unsigned i = 0; i < sizeof(data); i++) {
		struct seg *s = &v->st.seg[data[i]];
		bool conforming = (s->ar & 0xc) == 0xc;

		if (!(s->ar & SEG_AR_UNUSABLE) && !conforming && (s->ar >> SEG_AR_DPL_SHIFT & 3) < cpl) {
			s->sel = 0;
			s->ar = SEG_AR_UNUSABLE;
		}
	}
	vcpu_dirty(v, VST_SEG);
}

/* Nothing can fault any more. hits: of the instruction's accesses. The step is of the instruction that TF was set for (A20), not of the one that sets it. */
static void arrive(struct vcpu *v, const struct seg *cs, const struct seg *ss, uint64_t rip, uint32_t hits)
{
	unsigned was = v->st.cpl, cpl = cs->sel & 3;

	vcpu_retired(v, hits);
	v->rip = cs->ar & SEG_AR_L ? rip : rip & 0xffffffff;
	v->st.seg[SEG_CS] = *cs;
	if (ss)
		v->st.seg[SEG_SS] = *ss;
	vcpu_dirty(v, VST_CS);
	if (cpl == was)
		return;
	drop_inner(v, cpl);
	pvm_set_cpl(v, cpl);
}

static uint64_t iret_flags(const struct vcpu *v, unsigned size, uint64_t popped)
{
	uint64_t mask = RFLAGS_IRET | (size > 2 ? RFLAGS_IRET32 : 0);

	if (v->st.cpl <= vcpu_iopl(v))
		mask |= RFLAGS_IF;
	if (v->st.cpl == 0)
		mask |= RFLAGS_IOPL | (size > 2 ? RFLAGS_VIF_VIP : 0);
	return (v->rflags & ~mask & ~RFLAGS_RF) | (popped & mask);
}

/* n words of IRET's frame. In 64-bit mode as one read where they lie in one page: a fault is at its first word then, as with single pops. */
static bool pop_frame(struct vcpu *v, struct pvm_stack *s, unsigned size, unsigned n, uint64_t w[5])
{
	if (size == 8 && s->mask == ~0ull && is_canonical(s->sp) && !((s->sp ^ (s->sp + 8 * n - 1)) >> 12)) {
		if (!pvm_read(v, s->sp, w, 8 * n, PVM_AT_CPL))
			return false;
		s->hits |= pvm_hits(v, false, s->sp, 8 * n);
		s->sp += 8 * n;
		return true;
	}
	for (unsigned i = 0; i < n; i++)
		if (!pvm_pop(v, s, size, &w[i]))
			return false;
	return true;
}

/* SDM "IRET/IRETD/IRETQ", IA-32e mode. NMIs are open again even if it faults. In 64-bit mode it pops SS and RSP always. */
void pvm_iret(struct vcpu *v, const struct decoded *d)
{
	struct pvm_stack s = pvm_stack_open(v);
	uint64_t w[5] = { 0 }, flags; /* RIP, CS, RFLAGS, RSP, SS */
	struct seg cs, ss;
	bool outer, from64 = vcpu_long64(v);

	if (v->st.nmi_blocked) {
		v->st.nmi_blocked = false;
		v->event_pending = true;
		vcpu_dirty(v, VST_SHADOW);
	}
	if (v->rflags & RFLAGS_NT) {
		refuse(v, VEC_GP, 0);
		return;
	}
	if (!pop_frame(v, &s, d->op_size, from64 ? 5 : 3, w) || !code_segment(v, (uint16_t)w[1], true, &cs))
		return;
	outer = (cs.sel & 3u) > v->st.cpl;
	if (!from64 && outer && (!pvm_pop(v, &s, d->op_size, &w[3]) || !pvm_pop(v, &s, d->op_size, &w[4])))
		return;
	if ((outer || from64) && !pvm_check_ss(v, (uint16_t)w[4], cs.sel & 3, cs.ar & SEG_AR_L, &ss))
		return;
	if (!target_ok(v, &cs, w[0]))
		return;
	flags = iret_flags(v, d->op_size, w[2]);
	if (outer || from64)
		v->r[GPR_RSP] = cs.ar & SEG_AR_L ? w[3] : w[3] & 0xffffffff;
	else
		pvm_stack_close(v, &s);
	arrive(v, &cs, outer || from64 ? &ss : NULL, w[0], s.hits);
	v->rflags = flags;
	v->event_pending = true; /* IF may have come */
}

/* SDM "RET", far, IA-32e mode. */
void pvm_retf(struct vcpu *v, const struct decoded *d)
{
	struct pvm_stack s = pvm_stack_open(v);
	uint64_t rip, cs_sel, rsp = 0, ss_sel = 0;
	struct seg cs, ss;
	bool outer;

	if (!pvm_pop(v, &s, d->op_size, &rip) || !pvm_pop(v, &s, d->op_size, &cs_sel) || !code_segment(v, (uint16_t)cs_sel, true, &cs))
		return;
	outer = (cs.sel & 3u) > v->st.cpl;
	s.sp = (s.sp & ~s.mask) | ((s.sp + d->imm) & s.mask);
	if (outer && (!pvm_pop(v, &s, d->op_size, &rsp) || !pvm_pop(v, &s, d->op_size, &ss_sel) ||
		      !pvm_check_ss(v, (uint16_t)ss_sel, cs.sel & 3, cs.ar & SEG_AR_L, &ss)))
		return;
	if (!target_ok(v, &cs, rip))
		return;
	if (outer)
		v->r[GPR_RSP] = cs.ar & SEG_AR_L ? rsp + d->imm : (rsp + d->imm) & 0xffffffff;
	else
		pvm_stack_close(v, &s);
	arrive(v, &cs, outer ? &ss : NULL, rip, s.hits);
}

/* The far pointer of JMP and CALL: in the instruction, or in memory. */
static bool far_pointer(struct vcpu *v, const struct decoded *d, uint64_t *rip, uint16_t *sel, uint32_t *hits)
{
	uint8_t bytes[10] = { 0 };
	uint64_t va;

	*rip = d->imm;
	*sel = (uint16_t)d->disp;
	if (!d->mem)
		return true;
	if (!pvm_operand(v, d, d->op_size + 2u, &va) || !pvm_read(v, va, bytes, d->op_size + 2u, PVM_AT_CPL))
		return false;
	*hits = pvm_hits(v, false, va, d->op_size + 2u);
	*rip = 0;
	__builtin_memcpy(rip, bytes, d->op_size);
	__builtin_memcpy(sel, bytes + d->op_size, 2);
	return true;
}

/* SDM "JMP", "CALL", far. Through gates: not there (CAVEATS); a gate is no code segment, #GP. */
void pvm_far_jump(struct vcpu *v, const struct decoded *d, bool call)
{
	struct pvm_stack s = pvm_stack_open(v);
	struct decoded op = *d;
	uint32_t hits = 0;
	uint64_t rip;
	uint16_t sel;
	struct seg cs;

	if (op.op_size == 8 && cpuid_amd())
		op.op_size = 4; /* AMD has no m16:64 */
	if (!far_pointer(v, &op, &rip, &sel, &hits) || !code_segment(v, sel, false, &cs))
		return;
	if (call && (!pvm_push(v, &s, op.op_size, v->st.seg[SEG_CS].sel) || !pvm_push(v, &s, op.op_size, v->rip + d->len)))
		return;
	if (!target_ok(v, &cs, rip))
		return;
	if (call)
		pvm_stack_close(v, &s);
	arrive(v, &cs, NULL, rip, hits | s.hits);
}

/* ---- System calls ---- */

/* Both look at the TF that they leave behind (A21); what MOV SS held back comes behind SYSCALL, in the kernel (A25). */
static void call_traps(struct vcpu *v)
{
	uint32_t payload = v->st.pending_dbg | (v->rflags & RFLAGS_TF ? (uint32_t)DR6_BS : 0);

	vcpu_clear_shadow(v);
	v->event_pending = true;
	pvm_raise_hits(v, payload);
}

bool pvm_syscall(struct vcpu *v)
{
	bool compat, amd = cpuid_amd();

	vcpu_need(v, VST_CS | VST_CR | VST_MSR | VST_SHADOW | VST_SEG);
	compat = pvm_hw(v)->trap_vector == PVM_TRAP_SYSCALL32; /* CS in st is the last entry's: the guest may have jumped to another one since */
	if (!(v->st.efer & EFER_SCE) || (compat && !amd)) {
		v->rip -= v->exit.len ? v->exit.len : 2; /* hardware's own tells no length; with prefixes it is #UD there, and decoded */
		vcpu_raise(v, VEC_UD, false, 0);
		return false;
	}
	syscall_enter(v, 0, compat);
	pvm_set_cpl(v, 0);
	call_traps(v);
	return true;
}

/* SDM "SYSRET". AMD's loads any RIP, and the fetch there faults. */
bool pvm_sysret(struct vcpu *v, const struct decoded *d)
{
	if (!(v->st.efer & EFER_SCE) || (!vcpu_long64(v) && !cpuid_amd())) {
		vcpu_raise(v, VEC_UD, false, 0);
		return false;
	}
	if (v->st.cpl != 0 || (d->op_size == 8 && !cpuid_amd() && !is_canonical(v->r[GPR_RCX])))
		return refuse(v, VEC_GP, 0);
	syscall_return(v, d->op_size == 8);
	pvm_set_cpl(v, 3);
	call_traps(v);
	return true;
}
