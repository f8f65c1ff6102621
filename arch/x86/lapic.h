/* SPDX-License-Identifier: MIT */
/* The local APIC (xAPIC or x2APIC): the host's 100 Hz tick, EOI, and silence for every other interrupt source. */
#ifndef ARCH_X86_LAPIC_H
#define ARCH_X86_LAPIC_H

#include <stdbool.h>
#include <stdint.h>

#define HOST_TICK_HZ 100u

/* Vectors that drover uses. */
#define VEC_PIC_BASE 0x20 /* 0x20-0x2f: the masked 8259s, should a spurious one come */
#define VEC_TIMER 0xef
#define VEC_KICK 0xf0 /* does nothing; that it comes is the point */
#define VEC_LAPIC_ERROR 0xfe
#define VEC_SPURIOUS 0xff

/* Moves the 8259s off the exception vectors and masks them; masks the inputs of one IOAPIC at a physical address. */
void pic_mask_all(void);
void ioapic_mask_all(uint64_t pa);

/* Which mode? AUTO: as firmware left it. X2APIC: if the CPU has it. XAPIC is not forced on a CPU that firmware put into x2APIC
 * mode: the way back leads through "disabled", which some CPUs lock. */
enum lapic_mode { LAPIC_AUTO, LAPIC_X2APIC };

/* Turns the LAPIC on, measures its timer against the TSC (1 ms), and starts the tick: cpu->ticks
 * counts from here on whenever interrupts are open. Needs tsc_khz. Panics when the CPU has no LAPIC. */
void lapic_init(enum lapic_mode mode);

/* An interrupt to this CPU, taken as soon as interrupts open: with them off before an entry, a guest exits at its first instruction. */
void lapic_kick(void);
/* The tick's interrupt comes at about this TSC value instead, if that is sooner; a few us at the least. The tick goes on from there. */
void lapic_alarm(uint64_t tsc);
void lapic_eoi(void); /* harmless before lapic_init */
uint32_t lapic_id(void);
bool lapic_is_x2apic(void);

#endif
