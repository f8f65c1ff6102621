/* SPDX-License-Identifier: MIT */
/* Instructions that fault in ring 3 and that no other backend ever sees exit. What all backends share goes to vmm/'s handlers from the backend's decoding, or
 * from here where a check of the virtual privilege comes first. */
#include "arch/x86/pvm/emul.h"

#include "arch/lib/string.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/hypercall.h"
#include "vmm/cpuid.h"
#include "vmm/exits.h"
#include "vmm/fetch.h"

static void gp(struct vcpu *v)
{
	vcpu_raise(v, VEC_GP, true, 0);
}

static void ud(struct vcpu *v)
{
	vcpu_raise(v, VEC_UD, false, 0);
}

static bool privileged(struct vcpu *v)
{
	if (v->st.cpl == 0)
		return true;
	gp(v);
	return false;
}

/* What hardware has found: of an instruction that faults for the guest too. */
static void reflect(struct vcpu *v)
{
	const struct pvm_vcpu *hw = pvm_hw(v);
	uint8_t vec = (uint8_t)hw->trap_vector;
	bool error = vec == VEC_TS || vec == VEC_NP || vec == VEC_SS || vec == VEC_GP;

	vcpu_raise(v, vec, error, error ? (uint32_t)hw->trap_error : 0);
}

static void set_gpr(struct vcpu *v, unsigned gpr, uint64_t val, unsigned bytes)
{
	uint64_t mask = bytes == 2 ? 0xffff : bytes == 4 ? 0xffffffff : ~0ull;

	v->r[gpr] = bytes == 2 ? (v->r[gpr] & ~mask) | (val & mask) : val & mask;
}

/* ---- IF ---- */

static void cli_sti(struct vcpu *v, const struct decoded *d)
{
	bool set = d->kind == DEC_STI, was = v->rflags & RFLAGS_IF;

	if (v->st.cpl > vcpu_iopl(v)) {
		gp(v);
		return;
	}
	if (set)
		v->rflags |= RFLAGS_IF;
	else
		v->rflags &= ~RFLAGS_IF;
	vcpu_skip(v, d->len);
	if (set && !was) { /* holds interrupts for one instruction, not #DBs (A24) */
		v->st.shadow = SHADOW_STI;
		vcpu_dirty(v, VST_SHADOW);
		v->event_pending = true;
	}
}

/* ---- Segment registers ---- */

/* SS: no trap behind it; it holds the traps that are due, its own hits among them, and interrupts until the next instruction has run (A23). */
static void skip_ss(struct vcpu *v, unsigned len, uint32_t hits)
{
	uint64_t rip = v->rip + len;

	v->rip = vcpu_long64(v) ? rip : rip & 0xffffffff;
	v->rflags &= ~RFLAGS_RF;
	v->st.pending_dbg |= hits;
	v->st.shadow = SHADOW_MOV_SS;
	vcpu_dirty(v, VST_SHADOW);
}

static void loaded(struct vcpu *v, const struct decoded *d, uint32_t hits)
{
	if (d->reg == SEG_SS && d->kind != DEC_LOAD_SREG) /* LSS holds nothing */
		skip_ss(v, d->len, hits);
	else
		vcpu_skip_hits(v, d->len, hits);
}

static void mov_sreg(struct vcpu *v, const struct decoded *d)
{
	uint16_t sel = (uint16_t)v->r[d->gpr];
	uint32_t hits = 0;
	uint64_t va;

	if (d->reg == SEG_CS || d->reg > SEG_GS) {
		ud(v);
		return;
	}
	if (d->mem) {
		if (!pvm_operand(v, d, 2, &va) || !pvm_read(v, va, &sel, 2, PVM_AT_CPL))
			return;
		hits = pvm_hits(v, false, va, 2);
	}
	if (pvm_load_seg(v, d->reg, sel))
		loaded(v, d, hits);
}

static void pop_sreg(struct vcpu *v, const struct decoded *d)
{
	struct pvm_stack s = pvm_stack_open(v);
	uint64_t val;

	if (!pvm_pop(v, &s, d->op_size, &val) || !pvm_load_seg(v, d->reg, (uint16_t)val))
		return;
	pvm_stack_close(v, &s);
	loaded(v, d, s.hits);
}

static void load_sreg(struct vcpu *v, const struct decoded *d)
{
	unsigned size = d->op_size == 8 && cpuid_amd() ? 4 : d->op_size; /* AMD has no m16:64 */
	uint8_t bytes[10] = { 0 };
	uint64_t va, offset = 0;
	uint16_t sel;

	if (!pvm_operand(v, d, size + 2, &va) || !pvm_read(v, va, bytes, size + 2, PVM_AT_CPL))
		return;
	memcpy(&offset, bytes, size);
	memcpy(&sel, bytes + size, 2);
	if (!pvm_load_seg(v, d->reg, sel))
		return;
	set_gpr(v, d->gpr, offset, size);
	vcpu_skip_hits(v, d->len, pvm_hits(v, false, va, size + 2));
}

static bool is_load(const struct decoded *d)
{
	return d->kind == DEC_MOV_SREG || d->kind == DEC_POP_SREG || d->kind == DEC_LOAD_SREG || d->kind == DEC_JMPF || d->kind == DEC_CALLF ||
	       d->kind == DEC_RETF || d->kind == DEC_IRET;
}

/* ---- Tables ---- */

/* SGDT and SIDT only where UMIP makes them fault; drover does not offer it, so that the guest's users have them. */
static void store_table(struct vcpu *v, const struct decoded *d)
{
	unsigned size = vcpu_long64(v) ? 8 : 4;
	uint64_t base = d->reg & 1 ? v->st.idtr.base : v->st.gdtr.base, va;
	uint16_t limit = (uint16_t)(d->reg & 1 ? v->st.idtr.limit : v->st.gdtr.limit);
	uint8_t bytes[10];

	memcpy(bytes, &limit, 2);
	memcpy(bytes + 2, &base, 8);
	if (!pvm_operand(v, d, size + 2, &va) || !pvm_write(v, va, bytes, size + 2, PVM_AT_CPL))
		return;
	vcpu_skip_hits(v, d->len, pvm_hits(v, true, va, size + 2));
}

static void load_table(struct vcpu *v, const struct decoded *d)
{
	unsigned size = vcpu_long64(v) ? 8 : 4;
	uint64_t base = 0, va;
	uint8_t bytes[10];
	uint16_t limit;

	if (!privileged(v) || !pvm_operand(v, d, size + 2, &va) || !pvm_read(v, va, bytes, size + 2, PVM_AT_CPL))
		return;
	memcpy(&limit, bytes, 2);
	memcpy(&base, bytes + 2, size);
	if (size == 4 && d->op_size == 2)
		base &= 0xffffff;
	if (!is_canonical(base)) {
		gp(v);
		return;
	}
	if (d->reg & 1) {
		v->st.idtr.base = base;
		v->st.idtr.limit = limit;
	} else {
		v->st.gdtr.base = base;
		v->st.gdtr.limit = limit;
	}
	vcpu_dirty(v, VST_DESC);
	if (!(d->reg & 1))
		pvm_gdt_rebuild(v);
	vcpu_skip_hits(v, d->len, pvm_hits(v, false, va, size + 2));
}

/* To a register of the operand size, or 16 bits to memory. */
static void store_word(struct vcpu *v, const struct decoded *d, uint64_t val)
{
	uint16_t word = (uint16_t)val;
	uint64_t va;

	if (!d->mem) {
		set_gpr(v, d->gpr, val, d->op_size);
		vcpu_skip(v, d->len);
		return;
	}
	if (!pvm_operand(v, d, 2, &va) || !pvm_write(v, va, &word, 2, PVM_AT_CPL))
		return;
	vcpu_skip_hits(v, d->len, pvm_hits(v, true, va, 2));
}

static bool load_word(struct vcpu *v, const struct decoded *d, uint16_t *word, uint32_t *hits)
{
	uint64_t va;

	*word = (uint16_t)v->r[d->gpr];
	*hits = 0;
	if (!d->mem)
		return true;
	if (!pvm_operand(v, d, 2, &va) || !pvm_read(v, va, word, 2, PVM_AT_CPL))
		return false;
	*hits = pvm_hits(v, false, va, 2);
	return true;
}

/* A system descriptor for LDTR or TR: 16 bytes, whose upper type is 0. False: a fault is queued. */
static bool system_segment(struct vcpu *v, uint16_t sel, unsigned type, struct seg *out, uint64_t desc[2])
{
	uint32_t error = sel & 0xfffcu;
	bool wrong;

	switch (pvm_desc_read(v, sel, 16, desc)) {
	case PVM_DESC_NONE: vcpu_raise(v, VEC_GP, true, error); return false;
	case PVM_DESC_FAULT: return false;
	}
	*out = pvm_seg(sel, desc[0]);
	out->base |= desc[1] << 32;
	wrong = (desc[0] >> 40 & 0x1f) != type || (desc[1] >> 40 & 0x1f) || !is_canonical(out->base);
	if (wrong || !(desc[0] & PVM_DESC_P)) {
		vcpu_raise(v, wrong ? VEC_GP : VEC_NP, true, error);
		return false;
	}
	return true;
}

/* SDM "LLDT", "LTR". LDTR is a value only: no selector of an LDT loads (CAVEATS). */
static void load_selector(struct vcpu *v, const struct decoded *d)
{
	unsigned seg = d->reg == 2 ? SEG_LDTR : SEG_TR;
	uint64_t desc[2] = { 0 };
	struct seg s;
	uint32_t hits;
	uint16_t sel;

	if (!privileged(v) || !load_word(v, d, &sel, &hits))
		return;
	if (pvm_null(sel) && seg == SEG_LDTR) {
		s = (struct seg){ .sel = sel, .ar = SEG_AR_LDT | SEG_AR_UNUSABLE };
	} else {
		if (pvm_null(sel)) {
			gp(v);
			return;
		}
		if (!system_segment(v, sel, seg == SEG_TR ? 9 : 2, &s, desc))
			return;
		if (seg == SEG_TR) {
			if (!pvm_desc_mark(v, sel, desc[0], PVM_DESC_BUSY))
				return;
			s.ar |= 2;
		}
	}
	v->st.seg[seg] = s;
	vcpu_dirty(v, VST_SEG);
	vcpu_skip_hits(v, d->len, hits);
}

/* CR0 by halves: SMSW reads it at any level, LMSW writes its lowest four bits and cannot clear PE. */
static void lmsw(struct vcpu *v, const struct decoded *d)
{
	uint16_t word;
	uint32_t hits;

	if (!privileged(v) || !load_word(v, d, &word, &hits))
		return;
	v->st.cr0 = (v->st.cr0 & ~(CR0_MP | CR0_EM | CR0_TS)) | (word & 0xf);
	vcpu_dirty(v, VST_CR);
	vcpu_skip_hits(v, d->len, hits);
}

static void emulate_swapgs(struct vcpu *v, const struct decoded *d)
{
	uint64_t base = v->st.seg[SEG_GS].base;

	if (!privileged(v))
		return;
	v->st.seg[SEG_GS].base = v->st.kernel_gs_base;
	v->st.kernel_gs_base = base;
	vcpu_dirty(v, VST_SEG | VST_MSR);
	vcpu_skip(v, d->len);
}

/* ---- INVLPG, and the pair with which a guest asks for drover's CPUID where the CPU has no CPUID faulting ---- */

static bool cpuid_pair(struct vcpu *v, const struct decoded *d, const uint8_t *behind, unsigned n)
{
	struct decoded next;

	if (!pvm_is_pair(d) || !decode(behind, n, DECODE_64, &next) || next.kind != DEC_CPUID)
		return false;
	v->exit.len = (uint8_t)(d->len + next.len); /* one instruction */
	cpuid_exit(v);
	return true;
}

static void emulate_invlpg(struct vcpu *v, const struct decoded *d)
{
	uint64_t va;

	if (!privileged(v))
		return;
	va = fetch_operand(v, d, 0).v;
	if (is_canonical(va)) /* else a NOP (SDM) */
		pvm_mmu_flush_page(v, va);
	vcpu_skip(v, d->len);
}

/* ---- Ports: what IOPL refuses the TSS may grant ---- */

static void port_io(struct vcpu *v, const struct decoded *d)
{
	struct exit *e = &v->exit;
	uint16_t port = (uint16_t)(d->has_imm ? d->imm : v->r[GPR_RDX]);

	if (!pvm_io_allowed(v, port, d->op_size))
		return;
	e->kind = EXITK_IO;
	e->len = d->len;
	e->u.io.port = port;
	e->u.io.size = d->op_size;
	e->u.io.in = d->kind == DEC_IN || d->kind == DEC_INS;
	e->u.io.string = d->kind == DEC_INS || d->kind == DEC_OUTS;
	e->u.io.rep = d->rep;
	exit_io(v);
}

/* ---- All of them ---- */

static void emulate(struct vcpu *v, const struct decoded *d, const uint8_t *p, unsigned n)
{
	switch ((enum decode_kind)d->kind) {
	case DEC_CLI: case DEC_STI: cli_sti(v, d); return;
	case DEC_SWAPGS: emulate_swapgs(v, d); return;
	case DEC_SYSRET: pvm_sysret(v, d); return;
	case DEC_IRET: pvm_iret(v, d); return;
	case DEC_RETF: pvm_retf(v, d); return;
	case DEC_JMPF: case DEC_CALLF: pvm_far_jump(v, d, d->kind == DEC_CALLF); return;
	case DEC_INT: pvm_soft_int(v, (uint8_t)d->imm, d->len, true); return;
	case DEC_INT3: pvm_soft_int(v, VEC_BP, d->len, false); return;
	case DEC_INTO: pvm_soft_int(v, VEC_OF, d->len, false); return;
	case DEC_MOV_SREG: mov_sreg(v, d); return;
	case DEC_POP_SREG: pop_sreg(v, d); return;
	case DEC_LOAD_SREG: load_sreg(v, d); return;
	case DEC_TABLE:
		if (d->reg < 2)
			store_table(v, d);
		else
			load_table(v, d);
		return;
	case DEC_SELECTOR:
		if (d->reg < 2)
			store_word(v, d, v->st.seg[d->reg ? SEG_TR : SEG_LDTR].sel);
		else
			load_selector(v, d);
		return;
	case DEC_SMSW: store_word(v, d, v->st.cr0); return;
	case DEC_LMSW: lmsw(v, d); return;
	case DEC_INVLPG:
		if (!cpuid_pair(v, d, p + d->len, n - d->len))
			emulate_invlpg(v, d);
		return;
	case DEC_IN: case DEC_OUT: case DEC_INS: case DEC_OUTS: port_io(v, d); return;
	default: reflect(v); return;
	}
}

/* A load that failed by a view older than the guest's table runs again: the view is new then. */
void pvm_emulate(struct vcpu *v)
{
	struct decoded d;
	const uint8_t *p;
	unsigned n;

	vcpu_need(v, VST_ALL & ~(uint32_t)VST_DBG);
	p = pvm_code(v, &n);
	if (!p || !decode(p, n, fetch_decode_mode(v), &d)) {
		reflect(v);
		return;
	}
	if (!is_load(&d) || !pvm_gdt_begin(v))
		emulate(v, &d, p, n);
	pvm_gdt_end(v);
}
