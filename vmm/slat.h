/* SPDX-License-Identifier: MIT */
/* Second-level page tables (EPT, NPT) for a VM whose RAM is one range from guest-physical 0. */
#ifndef VMM_SLAT_H
#define VMM_SLAT_H

#include <stdint.h>

#include "vmm/backend.h"

/* Maps [0, size) to [hpa, hpa + size), readable, writable, executable; size and hpa are multiples of 4 KiB, size at most 512 GiB. Returns the
 * root's host-physical address, 0: out of memory (nothing is left allocated). */
uint64_t slat_build(const struct slat_format *f, uint64_t hpa, uint64_t size);

/* Frees all tables below and with the root. */
void slat_free(const struct slat_format *f, uint64_t root);

#endif
