/* SPDX-License-Identifier: MIT */
/* GDT and TSS of a CPU: flat segments, the IST stacks, GS base. */
#include "arch/x86/gdt.h"

#include "arch/lib/string.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/insn.h"

#define DESC_KCODE 0x00af9b000000ffffull /* L, P, DPL 0, accessed: hardware never has to write to the GDT */
#define DESC_KDATA 0x00cf93000000ffffull
#define TSS_TYPE_AVAIL 0x89ull

static struct cpu_area area0 __attribute__((section(".bss.cpu_area")));

/* gdt_load.S */
void gdt_load(const struct desc_ptr *ptr, uint64_t code, uint64_t data);

struct cpu_area *cpu_area(const struct cpu *c)
{
	return c->id == 0 ? &area0 : NULL;
}

static void set_tss_descriptor(struct cpu_area *a)
{
	uint64_t base = (uint64_t)(uintptr_t)&a->tss, limit = sizeof(a->tss) - 1;

	a->gdt[GDT_TSS / 8] = limit | (base & 0xffffff) << 16 | TSS_TYPE_AVAIL << 40 | (base >> 24 & 0xff) << 56;
	a->gdt[GDT_TSS / 8 + 1] = base >> 32;
}

void gdt_init(struct cpu *c)
{
	struct cpu_area *a = cpu_area(c);
	struct desc_ptr ptr = { sizeof(a->gdt) - 1, (uint64_t)(uintptr_t)a->gdt };

	memset(&a->tss, 0, sizeof(a->tss));
	a->tss.iomap_base = sizeof(a->tss); /* beyond the limit: no I/O from CPL 3 */
	for (unsigned i = 0; i < IST_NR; i++)
		a->tss.ist[i] = (uint64_t)(uintptr_t)(a->ist[i].stack + IST_STACK_SIZE);
	a->gdt[0] = 0;
	a->gdt[GDT_KCODE / 8] = DESC_KCODE;
	a->gdt[GDT_KDATA / 8] = DESC_KDATA;
	set_tss_descriptor(a);
	gdt_load(&ptr, GDT_KCODE, GDT_KDATA);
	ltr(GDT_TSS);
	c->self = c;
	wrmsr(MSR_GS_BASE, (uint64_t)(uintptr_t)c); /* after the selector load, which zeroes the base */
	wrmsr(MSR_KERNEL_GS_BASE, 0);
}
