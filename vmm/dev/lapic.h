/* SPDX-License-Identifier: MIT */
/* The virtual local APIC of a VM's one CPU, ID 0, as xAPIC or x2APIC. Pure: time comes in as an argument, what it wants of the CPU is a field. The prefix
 * is vlapic: lapic is the host's. */
#ifndef VMM_DEV_LAPIC_H
#define VMM_DEV_LAPIC_H

#include <stdbool.h>
#include <stdint.h>

#define VLAPIC_PA 0xfee00000ull /* fixed: the MSR takes no other address */
#define VLAPIC_NEVER (~0ull)
#define VLAPIC_MIN_PERIOD_US 100u /* a periodic timer comes no more often, however small its count */

enum { VLVT_TIMER, VLVT_THERMAL, VLVT_PERF, VLVT_LINT0, VLVT_LINT1, VLVT_ERROR, VLVT_NR };

/* What the guest has asked of its CPU; the reader clears it. */
enum { VLAPIC_WANT_NMI = 1, VLAPIC_WANT_INIT = 2 };

struct vlapic {
	uint64_t base;           /* MSR APIC_BASE */
	uint32_t tpr, svr, ldr, dfr, icr, icr_high, divide, initial;
	uint32_t esr, esr_seen;  /* errors since the last write of ESR, and what that showed */
	uint32_t lvt[VLVT_NR];
	uint8_t want;            /* VLAPIC_WANT_* */
	uint64_t irr[4], isr[4];
	uint64_t expiry;         /* TSC at which the timer is due, or VLAPIC_NEVER. Its clock is the TSC, divided */
	uint64_t min_period;     /* TSC ticks */
};

/* After RESET: on, as xAPIC, disabled by SVR. */
void vlapic_reset(struct vlapic *l);
/* After INIT, also what its hardware switch does: all but APIC_BASE. */
void vlapic_init(struct vlapic *l);

/* A register of the page, by its offset (a multiple of 16), as 32 bits. What does not exist is an error in ESR, and reads 0. */
uint32_t vlapic_read(struct vlapic *l, uint32_t reg, uint64_t now);
void vlapic_write(struct vlapic *l, uint32_t reg, uint32_t val, uint64_t now);
/* APIC_BASE, TSC_DEADLINE, 0x800-0x8ff. False: #GP(0). */
bool vlapic_rdmsr(struct vlapic *l, uint32_t msr, uint64_t *val, uint64_t now);
bool vlapic_wrmsr(struct vlapic *l, uint32_t msr, uint64_t val, uint64_t now);
/* Is the page there? */
bool vlapic_mmio(const struct vlapic *l);

/* The task priority, which is CR8 too (its bits 7:4). */
void vlapic_set_tpr(struct vlapic *l, uint8_t tpr);

/* The timer, if it is due. */
void vlapic_tick(struct vlapic *l, uint64_t now);
/* Will the timer interrupt a CPU that does nothing but wait, with interrupts open? */
bool vlapic_will_wake(const struct vlapic *l);
/* The vector that the CPU is to take now, or -1: none, or its priority is too low. */
int vlapic_irq(const struct vlapic *l);
/* The CPU takes it: from IRR to ISR. */
void vlapic_ack(struct vlapic *l, uint8_t vector);

#endif
