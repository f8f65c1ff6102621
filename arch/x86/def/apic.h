/* SPDX-License-Identifier: MIT */
/* Local APIC and IOAPIC registers, as xAPIC offsets; the x2APIC MSR is 0x800 + offset / 16. */
#ifndef ARCH_X86_DEF_APIC_H
#define ARCH_X86_DEF_APIC_H

#define APIC_BASE_BSP (1ull << 8)
#define APIC_BASE_X2APIC (1ull << 10)
#define APIC_BASE_ENABLE (1ull << 11)
#define APIC_BASE_ADDR 0x000ffffffffff000ull

#define APIC_ID 0x20
#define APIC_VERSION 0x30
#define APIC_TPR 0x80
#define APIC_APR 0x90
#define APIC_PPR 0xa0
#define APIC_EOI 0xb0
#define APIC_LDR 0xd0
#define APIC_DFR 0xe0
#define APIC_SVR 0xf0
#define APIC_SVR_ENABLE (1u << 8)
#define APIC_ISR 0x100 /* 8 registers of 32 vectors each, as the next two */
#define APIC_TMR 0x180
#define APIC_IRR 0x200
#define APIC_ESR 0x280
#define APIC_LVT_CMCI 0x2f0
#define APIC_ICR 0x300
#define APIC_ICR_SELF (1u << 18 | 1u << 14) /* this CPU, level assert, fixed delivery */
#define APIC_ICR_HIGH 0x310 /* xAPIC only */
#define APIC_SELF_IPI 0x3f0 /* x2APIC only */
#define APIC_LVT_TIMER 0x320
#define APIC_LVT_THERMAL 0x330
#define APIC_LVT_PERF 0x340
#define APIC_LVT_LINT0 0x350
#define APIC_LVT_LINT1 0x360
#define APIC_LVT_ERROR 0x370
#define APIC_LVT_MASKED (1u << 16)
#define APIC_LVT_PERIODIC (1u << 17)
#define APIC_LVT_DEADLINE (2u << 17)
#define APIC_LVT_NMI (4u << 8)
#define APIC_TIMER_INITIAL 0x380
#define APIC_TIMER_CURRENT 0x390
#define APIC_TIMER_DIVIDE 0x3e0
#define APIC_DIVIDE_BY_16 3u

#define IOAPIC_SELECT 0x00 /* memory offsets */
#define IOAPIC_WINDOW 0x10
#define IOAPIC_REG_VERSION 1
#define IOAPIC_REG_REDIR 0x10 /* two per input */
#define IOAPIC_REDIR_MASKED (1u << 16)

#endif
