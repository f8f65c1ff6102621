/* SPDX-License-Identifier: MIT */
/* The host's part of a guest's address space: slot 511 of every shadow root. The switcher's code and area, the CPU's TSS and IST stacks, the views of the
 * GDT; all supervisor's. Nothing else of the host is mapped while a guest runs. */
#include "arch/x86/pvm/space.h"

#include "arch/lib/log.h"
#include "arch/lib/string.h"
#include "arch/x86/def/pte.h"
#include "arch/x86/def/seg.h"
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
AT(frame, 0x2fd8);
_Static_assert(sizeof(struct pvm_area) == 3 * PAGE_SIZE && GDT_KCODE == 0x08 && GDT_KDATA == 0x10, "area.h for assembly");
_Static_assert(PVM_VEC_SYSCALL == PVM_TRAP_SYSCALL && PVM_VEC_SYSCALL32 == PVM_TRAP_SYSCALL32, "area.h for assembly");

extern const uint8_t pvm_stubs[], pvm_text_start[], pvm_text_end[]; /* switch.S */

struct pvm_area pvm_area __attribute__((section(".bss.cpu_area")));

static uint64_t *pdpt;

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

bool pvm_space_init(struct cpu *c)
{
	struct cpu_area *a = cpu_area(c);

	if (!pdpt)
		pdpt = pmem_alloc(PAGE_SIZE, PAGE_SIZE);
	if (!pdpt || !map_all(a)) {
		log_printf("drover: pvm: no memory for the switcher's page tables\n");
		return false;
	}
	build_idt();
	pvm_area.host_cr3 = read_cr3();
	pvm_area.host_gs = (uint64_t)(uintptr_t)c;
	sgdt(&pvm_area.host_gdtr);
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
