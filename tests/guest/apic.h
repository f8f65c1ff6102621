/* SPDX-License-Identifier: MIT */
/* The local APIC's page, for scenarios: on and quiet between apic_begin() and apic_end(). Registers by the manual's offsets. */
#ifndef TESTS_GUEST_APIC_H
#define TESTS_GUEST_APIC_H

#include "tests/guest/guest.h"

#define APIC_PAGE 0xfee00000ul
#define APIC_TPR 0x80
#define APIC_EOI 0xb0
#define APIC_SVR 0xf0
#define APIC_ISR(vec) (0x100 + (vec) / 32 * 16)
#define APIC_IRR(vec) (0x200 + (vec) / 32 * 16)
#define APIC_ESR 0x280
#define APIC_ICR 0x300
#define APIC_ICR2 0x310
#define APIC_LVT_TIMER 0x320
#define APIC_LVT_MASKED (1u << 16)
#define APIC_LVT_PERIODIC (1u << 17)
#define APIC_LVT_DEADLINE (2u << 17)
#define APIC_INITIAL 0x380
#define APIC_CURRENT 0x390
#define APIC_DIVIDE 0x3e0
#define APIC_DIVIDE_BY_1 0xbu
#define ICR_SELF (1u << 18)
#define ICR_ALL (2u << 18)
#define ICR_NMI (4u << 8)
#define MSR_APIC_BASE 0x1bu
#define MSR_TSC_DEADLINE 0x6e0u

static uint32_t apic_old_svr;

static inline uint32_t apic_read(unsigned reg)
{
	return *(volatile uint32_t *)(APIC_PAGE + reg);
}

static inline void apic_write(unsigned reg, uint32_t v)
{
	*(volatile uint32_t *)(APIC_PAGE + reg) = v;
}

/* Ends the scenario as skipped where there is no xAPIC. */
static inline void apic_begin(void)
{
	uint32_t r[4];
	uint64_t base = 0;

	cpuid(1, 0, r);
	if (!(r[3] >> 9 & 1) || try_rdmsr(MSR_APIC_BASE, &base) != NO_FAULT || (base & 0xc00) != 0x800)
		scenario_skip("no local APIC in xAPIC mode");
	apic_old_svr = apic_read(APIC_SVR);
	apic_write(APIC_SVR, 0x1ff);
	apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED);
	apic_write(APIC_TPR, 0);
	apic_write(APIC_EOI, 0);
}

static inline void apic_end(void)
{
	apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED);
	apic_write(APIC_INITIAL, 0);
	apic_write(APIC_TPR, 0);
	apic_write(APIC_SVR, apic_old_svr);
}

/* The handler of any vector that the APIC brings. */
static inline bool apic_taken(struct trap_frame *f, struct trap_rec *rec)
{
	(void)f;
	(void)rec;
	apic_write(APIC_EOI, 0);
	return true;
}

#endif
