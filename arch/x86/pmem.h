/* SPDX-License-Identifier: MIT */
/* Physical memory: page-granular allocator over the boot memory map, and the direct map's address arithmetic. */
#ifndef ARCH_X86_PMEM_H
#define ARCH_X86_PMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SIZE 4096u

/* Adds [pa, pa + len) to / takes it out of the free memory. Partial pages at the ends are left out / taken whole. Boot only.
 * False when the table of ranges is full (memory is then lost, not doubled). */
bool pmem_add(uint64_t pa, uint64_t len);
bool pmem_reserve(uint64_t pa, uint64_t len);

/* bytes > 0 is rounded up to pages; align: a power of two, at least PAGE_SIZE is used. The memory is zeroed, physically
 * contiguous, and the pointer lies in the direct map. NULL when there is none. */
void *pmem_alloc(size_t bytes, size_t align);

/* Only what pmem_alloc gave, with the same size; NULL is ignored. A double free panics. */
void pmem_free(void *p, size_t bytes);

uint64_t pmem_free_bytes(void);

/* Of a direct-map pointer or an address in drover's image. Panics on any other address. */
uint64_t virt_to_phys(const void *p);

/* Valid for RAM of the memory map and for everything below 4 GiB (paging.h maps more on demand). */
void *phys_to_virt(uint64_t pa);

#endif
