/* SPDX-License-Identifier: MIT */
/* Symptom: a VM that is migrated while its guest's guest runs comes back with a hypervisor that never sees an exit again, sees it in another control block or
 * without what it had asked for; or a single step of the inner guest is lost, or seen twice.
 * Cause: the snapshot has the debug registers of what runs and nothing of the levels; or a #DB that waits is merged, dropped, or given to the wrong level.
 * Who had it: Linux KVM before KVM_SET_NESTED_STATE (SVM: 2020), and 764643a6be07 (the state before the entry), 2c10b61421a2 (the payload).
 * Rules: M13, Z10, Z11, N04's place on SVM, M10. */
#include "tests/guest/l1.h"

#include "arch/x86/def/hypercall.h"
#include "arch/x86/def/snapshot.h"

#define MSR_VM_HSAVE 0xc0010117u
#define VEC_TEST 0x55
#define S_CR4 0x548 /* APM, appendix B */
#define S_CR3 0x550

static struct dbg_snapshot snap __attribute__((aligned(4096)));
static union {
	struct svm_nested_snapshot s;
	uint8_t bytes[3 * 4096];
} levels[2] __attribute__((aligned(4096)));
static uint64_t l2_pml4[512] __attribute__((aligned(4096)));
extern const uint64_t boot_pml4[512];

CODE64(m13_step, "vmmcall; nop; nop;" L2_END)
CODE64(m13_dr3, "vmmcall; mov %dr3, %rax;" L2_END)
CODE64(m13_cr, "vmmcall; mov %cr3, %rcx; mov %cr4, %rdx;" L2_END)
CODE64(m13_tsc, "vmmcall; rdtsc; shl $32, %rdx; or %rdx, %rax; mov %rax, %r8;" L2_END)
CODE64(m13_page, "mov (%r9), %r8; vmmcall; mov (%r9), %r10;" L2_END)
CODE64(m13_vintr, "vmmcall; sti; nop; cli;" L2_END)
/* Saved: CPUID. Come back by a restore: MOV from DR3. */
CODE64(m13_save, "vmmcall; test %eax, %eax; jnz 1f; cpuid; 1: .globl m13_back; m13_back: mov %dr3, %rcx;" L2_END)
CODE64(m13_restore, "vmmcall;" L2_END)
LABEL(m13_back);

static struct regs call(uint64_t op)
{
	bool nested = op >= LAB_NESTED_SAVE;
	uint64_t at = nested ? (uint64_t)&levels[0] : (uint64_t)&snap;

	return (struct regs){ .rax = HC_LAB_SNAPSHOT, .rbx = op, .rcx = at, .rdx = nested ? sizeof(levels[0].s) : sizeof(snap) };
}

/* Runs L2, whose call carries the vcpu over; that it was, and once. */
static void moved(const char *what, struct l2 *g)
{
	hypercall(HC_LAB_COUNT, LAB_MOVES, 1, 0);
	l1_run(g);
	check_eq(fmt("M13.moved.%s", what), "the vcpu was saved, wiped and restored", hypercall(HC_LAB_COUNT, LAB_MOVES, 0, 0), 1);
}

/* ---- Carried over while L2 runs ---- */

static void pending_db(void)
{
	struct l2 g = { .code = m13_step, .lab = true, .rflags = FL_TF, .dr6 = DR6_INIT | DR6_B3, .regs = call(LAB_MIGRATE) };

	moved("db", &g);
	check_eq("M13.call", "and the call says so", g.regs.rax, 0);
	check_eq("M13.db", "the step over the call exits to L1", g.exit.kind == L1_EXCEPTION ? g.exit.vector : 99, VEC_DB);
	check_eq("M13.db.rip", "behind it", g.rip - (uint64_t)m13_step, 3);
	check_eq("M13.db.dr6", "DR6 has it once", g.dr6, DR6_INIT | DR6_BS);
	check_eq("M13.db.dr7", "L1 comes back with nothing armed", g.exit.l1_dr7, DR7_INIT);
	check_eq("M13.flag", "the snapshot has the #DB", snap.flags & SNAPSHOT_DB, SNAPSHOT_DB);
	check_eq("M13.payload", "and its cause", snap.payload, DR6_BS);
	check_eq("M13.dr6", "which DR6 has not yet", snap.dr6, DR6_INIT | DR6_B3);
	write_dr6(DR6_INIT);

	g = (struct l2){ .code = m13_step, .lab = true, .rflags = FL_TF, .own = 1u << VEC_DB, .regs = call(LAB_MIGRATE) };
	db.anywhere = true;
	db.clear_tf_after = 2;
	trap_clear();
	moved("own", &g);
	db.clear_tf_after = 0;
	check_trace("M13.own", "where #DB is L2's own its handler has it, once", m13_step, "DB+3/ffff4ff0;DB+4/ffff4ff0");
	check_eq("M13.own.exit", "and L2 goes on", g.exit.kind, L1_CPUID);
	write_dr6(DR6_INIT);
}

static void offer(uint8_t *b)
{
	*(uint64_t *)(void *)(b + 0x60) |= 1ul << 8 | 0xful << 16 | 1ul << 20 | (uint64_t)VEC_INT80 << 32;
}

/* What L1 had asked for in the control block is in force. */
static void controls(void)
{
	static volatile uint64_t page[512] __attribute__((aligned(4096)));
	struct l2 g = { .code = m13_dr3, .lab = true, .movdr = 1u << 3, .dr7 = DR7_INIT | DR7_BP(2, RW_WRITE, LEN_4), .regs = call(LAB_MIGRATE) };
	uint64_t t = rdtsc();

	moved("intercept", &g);
	check_eq("M13.intercept", "an intercept of L1's", g.exit.kind == L1_MOVDR ? g.exit.dr : 99, 3);
	check_eq("M13.intercept.dr7", "L2's DR7", g.dr7, DR7_INIT | DR7_BP(2, RW_WRITE, LEN_4));
	g = (struct l2){ .code = m13_tsc, .lab = true, .tsc_offset = 1ul << 50, .regs = call(LAB_MIGRATE) };
	moved("tsc", &g);
	check_eq("M13.tsc", "L1's TSC offset", (g.regs.r8 - t) >> 50, 1);
	check_eq("M13.tsc.l1", "not L1's own TSC", (rdtsc() - t) >> 50, 0);
	page[1] = 0x4711;
	l1_map(3, page, L1_RIGHTS);
	g = (struct l2){ .code = m13_page, .lab = true, .paging = true, .flush = true, .regs = call(LAB_MIGRATE) };
	g.regs.r9 = L1_WINDOW_GPA + 3 * 4096 + 8;
	moved("paging", &g);
	check_eq("M13.paging", "L1's nested tables", g.exit.kind == L1_CPUID ? g.regs.r10 : 0, 0x4711);
	check_eq("M13.paging.before", "as before the call", g.regs.r8, 0x4711);
	l1_map(3, page, 0);
	g = (struct l2){ .code = m13_vintr, .lab = true, .tweak = offer, .regs = call(LAB_MIGRATE) };
	trap_clear();
	moved("vintr", &g);
	check_trace("M13.vintr", "the virtual interrupt that L1 offers, once", m13_vintr, "I80+5");
}

/* Page tables and a CR4 of L2's own: what the levels have alike would not show whose it is. */
static void own_cr(uint8_t *b)
{
	for (unsigned i = 0; i < 512; i++)
		l2_pml4[i] = boot_pml4[i];
	*(uint64_t *)(void *)(b + S_CR3) = (uint64_t)l2_pml4;
	*(uint64_t *)(void *)(b + S_CR4) |= CR4_DE;
}

/* What waits for L1 behind the exit. */
static void l1_state(void)
{
	struct l2 g = { .code = m13_cr, .lab = true, .l1_rflags = FL_TF, .block = 1, .tweak = own_cr, .regs = call(LAB_MIGRATE) };
	uint64_t hsave[2] = { 0 }, gs[2] = { 0 }, cr3 = read_cr3(), cr4 = read_cr4();

	check("M13.hsave.set", "L1 has set VM_HSAVE_PA", try_rdmsr(MSR_VM_HSAVE, &hsave[0]) == NO_FAULT && hsave[0]);
	try_rdmsr(MSR_KERNEL_GS_BASE, &gs[0]);
	try_wrmsr(MSR_KERNEL_GS_BASE, 0x123456000);
	db.clear_tf_after = 1;
	trap_clear();
	moved("l1", &g);
	db.clear_tf_after = 0;
	check_eq("M13.block", "the exit is in the block of the entry", g.exit.kind, L1_CPUID);
	check_trace("M13.l1.step", "L1's step over VMRUN", l1_exit_insn, "DB+0/ffff4ff0");
	try_rdmsr(MSR_VM_HSAVE, &hsave[1]);
	try_rdmsr(MSR_KERNEL_GS_BASE, &gs[1]);
	check_eq("M13.hsave", "VM_HSAVE_PA", hsave[1], hsave[0]);
	check_eq("M13.gs", "what VMRUN does not switch", gs[1], 0x123456000);
	check_eq("M13.cr3", "CR3 of L1", read_cr3(), cr3);
	check_eq("M13.cr4", "and CR4", read_cr4(), cr4);
	check_eq("M13.l2.cr3", "CR3 of L2, behind the move", g.regs.rcx, (uint64_t)l2_pml4);
	check_eq("M13.l2.cr4", "and CR4", g.regs.rdx, cr4 | CR4_DE);
	try_wrmsr(MSR_KERNEL_GS_BASE, gs[0]);
}

static unsigned hits;

static bool count(struct trap_frame *f, struct trap_rec *rec)
{
	(void)f;
	(void)rec;
	hits++;
	return true;
}

static void gif(void)
{
	uint64_t snapped;
	unsigned held;

	hits = 0;
	trap_set_hook(VEC_TEST, count);
	__asm__ volatile(".byte 0x0f, 0x01, 0xdd; sti" ::: "memory"); /* CLGI */
	hypercall(HC_LAB_INJECT, LAB_IRQ, VEC_TEST, 0);
	snapped = hypercall(HC_LAB_SNAPSHOT, LAB_MIGRATE, (uint64_t)&snap, sizeof(snap));
	__asm__ volatile("nop; nop" ::: "memory");
	held = hits;
	__asm__ volatile(".byte 0x0f, 0x01, 0xdc; nop; cli" ::: "memory"); /* STGI */
	check_eq("M13.gif.moved", "carried over with GIF 0", snapped, 0);
	check_eq("M13.gif", "with GIF 0 what waits goes on waiting", held, 0);
	check_eq("M13.gif.set", "and comes with STGI", hits, 1);
	trap_set_hook(VEC_TEST, NULL);
}

/* ---- Saved in one L2, restored in another ---- */

static void other_l2(void)
{
	struct l2 g;
	uint8_t *first = l1_block(0);

	for (unsigned round = 0; round < 2; round++) { /* one frame for both: the hypervisor's RSP of the first entry is used again */
		g = (struct l2){ .code = round ? m13_restore : m13_save, .lab = true, .block = round, .movdr = round ? 0 : 1u << 3 };
		g.regs = call(round ? LAB_NESTED_RESTORE : LAB_NESTED_SAVE);
		if (round)
			*(volatile uint64_t *)(void *)(first + 0x70) = 0x999;
		l1_run(&g);
		if (!round) {
			check_eq("M13.save", "L2's levels are saved, and it goes on", g.exit.kind, L1_CPUID);
			check_eq("M13.save.level", "at level 1", levels[0].s.level, 1);
			check_eq("M13.save.vmcb12", "with its control block's address", levels[0].s.vmcb12, (uint64_t)first);
			check_eq("M13.save.rip", "behind the call", levels[0].s.rip - (uint64_t)m13_save, 3);
			check_eq("M13.save.host", "and L1 behind its VMRUN", levels[0].s.host_rip, (uint64_t)l1_exit_insn);
		}
	}
	check_eq("M13.restore", "another L2 restores them: what L1 had asked of the first one is in force, and told in its block",
		 *(volatile uint64_t *)(void *)(first + 0x70), 0x23);
	check_eq("M13.restore.rip", "behind the call that saved", *(volatile uint64_t *)(void *)(first + 0x578), (uint64_t)m13_back);
	check_eq("M13.restore.other", "the other block has no exit", *(volatile uint64_t *)(void *)(l1_block(1) + 0x70), 0);
}

/* ---- Nothing is believed ---- */

CODE64(m13_level0, "vmmcall; test %eax, %eax; jnz 1f; mov %r8, %rax; mov %r9, %rbx; vmmcall; mov $77, %ecx; 1: nop;" DONE)

static void refused(const char *what, unsigned from, size_t at, uint64_t bits)
{
	uint64_t r;

	levels[1] = levels[0];
	if (!from) { /* a level 0 of now */
		struct run run = { .code = m13_level0, .regs = call(LAB_NESTED_SAVE) };

		run.regs.r8 = HC_NOP;
		run_code(&run);
		__asm__ volatile("" ::: "memory");
	}
	*(volatile uint64_t *)(void *)(levels[0].bytes + at) ^= bits;
	r = hypercall(HC_LAB_SNAPSHOT, LAB_NESTED_RESTORE, (uint64_t)&levels[0], sizeof(levels[0].s));
	check_eq(fmt("M13.bad.%s", what), "refused", r, HC_EINVAL);
	levels[0] = levels[1];
}

#define AT(field) offsetof(struct svm_nested_snapshot, field)

static void refusals(void)
{
	struct run r = { .code = m13_level0, .regs = call(LAB_NESTED_SAVE) };

	refused("vmcb12", 1, AT(vmcb12), 1ul << 40);
	refused("vmcb12.odd", 1, AT(vmcb12), 8);
	refused("asid", 1, AT(block) + 0x58, 1);
	refused("vmrun", 1, AT(block) + 0x10, 1);
	refused("dr7", 1, AT(block) + 0x560, 1ul << 32);
	refused("event", 1, AT(block) + 0xa8, 1ul << 31);
	refused("l1.efer", 1, AT(l1) + 0x4d0, 1ul << 40);
	refused("l1.svme", 1, AT(l1) + 0x4d0, 1ul << 12);
	refused("l1.pat", 1, AT(l1) + 0x668, 0x04);
	refused("level", 1, AT(level), 1); /* says level 0, has a level 1 */
	refused("magic", 0, AT(magic), 1);
	refused("version", 0, AT(version), 1);
	refused("size", 0, AT(size), 8);
	refused("level2", 0, AT(level), 2);
	refused("gif", 0, AT(gif), 2);
	refused("reserved", 0, AT(reserved), 1);
	refused("vm_cr", 0, AT(vm_cr), 1ul << 20);
	refused("hsave", 0, AT(hsave), 1);
	refused("block", 0, AT(block) + 0x800, 1);
	check_eq("M13.bad.buffer", "nor one of another size", hypercall(HC_LAB_SNAPSHOT, LAB_NESTED_RESTORE, (uint64_t)&levels[0], sizeof(levels[0].s) - 8),
		 HC_EINVAL);
	r.regs.r8 = HC_LAB_SNAPSHOT;
	r.regs.r9 = LAB_NESTED_RESTORE;
	r.regs.rcx = (uint64_t)&levels[0];
	run_code(&r);
	check_eq("M13.level0", "L1's own levels are restored: it goes on behind the call that saved", r.regs.rcx, (uint64_t)&levels[0]);
	check_eq("M13.level0.again", "which says so", r.regs.rax, 1);
}

SCENARIO(m13_snapshot, "a snapshot taken while L2 runs has both levels", SCN_NESTED | SCN_LAB)
{
	if (!env.amd)
		scenario_skip("SVM only: this is an Intel CPU");
	l1_begin();
	pending_db();
	controls();
	l1_state();
	gif();
	other_l2();
	refusals();
	l1_end();
}
