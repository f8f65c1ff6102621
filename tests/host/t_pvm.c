/* SPDX-License-Identifier: MIT */
/* The PVM backend on a CPU without hardware help: ownership, the filter of DR7, the order of writes, payloads. Source document 4. */
#include "arch/x86/dbg_switch.h"
#include "arch/x86/def/dr.h"
#include "arch/x86/def/hypercall.h"
#include "arch/x86/def/pte.h"
#include "arch/x86/gdt.h"
#include "arch/x86/pvm/area.h"
#include "arch/x86/pvm/pvm.h"
#include "both.h"
#include "model/ring3.h"

/* With the bits of DR6 that a raw value would show as causes (P12). */
static const struct ref_cpu all_low = { .rtm = true, .bld = true };

/* A script in ring 3, on a CPU of each vendor, compared with bare hardware; the caller looks closer and stops the machine. */
static bool run_ring3(struct machine *m, bool amd, struct ref_cpu phys, const char *name, const struct gop *ops, unsigned nr, const struct gop *handler,
		      unsigned nr_handler)
{
	bool ok;

	phys.no_debugctl = true;
	machine_ring3 = true;
	ok = machine_start(m, amd, phys) && machine_add(m, ops, nr, handler, nr_handler);
	if (ok) {
		machine_host_bp(m, 3, 0x5000, 0xd); /* so that each invariant can break in each scenario */
		machine_host_debugctl(m, 0x41);
		sw.nr_log = 0;
		machine_run(m);
		machine_same_as_bare(m, 0, name);
		sw_report(name);
	}
	machine_ring3 = false;
	return ok;
}

/* On a CPU of each vendor. */
#define RING3(name) \
	static void name(bool amd); \
	TEST(name##_intel) { name(false); } \
	TEST(name##_amd) { name(true); } \
	static void name(bool amd)

static const char *rid(bool amd, const char *name)
{
	static char buf[4][80];
	static unsigned next;
	char *s = buf[next++ % 4];

	snprintf(s, sizeof(buf[0]), "%s.pvm.%s", name, amd ? "amd" : "intel");
	return s;
}


static uint64_t dr_rec(const struct machine *m, unsigned i)
{
	const struct rec *r = machine_rec(m, 0, R_DR, i);

	return r ? r->a : 0xbad;
}

/* ---- What of the host is in a guest's address space ---- */

extern const uint8_t pvm_text_start[], pvm_text_end[];

struct host_leaves {
	unsigned nr, user, wx, other, other_va;
};

static bool in(uint64_t pa, const void *start, uint64_t size)
{
	return pa >= (uint64_t)(uintptr_t)start && pa + PAGE_SIZE <= (uint64_t)(uintptr_t)start + size;
}

/* What the switcher needs, and of that each page where drover itself has it, but for the views of the GDT. */
static void host_leaf(const struct vcpu *v, uint64_t va, uint64_t pa, bool user, bool write, bool nx, struct host_leaves *h)
{
	const struct cpu_area *a = cpu_area(this_cpu());
	bool view = in(pa, pvm_hw(v)->gdt[0], PVM_GDT_BYTES) || in(pa, pvm_hw(v)->gdt[1], PVM_GDT_BYTES), ist = false;
	bool text = in(pa, pvm_text_start, (uint64_t)(pvm_text_end - pvm_text_start)), tss = in(pa, a->gdt, PAGE_SIZE);

	for (unsigned i = 0; i < IST_NR; i++)
		ist = ist || in(pa, a->ist[i].stack, IST_STACK_SIZE);
	h->nr++;
	h->user += user;
	h->wx += (write && !nx) || (write && (text || tss || in(pa, pvm_area.idt, PAGE_SIZE)));
	h->other += !(view || ist || text || tss || in(pa, &pvm_area, sizeof(pvm_area)));
	h->other_va += view ? va - (PVM_GDT_VA & 0x7fffffffff) >= PVM_VIEWS * PVM_GDT_BYTES : va != (pa & 0x7fffffffff);
}

/* Each leaf below this entry, of any level; `user`, `write` and `nx` by all of the path. A large one would be no page of the list. */
static void host_walk(const struct vcpu *v, uint64_t e, uint64_t va, unsigned shift, uint64_t all, uint64_t any, struct host_leaves *h)
{
	const uint64_t *t;

	if (!(e & PTE_P))
		return;
	all &= e;
	any |= e;
	if (shift == 12 || (shift < 39 && (e & PTE_PS))) {
		host_leaf(v, va, shift == 12 ? e & PTE_ADDR : ~(uint64_t)PAGE_SIZE + 1 - PAGE_SIZE, e & PTE_U, all & PTE_W, any & PTE_NX, h);
		return;
	}
	h->user += (e & PTE_U) != 0;
	t = phys_to_virt(e & PTE_ADDR);
	for (uint64_t i = 0; i < 512; i++)
		host_walk(v, t[i], va + (i << (shift - 9)), shift - 9, all, any, h);
}

RING3(P21_leaves)
{
	static const struct gop ops[] = { WR(0, 0x11111), RD(0) };
	unsigned want = (unsigned)((uint64_t)(pvm_text_end - pvm_text_start) / PAGE_SIZE + sizeof(pvm_area) / PAGE_SIZE + 1 + IST_NR * IST_STACK_SIZE / PAGE_SIZE +
				   PVM_VIEWS * PVM_GDT_BYTES / PAGE_SIZE);
	struct machine m;

	if (!run_ring3(&m, amd, plain, rid(amd, "P21.script"), OPS(ops), OPS(show_dr67)))
		return;
	for (unsigned view = 0; view < PVM_VIEWS; view++) {
		const uint64_t *root = phys_to_virt(pvm_mmu_root(m.vm[0]->vcpu, view));
		struct host_leaves h = { 0 };

		host_walk(m.vm[0]->vcpu, root[511], 0, 39, ~0ull, 0, &h);
		tap_eq(h.nr, want, rid(amd, "P21.nr"), "pages in view %u: the switcher's, and no more", view);
		tap_eq(h.user, 0, rid(amd, "P21.user"), "none of them, nor a table above, is user mode's");
		tap_eq(h.other, 0, rid(amd, "P21.what"), "nothing else of the host's");
		tap_eq(h.other_va, 0, rid(amd, "P21.where"), "each at its place");
		tap_eq(h.wx, 0, rid(amd, "P21.wx"), "text, IDT and TSS are not written, what is written is not executed");
	}
	machine_stop(&m);
}

/* ---- MOV DR ---- */

RING3(P01_emulated)
{
	static const struct gop ops[] = { WR(0, 0x11111), WR(1, 0x22222), WR(3, 0x44444), WR(6, 0xffff4ff1), HC(HC_LAB_SLOW), RD(0), RD(1), RD(3), RD(6), RD(7), RD(4),
					  WR(5, 0x401), RD(7) };
	struct machine m;
	unsigned traps = 0;

	if (!run_ring3(&m, amd, plain, rid(amd, "P01.emulated"), OPS(ops), OPS(show_dr67)))
		return;
	for (int i = machine_find(0, OP_EXIT, -1); i >= 0; i = machine_find((unsigned)i + 1, OP_EXIT, -1))
		traps += sw.log[i].v == 13;
	tap_eq(traps, 13, rid(amd, "P01.each"), "each of twelve MOV DR, and the script's end, is a #GP");
	tap_eq(machine_count(0, sw.nr_log, OP_RD_DR, -1), 0, rid(amd, "P01.never"), "and no debug register was ever read for one");
	machine_stop(&m);
}

RING3(P02_general_detect)
{
	static const struct gop ops[] = { WR(0, 0x5000), WR(7, 0x12401), { G_STORE, .a = 0x6000, .n = 1 }, { G_STORE, .a = 0x5000, .n = 1 }, WR(7, 0x2400), HC(HC_LAB_SLOW), { G_NOP }, RD(0), RD(7) };
	struct machine m;

	if (!run_ring3(&m, amd, plain, rid(amd, "P02.gd"), OPS(ops), OPS(show_dr67)))
		return;
	tap_eq(machine_recs(&m, 0, R_DB), 2, rid(amd, "P02.count"), "a data breakpoint, which ends GD, and one access");
	tap_eq(dr_rec(&m, 2), 0xffff2ff0, rid(amd, "P02.bd"), "the guest's General Detect is software's");
	machine_stop(&m);
}

/* ---- Addresses ---- */

struct place {
	uint64_t addr;
	bool ok; /* may be watched */
};

static const struct place places[] = {
	{ 0x6000, true }, { 0x6007, true }, { 0x00007ffffffffff8, true }, { 0x00007fffffffffff, false }, { 0x0000800000000000, false }, { 0x00007ffffffffffc, false },
	{ 0xffff7fffffffffff, false }, { 0xffff800000000000, true }, { 0xffff800000000004, true }, { R3_HOST_BASE - 8, true }, { R3_HOST_BASE - 7, false },
	{ R3_HOST_BASE - 1, false }, { R3_HOST_BASE, false }, { R3_HOST_BASE + 0x12345678, false }, { 0xfffffffffffffff8, false }, { 0xffffffffffffffff, false },
	{ 0x8000000000000000, false }, { 8, true }, { 7, true },
};

/* The pure function, over all types, lengths, enables of each slot: what must not be is off whole, and nothing else is touched. */
TEST(P03_filter)
{
	struct tap_set outside = { .id = "P03.filter" }, whole = { .id = "P04.filter" }, io = { .id = "P08.filter" }, gd = { .id = "P02.filter" };

	for (unsigned p = 0; p < sizeof(places) / sizeof(places[0]); p++)
		for (unsigned i = 0; i < 4; i++)
			for (unsigned type = 0; type < 16; type++)
				for (unsigned enable = 0; enable < 4; enable++) {
					uint64_t dr[4] = { 0x7000, 0x7000, 0x7000, 0x7000 }, mine = (uint64_t)type << (16 + 4 * i) | (uint64_t)enable << 2 * i;
					uint64_t others = 0x55550355 & ~(0xfull << (16 + 4 * i) | 3ull << 2 * i), got, want;
					bool off = (type & 3) == 2 || !places[p].ok;
					struct tap_set *set = (type & 3) == 2 ? &io : &outside;

					dr[i] = places[p].addr;
					got = dbg_ring3_dr7(dr, 0x2400 | others | mine);
					want = 0x400 | others | (off ? 0 : mine);
					tap_case(&gd, got & 0x2000, 0, "0x%llx", (unsigned long long)got);
					tap_case(set, got & 3ull << 2 * i, off ? 0 : (uint64_t)enable << 2 * i, "slot %u type 0x%x at 0x%llx", i, type, (unsigned long long)dr[i]);
					tap_case(&whole, got & ~0x2000ull, want, "slot %u type 0x%x at 0x%llx", i, type, (unsigned long long)dr[i]);
				}
	tap_end(&outside, "a slot is armed iff [addr & ~7, addr + 7] is the guest's");
	tap_end(&whole, "a slot that is off has no enable and no type, the others are as they were");
	tap_end(&io, "never one on ports");
	tap_end(&gd, "never GD");
}

/* Slot 1 wherever it is, slot 0 beside it fires. Each write is read back. */
RING3(P03_places)
{
	struct machine m;
	struct tap_set armed = { .id = rid(amd, "P05.places") }, values = { .id = rid(amd, "P03.readback") };
	unsigned n = sizeof(places) / sizeof(places[0]);
	struct gop ops[80];
	unsigned nr = 0;

	ops[nr++] = (struct gop)WR(0, 0x5004);
	ops[nr++] = (struct gop)WR(7, 0xb9040a);
	for (unsigned p = 0; p < n; p++) { /* only the address changes */
		ops[nr++] = (struct gop)WR(1, places[p].addr);
		ops[nr++] = (struct gop){ G_NOP };
		ops[nr++] = (struct gop)RD(1);
	}
	ops[nr++] = (struct gop){ G_STORE, .a = 0x5004, .n = 1 };
	ops[nr++] = (struct gop)RD(7);
	if (!run_ring3(&m, amd, plain, rid(amd, "P03.places"), ops, nr, OPS(show_dr67)))
		return;
	for (unsigned p = 0, at = 0; p < n; p++) {
		const struct rec *r = machine_rec(&m, 0, R_DR, p);
		int write = -1;

		tap_case(&values, r ? r->a : 0xbad, places[p].addr & 0xffffffff, "0x%llx", (unsigned long long)places[p].addr);
		/* The first entry that has the address in DR1. */
		for (unsigned i = at; i < sw.nr_log && write < 0; i++)
			if (sw.log[i].op == OP_WR_DR && sw.log[i].n == 1 && sw.log[i].v == places[p].addr)
				write = (int)i;
		tap_case(&armed, write >= 0, true, "0x%llx was loaded", (unsigned long long)places[p].addr);
		if (write < 0)
			continue;
		write = machine_find((unsigned)write, OP_ENTER, -1);
		at = (unsigned)write;
		tap_case(&armed, sw.log[write].v & 0xf0000c, places[p].ok ? 0xb00008 : 0, "0x%llx", (unsigned long long)places[p].addr);
	}
	tap_end(&values, "the guest reads back what it wrote");
	tap_end(&armed, "and is armed where it may be, by the entry behind the write of the address");
	tap_eq(machine_recs(&m, 0, R_DB), 1, rid(amd, "P04.neighbour"), "the slot beside it fires");
	machine_stop(&m);
}

/* ---- Order and cost ---- */

RING3(P06_order)
{
	static const struct gop ops[] = { WR(0, 0x5000), WR(7, 0x10401), { G_STORE, .a = 0x5000, .n = 1 }, { G_CPUID }, HC(HC_LAB_SLOW), { G_STORE, .a = 0x5000, .n = 4 } };
	struct machine m;
	struct tap_set last = { .id = rid(amd, "P06.last") }, first = { .id = rid(amd, "P06.first") };

	if (!run_ring3(&m, amd, plain, rid(amd, "P06.order"), OPS(ops), OPS(show_dr67)))
		return;
	for (unsigned i = 1; i + 1 < sw.nr_log; i++) {
		const struct sw_logged *before = &sw.log[i - 1], *behind = &sw.log[i + 1];

		if (sw.log[i].op == OP_ENTER && (sw.log[i].v & 0xff)) {
			tap_case(&last, before->op == OP_WR_DR ? before->n : 99, 7, "entry at %u", i);
			tap_case(&last, before->v, 0x10401, "its value");
		} else if (sw.log[i].op == OP_EXIT && sw.log[i - 1].op == OP_ENTER && (before->v & 0xff)) {
			tap_case(&first, behind->op == OP_WR_DR ? behind->n : 99, 7, "exit at %u", i);
			tap_case(&first, behind->v, 0x400, "its value");
		}
	}
	tap_end(&last, "DR7 is armed by the last operation before an entry");
	tap_end(&first, "and off by the first one behind the exit");
	machine_stop(&m);
}

/* The host reads and writes what the guest watches: a string of OUTS, page tables, frames of exceptions. No #DB for anybody. */
RING3(P06_host_access)
{
	static const struct gop ops[] = { WR(0, 0x90000), WR(1, R3_STACK - 0x28), WR(2, R3_IDT + 0x60), WR(7, 0x0fdf0400 | 0x15), HC(HC_LAB_SLOW), { G_STORE, .a = 0x5000, .n = 1 }, { G_CPUID },
					  RD(6) };
	struct machine m;

	if (!run_ring3(&m, amd, plain, rid(amd, "P06.host"), OPS(ops), OPS(show_dr67)))
		return;
	tap_eq(sw.broken[RULE_P06], 0, rid(amd, "P06.none"), "none of it while DR7 is the guest's");
	machine_stop(&m);
}

RING3(P07_no_write)
{
	static const struct gop ops[] = { { G_CPUID }, { G_STORE, .a = 0x5000, .n = 4 }, HC(HC_LAB_SLOW), { G_OUT, .a = 0x80 }, { G_POPF, .a = 1 }, { G_NOP }, { G_POPF } };
	static const struct gop filtered[] = { WR(0, R3_HOST_BASE), WR(1, 0x80), WR(7, 0x220405), { G_CPUID }, HC(HC_LAB_SLOW), { G_STORE, .a = 0x5000, .n = 4 },
					       RD(7) };
	static const struct gop none[] = { { G_NOP } };
	struct machine m;

	machine_ring3 = true;
	if (machine_start(&m, amd, plain) && machine_add(&m, OPS(ops), OPS(none))) {
		machine_run(&m);
		tap_eq(machine_count(0, sw.nr_log, OP_WR_DR, 7), 0, rid(amd, "P07.idle"), "no write of DR7 for a guest without breakpoints");
		tap_eq(machine_count(0, sw.nr_log, OP_WR_DR, -1), machine_recs(&m, 0, R_DB), rid(amd, "P07.dr6"), "and of DR6 one for each #DB that set it");
		tap_eq(machine_count(0, sw.nr_log, OP_WR_DEBUGCTL, -1), 0, rid(amd, "P09.idle"), "none of DEBUGCTL for a host without any");
		sw_report(rid(amd, "idle"));
		machine_stop(&m);
	}
	if (machine_start(&m, amd, plain) && machine_add(&m, OPS(filtered), OPS(none))) {
		machine_run(&m);
		tap_eq(machine_count(0, sw.nr_log, OP_WR_DR, 7), 0, rid(amd, "P07.filtered"), "nor where none of its breakpoints may be armed");
		machine_same_as_bare(&m, 0, rid(amd, "P07.bare"));
		machine_stop(&m);
	}
	machine_ring3 = false;
}

RING3(P08_ports)
{
	static const struct gop ops[] = { WR(2, 0x80), WR(0, 0x5000), WR(7, 0x02010411), { G_OUT, .a = 0x80 }, { G_OUT, .a = 0x81 }, { G_POPF, .a = 1 }, { G_IN, .a = 0x80 }, { G_POPF },
					  { G_STORE, .a = 0x5000, .n = 1 }, WR(7, 0x400), { G_OUT, .a = 0x80 }, WR(7, 0x02000420), { G_OUT, .a = 0x80 } };
	struct machine m;

	for (unsigned de = 0; de < 2; de++) {
		machine_ring3 = true;
		if (!machine_start(&m, amd, plain) || !machine_add(&m, OPS(ops), OPS(show_dr67)))
			return;
		m.vm[0]->vcpu->st.cr4 |= de ? 8 : 0;
		machine_run(&m);
		machine_same_as_bare(&m, 0, rid(amd, de ? "P08.de" : "P08.no_de"));
		sw_report(rid(amd, de ? "P08.de" : "P08.no_de"));
		tap_eq(machine_recs(&m, 0, R_DB), de ? 5 : 3, rid(amd, de ? "P08.hits" : "P08.none"), "breakpoints on ports are matched where the access is carried out");
		machine_stop(&m);
		machine_ring3 = false;
	}
}

/* ---- Payload, DEBUGCTL ---- */

RING3(P12_payload)
{
	static const struct gop ops[] = { WR(6, 0xffff0ff0), { G_POPF, .a = 1 }, { G_NOP }, { G_CPUID }, { G_POPF }, WR(0, 0x5000), WR(7, 0x10401), { G_STORE, .a = 0x5000, .n = 1 }, { G_ICEBP }, RD(6) };
	struct machine m;

	if (!run_ring3(&m, amd, all_low, rid(amd, "P12.low"), OPS(ops), OPS(show_dr67)))
		return;
	tap_eq(dr_rec(&m, 0), 0xffff4ff0, rid(amd, "P12.step"), "a step is BS, and no transaction, no bus lock");
	tap_eq(machine_rec(&m, 0, R_DR, 2) ? dr_rec(&m, 2) : 0, 0xffff4ff0, rid(amd, "P12.emulated"), "of an emulated instruction too");
	machine_stop(&m);
}

/* Old causes stay in the guest's DR6 only: what hardware says of the next #DB is that one's (P11). */
RING3(P11_exact)
{
	static const struct gop ops[] = { WR(6, 0xffff4ff8), WR(0, 0x5000), WR(1, 0x6000), WR(7, 0x110405), { G_STORE, .a = 0x5000, .n = 1 }, { G_STORE, .a = 0x6000, .n = 1 }, RD(6),
					  { G_POPF, .a = 1 }, { G_STORE, .a = 0x5000, .n = 1 }, { G_POPF } };
	struct machine m;

	if (!run_ring3(&m, amd, plain, rid(amd, "P11.exact"), OPS(ops), OPS(show_dr67)))
		return;
	tap_eq(dr_rec(&m, 0), 0xffff4ff1, rid(amd, "P11.first"), "BS stays, B3 goes, B0 comes");
	tap_eq(dr_rec(&m, 2), 0xffff4ff2, rid(amd, "P11.second"), "then B1 alone");
	machine_stop(&m);
}

RING3(P10_debugctl)
{
	static const struct gop ops[] = { RM(DEBUGCTL_MSR), WM(DEBUGCTL_MSR, 3), RM(DEBUGCTL_MSR), HC(HC_LAB_SLOW), RM(DEBUGCTL_MSR), WM(DEBUGCTL_MSR, 1u << 7), { G_POPF, .a = 1 }, { G_NOP }, { G_POPF } };
	struct machine m;

	if (!run_ring3(&m, amd, all_low, rid(amd, "P10.debugctl"), OPS(ops), OPS(show_all)))
		return;
	tap_eq(rec_of(&m, R_MSR, 1) | rec_of(&m, R_MSR, 2), 0, rid(amd, "P10.zero"), "LBR and BTF are dropped: DEBUGCTL reads 0");
	tap_eq(rec_of(&m, R_EXC, 0), 13, rid(amd, "P10.gp"), "what no CPU of this model has is #GP");
	machine_stop(&m);
}

/* ---- Who gets it; RF and TF ---- */

RING3(P13_debugger)
{
	static const struct gop ops[] = { WR(0, 0x6000), WR(7, 0x10402), { G_STORE, .a = 0x5000, .n = 1 }, { G_STORE, .a = 0x6000, .n = 1 }, RD(6), RD(1), HC(HC_LAB_SLOW), { G_STORE, .a = 0x5000, .n = 4 },
					  WR(1, 0x6004), { G_STORE, .a = 0x6004, .n = 1 } };
	struct machine m;

	machine_ring3 = true;
	if (machine_start(&m, amd, plain) && machine_add(&m, OPS(ops), OPS(show_dr67))) {
		tap_ok(machine_hold(&m, 0, 1, 0x5000, 1), rid(amd, "P13.hold"), "a debugger takes a slot");
		machine_run(&m);
		tap_eq(machine_recs(&m, 0, R_DB), 1, rid(amd, "P13.guest"), "the guest gets its own hit");
		tap_eq(m.vm[0]->vcpu->debugger_hits, 2, rid(amd, "P13.debugger"), "the debugger its two");
		machine_same_as_bare(&m, 0, rid(amd, "P13.bare"));
		sw_report(rid(amd, "P13.rules"));
		machine_stop(&m);
	}
	machine_ring3 = false;
}

/* nop nop and so on, one byte each, behind two MOV DR: a code breakpoint on a native instruction, on an emulated one, and on one whose operand faults. */
RING3(P17_rf)
{
	static const struct gop ops[] = { WR(0, G_MAIN + 15), WR(1, G_MAIN + 16), WR(2, G_MAIN + 18), WR(7, 0x415), HC(HC_LAB_SLOW), { G_NOP }, { G_CPUID }, { G_STORE, .a = 0x300000, .n = 1 }, { G_NOP } };
	static const struct gop none[] = { { G_NOP } };
	struct machine m;

	if (!run_ring3(&m, amd, plain, rid(amd, "P17.rf"), OPS(ops), OPS(none)))
		return;
	tap_eq(machine_recs(&m, 0, R_DB), 3, rid(amd, "P17.once"), "each of three code breakpoints once");
	machine_stop(&m);
}

RING3(P18_tf)
{
	static const struct gop ops[] = { { G_POPF, .a = 1 }, { G_RDMSR, .b = 0x12345 }, { G_NOP }, { G_ICEBP }, { G_CPUID }, { G_WRMSR, .b = 0x12346 }, { G_PUSHF }, { G_POPF }, { G_PUSHF } };
	struct machine m;

	if (!run_ring3(&m, amd, plain, rid(amd, "P18.tf"), OPS(ops), OPS(show_dr67)))
		return;
	tap_ok(machine_recs(&m, 0, R_DB) > 4, rid(amd, "P18.steps"), "steps, also behind the handlers of exceptions (%u)", machine_recs(&m, 0, R_DB));
	machine_stop(&m);
}

/* ---- A user of the guest ---- */

/* The kernel has armed slot 0; the script is a user's. */
static bool run_user(struct machine *m, bool amd, const struct gop *ops, unsigned nr, uint64_t addr, uint64_t dr7)
{
	struct vcpu *v;

	machine_ring3 = true;
	if (!machine_start(m, amd, plain))
		return false;
	m->user = true;
	v = machine_add(m, ops, nr, OPS(show_dr67));
	machine_ring3 = false;
	if (!v)
		return false;
	v->dbg.dr[0] = m->g[0].true_dr[0] = m->bare[0].true_dr[0] = addr;
	v->dbg.dr7 = m->g[0].true_dr7 = m->bare[0].true_dr7 = dr7;
	dbg_settle(&v->dbg);
	machine_ring3 = true;
	machine_run(m);
	machine_ring3 = false;
	return true;
}

RING3(P19_user)
{
	static const struct gop ops[] = { RD(6), WR(7, 0x401), RD(0), WR(0, 0x1234), { G_NOP } };
	struct machine m;

	if (!run_user(&m, amd, OPS(ops), 0x5000, 0x2400))
		return;
	machine_same_as_bare(&m, 0, rid(amd, "P19.user"));
	sw_report(rid(amd, "P19.user"));
	tap_eq(machine_recs(&m, 0, R_EXC), 4, rid(amd, "P19.gp"), "each MOV DR of a user is #GP, and GD is not looked at");
	tap_ok(m.vm[0]->vcpu->dbg.dr[0] == 0x5000 && m.vm[0]->vcpu->dbg.dr7 == 0x2400, rid(amd, "P19.unchanged"), "nothing was written");
	machine_stop(&m);
}

/* MOV SS from a watched word, and the guest is gone into the host before the #DB comes. */
RING3(P15_syscall)
{
	static const struct gop ops[] = { { G_NOP }, { G_MOV_SS, .a = 0x5000 }, { G_SYSCALL }, { G_NOP }, { G_LOAD, .a = 0x5000, .n = 1 }, { G_SYSCALL }, { G_NOP } };
	struct machine m;

	if (!run_user(&m, amd, OPS(ops), 0x5000, 0x30402))
		return;
	tap_eq(rec_of(&m, R_DB, 0), R3_SYSCALL, rid(amd, "P15.at"), "the guest's #DB comes at the first instruction of its kernel");
	tap_eq(dr_rec(&m, 0), 0xffff0ff1, rid(amd, "P15.dr6"), "with its cause");
	tap_eq(rec_of(&m, R_EXC, 0), 0x100, rid(amd, "P15.syscall"), "and the system call is made");
	tap_eq(machine_recs(&m, 0, R_DB), 2, rid(amd, "P15.once"), "once, and once for the load behind it");
	tap_eq(sw.host_traps[1], 0, rid(amd, "H18.survives"), "the host takes no #DB of the guest's for its own");
	sw_report(rid(amd, "P15.rules"));
	machine_stop(&m);
}

RING3(P15_int3)
{
	static const struct gop ops[] = { { G_NOP }, { G_MOV_SS, .a = 0x5000 }, { G_INT3 }, { G_NOP }, { G_INT3 }, { G_NOP } };
	struct machine m;

	if (!run_user(&m, amd, OPS(ops), 0x5000, 0x30402))
		return;
	tap_eq(rec_of(&m, R_DB, 0), R3_STUBS + 3 * 16, rid(amd, "P15.handler"), "the guest's #DB comes at the first instruction of #BP's handler");
	tap_eq(dr_rec(&m, 0), 0xffff0ff1, rid(amd, "P15.cause"), "with its cause");
	tap_eq(machine_recs(&m, 0, R_EXC), 2, rid(amd, "P13.bp"), "both INT3 are the guest's");
	tap_eq(machine_recs(&m, 0, R_DB), 1, rid(amd, "P15.none"), "the second one has no #DB");
	sw_report(rid(amd, "P15.bp"));
	machine_stop(&m);
}

/* SYSCALL is decided by the flags after FMASK: no step in the kernel. */
RING3(P16_step)
{
	static const struct gop ops[] = { { G_POPF, .a = 1 }, { G_NOP }, { G_SYSCALL }, { G_NOP }, { G_POPF }, { G_NOP } };
	struct machine m;
	unsigned inside = 0;

	if (!run_user(&m, amd, OPS(ops), 0x5000, 0x400))
		return;
	for (unsigned i = 0; i < machine_recs(&m, 0, R_DB); i++)
		inside += rec_of(&m, R_DB, i) == R3_SYSCALL;
	tap_eq(inside, 0, rid(amd, "P16.kernel"), "no step at the first instruction of the kernel");
	tap_ok(machine_recs(&m, 0, R_DB) >= 3, rid(amd, "P16.user"), "the user is stepped before and behind it (%u)", machine_recs(&m, 0, R_DB));
	tap_eq(sw.host_steps, 0, rid(amd, "P16.host"), "none in the host");
	sw_report(rid(amd, "P16.rules"));
	machine_stop(&m);
}
