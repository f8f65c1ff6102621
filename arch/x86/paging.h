/* SPDX-License-Identifier: MIT */
/* The host's own page tables: the image in the top 2 GiB, a direct map of RAM and of everything below 4 GiB. W^X throughout. */
#ifndef ARCH_X86_PAGING_H
#define ARCH_X86_PAGING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KERNEL_BASE 0xffffffff80000000ull /* image: virtual = KERNEL_BASE + physical */
#define DIRECT_BASE 0xffff800000000000ull /* direct map: virtual = DIRECT_BASE + physical */

/* Builds the tables and switches to them: image by section (text R X, rodata R, data RW; all but text NX), its alias in the direct
 * map read-only where text or rodata lies, guard pages out, no identity map. ram_end: one past the highest RAM address.
 * is_ram(pa): may the 2 MiB piece at pa be mapped write-back? Others are mapped UC-. Then turns on WP, SMEP, SMAP, UMIP as the
 * CPU has them. Panics when out of memory. NX must exist: every 64-bit CPU has it unless firmware hides it (then: panic). */
void paging_init(uint64_t ram_end, bool (*is_ram)(uint64_t pa));

/* Makes [pa, pa + len) reachable by phys_to_virt: for devices above 4 GiB. UC-. False: out of memory. */
bool paging_map_device(uint64_t pa, uint64_t len);

/* Hangs a table of 2 MiB entries, of physical address `table`, in for the 1 GiB at va, where nothing is yet or the same. False: out of memory. */
bool paging_hang(uint64_t va, uint64_t table);

/* Walks the live tables (from CR3) and counts the present leaf entries; panics if one is both writable and executable, or if
 * one that maps the image's text is writable by any alias. Returns the number of leaves. */
uint64_t paging_check_wx(void);

#endif
