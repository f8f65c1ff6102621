/* SPDX-License-Identifier: MIT */
/* Dispatch of host exceptions and interrupts. What nobody claims is a bug of ours: panic. */
#include "arch/x86/traps.h"

#include <stddef.h>

#include "arch/lib/log.h"
#include "arch/lib/panic.h"
#include "arch/lib/string.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/gdt.h"
#include "arch/x86/insn.h"
#include "arch/x86/lapic.h"
#include "arch/x86/percpu.h"

struct extable_entry {
	uint64_t from, to;
};

extern const struct extable_entry extable_start[], extable_end[]; /* linker.ld */
extern const uint8_t trap_stubs[];                                 /* traps_entry.S */

#define STUB_SIZE 16
#define GATE_INTERRUPT 0x8e /* P, DPL 0: interrupts are off in every handler */

static bool (*hooks[IDT_VECTORS])(struct trapframe *);
static bool (*db_filter)(struct trapframe *);
static const struct trapframe *panic_frame;
static bool stray_seen[IDT_VECTORS];

void trap_set_hook(unsigned vector, bool (*fn)(struct trapframe *))
{
	assert(vector < IDT_VECTORS);
	assert(fn == NULL || hooks[vector] == NULL);
	hooks[vector] = fn;
}

void trap_set_db_filter(bool (*fn)(struct trapframe *))
{
	db_filter = fn;
	cpu_area(this_cpu())->idt[VEC_DB].ist = fn != NULL ? IST_NONE : IST_DB;
}

static const char *vector_name(uint64_t vector)
{
	static const char *const names[] = { "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9", "#TS", "#NP",
					     "#SS", "#GP", "#PF", "15", "#MF", "#AC", "#MC", "#XM" };

	return vector < sizeof(names) / sizeof(names[0]) ? names[vector] : "reserved";
}

static void print_frame(void)
{
	const struct trapframe *f = panic_frame;

	if (f == NULL)
		return;
	log_printf("drover: rip=%016lx cs=%04lx rflags=%08lx rsp=%016lx ss=%04lx\n", f->rip, f->cs, f->rflags, f->rsp, f->ss);
	log_printf("drover: rax=%016lx rbx=%016lx rcx=%016lx rdx=%016lx\n", f->rax, f->rbx, f->rcx, f->rdx);
	log_printf("drover: rsi=%016lx rdi=%016lx rbp=%016lx r8 =%016lx\n", f->rsi, f->rdi, f->rbp, f->r8);
	log_printf("drover: r9 =%016lx r10=%016lx r11=%016lx r12=%016lx\n", f->r9, f->r10, f->r11, f->r12);
	log_printf("drover: r13=%016lx r14=%016lx r15=%016lx\n", f->r13, f->r14, f->r15);
	log_printf("drover: cr0=%016lx cr2=%016lx cr3=%016lx cr4=%016lx\n", read_cr0(), read_cr2(), read_cr3(), read_cr4());
}

static bool fix_up(struct trapframe *tf)
{
	if (tf->vector != VEC_UD && tf->vector != VEC_GP)
		return false;
	for (const struct extable_entry *e = extable_start; e < extable_end; e++) {
		if (e->from == tf->rip) {
			tf->rip = e->to;
			return true;
		}
	}
	return false;
}

/* A device interrupt that nobody asked for: firmware may leave a source open. Said once per vector. */
static void stray_interrupt(uint64_t vector)
{
	if (!stray_seen[vector])
		log_printf("drover: stray interrupt vector 0x%lx\n", vector);
	stray_seen[vector] = true;
	lapic_eoi();
}

void trap_handle(struct trapframe *tf)
{
	uint64_t vector = tf->vector;

	if (vector == VEC_DB && db_filter != NULL && db_filter(tf))
		return; /* before anything that needs this CPU's GS */
	if (fix_up(tf))
		return;
	if (hooks[vector] != NULL && hooks[vector](tf))
		return;
	if (vector >= 32) {
		stray_interrupt(vector);
		return;
	}
	panic_frame = tf;
	panic("unexpected exception %lu %s error=0x%lx rip=%016lx cr2=%016lx", vector, vector_name(vector), tf->error, tf->rip, read_cr2());
}

void traps_init(void)
{
	struct cpu_area *a = cpu_area(this_cpu());
	struct desc_ptr ptr = { sizeof(a->idt) - 1, (uint64_t)(uintptr_t)a->idt };

	for (unsigned i = 0; i < IDT_VECTORS; i++) {
		uint64_t stub = (uint64_t)(uintptr_t)(trap_stubs + i * STUB_SIZE);

		a->idt[i] = (struct idt_gate){
			.offset_lo = (uint16_t)stub,
			.sel = GDT_KCODE,
			.ist = gdt_ist_of(i),
			.type = GATE_INTERRUPT,
			.offset_mid = (uint16_t)(stub >> 16),
			.offset_hi = (uint32_t)(stub >> 32),
		};
	}
	lidt(&ptr);
	panic_set_regs(print_frame);
}
