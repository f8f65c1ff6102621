/* SPDX-License-Identifier: MIT */
/* Software breakpoints that the guest cannot read: no byte of it changes, each is found whichever way the guest comes to it, and nothing is left behind. */
#include <string.h>

#include "arch/x86/def/hypercall.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/pte.h"
#include "both.h"
#include "model/tlb.h"
#include "vmm/debugger.h"
#include "vmm/gdb/gdb.h"
#include "vmm/gdb/packet.h"
#include "vmm/gdb/session.h"
#include "vmm/swbreak.h"
#include "vmm/guard.h"

enum on { ON_VMX, ON_SVM, ON_PVM };

#define EACH(name) \
	static void name(enum on on); \
	TEST(name##_vmx) { name(ON_VMX); } \
	TEST(name##_svm) { name(ON_SVM); } \
	TEST(name##_pvm) { name(ON_PVM); } \
	static void name(enum on on)

static const char *called(enum on on, const char *name)
{
	static const char *const suffix[] = { "vmx", "svm", "pvm" };
	static char buf[4][80];
	static unsigned next;
	char *s = buf[next++ % 4];

	snprintf(s, sizeof(buf[0]), "%s.%s", name, suffix[on]);
	return s;
}

/* ---- A session; the guest's memory is looked at whenever the stub asks for a character, which it does while the guest runs ---- */

static struct {
	struct gdb_line gdb;
	unsigned stops, at_bp, int3;
	uint64_t pc[64];
	struct machine *m;
	uint8_t before[0x3000];
} line;

static void look(void)
{
	line.int3 += memcmp(line.before, line.m->vm[0]->ram + 0x1000, sizeof(line.before)) != 0;
}

static int line_take(void)
{
	look();
	return gdb_line_take(&line.gdb);
}

static void line_send(const char *s, size_t n)
{
	const struct vcpu *v = line.m->vm[0]->vcpu;

	if (n == 0 || (s[0] != 'T' && s[0] != 'W'))
		return;
	line.gdb.running = false;
	if (s[0] == 'T' && line.stops < 64)
		line.pc[line.stops++] = v->rip;
	line.at_bp += s[0] == 'T' && n > 9 && memcmp(s + n - 9, "swbreak:;", 9) == 0;
}

static void session(struct machine *m, const char *const *ask)
{
	static const struct gdb_port port = { line_take, line_send };

	memset(&line, 0, sizeof(line));
	line.gdb.ask = ask;
	line.m = m;
	memcpy(line.before, m->vm[0]->ram + 0x1000, sizeof(line.before));
	gdb_init(&port, true);
	machine_run(m);
	machine_gdb_end(m);
}

static bool start(struct machine *m, enum on on, const struct gop *ops, unsigned nr, const struct gop *handler, unsigned nr_handler)
{
	machine_ring3 = on == ON_PVM;
	return machine_start(m, on == ON_SVM, on == ON_PVM ? plain : full(on == ON_SVM)) && machine_add(m, ops, nr, handler, nr_handler);
}

/* The guest's own second-level leaf of a page. 0: there is none. */
static uint64_t leaf_of(const struct vm *vm, uint64_t gpa)
{
	uint64_t e = vm->slat_root;

	for (int shift = 39; vm->be->slat && shift >= 12; shift -= 9) {
		e = ((const uint64_t *)(uintptr_t)(e & PTE_ADDR))[gpa >> shift & 511];
		if (shift == 21 && (e & vm->be->slat->large))
			break;
	}
	return vm->be->slat ? e : 0;
}

/* Each leaf of the code's pages lets fetches through, and no step is left. */
static void finish(struct machine *m, enum on on, const char *what, const uint64_t *pcs, unsigned nr)
{
	const struct vcpu *v = m->vm[0]->vcpu;
	const struct slat_format *f = m->be->slat;
	unsigned same = 0, closed = 0;

	for (uint64_t at = 0x1000; f && at < 0x4000; at += 4096)
		closed += (leaf_of(m->vm[0], at) & (f->exec | f->noexec)) != f->exec;
	if (f)
		tap_eq(closed, 0, called(on, "Z07.hide.leaves"), "the code's pages can be executed");
	while (same < nr && same < line.stops && line.pc[same] == pcs[same])
		same++;
	tap_ok(same == nr && line.stops == nr, called(on, what), "stops where breakpoints are, and nowhere else: %u of %u, then at 0x%llx", same, nr,
	       same < line.stops ? (unsigned long long)line.pc[same] : 0);
	tap_eq(v->debugger.inside | v->debugger.stepping | v->dbg.watched | m->vm[0]->guard.nr, 0, called(on, "Z07.hide.gone"), "nothing is left of them");
	machine_same_as_bare(m, 0, called(on, what));
	sw_report(called(on, what));
	machine_stop(m);
	machine_ring3 = false;
}

#define FINISH(m, on, what, ...) finish(m, on, what, (const uint64_t[]){ __VA_ARGS__ }, sizeof((const uint64_t[]){ __VA_ARGS__ }) / 8)

/* ---- Found, without a trace ---- */

/* 1000 NOP, 1001 NOP, 1002 CPUID, 1004 store, 1009 NOP, 100a MOV from DR6, 100d CPUID, 100f NOP. gdb takes one out at each stop to step
 * over it, as it always does. */
static const struct gop line_of_code[] = { { G_NOP }, { G_NOP }, { G_CPUID }, { G_STORE, .a = 0x5000, .n = 1 }, { G_NOP }, RD(6), { G_CPUID }, { G_NOP } };

EACH(Z07_hidden)
{
	static const char *const ask[] = { "qSupported:swbreak+", "Z0,1001,1", "Z0,1009,1", "Z0,100f,1", "c", "z0,1001,1", "s", "Z0,1001,1", "c", "z0,1009,1", "s",
					   "Z0,1009,1",
					   "c", "z0,1001,1", "z0,1009,1", "z0,100f,1", "D", NULL };
	struct machine m;

	if (!start(&m, on, OPS(line_of_code), OPS(show_dr67)))
		return;
	session(&m, ask);
	tap_eq(line.int3, 0, called(on, "Z07.hide.read"), "no byte of the guest's memory changes");
	tap_eq(line.at_bp, 3, called(on, "Z07.hide.told"), "gdb is told that it is a software breakpoint");
	FINISH(&m, on, "Z07.hide.found", 0x1001, 0x1002, 0x1009, 0x100a, 0x100f);
}

/* At the very first instruction, and left in: gdb has not taken it out, so that it stops there again. */
EACH(Z07_hidden_first)
{
	static const char *const ask[] = { "qSupported", "Z0,1002,1", "c", "c", "z0,1002,1", "D", NULL };
	struct machine m;

	if (!start(&m, on, OPS(line_of_code), OPS(show_dr67)))
		return;
	session(&m, ask);
	tap_eq(line.int3, 0, called(on, "Z07.hide.first.read"), "no byte of the guest's memory changes");
	FINISH(&m, on, "Z07.hide.left_in", 0x1002, 0x1002);
}

/* ---- The page is left and entered again ---- */

/* A watchpoint of the guest's own hits inside the page; its handler is in another one, where nobody steps it, and whose page the guest has just read. 1000 MOV
 * DR0, 1003 MOV DR7, 1006 store: #DB, 100b NOP, 100c CPUID, 100e load, 1013 store: #DB. */
EACH(Z07_hidden_handler)
{
	static const struct gop ops[] = { WR(0, 0x5000), WR(7, 0x10402), { G_STORE, .a = 0x5000, .n = 1 }, { G_NOP }, { G_CPUID }, { G_LOAD, .a = 0x3ff0, .n = 4 },
					  { G_STORE, .a = 0x5000, .n = 1 }, { G_NOP } };
	static const char *const ask[] = { "qSupported", "Z0,100c,1", "c", "z0,100c,1", "s", "Z0,3000,1", "c", "z0,3000,1", "D", NULL };
	struct machine m;

	if (!start(&m, on, OPS(ops), OPS(show_dr67)))
		return;
	sw.strict = false; /* the model takes a hidden step's BS for the guest's */
	session(&m, ask);
	tap_eq(line.int3, 0, called(on, "Z07.hide.handler.read"), "no byte of the guest's memory changes");
	FINISH(&m, on, "Z07.hide.handler", 0x100c, 0x100e, 0x3000);
}

/* A guest that steps itself through the page: its traps are its own, and its flags. */
EACH(Z07_hidden_step)
{
	static const struct gop ops[] = { { G_NOP }, TF_ON, { G_NOP }, { G_CPUID }, { G_PUSHF }, { G_NOP }, TF_OFF };
	static const char *const ask[] = { "qSupported", "Z0,1005,1", "Z0,3003,1", "c", "z0,3003,1", "c", "z0,1005,1", "s", "D", NULL };
	struct machine m;

	if (!start(&m, on, OPS(ops), OPS(show_dr67)))
		return;
	session(&m, ask);
	tap_eq(line.int3, 0, called(on, "Z07.hide.step.read"), "no byte of the guest's memory changes");
	FINISH(&m, on, "Z07.hide.step", 0x3003, 0x1005, 0x1006);
}

/* ---- Instructions that reach over a page's end ---- */

/* The whole script to another place. */
static void move_to(struct machine *m, uint32_t to)
{
	uint8_t *ram = m->vm[0]->ram, copy[256];
	struct sw_guest *const both[] = { &m->g[0], &m->bare[0] };

	memcpy(copy, ram + G_MAIN, sizeof(copy));
	memset(ram + G_MAIN, 0, sizeof(copy));
	memcpy(ram + to, copy, sizeof(copy));
	for (unsigned k = 0; k < 2; k++) {
		for (unsigned i = 0; i < both[k]->nr && both[k]->at[i] < G_HANDLER; i++)
			both[k]->at[i] += to - G_MAIN;
		both[k]->rip = to;
	}
	m->vm[0]->vcpu->rip = to;
}

/* 1ffc NOP, 1ffd store, five bytes into the guarded page, 2002 NOP, 2003 NOP. */
EACH(Z07_hidden_crossing)
{
	static const struct gop ops[] = { { G_NOP }, { G_STORE, .a = 0x5000, .n = 1 }, { G_NOP }, { G_NOP }, { G_CPUID }, RD(6) };
	static const char *const into[] = { "qSupported", "Z0,2003,1", "c", "z0,2003,1", "D", NULL };
	static const char *const out[] = { "qSupported", "Z0,1ffd,1", "c", "z0,1ffd,1", "D", NULL };
	static const char *const step[] = { "qSupported", "Z0,2003,1", "s", "s", "z0,2003,1", "D", NULL };
	struct machine m;

	if (on == ON_PVM && !tap_instead)
		printf("# Z07.hide.into.pvm, Z07.hide.out.pvm: skipped, the software PVM fetches by first bytes\n");
	for (unsigned k = 0; k < 3; k++) {
		if (on == ON_PVM || !start(&m, on, OPS(ops), OPS(show_dr67)))
			break;
		move_to(&m, 0x1ffc);
		session(&m, k == 2 ? step : k ? out : into);
		tap_eq(line.int3, 0, called(on, k ? "Z07.hide.out.read" : "Z07.hide.into.read"), "no byte of the guest's memory changes");
		if (k == 2)
			FINISH(&m, on, "Z07.hide.step_into", 0x1ffd, 0x2002);
		else
			FINISH(&m, on, k ? "Z07.hide.out" : "Z07.hide.into", k ? 0x1ffd : 0x2003);
	}
	machine_ring3 = false;
}

/* ---- The tables ---- */

/* Of a 2 MiB page one small page is closed; the rest of it is as before, and so is all of it in the end. */
BOTH(Z07_hidden_tables)
{
	static const struct gop ops[] = { { G_CPUID }, { G_NOP } };
	static const uint64_t gpa[] = { 0x1000, 0x3000 };
	const struct slat_format *f;
	struct machine m;
	struct vm *vm;
	struct tap_set others = { .id = "" };

	if (!machine_start(&m, amd, plain) || !machine_add(&m, OPS(ops), OPS(show_dr67)))
		return;
	vm = m.vm[0];
	f = vm->be->slat;
	tap_ok(leaf_of(vm, 0x1000) & f->large, id(amd, "Z07.slat.large"), "memory is in large pages");
	tap_ok(guard_set(vm->vcpu, gpa, 2), id(amd, "Z07.slat.set"), "two pages are guarded");
	tap_eq(leaf_of(vm, 0x1000), ((vm->ram_hpa + 0x1000) | f->leaf | f->write | f->noexec), id(amd, "Z07.slat.closed"),
	       "a guarded one is there, writable, and cannot be executed");
	for (uint64_t at = 0; at < 1ull << 21; at += 4096)
		tap_case(&others, leaf_of(vm, at) & ~f->large, (vm->ram_hpa + at) | f->leaf | f->write | (at == 0x1000 || at == 0x3000 ? f->noexec : f->exec), "page 0x%llx",
			 (unsigned long long)at);
	others.id = id(amd, "Z07.slat.others");
	tap_end(&others, "each page is where it was, and the others can be executed");
	tap_ok(guard_closed(vm, 0x1fff) && guard_closed(vm, 0x3000) && !guard_closed(vm, 0x2000) && guard_within(vm, 0x1ff000) && !guard_within(vm, 0x200000),
	       id(amd, "Z07.slat.asked"), "whoever fills other tables is told the same");
	guard_open(vm->vcpu, true);
	tap_ok(leaf_of(vm, 0x1000) == ((vm->ram_hpa + 0x1000) | f->leaf | f->write | f->exec) && !guard_closed(vm, 0x1000),
	       id(amd, "Z07.slat.open"), "open, it can be executed");
	tap_ok(guard_set(vm->vcpu, gpa + 1, 1) && (leaf_of(vm, 0x1000) & (f->exec | f->noexec)) == f->exec && guard_closed(vm, 0x3000), id(amd, "Z07.slat.less"),
	       "one of them alone: closed, and the other is free");
	guard_set(vm->vcpu, NULL, 0);
	tap_ok((leaf_of(vm, 0x3000) & (f->exec | f->noexec)) == f->exec && vm->guard.nr == 0, id(amd, "Z07.slat.none"), "none at all");
	machine_stop(&m);
}

/* Each change of the tables is flushed, once. */
static void change(void *arg)
{
	static const uint64_t gpa[] = { 0x6000 };
	struct machine *m = arg;

	if (tlb.at_exit_nr == 1)
		guard_set(m->vm[0]->vcpu, gpa, 1);
	else
		guard_open(m->vm[0]->vcpu, tlb.at_exit_nr == 2);
	tlb.at_exit_nr++;
}

BOTH(Z07_hidden_flush)
{
	static const struct gop ops[] = { { G_CPUID }, { G_CPUID }, { G_CPUID }, { G_CPUID }, RD(6) };
	struct machine m;

	tlb_start((struct tlb_cpu){ 0 });
	if (machine_start(&m, amd, full(amd)) && machine_add(&m, OPS(ops), OPS(show_dr67))) {
		tlb.at_exit = change;
		tlb.at_exit_arg = &m;
		tlb.at_exit_nr = 1;
		machine_run(&m);
		tap_eq(amd ? tlb.svm_flushes : tlb.invepts, amd ? 4 : 5, id(amd, "Z07.slat.flush"), "guarded, opened, closed: a flush each, besides those of the beginning");
		machine_stop(&m);
	}
	tlb_stop();
}

/* ---- INT3, for who wants to be fast ---- */

EACH(Z07_seen)
{
	static const char *const ask[] = { "qSupported", "qRcmd,68696465206f6666" /* hide off */, "Z0,1001,1", "Z0,1009,1", "m1001,1",
					   "z0,1001,1", "z0,1009,1", "D", NULL };
	struct machine m;

	if (!start(&m, on, OPS(line_of_code), OPS(show_dr67)))
		return;
	session(&m, ask);
	tap_ok(line.int3 > 0, called(on, "Z07.seen"), "with `monitor hide off` it is a byte in the guest's memory");
	tap_ok(memcmp(line.before, m.vm[0]->ram + 0x1000, sizeof(line.before)) == 0, called(on, "Z07.seen.back"), "which is the guest's own again");
	finish(&m, on, "Z07.seen.stops", NULL, 0);
}

/* One byte by two linear addresses: each is a breakpoint of its own, and the byte is the guest's again when the last is gone. */
TEST(Z07_aliases)
{
	static const struct gop ops[] = { { G_CPUID } };
	static const uint64_t tables[][2] = { { 0x10000, 0x11003 }, { 0x11000, 0x12003 }, { 0x12000, 0x13003 }, { 0x13000 + 5 * 8, 0x5003 }, { 0x13000 + 6 * 8, 0x5003 } };
	struct machine m;
	struct vcpu *v;
	uint8_t *at;

	if (tap_instead || !machine_start(&m, true, full(true)) || !(v = machine_add(&m, OPS(ops), OPS(show_all))))
		return;
	at = v->vm->ram + 0x5010;
	for (unsigned i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		memcpy(v->vm->ram + tables[i][0], &tables[i][1], 8);
	vcpu_need(v, VST_CR | VST_CS | VST_MSR);
	v->st.cr0 |= CR0_PG | CR0_PE;
	v->st.cr3 = 0x10000;
	v->st.cr4 |= CR4_PAE;
	v->st.efer |= EFER_LMA | EFER_LME;
	*at = 0x90;
	swbreak_hidden = false;
	tap_ok(swbreak_set(v, 0x5010) && swbreak_set(v, 0x6010) && *at == 0xcc, "Z07.alias.set", "an INT3 by two addresses");
	swbreak_clear(v, 0x5010);
	tap_ok(*at == 0xcc && swbreak_at(v, 0x6010), "Z07.alias.left", "without the first it is still there");
	swbreak_write(at, (const uint8_t *)"\x91", 1);
	swbreak_clear(v, 0x6010);
	tap_eq(*at, 0x91, "Z07.alias.byte", "without the second the byte is what was written last");
	swbreak_hidden = true;
	machine_stop(&m);
}
