/* SPDX-License-Identifier: MIT */
/* The per-CPU entry area: IDT, GDT, TSS, IST stacks, all in page-aligned pieces that can be mapped alone; and its set-up. */
#ifndef ARCH_X86_GDT_H
#define ARCH_X86_GDT_H

#include <stddef.h>
#include <stdint.h>

#include "arch/x86/def/seg.h"
#include "arch/x86/percpu.h"
#include "arch/x86/pmem.h"

/* Selectors. The host has no user mode; what runs in ring 3 under PVM has a GDT of its own (arch/x86/pvm/pvm.h). */
#define GDT_KCODE 0x08
#define GDT_KDATA 0x10
#define GDT_TSS 0x18 /* two entries */
#define GDT_ENTRIES 5

/* IST numbers (1-7 in hardware). One stack each: these four can arrive while another of them is being handled. */
enum { IST_NONE = 0, IST_DB = 1, IST_NMI = 2, IST_DF = 3, IST_MC = 4, IST_NR = 4 };

/* The stack of a vector (below 256) in the host's IDT and in PVM's. */
static inline uint8_t gdt_ist_of(unsigned vector)
{
	return vector == VEC_DB ? IST_DB : vector == VEC_NMI ? IST_NMI : vector == VEC_DF ? IST_DF : vector == VEC_MC ? IST_MC : IST_NONE;
}

struct __attribute__((packed)) tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7];
	uint64_t reserved2;
	uint16_t reserved3;
	uint16_t iomap_base;
};
_Static_assert(sizeof(struct tss) == 104, "64-bit TSS");

struct idt_gate {
	uint16_t offset_lo;
	uint16_t sel;
	uint8_t ist;
	uint8_t type; /* P, DPL, type */
	uint16_t offset_mid;
	uint32_t offset_hi;
	uint32_t reserved;
};
_Static_assert(sizeof(struct idt_gate) == 16, "64-bit gate");

#define IDT_VECTORS 256
#define IST_STACK_SIZE (2 * PAGE_SIZE)

/* guard pages are unmapped by paging_init: an overflow is a #PF or #DF, not a silent overwrite. */
struct cpu_area {
	_Alignas(PAGE_SIZE) struct idt_gate idt[IDT_VECTORS]; /* one page */
	_Alignas(PAGE_SIZE) uint64_t gdt[GDT_ENTRIES];        /* one page with the TSS */
	struct tss tss;
	_Alignas(PAGE_SIZE) struct {
		uint8_t guard[PAGE_SIZE];
		uint8_t stack[IST_STACK_SIZE];
	} ist[IST_NR];
};
_Static_assert(sizeof(struct cpu_area) % PAGE_SIZE == 0, "whole pages");

/* The area of CPU id (only 0 runs for now). */
struct cpu_area *cpu_area(const struct cpu *c);

/* Fills and loads GDT, TSS and segment registers of this CPU, and sets GS base to c: percpu data works from here on. */
void gdt_init(struct cpu *c);

#endif
