/* SPDX-License-Identifier: MIT */
/* Each flush that drover makes, on a CPU whose TLB forgets nothing by itself: no stale translation is used after it, and none is made in vain. */
#include <string.h>

#include "arch/x86/def/hypercall.h"
#include "arch/x86/def/pte.h"
#include "arch/x86/percpu.h"
#include "arch/x86/vmx/internal.h"
#include "both.h"
#include "model/tlb.h"

/* Guest memory. 32-bit tables map 4 MiB, PAE tables 2 MiB, both one to one. */
#define PD 0x10000u
#define PT 0x11000u
#define PDPT 0x14000u
#define PAE_PD 0x15000u
#define PAE_PT 0x16000u
#define DATA 0x40000u  /* holds 0x1111 */
#define OTHER 0x41000u /* holds 0x2222 */
#define PTE_OF_DATA (PT + 4 * (DATA >> 12))
#define SECOND 0x380000u /* holds 0x3333, in the second large page */
#define FIRST 0x180000u  /* holds 0x1818, at the same place in the first */

#define LD(addr) { G_LOAD, .n = 4, .a = (addr), .flags = GOP_TLB }
#define FETCH(addr) { G_LOAD, .n = 4, .a = (addr), .c = 1, .flags = GOP_TLB }
#define ST(addr, v) { G_STORE, .n = 4, .a = (addr), .b = (v), .flags = GOP_TLB }
#define CR(reg, v) { G_MOV_TO_CR, .n = (reg), .a = (v) }
#define EFER(v) { G_WREFER, .a = (v) }
#define PAGING CR(3, PD), CR(0, 0x80000011)
#define TO_OTHER ST(PTE_OF_DATA, OTHER | 3)

static void put32(struct vm *vm, uint32_t at, uint32_t v)
{
	memcpy(vm->ram + at, &v, sizeof(v));
}

static void put64(struct vm *vm, uint32_t at, uint64_t v)
{
	memcpy(vm->ram + at, &v, sizeof(v));
}

static void fill(struct vm *vm)
{
	put32(vm, PD, PT | 3);
	for (uint32_t i = 0; i < 1024; i++)
		put32(vm, PT + 4 * i, i << 12 | 3);
	put64(vm, PDPT, PAE_PD | 1);
	put64(vm, PAE_PD, PAE_PT | 3);
	for (uint32_t i = 0; i < 512; i++)
		put64(vm, PAE_PT + 8 * i, (uint64_t)i << 12 | 3 | (i << 12 == DATA ? PTE_NX : 0));
	put32(vm, DATA, 0x1111);
	put32(vm, OTHER, 0x2222);
	put32(vm, SECOND, 0x3333);
	put32(vm, FIRST, 0x1818);
}

static bool start(struct machine *m, bool amd, struct tlb_cpu cpu)
{
	tlb_start(cpu);
	if (machine_start(m, amd, plain))
		return true;
	tlb_stop();
	return false;
}

static void add(struct machine *m, const struct gop *ops, unsigned nr)
{
	if (machine_add(m, ops, nr, OPS(show_dr67)))
		fill(m->vm[m->nr - 1]);
}

/* The i-th access: the CPU and a fresh walk both give this. */
static void gives(const struct machine *m, unsigned vm, unsigned i, uint64_t want, const char *name, const char *text)
{
	const struct rec *r = machine_rec(m, vm, R_MEM, i);

	tap_eq(r && r->b == want ? r->a : 0xbad, want, name, "%s", text);
}

static void finish(struct machine *m, bool amd, const char *what)
{
	char name[60];

	snprintf(name, sizeof(name), "TLB.stale_%s", what);
	tap_ok(tlb.stale == 0, id(amd, name), "no stale translation was used (%u hits, %u in vain)%s%s", tlb.hits, tlb.stale, tlb.stale ? ": " : "", tlb.first);
	snprintf(name, sizeof(name), "TLB.legal_%s", what);
	tap_eq(tlb.refused, 0, id(amd, name), "this CPU has each kind of flush that was asked for");
	tap_eq(machine_recs(m, 0, R_EXC), 0, id(amd, "TLB.script"), "the guest ran without an exception");
	snprintf(name, sizeof(name), "tlb_%s", what);
	sw_report(id(amd, name));
	machine_stop(m);
	tlb_stop();
}

/* ---- The model itself: a stale entry is used until the guest's own flush ---- */

BOTH(TLB_model)
{
	static const struct gop ops[] = { PAGING, LD(DATA), TO_OTHER, LD(DATA), { G_CPUID }, LD(DATA), CR(3, PD), LD(DATA),
					  ST(PTE_OF_DATA, DATA | 3), LD(DATA), { G_INVLPG, .a = DATA }, LD(DATA) };
	struct machine m;
	const struct rec *r;

	if (!start(&m, amd, (struct tlb_cpu){ 0 }))
		return;
	add(&m, OPS(ops));
	machine_run(&m);
	gives(&m, 0, 0, 0x1111, id(amd, "TLB.fill"), "the first read");
	r = machine_rec(&m, 0, R_MEM, 2);
	tap_ok(r && r->a == 0x1111 && r->b == 0x2222, id(amd, "TLB.keeps"), "an entry that the guest changed without a flush is used as it was");
	r = machine_rec(&m, 0, R_MEM, 3);
	tap_ok(r && r->a == 0x1111 && r->b == 0x2222, id(amd, "TLB.tagged"), "and still is after an exit and an entry");
	gives(&m, 0, 4, 0x2222, id(amd, "TLB.mov_cr3"), "MOV to CR3 in the guest flushes");
	r = machine_rec(&m, 0, R_MEM, 6);
	tap_ok(r && r->a == 0x2222 && r->b == 0x1111, id(amd, "TLB.again"), "stale once more");
	gives(&m, 0, 7, 0x1111, id(amd, "TLB.own_invlpg"), "INVLPG in the guest flushes");
	tap_eq(tlb.stale, 3, id(amd, "TLB.reported"), "each stale read was noticed: %s", tlb.first);
	tap_ok(tlb_flushes() <= (amd ? 1 : 4), id(amd, "TLB.by_itself"), "and drover had no part in it: %u flushes in all", tlb_flushes());
	machine_stop(&m);
	tlb_stop();
}

/* ---- A tag is used for the first time, or again ---- */

/* Firmware, another hypervisor or an earlier VM left translations under every tag. */
BOTH(TLB_first)
{
	static const struct gop ops[] = { LD(DATA), { G_CPUID }, LD(DATA) };
	struct machine m;

	if (!start(&m, amd, (struct tlb_cpu){ .nr_asids = 2 }))
		return;
	add(&m, OPS(ops));
	tlb_foreign();
	machine_run(&m);
	gives(&m, 0, 0, 0x1111, id(amd, "TLB.first"), "the first read under a fresh tag does not go where another one's did");
	vm_destroy(m.vm[0]);
	m.nr = 0;
	add(&m, OPS(ops));
	tlb_foreign();
	put32(m.vm[0], DATA, 0x4444);
	machine_run(&m);
	gives(&m, 0, 0, 0x4444, id(amd, "TLB.recreated"), "nor does that of a VM made anew in the place of another");
	finish(&m, amd, "first");
}

TEST(TLB_cpu_on_vmx)
{
	struct machine m;

	if (!start(&m, false, (struct tlb_cpu){ 0 }))
		return;
	tap_ok(!tlb.foreign && !tlb_filled(), "TLB.cpu_on", "turning VMX on leaves no translation of whoever had it before");
	m.be->cpu_off(m.cpu);
	tlb_foreign();
	m.be->cpu_on(m.cpu);
	tap_ok(!tlb.foreign && !tlb_filled(), "TLB.cpu_on_again", "nor does turning it on again");
	m.be->cpu_off(m.cpu);
	tlb_stop();
}

/* Two VMs take turns. With one ASID for both each load flushes; with tags of their own nothing has to. */
BOTH(TLB_turns)
{
	static const struct gop ops[] = { LD(DATA), HC(HC_LAB_YIELD), LD(DATA), HC(HC_LAB_YIELD), LD(DATA) };
	struct machine m;

	if (!start(&m, amd, (struct tlb_cpu){ .nr_asids = 2 }))
		return;
	add(&m, OPS(ops));
	add(&m, OPS(ops));
	put32(m.vm[1], DATA, 0x5555);
	machine_run(&m);
	for (unsigned i = 0; i < 3; i++) {
		gives(&m, 0, i, 0x1111, id(amd, "TLB.turns_first"), "the first VM reads its own memory");
		gives(&m, 1, i, 0x5555, id(amd, "TLB.turns_second"), "the second one its own");
	}
	if (!amd)
		tap_eq(tlb.invepts, 1 + 2, "TLB.turns_count", "one flush at bring-up and one per VM, none per turn");
	finish(&m, amd, "turns");
}

/* ---- Control registers and EFER, when drover writes them for the guest ---- */

BOTH(TLB_cr4)
{
	static const struct gop ops[] = { PAGING, LD(DATA), TO_OTHER, CR(4, 0xc0), LD(DATA), ST(DATA, 0x77), CR(4, 0xc0), CR(4, 0xc0), LD(OTHER) };
	struct machine m;

	if (!start(&m, amd, (struct tlb_cpu){ 0 }))
		return;
	add(&m, OPS(ops));
	machine_run(&m);
	gives(&m, 0, 0, 0x1111, id(amd, "TLB.cr4_before"), "before");
	gives(&m, 0, 2, 0x2222, id(amd, "TLB.cr4"), "CR4.PGE and MCE change in one intercepted write: it flushes, as it does on bare hardware");
	gives(&m, 0, 3, (uint64_t)(uintptr_t)(m.vm[0]->ram + OTHER), id(amd, "TLB.cr4_write"), "a store goes where the tables say, too");
	gives(&m, 0, 4, 0x77, id(amd, "TLB.cr4_after"), "and is read back there");
	tap_eq(amd ? tlb.svm_flushes : tlb.invepts, amd ? 2 : 3, id(amd, "TLB.cr4_same"), "writing the same value again makes no flush");
	finish(&m, amd, "cr4");
}

BOTH(TLB_cr0)
{
	/* CD changes too: on VMX that is what makes the write exit. */
	static const struct gop ops[] = { PAGING, TO_OTHER, LD(DATA), CR(0, 0x40000011), LD(DATA), CR(0, 0x80000011), LD(DATA) };
	struct machine m;

	if (!start(&m, amd, (struct tlb_cpu){ 0 }))
		return;
	add(&m, OPS(ops));
	machine_run(&m);
	gives(&m, 0, 1, 0x2222, id(amd, "TLB.cr0_on"), "with paging");
	gives(&m, 0, 2, 0x1111, id(amd, "TLB.cr0"), "paging is turned off by an intercepted write: nothing of it is used");
	gives(&m, 0, 3, 0x2222, id(amd, "TLB.cr0_again"), "and turned on again");
	finish(&m, amd, "cr0");
}

BOTH(TLB_efer)
{
	static const struct gop ops[] = { EFER(0x800), CR(4, 0x20), CR(3, PDPT), CR(0, 0x80000011), LD(DATA), FETCH(DATA), LD(OTHER),
					  EFER(0), LD(DATA), LD(OTHER), EFER(0x800), LD(DATA) };
	struct machine m;

	if (!start(&m, amd, (struct tlb_cpu){ 0 }))
		return;
	add(&m, OPS(ops));
	machine_run(&m);
	gives(&m, 0, 0, 0x1111, id(amd, "TLB.pae"), "PAE paging, after CR4 was written: what the CPU keeps by clean bits is not the old one");
	gives(&m, 0, 1, TLB_NO_VALUE, id(amd, "TLB.nx"), "no fetch from there");
	gives(&m, 0, 3, TLB_NO_VALUE, id(amd, "TLB.efer"), "without NXE bit 63 is reserved: the page that was used before is none any more");
	gives(&m, 0, 4, 0x2222, id(amd, "TLB.efer_other"), "other pages are");
	gives(&m, 0, 5, 0x1111, id(amd, "TLB.efer_back"), "and with NXE it is one again");
	finish(&m, amd, "efer");
}

/* ---- Exits that neither backend asks for, but the machine model carries out ---- */

BOTH(TLB_cr3)
{
	static const struct gop ops[] = { PAGING, LD(DATA), TO_OTHER, CR(3, PD), LD(DATA) };
	struct machine m;

	if (!start(&m, amd, (struct tlb_cpu){ .more_exits = true }))
		return;
	add(&m, OPS(ops));
	machine_run(&m);
	gives(&m, 0, 2, 0x2222, id(amd, "TLB.cr3"), "MOV to CR3 of the value that is there, as kernels flush: drover does when it exits");
	finish(&m, amd, "cr3");
}

BOTH(TLB_invlpg)
{
	static const struct gop ops[] = { PAGING, LD(DATA), TO_OTHER, { G_INVLPG, .a = DATA }, LD(DATA) };
	struct machine m;

	if (!start(&m, amd, (struct tlb_cpu){ .more_exits = true }))
		return;
	add(&m, OPS(ops));
	machine_run(&m);
	gives(&m, 0, 2, 0x2222, id(amd, "TLB.invlpg"), "an INVLPG that exits");
	finish(&m, amd, "invlpg");
}

/* ---- Second-level tables ---- */

static void remap(void *arg)
{
	struct machine *m = arg;
	uint64_t *t = (uint64_t *)(uintptr_t)m->vm[0]->slat_root;

	t = (uint64_t *)(uintptr_t)(t[0] & PTE_ADDR);
	t = (uint64_t *)(uintptr_t)(t[0] & PTE_ADDR);
	t[1] = t[0]; /* the second large page becomes the first one */
	m->be->flush(m->vm[0]);
}

/* drover changes a second-level entry between two entries and asks for the flush. */
static void slat(bool amd, struct tlb_cpu cpu, const char *what)
{
	static const struct gop ops[] = { PAGING, LD(SECOND), { G_CPUID }, LD(SECOND), { G_CPUID }, LD(SECOND) };
	char name[40];
	struct machine m;

	if (!start(&m, amd, cpu))
		return;
	add(&m, OPS(ops));
	tlb.at_exit = remap;
	tlb.at_exit_arg = &m;
	tlb.at_exit_nr = 1;
	machine_run(&m);
	snprintf(name, sizeof(name), "TLB.%s", what);
	gives(&m, 0, 0, 0x3333, id(amd, "TLB.slat_before"), "before");
	gives(&m, 0, 1, 0x1818, id(amd, name), "after a second-level entry changed, the next read follows it");
	gives(&m, 0, 2, 0x1818, id(amd, "TLB.slat_after"), "and so do others");
	tap_eq(amd ? tlb.svm_flushes : tlb.invepts, amd ? 2 : 3, id(amd, "TLB.slat_count"), "by one flush");
	finish(&m, amd, what);
}

BOTH(TLB_slat)
{
	slat(amd, (struct tlb_cpu){ 0 }, "slat");
}

/* CPUs that lack a kind of flush: what is used instead is enough, and what they lack is not used. */
BOTH(TLB_lacks)
{
	if (amd) {
		slat(true, (struct tlb_cpu){ .svm_lacks = 1u << 6 }, "no_flush_by_asid");
		return;
	}
	slat(false, (struct tlb_cpu){ .vpid_lacks = EPTCAP_INVEPT_SINGLE }, "no_invept_single");
	slat(false, (struct tlb_cpu){ .vpid_lacks = EPTCAP_INVVPID }, "no_vpid");
}

/* ---- None in vain ---- */

BOTH(TLB_idle)
{
	static const struct gop idle[] = { LD(DATA), { G_CPUID }, { G_CPUID }, { G_CPUID }, { G_CPUID }, HC(HC_NOP), { G_CPUID }, { G_OUT, .a = 0x80 },
					   { G_CPUID }, { G_CPUID, .flags = GOP_IRQ }, HC(HC_LAB_FAST), { G_CPUID }, { G_CPUID }, LD(DATA) };
	static const struct gop debug[] = { LD(DATA), WR(0, 0x6000), WR(7, 0x10402), { G_STORE, .a = 0x6000, .n = 1 }, HC(HC_LAB_SLOW), WR(6, 0xffff0ff0),
					    { G_RDMSR }, HC(HC_LAB_SLOW), { G_STORE, .a = 0x6000, .n = 1 }, WR(7, 0x400), { G_CPUID }, LD(DATA) };
	struct machine m;

	if (!start(&m, amd, (struct tlb_cpu){ 0 }))
		return;
	add(&m, OPS(idle));
	machine_run(&m);
	tap_eq(amd ? tlb.svm_flushes : tlb.invepts, amd ? 1 : 2, id(amd, "TLB.idle"),
	       "%u entries of a guest that only exits: one flush, at the first of them, and on VMX one at bring-up", tlb.entries);
	if (!amd)
		tap_ok(tlb.invvpids <= tlb.invepts, id(amd, "TLB.idle_invvpid"), "and no more INVVPID than INVEPT (%u)", tlb.invvpids);
	tap_eq(tlb.hits, 1, id(amd, "TLB.idle_kept"), "what the guest used before all these exits is still in the TLB behind them");
	finish(&m, amd, "idle");

	if (!start(&m, amd, (struct tlb_cpu){ 0 }))
		return;
	add(&m, OPS(debug));
	machine_run(&m);
	tap_ok(tlb_flushes() <= (amd ? 1 : 4), id(amd, "TLB.debug"), "nor does the exchange of debug registers flush (%u entries)", tlb.entries);
	finish(&m, amd, "debug");
}
