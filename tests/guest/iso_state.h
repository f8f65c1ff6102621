/* SPDX-License-Identifier: MIT */
/* The state that two VMs of one CPU must not share, for the scenarios `isolation` and `peer`: put a pattern everywhere, check it. */
#ifndef TESTS_GUEST_ISO_STATE_H
#define TESTS_GUEST_ISO_STATE_H

#include "tests/guest/guest.h"

enum iso_item {
	ISO_DR0, ISO_DR1, ISO_DR2, ISO_DR3, ISO_DR6, ISO_DR7, ISO_HITS,
	ISO_MASK0, ISO_MASK1, ISO_MASK2, ISO_MASK3,
	ISO_X87, ISO_SSE, ISO_MXCSR, ISO_AVX, ISO_XCR0, ISO_CR2,
	ISO_STAR, ISO_LSTAR, ISO_CSTAR, ISO_SFMASK, ISO_KERNEL_GS, ISO_SYSENTER_CS, ISO_SYSENTER_ESP, ISO_SYSENTER_EIP,
	ISO_PAT, ISO_TSC_AUX, ISO_RDTSCP,
	ISO_NR
};

/* Turns on what the patterns need (CR4.OSFXSR, OSXSAVE, EFER.SCE) and finds out what this machine has. Call once. */
void iso_init(void);
/* Values as found, before iso_put() ever ran: each item must have its reset value (rules Z08, H15: no residue of another VM). */
void iso_check_fresh(void);
/* Put the patterns of this seed everywhere. Different seeds differ in every item. */
void iso_put(uint32_t seed);
/* Compare with iso_put(seed); the first difference of each item is kept. */
void iso_compare(uint32_t seed);
/* One check per item over all iso_compare() calls so far; ids H15.<item>. */
void iso_report(void);

#endif
