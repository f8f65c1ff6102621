/* SPDX-License-Identifier: MIT */
/* Guest memory for the instructions that software carries out: rights, canonical addresses, data breakpoints. */
#include "arch/x86/pvm/emul.h"

#include "arch/x86/def/exitcode.h"
#include "vmm/fetch.h"
#include "vmm/gva.h"

static bool done(struct vcpu *v, enum gva_status s, uint64_t va)
{
	if (s == GVA_NO_MEMORY)
		vcpu_stop(v, EXIT_BADMEM, "touched memory that it does not have: an emulated access at linear=0x%lx rip=0x%lx", va, v->rip);
	return s == GVA_OK;
}

static bool copy(struct vcpu *v, uint64_t va, void *dst, const void *src, size_t n)
{
	return done(v, src ? gva_write(v, (struct gva){ va }, src, n) : gva_read(v, (struct gva){ va }, dst, n), va);
}

static bool copy_as(struct vcpu *v, uint64_t va, void *dst, const void *src, size_t n, enum pvm_right right)
{
	uint8_t cpl = v->st.cpl;
	bool ok;

	if (right == PVM_AT_CPL || cpl == 0)
		return copy(v, va, dst, src, n);
	vcpu_dirty(v, VST_CS); /* gva.c asks vcpu_cpl */
	v->st.cpl = 0;
	ok = copy(v, va, dst, src, n);
	v->st.cpl = cpl;
	return ok;
}

bool pvm_read(struct vcpu *v, uint64_t va, void *dst, size_t n, enum pvm_right right)
{
	return copy_as(v, va, dst, NULL, n, right);
}

bool pvm_write(struct vcpu *v, uint64_t va, const void *src, size_t n, enum pvm_right right)
{
	return copy_as(v, va, NULL, src, n, right);
}

bool pvm_touch_write(struct vcpu *v, uint64_t va, size_t n)
{
	return done(v, gva_probe_write(v, (struct gva){ va }, n), va);
}

bool pvm_operand(struct vcpu *v, const struct decoded *d, size_t n, uint64_t *va)
{
	*va = fetch_operand(v, d, 0).v;
	if (!vcpu_long64(v) || (is_canonical(*va) && is_canonical(*va + n - 1)))
		return true;
	vcpu_raise(v, fetch_operand_seg(d) == SEG_SS ? VEC_SS : VEC_GP, true, 0);
	return false;
}

uint32_t pvm_hits(struct vcpu *v, bool write, uint64_t va, size_t n)
{
	if (v->dbg.state == DBG_IDLE)
		return 0;
	return dbg_bp_hit(&v->dbg, write ? DBG_ACCESS_WRITE : DBG_ACCESS_READ, va, (unsigned)n, v->st.cr4);
}

/* ---- The stack ---- */

struct pvm_stack pvm_stack_open(struct vcpu *v)
{
	struct pvm_stack s = { .mask = ~0ull, .sp = v->r[GPR_RSP] };

	if (!vcpu_long64(v)) {
		s.base = v->st.seg[SEG_SS].base;
		s.mask = v->st.seg[SEG_SS].ar & SEG_AR_DB ? 0xffffffff : 0xffff;
	}
	return s;
}

static bool stack_at(struct vcpu *v, const struct pvm_stack *s, unsigned n, uint64_t *va)
{
	*va = (s->sp & s->mask) + s->base;
	if (!vcpu_long64(v)) {
		*va &= 0xffffffff;
		return true;
	}
	if (is_canonical(*va) && is_canonical(*va + n - 1))
		return true;
	vcpu_raise(v, VEC_SS, true, 0);
	return false;
}

static void move(struct pvm_stack *s, uint64_t by)
{
	s->sp = (s->sp & ~s->mask) | ((s->sp + by) & s->mask);
}

bool pvm_pop(struct vcpu *v, struct pvm_stack *s, unsigned n, uint64_t *val)
{
	uint64_t va;

	*val = 0;
	if (!stack_at(v, s, n, &va) || !pvm_read(v, va, val, n, PVM_AT_CPL))
		return false;
	s->hits |= pvm_hits(v, false, va, n);
	move(s, n);
	return true;
}

bool pvm_push(struct vcpu *v, struct pvm_stack *s, unsigned n, uint64_t val)
{
	uint64_t va;

	move(s, 0 - (uint64_t)n);
	if (!stack_at(v, s, n, &va) || !pvm_write(v, va, &val, n, PVM_AT_CPL))
		return false;
	s->hits |= pvm_hits(v, true, va, n);
	return true;
}

void pvm_stack_close(struct vcpu *v, const struct pvm_stack *s)
{
	v->r[GPR_RSP] = s->mask == 0xffffffff ? s->sp & s->mask : s->sp; /* a 32-bit result clears the upper half */
}
