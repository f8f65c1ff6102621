/* SPDX-License-Identifier: MIT */
/* What a 64-bit loader would have left: page tables, a GDT, the registers. */
#include "vmm/boot64.h"

#include "arch/lib/string.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/pte.h"
#include "arch/x86/def/seg.h"

#define PAGE 4096u
#define PML4 0x90000u
#define PDPT (PML4 + PAGE)
#define PD (PDPT + PAGE)     /* four */
#define GDT (PD + 4 * PAGE)
#define SIZE_2M 0x200000ull
#define TABLE (PTE_P | PTE_W | PTE_U)

#define SEL_CODE 0x08
#define SEL_DATA 0x10
#define DESC_CODE 0x00af9b000000ffffull
#define DESC_DATA 0x00cf93000000ffffull
#define GDT_LIMIT 0x17

static uint64_t *at(uint8_t *ram, uint32_t pa)
{
	return (uint64_t *)(void *)(ram + pa);
}

static void build_tables(uint8_t *ram)
{
	memset(ram + PML4, 0, GDT + PAGE - PML4);
	at(ram, PML4)[0] = PDPT | TABLE;
	for (unsigned i = 0; i < 4; i++)
		at(ram, PDPT)[i] = (PD + i * PAGE) | TABLE;
	for (unsigned i = 0; i < 4 * PTE_ENTRIES; i++)
		at(ram, PD)[i] = i * SIZE_2M | TABLE | PTE_PS;
	at(ram, GDT)[SEL_CODE / 8] = DESC_CODE;
	at(ram, GDT)[SEL_DATA / 8] = DESC_DATA;
}

void boot64_build(struct vcpu *v, uint8_t *ram)
{
	struct vcpu_state *st = &v->st;

	build_tables(ram);
	st->cr3 = PML4;
	st->cr4 = CR4_PAE;
	st->efer = EFER_LME | EFER_LMA;
	st->cr0 = CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE;
	st->gdtr.base = GDT;
	st->gdtr.limit = GDT_LIMIT;
	st->idtr.limit = 0;
	st->cpl = 0;
	for (enum seg_index i = SEG_ES; i <= SEG_GS; i++)
		st->seg[i] = (struct seg){ .sel = SEL_DATA, .ar = SEG_AR_DATA32, .limit = 0xffffffff };
	st->seg[SEG_CS] = (struct seg){ .sel = SEL_CODE, .ar = SEG_AR_CODE64, .limit = 0xffffffff };
	vcpu_dirty(v, VST_ALL);
}
