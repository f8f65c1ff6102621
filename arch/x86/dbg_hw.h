/* SPDX-License-Identifier: MIT */
/* The only place with MOV DR and with access to DEBUGCTL. Each access is counted, so that "an idle exit makes none" can be checked. */
#ifndef ARCH_X86_DBG_HW_H
#define ARCH_X86_DBG_HW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86/dbg.h"
#include "arch/x86/def/cpuid.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/insn.h"

static inline void hw_trace(struct dbg_cpu *c, unsigned what, uint64_t v)
{
	if (__builtin_expect(c->trace != NULL, 0))
		c->trace(c, what, v);
}

/* n: 0-3, 6, 7. DR4 and DR5 are never used by the host. */
static inline uint64_t hw_read_dr(struct dbg_cpu *c, unsigned n)
{
	uint64_t v = 0;

	c->count[DBG_COUNT_DR_READ]++;
	switch (n) {
	case 0: __asm__ volatile("mov %%db0, %0" : "=r"(v)); break;
	case 1: __asm__ volatile("mov %%db1, %0" : "=r"(v)); break;
	case 2: __asm__ volatile("mov %%db2, %0" : "=r"(v)); break;
	case 3: __asm__ volatile("mov %%db3, %0" : "=r"(v)); break;
	case 6: __asm__ volatile("mov %%db6, %0" : "=r"(v)); break;
	case 7: __asm__ volatile("mov %%db7, %0" : "=r"(v)); break;
	}
	hw_trace(c, n | DBG_TRACE_READ, v);
	return v;
}

static inline void hw_write_dr(struct dbg_cpu *c, unsigned n, uint64_t v)
{
	c->count[DBG_COUNT_DR_WRITE]++;
	switch (n) {
	case 0: __asm__ volatile("mov %0, %%db0" : : "r"(v) : "memory"); break;
	case 1: __asm__ volatile("mov %0, %%db1" : : "r"(v) : "memory"); break;
	case 2: __asm__ volatile("mov %0, %%db2" : : "r"(v) : "memory"); break;
	case 3: __asm__ volatile("mov %0, %%db3" : : "r"(v) : "memory"); break;
	case 6: __asm__ volatile("mov %0, %%db6" : : "r"(v) : "memory"); break;
	case 7: __asm__ volatile("mov %0, %%db7" : : "r"(v) : "memory"); break;
	}
	hw_trace(c, n, v);
}

/* Has this CPU AMD's address masks? Some emulators announce them and have none. */
static inline bool hw_has_masks(void)
{
	return cpuid(0x80000000, 0).eax >= 0x80000001 && (cpuid(0x80000001, 0).ecx & CPUID_81_ECX_DBEXT) && wrmsr_safe(MSR_DR0_ADDR_MASK, 0);
}

/* AMD's address mask of slot 0-3; only where dbg_cpu.has_masks says so. */
static inline void hw_write_mask(struct dbg_cpu *c, unsigned slot, uint32_t mask)
{
	c->count[DBG_COUNT_MASK_WRITE]++;
	wrmsr(slot == 0 ? MSR_DR0_ADDR_MASK : MSR_DR1_ADDR_MASK + slot - 1, mask);
	hw_trace(c, DBG_TRACE_MASK + slot, mask);
}

/* DEBUGCTL. The plain forms only when dbg_cpu.has_debugctl says that the MSR is there. */
static inline uint64_t hw_read_debugctl(struct dbg_cpu *c)
{
	uint64_t v = rdmsr(MSR_DEBUGCTL);

	c->count[DBG_COUNT_DEBUGCTL_READ]++;
	hw_trace(c, DBG_TRACE_DEBUGCTL | DBG_TRACE_READ, v);
	return v;
}

static inline void hw_write_debugctl(struct dbg_cpu *c, uint64_t v)
{
	c->count[DBG_COUNT_DEBUGCTL_WRITE]++;
	wrmsr(MSR_DEBUGCTL, v);
	hw_trace(c, DBG_TRACE_DEBUGCTL, v);
}

static inline bool hw_try_read_debugctl(struct dbg_cpu *c, uint64_t *v)
{
	c->count[DBG_COUNT_DEBUGCTL_READ]++;
	return rdmsr_safe(MSR_DEBUGCTL, v);
}

static inline bool hw_try_write_debugctl(struct dbg_cpu *c, uint64_t v)
{
	c->count[DBG_COUNT_DEBUGCTL_WRITE]++;
	hw_trace(c, DBG_TRACE_DEBUGCTL, v);
	return wrmsr_safe(MSR_DEBUGCTL, v);
}

#endif
