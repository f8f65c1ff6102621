/* SPDX-License-Identifier: MIT */
/* A vcpu's local APIC in the machine model: its registers' accesses, and what follows from them for events and time. */
#ifndef VMM_APIC_H
#define VMM_APIC_H

#include "vmm/vcpu.h"

/* One of the APIC's MSRs? */
static inline bool apic_is_msr(uint32_t msr)
{
	return msr - 0x800u < 0x100u || msr == 0x1b || msr == 0x6e0;
}
/* After anything that may have changed what is pending, the priority or the timer; after retirement, since INIT comes behind the instruction. */
void apic_changed(struct vcpu *v);

/* CR8. */
static inline uint8_t apic_cr8(const struct vcpu *v)
{
	return (uint8_t)(v->apic.tpr >> 4);
}
void apic_set_cr8(struct vcpu *v, uint8_t cr8);

/* The timer, if it is due by now. */
void apic_tick(struct vcpu *v, uint64_t now);

/* An exit at a guest-physical address in the APIC's page, which the page is there for: carried out, or the VM is stopped. */
void apic_mmio(struct vcpu *v);

#endif
