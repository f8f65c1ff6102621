/* SPDX-License-Identifier: MIT */
/* Sources: Intel SDM "Advanced Programmable Interrupt Controller (APIC)", also for x2APIC. TMR stays 0: nothing here is level-triggered. */
#include "vmm/dev/lapic.h"

#include "arch/lib/string.h"
#include "arch/x86/def/apic.h"
#include "arch/x86/def/msr.h"

#define VERSION (0x14u | (VLVT_NR - 1u) << 16)

#define ESR_SEND_VECTOR (1u << 5)
#define ESR_RECEIVE_VECTOR (1u << 6)
#define ESR_REGISTER (1u << 7)

enum { MODE_ONE_SHOT, MODE_PERIODIC, MODE_DEADLINE };
enum { DELIVER_FIXED, DELIVER_LOWEST, DELIVER_SMI, DELIVER_NMI = 4, DELIVER_INIT, DELIVER_STARTUP };
enum { TO_DEST, TO_SELF, TO_ALL, TO_OTHERS };

#define ICR_BITS 0xccfffu      /* but reserved ones; bit 12 is read-only */
#define ICR_X2_RESERVED 0xfff33000u
#define ICR_LOGICAL (1u << 11)
#define ICR_ASSERT (1u << 14)
#define ICR_LEVEL (1u << 15)

/* What can be written; in x2APIC mode the rest is #GP, but for bits that are only read-only. */
static const uint32_t lvt_bits[VLVT_NR] = {
	[VLVT_TIMER] = 0x700ff, [VLVT_THERMAL] = 0x107ff, [VLVT_PERF] = 0x107ff, [VLVT_LINT0] = 0x1a7ff, [VLVT_LINT1] = 0x1a7ff, [VLVT_ERROR] = 0x100ff,
};
#define LVT_READ_ONLY 0x5000u

static bool x2apic(const struct vlapic *l)
{
	return l->base & APIC_BASE_X2APIC;
}

static int highest(const uint64_t set[4])
{
	for (int i = 3; i >= 0; i--)
		if (set[i])
			return i * 64 + 63 - __builtin_clzll(set[i]);
	return -1;
}

void vlapic_init(struct vlapic *l)
{
	uint64_t base = l->base, min_period = l->min_period;

	memset(l, 0, sizeof(*l));
	l->base = base;
	l->min_period = min_period;
	l->svr = 0xff;
	l->dfr = 0xffffffff;
	l->expiry = VLAPIC_NEVER;
	for (unsigned i = 0; i < VLVT_NR; i++)
		l->lvt[i] = APIC_LVT_MASKED;
}

void vlapic_reset(struct vlapic *l)
{
	l->base = VLAPIC_PA | APIC_BASE_ENABLE | APIC_BASE_BSP;
	vlapic_init(l);
}

bool vlapic_mmio(const struct vlapic *l)
{
	return (l->base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) == APIC_BASE_ENABLE;
}

/* ---- Priority ---- */

static uint8_t ppr(const struct vlapic *l)
{
	int in_service = highest(l->isr);
	uint8_t isrv = in_service < 0 ? 0 : (uint8_t)in_service;

	return (l->tpr & 0xf0) >= (isrv & 0xf0) ? (uint8_t)l->tpr : isrv & 0xf0;
}

void vlapic_set_tpr(struct vlapic *l, uint8_t tpr)
{
	l->tpr = tpr;
}

int vlapic_irq(const struct vlapic *l)
{
	int vector = highest(l->irr);

	return (l->base & APIC_BASE_ENABLE) && vector >= 0 && vector >> 4 > ppr(l) >> 4 ? vector : -1;
}

void vlapic_ack(struct vlapic *l, uint8_t vector)
{
	l->irr[vector / 64] &= ~(1ull << vector % 64);
	l->isr[vector / 64] |= 1ull << vector % 64;
}

static void eoi(struct vlapic *l)
{
	int vector = highest(l->isr);

	if (vector >= 0)
		l->isr[vector / 64] &= ~(1ull << vector % 64);
}

/* ---- Accepting ---- */

static void request(struct vlapic *l, uint8_t vector)
{
	if (l->svr & APIC_SVR_ENABLE)
		l->irr[vector / 64] |= 1ull << vector % 64;
}

static void error(struct vlapic *l, uint32_t bit)
{
	uint32_t lvt = l->lvt[VLVT_ERROR];

	l->esr |= bit;
	if (lvt & APIC_LVT_MASKED)
		return;
	if ((lvt & 0xff) < 16)
		l->esr |= ESR_RECEIVE_VECTOR; /* and that is all: an error about the error would not end */
	else
		request(l, (uint8_t)lvt);
}

static void accept(struct vlapic *l, uint8_t vector)
{
	if (vector < 16)
		error(l, ESR_RECEIVE_VECTOR);
	else
		request(l, vector);
}

/* Is this CPU, with ID 0, among those that the ICR names? */
static bool to_me(const struct vlapic *l)
{
	uint32_t dest = x2apic(l) ? l->icr_high : l->icr_high >> 24, ldr = l->ldr >> 24;

	switch (l->icr >> 18 & 3) {
	case TO_SELF: case TO_ALL: return true;
	case TO_OTHERS: return false;
	}
	if (dest == (x2apic(l) ? 0xffffffff : 0xff))
		return true;
	if (!(l->icr & ICR_LOGICAL))
		return dest == 0;
	if (x2apic(l))
		return dest >> 16 == 0 && (dest & 1);
	if (l->dfr >> 28 == 0xf)
		return dest & ldr;
	return (dest >> 4 == ldr >> 4 || dest >> 4 == 0xf) && (dest & ldr & 0xf);
}

static void send_ipi(struct vlapic *l)
{
	uint8_t vector = (uint8_t)l->icr;
	unsigned mode = l->icr >> 8 & 7;

	if (mode <= DELIVER_LOWEST && vector < 16) {
		error(l, ESR_SEND_VECTOR);
		return;
	}
	if (!to_me(l))
		return;
	if (mode <= DELIVER_LOWEST)
		accept(l, vector);
	else if (mode == DELIVER_NMI)
		l->want |= VLAPIC_WANT_NMI;
	else if (mode == DELIVER_INIT && (l->icr & (ICR_ASSERT | ICR_LEVEL)) != ICR_LEVEL) /* else INIT level de-assert, which does nothing */
		l->want |= VLAPIC_WANT_INIT;
	/* SMI: there is no SMM. Start-up: this CPU does not wait for it. */
}

/* ---- The timer ---- */

static unsigned mode_of(uint32_t lvt)
{
	return lvt >> 17 & 3;
}

static unsigned timer_mode(const struct vlapic *l)
{
	return mode_of(l->lvt[VLVT_TIMER]);
}

static unsigned divide_shift(const struct vlapic *l)
{
	return (((l->divide & 3) | (l->divide >> 1 & 4)) + 1) & 7;
}

static uint64_t period(const struct vlapic *l)
{
	uint64_t ticks = (uint64_t)l->initial << divide_shift(l);

	return timer_mode(l) == MODE_PERIODIC && ticks < l->min_period ? l->min_period : ticks;
}

void vlapic_tick(struct vlapic *l, uint64_t now)
{
	uint32_t lvt = l->lvt[VLVT_TIMER];

	if (now < l->expiry)
		return;
	if (timer_mode(l) == MODE_PERIODIC)
		l->expiry += ((now - l->expiry) / period(l) + 1) * period(l); /* those that were missed are one interrupt */
	else
		l->expiry = VLAPIC_NEVER;
	if (!(lvt & APIC_LVT_MASKED))
		accept(l, (uint8_t)lvt);
}

bool vlapic_will_wake(const struct vlapic *l)
{
	uint32_t lvt = l->lvt[VLVT_TIMER];

	return l->expiry != VLAPIC_NEVER && !(lvt & APIC_LVT_MASKED) && (l->base & APIC_BASE_ENABLE) && (lvt & 0xff) >= 16 &&
	       (lvt & 0xff) >> 4 > ppr(l) >> 4u;
}

static uint32_t current_count(const struct vlapic *l, uint64_t now)
{
	uint64_t left;

	if (l->expiry == VLAPIC_NEVER || timer_mode(l) == MODE_DEADLINE)
		return 0;
	left = (l->expiry - now) >> divide_shift(l);
	return left < l->initial ? (uint32_t)left : l->initial;
}

static void set_initial(struct vlapic *l, uint32_t val, uint64_t now)
{
	if (timer_mode(l) == MODE_DEADLINE)
		return;
	l->initial = val;
	l->expiry = val ? now + period(l) : VLAPIC_NEVER;
}

/* What is left of the count goes on at the new rate. */
static void set_divide(struct vlapic *l, uint32_t val, uint64_t now)
{
	uint64_t left = current_count(l, now);

	l->divide = val;
	if (l->expiry != VLAPIC_NEVER && timer_mode(l) != MODE_DEADLINE)
		l->expiry = now + (left << divide_shift(l));
}

static void set_deadline(struct vlapic *l, uint64_t val, uint64_t now)
{
	if (timer_mode(l) != MODE_DEADLINE)
		return;
	l->expiry = val ? val : VLAPIC_NEVER;
	vlapic_tick(l, now); /* one that is past comes at once */
}

static void set_lvt(struct vlapic *l, unsigned i, uint32_t val)
{
	if (i == VLVT_TIMER && mode_of(val) != timer_mode(l) && (mode_of(val) == MODE_DEADLINE || timer_mode(l) == MODE_DEADLINE)) {
		l->expiry = VLAPIC_NEVER;
		l->initial = 0;
	}
	l->lvt[i] = val | (l->svr & APIC_SVR_ENABLE ? 0 : APIC_LVT_MASKED);
}

/* ---- Registers ---- */

static void set_svr(struct vlapic *l, uint32_t val)
{
	l->svr = val;
	for (unsigned i = 0; i < VLVT_NR && !(val & APIC_SVR_ENABLE); i++)
		l->lvt[i] |= APIC_LVT_MASKED;
}

static uint32_t part_of(const uint64_t set[4], uint32_t reg)
{
	unsigned i = reg / 16 % 8;

	return (uint32_t)(set[i / 2] >> 32 * (i % 2));
}

/* False: no such register, or not for reading. Those that both modes have. */
static bool read_common(struct vlapic *l, uint32_t reg, uint64_t now, uint32_t *val)
{
	*val = 0;
	if (reg >= APIC_ISR && reg < APIC_ESR) {
		*val = reg < APIC_TMR ? part_of(l->isr, reg) : reg < APIC_IRR ? 0 : part_of(l->irr, reg);
		return true;
	}
	if (reg >= APIC_LVT_TIMER && reg <= APIC_LVT_ERROR) {
		*val = l->lvt[(reg - APIC_LVT_TIMER) / 16];
		return true;
	}
	switch (reg) {
	case APIC_ID: return true;
	case APIC_VERSION: *val = VERSION; return true;
	case APIC_TPR: *val = l->tpr; return true;
	case APIC_PPR: *val = ppr(l); return true;
	case APIC_LDR: *val = x2apic(l) ? 1 : l->ldr; return true;
	case APIC_SVR: *val = l->svr; return true;
	case APIC_ESR: *val = l->esr_seen; return true;
	case APIC_ICR: *val = l->icr; return true;
	case APIC_TIMER_INITIAL: *val = l->initial; return true;
	case APIC_TIMER_CURRENT: *val = current_count(l, now); return true;
	case APIC_TIMER_DIVIDE: *val = l->divide; return true;
	}
	return false;
}

/* The bits of a register that can be written, in *bits; false: none such. */
static bool writable(uint32_t reg, uint32_t *bits)
{
	if (reg >= APIC_LVT_TIMER && reg <= APIC_LVT_ERROR) {
		*bits = lvt_bits[(reg - APIC_LVT_TIMER) / 16];
		return true;
	}
	switch (reg) {
	case APIC_TPR: *bits = 0xff; return true;
	case APIC_EOI: case APIC_ESR: *bits = 0; return true;
	case APIC_SVR: *bits = 0x1ff; return true;
	case APIC_ICR: *bits = ICR_BITS; return true;
	case APIC_TIMER_INITIAL: *bits = 0xffffffff; return true;
	case APIC_TIMER_DIVIDE: *bits = 0xb; return true;
	}
	return false;
}

/* val: of writable bits only. */
static void write_common(struct vlapic *l, uint32_t reg, uint32_t val, uint64_t now)
{
	if (reg >= APIC_LVT_TIMER && reg <= APIC_LVT_ERROR) {
		set_lvt(l, (reg - APIC_LVT_TIMER) / 16, val);
		return;
	}
	switch (reg) {
	case APIC_TPR: l->tpr = val; break;
	case APIC_EOI: eoi(l); break;
	case APIC_SVR: set_svr(l, val); break;
	case APIC_ESR:
		l->esr_seen = l->esr;
		l->esr = 0;
		break;
	case APIC_ICR:
		l->icr = val;
		send_ipi(l);
		break;
	case APIC_TIMER_INITIAL: set_initial(l, val, now); break;
	case APIC_TIMER_DIVIDE: set_divide(l, val, now); break;
	}
}

uint32_t vlapic_read(struct vlapic *l, uint32_t reg, uint64_t now)
{
	uint32_t val;

	vlapic_tick(l, now);
	if (read_common(l, reg, now, &val))
		return val;
	switch (reg) {
	case APIC_EOI: case APIC_APR: return 0;
	case APIC_DFR: return l->dfr;
	case APIC_ICR_HIGH: return l->icr_high;
	}
	error(l, ESR_REGISTER);
	return 0;
}

void vlapic_write(struct vlapic *l, uint32_t reg, uint32_t val, uint64_t now)
{
	uint32_t bits;

	vlapic_tick(l, now);
	if (writable(reg, &bits)) {
		write_common(l, reg, val & bits, now);
		return;
	}
	switch (reg) {
	case APIC_LDR: l->ldr = val & 0xff000000; return;
	case APIC_DFR: l->dfr = val | 0x0fffffff; return;
	case APIC_ICR_HIGH: l->icr_high = val & 0xff000000; return;
	case APIC_ID: case APIC_VERSION: case APIC_PPR: case APIC_APR: case APIC_TIMER_CURRENT: return; /* read-only */
	}
	if (reg < APIC_ISR || reg >= APIC_ESR)
		error(l, ESR_REGISTER);
}

/* ---- MSRs ---- */

/* The transitions of SDM "x2APIC States": off, xAPIC, x2APIC; from x2APIC only off, and never from off to it at once. */
static bool write_base(struct vlapic *l, uint64_t val)
{
	bool was_on = l->base & APIC_BASE_ENABLE, on = val & APIC_BASE_ENABLE, x2 = val & APIC_BASE_X2APIC;

	if ((val & ~(APIC_BASE_BSP | APIC_BASE_ENABLE | APIC_BASE_X2APIC)) != VLAPIC_PA)
		return false;
	if ((x2 && !on) || (x2 && !was_on) || (x2apic(l) && on && !x2))
		return false;
	if (x2 && !x2apic(l))
		l->icr_high = 0;
	l->base = val;
	if (!on && was_on)
		vlapic_init(l);
	return true;
}

bool vlapic_rdmsr(struct vlapic *l, uint32_t msr, uint64_t *val, uint64_t now)
{
	uint32_t reg = (msr - MSR_X2APIC_BASE) * 16, low;

	vlapic_tick(l, now);
	if (msr == MSR_APIC_BASE) {
		*val = l->base;
		return true;
	}
	if (msr == MSR_TSC_DEADLINE) {
		*val = timer_mode(l) == MODE_DEADLINE && l->expiry != VLAPIC_NEVER ? l->expiry : 0;
		return true;
	}
	if (!x2apic(l) || !read_common(l, reg, now, &low))
		return false;
	*val = reg == APIC_ICR ? (uint64_t)l->icr_high << 32 | low : low;
	return true;
}

static bool write_x2apic(struct vlapic *l, uint32_t reg, uint64_t val, uint64_t now)
{
	uint32_t bits;
	bool lvt = reg >= APIC_LVT_TIMER && reg <= APIC_LVT_ERROR;

	if (reg == APIC_SELF_IPI) {
		if (val >> 8)
			return false;
		l->icr = 1u << 18 | ICR_ASSERT | (uint32_t)val;
		send_ipi(l);
		return true;
	}
	if (!writable(reg, &bits))
		return false;
	if (reg == APIC_ICR) {
		if (val & ICR_X2_RESERVED)
			return false;
		l->icr_high = (uint32_t)(val >> 32);
	} else if (val & ~(uint64_t)(bits | (lvt ? LVT_READ_ONLY : 0))) {
		return false;
	}
	write_common(l, reg, (uint32_t)val & bits, now);
	return true;
}

bool vlapic_wrmsr(struct vlapic *l, uint32_t msr, uint64_t val, uint64_t now)
{
	vlapic_tick(l, now);
	if (msr == MSR_APIC_BASE)
		return write_base(l, val);
	if (msr == MSR_TSC_DEADLINE) {
		set_deadline(l, val, now);
		return true;
	}
	return x2apic(l) && write_x2apic(l, (msr - MSR_X2APIC_BASE) * 16, val, now);
}
