/* SPDX-License-Identifier: MIT */
/* Second-level page tables (EPT, NPT) for a VM whose RAM is one range from guest-physical 0. */
#ifndef VMM_SLAT_H
#define VMM_SLAT_H

#include <stdint.h>

#include "vmm/backend.h"

/* Maps [0, size) to [hpa, hpa + size), readable, writable, executable; size and hpa are multiples of 4 KiB, size at most 512 GiB. Returns the
 * root's host-physical address, 0: out of memory (nothing is left allocated). */
uint64_t slat_build(const struct slat_format *f, uint64_t hpa, uint64_t size);

/* May instructions be fetched from the page at gpa, which is mapped? A 2 MiB leaf around it is split into small ones with the same rights.
 * False: out of memory for that, nothing has changed. What hardware has cached is the caller's to flush. */
bool slat_set_exec(const struct slat_format *f, uint64_t root, uint64_t gpa, bool exec);

/* Frees all tables below and with the root. */
void slat_free(const struct slat_format *f, uint64_t root);

#endif
