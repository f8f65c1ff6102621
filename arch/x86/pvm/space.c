/* SPDX-License-Identifier: MIT */
/* The host's part of a guest's address space: slot 511 of every shadow root. The switcher's code and area, the CPU's TSS and IST stacks, the views of the
 * GDT; all supervisor's. Nothing else of the host is mapped while a guest runs. */
#include "arch/x86/pvm/space.h"

#include "arch/lib/log.h"
#include "arch/lib/panic.h"
#include "arch/lib/string.h"
#include "arch/x86/def/pte.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/paging.h"
#include "arch/x86/pmem.h"
#include "arch/x86/pvm/area.h"
#include "arch/x86/pvm/pvm.h"

#define AT(field, offset) _Static_assert(offsetof(struct pvm_area, field) == (offset), "area.h for assembly: " #field)
AT(r, 0x1000);
AT(host_cr3, 0x1080);
AT(host_rsp, 0x1088);
AT(host_gs, 0x1090);
AT(cr3, 0x1098);
AT(fs_base, 0x10a0);
AT(gs_base, 0x10a8);
AT(scratch, 0x10b0);
AT(vector, 0x10b8);
AT(error, 0x10c0);
AT(rip, 0x10c8);
AT(cs, 0x10d0);
AT(rflags, 0x10d8);
AT(rsp, 0x10e0);
AT(ss, 0x10e8);
AT(ds, 0x10f0);
AT(gs, 0x10f6);
AT(gdtr, 0x10f8);
AT(idtr, 0x1102);
AT(host_gdtr, 0x110c);
AT(host_idtr, 0x1116);
AT(entry_rsp, 0x1120);
AT(frame, 0x2fd8);
_Static_assert(sizeof(struct pvm_area) == 3 * PAGE_SIZE && GDT_KCODE == 0x08 && GDT_KDATA == 0x10, "area.h for assembly");

extern const uint8_t pvm_stubs[], pvm_text_start[], pvm_text_end[]; /* switch.S */

struct pvm_area pvm_area __attribute__((section(".bss.cpu_area")));

static uint64_t *pdpt;

static uint64_t host_gdt[PVM_KDATA / 8 + 1];
static struct desc_ptr own_gdtr;

static struct {
	uint64_t *table, *link; /* of the last level, of PVM_STACK16_VA; the entry above that points to it */
	uint64_t at;            /* the page that is there; 0: none yet */
} stack16;

#define GATE 0x8e /* interrupt gate, present; DPL 0: INT n is #GP, and carried out by the guest's own table */
#define GATE_DPL3 0xee

static uint64_t *next_table(uint64_t *table, unsigned i)
{
	if (!(table[i] & PTE_P)) {
		void *t = pmem_alloc(PAGE_SIZE, PAGE_SIZE);

		if (!t)
			return NULL;
		table[i] = virt_to_phys(t) | PTE_P | PTE_W | PTE_A;
	}
	return phys_to_virt(table[i] & PTE_ADDR);
}

/* The entry of a page in slot 511. */
static uint64_t *entry_of(uint64_t va)
{
	uint64_t *t = next_table(pdpt, va >> 30 & 511);

	if (t)
		t = next_table(t, va >> 21 & 511);
	return t ? &t[va >> 12 & 511] : NULL;
}

static bool map(const void *start, size_t len, uint64_t flags)
{
	for (uint64_t va = (uint64_t)(uintptr_t)start; len; va += PAGE_SIZE, len -= PAGE_SIZE) {
		uint64_t *e = entry_of(va);

		if (!e)
			return false;
		*e = virt_to_phys((const void *)(uintptr_t)va) | PTE_P | PTE_A | PTE_D | flags;
	}
	return true;
}

static bool map_all(struct cpu_area *a)
{
	bool ok = map(pvm_text_start, (size_t)(pvm_text_end - pvm_text_start), 0);

	ok = ok && map(pvm_area.idt, PAGE_SIZE, PTE_NX) && map(pvm_area.r, sizeof(pvm_area) - PAGE_SIZE, PTE_W | PTE_NX);
	ok = ok && map(a->gdt, PAGE_SIZE, PTE_NX); /* the TSS is in this page, and is only read */
	for (unsigned i = 0; i < IST_NR; i++)
		ok = ok && map(a->ist[i].stack, IST_STACK_SIZE, PTE_W | PTE_NX);
	for (unsigned i = 0; i < PVM_VIEWS * PVM_GDT_BYTES / PAGE_SIZE; i++)
		ok = ok && entry_of(PVM_GDT_VA + i * PAGE_SIZE);
	return ok;
}

static void build_idt(void)
{
	for (unsigned i = 0; i < IDT_VECTORS; i++) {
		uint64_t stub = (uint64_t)(uintptr_t)(pvm_stubs + i * PVM_STUB_SIZE);

		pvm_area.idt[i] = (struct idt_gate){
			.offset_lo = (uint16_t)stub, .sel = PVM_KCODE, .ist = gdt_ist_of(i), .type = i == VEC_BP || i == VEC_OF ? GATE_DPL3 : GATE,
			.offset_mid = (uint16_t)(stub >> 16), .offset_hi = (uint32_t)(stub >> 32),
		};
	}
}

/* Tables for all 4 GiB, but of the last level one alone, which hangs where it is wanted. */
static bool init_stack16(void)
{
	bool ok = true;

	if (!stack16.table)
		stack16.table = pmem_alloc(PAGE_SIZE, PAGE_SIZE);
	for (unsigned i = 0; i < 4; i++)
		ok = ok && next_table(pdpt, (PVM_STACK16_VA >> 30 & 511) + i);
	return ok && stack16.table;
}

/* The frame does not end at a border of 64 KiB: RSP behind IRETQ's pops has to have the same bits 31:16. */
uint64_t pvm_space_stack16(uint64_t rsp)
{
	uint64_t at = PVM_STACK16_VA | (rsp & 0xffff0000);

	if (at != stack16.at) { /* the next write of CR3 forgets the old one */
		if (stack16.at)
			*stack16.link = stack16.table[stack16.at >> 12 & 511] = 0;
		stack16.link = next_table(pdpt, at >> 30 & 511) + (at >> 21 & 511);
		*stack16.link = virt_to_phys(stack16.table) | PTE_P | PTE_W | PTE_A;
		stack16.table[at >> 12 & 511] = virt_to_phys(pvm_area.stack) | PTE_P | PTE_W | PTE_A | PTE_D | PTE_NX;
		stack16.at = at;
	}
	return at + offsetof(struct pvm_area, frame) % PAGE_SIZE;
}

/* The host's GDT while PVM is on has the selector of PVM's gates, too, and the views are there in the host's address space: whichever IDT, GDT and page tables
 * are in force at one of the switcher's instructions, an NMI or a #MC finds its gate, its segment and its stub. */
static bool init_host_gdt(void)
{
	sgdt(&own_gdtr);
	assert(own_gdtr.limit < PVM_KCODE);
	memcpy(host_gdt, (const void *)(uintptr_t)own_gdtr.base, own_gdtr.limit + 1u);
	host_gdt[PVM_KCODE / 8] = host_gdt[GDT_KCODE / 8];
	host_gdt[PVM_KDATA / 8] = host_gdt[GDT_KDATA / 8];
	pvm_area.host_gdtr = (struct desc_ptr){ sizeof(host_gdt) - 1, (uint64_t)(uintptr_t)host_gdt };
	lgdt(&pvm_area.host_gdtr);
	return paging_hang(PVM_GDT_VA, pdpt[PVM_GDT_VA >> 30 & 511] & PTE_ADDR);
}

void pvm_space_done(void)
{
	lgdt(&own_gdtr);
}

bool pvm_space_init(struct cpu *c)
{
	struct cpu_area *a = cpu_area(c);

	if (!pdpt)
		pdpt = pmem_alloc(PAGE_SIZE, PAGE_SIZE);
	if (!pdpt || !map_all(a) || !init_stack16() || !init_host_gdt()) {
		log_printf("drover: pvm: no memory for the switcher's page tables\n");
		return false;
	}
	build_idt();
	pvm_area.host_cr3 = read_cr3();
	pvm_area.host_gs = (uint64_t)(uintptr_t)c;
	sidt(&pvm_area.host_idtr);
	pvm_area.idtr = (struct desc_ptr){ sizeof(pvm_area.idt) - 1, (uint64_t)(uintptr_t)pvm_area.idt };
	a->tss.rsp[0] = (uint64_t)(uintptr_t)(&pvm_area.frame + 1);
	return true;
}

void pvm_space_use(const struct pvm_vcpu *hw)
{
	for (unsigned view = 0; view < PVM_VIEWS; view++)
		for (unsigned i = 0; i < PVM_GDT_BYTES; i += PAGE_SIZE)
			*entry_of(PVM_GDT_VA + view * PVM_GDT_BYTES + i) =
				(virt_to_phys(hw->gdt[view]) + i) | PTE_P | PTE_W | PTE_A | PTE_D | PTE_NX;
}

uint64_t pvm_host_slot(void)
{
	return virt_to_phys(pdpt) | PTE_P | PTE_W | PTE_A;
}
