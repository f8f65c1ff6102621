/* SPDX-License-Identifier: MIT */
/* Stands in for the real dbg_hw.h in hosted builds: MOV DR and DEBUGCTL access on the software CPU, counted as the real ones are. */
#ifndef ARCH_X86_DBG_HW_H
#define ARCH_X86_DBG_HW_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86/dbg.h"
#include "arch/x86/def/cpuid.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/insn.h"

/* The software CPU's (model/cpu.c). */
uint64_t sw_mov_from_dr(unsigned n);
void sw_mov_to_dr(unsigned n, uint64_t v);

static inline uint64_t hw_read_dr(struct dbg_cpu *c, unsigned n)
{
	c->count[DBG_COUNT_DR_READ]++;
	return sw_mov_from_dr(n);
}

static inline uint64_t hw_peek_dr6(void)
{
	return sw_mov_from_dr(6);
}

static inline void hw_write_dr(struct dbg_cpu *c, unsigned n, uint64_t v)
{
	c->count[DBG_COUNT_DR_WRITE]++;
	sw_mov_to_dr(n, v);
}

static inline bool hw_has_masks(void)
{
	return cpuid(0x80000000, 0).eax >= 0x80000001 && (cpuid(0x80000001, 0).ecx & CPUID_81_ECX_DBEXT) && wrmsr_safe(MSR_DR0_ADDR_MASK, 0);
}

static inline void hw_write_mask(struct dbg_cpu *c, unsigned slot, uint32_t mask)
{
	c->count[DBG_COUNT_MASK_WRITE]++;
	wrmsr(slot == 0 ? MSR_DR0_ADDR_MASK : MSR_DR1_ADDR_MASK + slot - 1, mask);
}

static inline uint64_t hw_read_debugctl(struct dbg_cpu *c)
{
	c->count[DBG_COUNT_DEBUGCTL_READ]++;
	return rdmsr(MSR_DEBUGCTL);
}

static inline void hw_write_debugctl(struct dbg_cpu *c, uint64_t v)
{
	c->count[DBG_COUNT_DEBUGCTL_WRITE]++;
	wrmsr(MSR_DEBUGCTL, v);
}

static inline bool hw_try_read_debugctl(struct dbg_cpu *c, uint64_t *v)
{
	c->count[DBG_COUNT_DEBUGCTL_READ]++;
	return rdmsr_safe(MSR_DEBUGCTL, v);
}

static inline bool hw_try_write_debugctl(struct dbg_cpu *c, uint64_t v)
{
	c->count[DBG_COUNT_DEBUGCTL_WRITE]++;
	return wrmsr_safe(MSR_DEBUGCTL, v);
}

#endif
