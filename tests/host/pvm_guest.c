/* SPDX-License-Identifier: MIT */
/* The guest of the tests of PVM's emulation: identity-mapped, the first 2 MiB the kernel's, the rest the users'. */
#include "pvm_guest.h"

#include <string.h>

#include "arch/x86/def/pte.h"
#include "model/cpu.h"
#include "vmm/bus.h"
#include "vmm/cpuid.h"
#include "vmm/fetch.h"

#define RAM (4ull << 20)
#define PML4 0x1000ull
#define PDPT 0x2000ull
#define PD 0x3000ull
#define PT 0x4000ull

struct vcpu pg;
struct pvm_vcpu pg_hw;
static struct vm vm;
static struct vm_bus bus;
static _Alignas(4096) uint8_t ram[RAM];
static uint64_t views[PVM_VIEWS][PVM_GDT_BYTES / 8];
static const struct backend be = { .name = "pvm", .ring3 = true };

void pg_poke(uint64_t at, const void *p, unsigned n)
{
	memcpy(ram + at, p, n);
}

void pg_poke64(uint64_t at, uint64_t v)
{
	pg_poke(at, &v, 8);
}

uint64_t pg_peek64(uint64_t at)
{
	uint64_t v;

	memcpy(&v, ram + at, 8);
	return v;
}

static void tables(void)
{
	pg_poke64(PML4, PDPT | 7);
	pg_poke64(PML4 + 511 * 8, PDPT | 7); /* its own tables have something in the host's range */
	pg_poke64(PDPT, PD | 7);
	pg_poke64(PDPT + 511 * 8, PD | 7);
	pg_poke64(PD, PT | 7);
	pg_poke64(PD + 8, 0x200000 | PTE_PS | 7);
	for (unsigned i = 0; i < 512; i++)
		pg_poke64(PT + i * 8, i * 4096ull | 3);
	pg_poke64(PT + (PG_IST_HOLE >> 12) * 8 - 8, 0);
	pg_poke64(PT + (PG_IST_EDGE >> 12) * 8 - 8, 0);
	pg_poke64(PT + (PG_RDONLY >> 12) * 8, PG_RDONLY | 1);
}

void pg_unmap(uint64_t page)
{
	pg_poke64(PT + (page >> 12) * 8, 0);
}

void pg_map_last(void)
{
	pg_poke64(PML4 + 510 * 8, PDPT | 7);
	pg_poke64(PD + 511 * 8, PT | 7);
}

static void gdt(void)
{
	static const uint64_t desc[] = {
		0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff, 0x00cf73000000ffff, /* 0-30 */
		0x0000890120000067, 0, 0x00cf9b000000ffff, 0x00af1b000000ffff, 0x00afbb000000ffff, 0x00af9f000000ffff, 0x00cf91000000ffff, /* 38-68 */
		0x000082013000000f, 0, 0x00ef9b000000ffff, 0x0000830120000067, /* 70, 80, 88 */
	};

	pg_poke(PG_GDT, desc, sizeof(desc));
}

void pg_gate(unsigned vector, uint16_t sel, uint64_t offset, unsigned type, unsigned dpl, unsigned ist)
{
	uint64_t lo = (offset & 0xffff) | (uint64_t)sel << 16 | (uint64_t)ist << 32 | (uint64_t)type << 40 | (uint64_t)dpl << 45 | 1ull << 47 |
		      (offset & 0xffff0000) << 32;

	pg_poke64(PG_IDT + vector * 16, lo);
	pg_poke64(PG_IDT + vector * 16 + 8, offset >> 32);
}

static void seg(enum seg_index i, uint16_t sel)
{
	pg.st.seg[i] = sel < 4 ? (struct seg){ .sel = sel, .ar = SEG_AR_UNUSABLE } : pvm_seg(sel, pg_peek64(PG_GDT + (sel & ~7u)));
}

void pg_start(unsigned cpl)
{
	static uint64_t ist[8] = { 0, PG_IST1, PG_IST_BAD, PG_IST_HOLE, PG_IST_EDGE, PG_RDONLY + 0x800 };

	sw_reset(false, (struct ref_cpu){ 0 });
	cpuid_init(true);
	memset(&vm, 0, sizeof(vm));
	memset(&pg, 0, sizeof(pg));
	memset(&pg_hw, 0, sizeof(pg_hw));
	memset(ram, 0, sizeof(ram));
	memset(views, 0, sizeof(views));
	for (unsigned i = 0; i < PVM_VIEWS; i++)
		pg_hw.gdt[i] = views[i];
	bus_init(&bus, "pvm");
	vm.bus = &bus;
	vm.ram = ram;
	vm.ram_size = RAM;
	pg.vm = &vm;
	pg.be = &be;
	pg.hw = &pg_hw;
	pg.live.cpl = &pg.st.cpl;
	pg.live.shadow = &pg_hw.live_shadow;
	pg.st_valid = VST_ALL;
	pg.st.cr0 = CR0_PE | CR0_PG | CR0_WP;
	pg.st.cr4 = CR4_PAE | CR4_DE;
	pg.st.cr3 = PML4;
	pg.st.efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
	dbg_vcpu_reset(&pg.dbg);
	tables();
	gdt();
	pg_poke64(PG_TSS + 4, PG_RSP0);
	ram[PG_TSS + 102] = 104; /* no I/O map */
	for (unsigned i = 1; i < 8; i++)
		pg_poke64(PG_TSS + 36 + 8 * (i - 1), ist[i]);
	pg.st.gdtr.base = PG_GDT;
	pg.st.gdtr.limit = PG_GDT_LIMIT;
	pg.st.idtr.base = PG_IDT;
	pg.st.idtr.limit = PG_IDT_LIMIT;
	pg.st.cpl = (uint8_t)cpl;
	seg(SEG_CS, cpl ? S_UCODE : S_KCODE);
	seg(SEG_SS, cpl ? S_UDATA : S_KDATA);
	pg.st.seg[SEG_TR] = (struct seg){ .sel = S_TSS, .ar = 0x8b, .limit = 0x67, .base = PG_TSS };
	for (enum seg_index i = SEG_DS; i <= SEG_GS; i++)
		seg(i, S_UDATA);
	seg(SEG_ES, S_UDATA);
	pg.rflags = RFLAGS_BIT1;
	pg.rip = cpl ? PG_UCODE : PG_KCODE;
	pg.r[GPR_RSP] = cpl ? PG_USTACK : PG_KSTACK;
	fetch_cache_init(&pg.fetch);
	pvm_gdt_rebuild(&pg);
}

void pg_insn(unsigned vector, uint32_t error, const void *bytes, unsigned n)
{
	pg_poke(pg.rip, bytes, n);
	pg_hw.trap_vector = vector;
	pg_hw.trap_error = error;
	pvm_emulate(&pg);
}

uint64_t pg_fault(void)
{
	const struct event *e = &pg.exception;

	return e->type == EVENT_NONE || e->vector == VEC_DB ? PG_NONE : (uint64_t)e->vector << 32 | (uint64_t)e->has_error << 31 | e->error;
}

uint64_t pg_db(void)
{
	return pg.exception.type == EVENT_FAULT && pg.exception.vector == VEC_DB ? pg.exception.db.payload : PG_NONE;
}
