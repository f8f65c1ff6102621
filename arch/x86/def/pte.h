/* SPDX-License-Identifier: MIT */
/* Page-table entries and linear addresses of 4-level paging. */
#ifndef ARCH_X86_DEF_PTE_H
#define ARCH_X86_DEF_PTE_H

#include <stdbool.h>
#include <stdint.h>

#define PTE_P (1ull << 0)
#define PTE_W (1ull << 1)
#define PTE_U (1ull << 2)
#define PTE_PWT (1ull << 3)
#define PTE_PCD (1ull << 4)
#define PTE_A (1ull << 5)
#define PTE_D (1ull << 6)
#define PTE_PS (1ull << 7)
#define PTE_G (1ull << 8)
#define PTE_NX (1ull << 63)
#define PTE_ADDR 0x000ffffffffff000ull
#define PTE_ENTRIES 512u

/* Bit 47 in all bits above it. */
static inline uint64_t canonicalize(uint64_t a)
{
	return (uint64_t)((int64_t)(a << 16) >> 16);
}

static inline bool is_canonical(uint64_t a)
{
	return canonicalize(a) == a;
}

#endif
