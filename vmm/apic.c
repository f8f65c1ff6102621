/* SPDX-License-Identifier: MIT */
/* The APIC's registers by MSR and by memory access. Hardware looks at no breakpoint for an access that exits: matched here (rule E08). */
#include "vmm/apic.h"

#include "arch/x86/def/cr.h"
#include "arch/x86/def/exitcode.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/insn.h"
#include "vmm/backend.h"
#include "vmm/fetch.h"
#include "vmm/gva.h"
#include "vmm/run.h"

void apic_changed(struct vcpu *v)
{
	unsigned want = v->apic.want;

	v->apic.want = 0;
	if (want & VLAPIC_WANT_NMI)
		v->nmi_pending = true;
	v->event_pending = true; /* event_select looks what there is */
	vcpu_dirty(v, VST_CTL);
	if ((want & VLAPIC_WANT_INIT) && !(v->nested && v->be->nested->init_signal && v->be->nested->init_signal(v)))
		vcpu_init(v);
	run_timer(v);
}

void apic_set_cr8(struct vcpu *v, uint8_t cr8)
{
	vlapic_set_tpr(&v->apic, (uint8_t)(cr8 << 4));
	v->event_pending = true;
	vcpu_dirty(v, VST_CTL);
}

void apic_tick(struct vcpu *v, uint64_t now)
{
	if (now < v->apic.expiry)
		return;
	vlapic_tick(&v->apic, now);
	v->event_pending = true;
}

/* ---- The page ---- */

/* Registers are 32 bits wide at multiples of 16. The rest of the page, and what is beyond the register in a wider access, reads 0. */
static uint64_t load(struct vcpu *v, unsigned off)
{
	if (off % 16 >= 4)
		return 0;
	return (uint64_t)vlapic_read(&v->apic, off & ~15u, rdtsc()) >> 8 * (off % 4);
}

/* Narrow stores, and those beside a register, do nothing. */
static void store(struct vcpu *v, unsigned off, unsigned size, uint64_t val)
{
	if (off % 16 == 0 && size >= 4)
		vlapic_write(&v->apic, off, (uint32_t)val, rdtsc());
}

static uint64_t *high_byte(struct vcpu *v, const struct decoded *d)
{
	return d->high8 ? &v->r[d->reg - 4] : NULL; /* AH, CH, DH, BH */
}

static void set_reg(struct vcpu *v, const struct decoded *d, uint64_t val)
{
	uint64_t *high = high_byte(v, d), *r = &v->r[d->reg], mask = bytes_mask(d->op_size);

	if (high)
		*high = (*high & ~0xff00ull) | (val & 0xff) << 8;
	else
		*r = d->op_size == 4 ? val & mask : (*r & ~mask) | (val & mask); /* 32 bits clear the upper half */
}

static uint64_t get_reg(struct vcpu *v, const struct decoded *d)
{
	const uint64_t *high = high_byte(v, d);

	return d->has_imm ? d->imm : high ? *high >> 8 : v->r[d->reg];
}

/* NULL: done, or a fault is queued. */
static const char *access_page(struct vcpu *v)
{
	const struct exit *e = &v->exit;
	struct decoded d;
	struct gva at;
	uint64_t pa;
	unsigned off;
	uint32_t hits = 0;

	if (e->u.mem.exec)
		return "code in it";
	if (e->vectoring.type != EVENT_NONE)
		return "the delivery of an event";
	if (!fetch_decode_once(v, DEC_MOV, DEC_MOV, &d) || d.write != e->u.mem.write)
		return "an instruction that is no MOV";
	at = fetch_operand(v, &d, 0);
	if (!gva_touch(v, at, d.write, &pa))
		return NULL;
	off = (unsigned)(pa & 4095);
	if ((pa ^ e->u.mem.gpa) >> 12 || off + d.op_size > 4096)
		return "an access that is not wholly inside";
	if (d.write)
		store(v, off, d.op_size, get_reg(v, &d));
	else
		set_reg(v, &d, load(v, off));
	if (v->dbg.state != DBG_IDLE) {
		vcpu_need(v, VST_CR);
		hits = dbg_bp_hit(&v->dbg, d.write ? DBG_ACCESS_WRITE : DBG_ACCESS_READ, at.v, d.op_size, v->st.cr4);
	}
	vcpu_skip_hits(v, d.len, hits);
	apic_changed(v);
	return NULL;
}

void apic_mmio(struct vcpu *v)
{
	const char *what = access_page(v);

	if (what)
		vcpu_stop(v, EXIT_UNHANDLED, "its APIC's page was touched by %s: gpa=0x%lx rip=0x%lx", what, v->exit.u.mem.gpa, v->rip);
}
