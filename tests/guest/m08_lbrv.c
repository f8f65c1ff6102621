/* SPDX-License-Identifier: MIT */
/* Symptom: a guest's guest runs with its hypervisor's DEBUGCTL, or the hypervisor finds its branch records overwritten; or the other way round, what the
 * hypervisor shares on purpose is gone.
 * Cause: VMRUN and #VMEXIT switch DEBUGCTL and the records only with LBR virtualization on; without, both levels have one register.
 * Who had it: Linux KVM's nested SVM until svm_copy_lbrs (kvm-unit-tests 544c2332); the register that is shared is source document 2.
 * Rules: M08, M09, M13, A30, A31. Needs LBR virtualization: drover's `debugctl=emulate`, or silicon. */
#include "tests/guest/l1.h"

#include "arch/x86/def/hypercall.h"
#include "arch/x86/def/snapshot.h"

#define MSR_BR_FROM 0x1dbu
#define C_LBR 0xb8 /* APM, appendix B: LBR virtualization enable, and in the save area DEBUGCTL and the records */
#define S_DBGCTL 0x670
#define S_BR_FROM 0x678

#define READ "mov $0x1d9, %ecx; rdmsr; mov %eax, %esi;"
#define OFF "mov $0x1d9, %ecx; xor %eax, %eax; xor %edx, %edx; wrmsr;"

CODE64(m08_read, READ L2_END)
CODE64(m08_jump, ".globl m08_from; m08_from: jmp 1f; nop; .globl m08_to; m08_to: 1:" READ L2_END)
CODE64(m08_jump_off, ".globl m08_ofrom; m08_ofrom: jmp 1f; nop; .globl m08_oto; m08_oto: 1:" OFF L2_END)
CODE64(m08_flow, "nop; nop; jmp 1f; nop; 1: nop; nop;" L2_END)
LABEL(m08_from);
LABEL(m08_to);
LABEL(m08_ofrom);
LABEL(m08_oto);

static uint64_t want_ctl, got_ctl, got_from, got_to;
static bool lbrv;
static uint8_t *block;

static void put(uint8_t *b, unsigned at, uint64_t v) { *(volatile uint64_t *)(b + at) = v; }
static uint64_t get(const uint8_t *b, unsigned at) { return *(const volatile uint64_t *)(b + at); }

static void tweak(uint8_t *b)
{
	block = b;
	put(b, C_LBR, lbrv);
	put(b, S_DBGCTL, want_ctl);
	put(b, S_BR_FROM, 0x1111);
	put(b, S_BR_FROM + 8, 0x2222);
}

static uint64_t debugctl(void)
{
	uint64_t v = ~0ul;

	try_rdmsr(MSR_DEBUGCTL, &v);
	return v;
}

/* L2 with vmcb12's DEBUGCTL ctl and LBR virtualization on or not, while L1's is mine. */
static struct l2 enter(const char *code, bool on, uint64_t ctl, uint64_t mine, uint64_t rflags, uint32_t own)
{
	struct l2 g = { .code = code, .tweak = tweak, .rflags = rflags, .own = own };

	lbrv = on;
	want_ctl = ctl;
	trap_clear();
	try_wrmsr(MSR_DEBUGCTL, mine);
	l1_run(&g);
	got_ctl = get(block, S_DBGCTL);
	got_from = get(block, S_BR_FROM);
	got_to = get(block, S_BR_FROM + 8);
	return g;
}

static void shared(void)
{
	struct l2 g = enter(m08_read, false, DEBUGCTL_LBR, DEBUGCTL_BTF, 0, 0);
	uint64_t from = 0, to = 0;

	check_eq("M08.off.l2", "without LBR virtualization L2 reads what L1 has", g.regs.rsi, DEBUGCTL_BTF);
	check_eq("M08.off.l1", "and leaves it to L1", debugctl(), DEBUGCTL_BTF);
	check_eq("M08.off.block", "the control block's is not touched", got_ctl, DEBUGCTL_LBR);
	g = enter(m08_jump_off, false, 0, DEBUGCTL_LBR, 0, 0);
	check_eq("M08.off.written", "what L2 writes is L1's", debugctl(), 0);
	try_rdmsr(MSR_BR_FROM, &from);
	try_rdmsr(MSR_BR_FROM + 1, &to);
	check_eq("M08.off.from", "and so are its records", from, (uint64_t)m08_ofrom);
	check_eq("M08.off.to", "to the end", to, (uint64_t)m08_oto);
	g = enter(m08_flow, false, 0, DEBUGCTL_BTF, FL_TF, 1u << VEC_DB);
	check_trace("M08.off.btf", "L1's BTF steps L2 by branches", m08_flow, "DB+5/ffff4ff0;DB+6/ffff4ff0;DB+7/ffff4ff0");
	try_wrmsr(MSR_DEBUGCTL, 0);
}

static void switched(void)
{
	uint64_t from = 0, to = 0;
	struct l2 g;

	try_rdmsr(MSR_BR_FROM, &from); /* left by shared() */
	g = enter(m08_jump, true, DEBUGCTL_LBR, 0, 0, 0);
	check_eq("M08.on.l2", "with it L2 has the control block's", g.regs.rsi, DEBUGCTL_LBR);
	check_eq("M08.on.saved", "which the exit stores", got_ctl, DEBUGCTL_LBR);
	check_eq("M08.on.from", "with the last branch", got_from, (uint64_t)m08_from);
	check_eq("M08.on.to", "to the end", got_to, (uint64_t)m08_to);
	check_eq("M09.debugctl", "L1 has its own again", debugctl(), 0);
	try_rdmsr(MSR_BR_FROM, &to);
	check_eq("M09.records", "and its own records", to, from);
	g = enter(m08_jump, true, 0, DEBUGCTL_BTF, 0, 0);
	check_eq("M08.on.zero", "0 in the control block is 0 in L2", g.regs.rsi, 0);
	check_eq("M08.on.kept", "records that nobody made are those of the block", got_from, 0x1111);
	check_eq("M08.on.l1.btf", "L1's BTF comes back", debugctl(), DEBUGCTL_BTF);
	g = enter(m08_read, true, DEBUGCTL_LBR | 0xff40, 0, 0, 0);
	check_eq("M08.on.reserved", "reserved bits are dropped", g.regs.rsi, DEBUGCTL_LBR);
	g = enter(m08_flow, true, 0, DEBUGCTL_BTF, FL_TF, 1u << VEC_DB);
	check_trace("M08.on.step", "L1's BTF does not reach L2", m08_flow,
		    "DB+1/ffff4ff0;DB+2/ffff4ff0;DB+5/ffff4ff0;DB+6/ffff4ff0;DB+7/ffff4ff0");
	g = enter(m08_flow, true, DEBUGCTL_BTF, 0, FL_TF, 0);
	check_eq("M08.on.exit", "a #DB that L1 asks for comes at the branch", g.exit.kind == L1_EXCEPTION ? g.exit.vector : 99, VEC_DB);
	check_eq("M08.on.exit.rip", "behind the first jump", g.rip - (uint64_t)m08_flow, 5);
	check_eq("M08.on.exit.dr6", "a step", g.dr6, DR6_INIT | DR6_BS);
}

/* What counts the branches must not show in the frame of an interrupt that L1 has posted and that hardware delivers. */
CODE64(m08_virq, "sti; nop; nop; nop; cli;" L2_END)

static void offer(uint8_t *b)
{
	tweak(b);
	put(b, 0x60, get(b, 0x60) | 1ul << 8 | 0xful << 16 | 1ul << 20 | (uint64_t)VEC_INT80 << 32);
}

static void posted(void)
{
	struct l2 g = { .code = m08_virq, .tweak = offer, .own = 1u << VEC_DB };

	lbrv = true;
	want_ctl = DEBUGCTL_LBR;
	trap_clear();
	l1_run(&g);
	check_eq("M12.virq.exit", "L2 runs to its end", g.exit.kind, L1_CPUID);
	check_trace("M12.virq", "the posted interrupt comes once, and no step does", m08_virq, "I80+2");
	check_eq("M12.virq.tf", "its frame has no TF", trap_count(VEC_INT80) ? trap_nth(VEC_INT80, 0)->rflags & FL_TF : 1, 0);
}

/* The step must not take from L1 what it asks for. */
CODE64(m08_int, "nop; int $0x80; nop;" L2_END)
CODE64(m08_icebp, "nop; .byte 0xf1; nop;" L2_END)

static unsigned intercept;

static void traps_int(uint8_t *b)
{
	tweak(b);
	*(volatile uint32_t *)(b + intercept / 32 * 4) |= 1u << intercept % 32; /* codes and intercept bits run in parallel */
}

static void ints(const char *id, const char *code, unsigned exit_code)
{
	struct l2 g = { .code = code, .tweak = traps_int, .own = 1u << VEC_DB };

	lbrv = true;
	want_ctl = DEBUGCTL_LBR;
	intercept = exit_code;
	trap_clear();
	l1_run(&g);
	check_eq(fmt("NB.step.%s", id), "stepped or not: the exit that L1 asks for", g.exit.code, exit_code);
	check_eq(fmt("NB.step.%s.rip", id), "at the instruction", g.rip - (uint64_t)code, 1);
	check_eq(fmt("NB.step.%s.none", id), "which has done nothing", trap_count(VEC_INT80) + trap_count(VEC_DB), 0);
}

/* Carried to another machine while L2 runs: both levels' DEBUGCTL and records go along. */
CODE64(m08_moved, ".globl m08_mfrom; m08_mfrom: jmp 1f; nop; .globl m08_mto; m08_mto: 1: vmmcall;" READ OFF L2_END)
LABEL(m08_mfrom);
LABEL(m08_mto);

static void carried(bool on)
{
	static struct dbg_snapshot snap __attribute__((aligned(4096)));
	struct l2 g = { .code = m08_moved, .tweak = tweak, .lab = true };
	uint64_t from[2] = { 0, 0 };

	g.regs = (struct regs){ .rax = HC_LAB_SNAPSHOT, .rbx = LAB_MIGRATE, .rcx = (uint64_t)&snap, .rdx = sizeof(snap) };
	lbrv = on;
	want_ctl = on ? DEBUGCTL_LBR : 0;
	hypercall(HC_LAB_COUNT, LAB_MOVES, 1, 0);
	try_rdmsr(MSR_BR_FROM, &from[0]);
	try_wrmsr(MSR_DEBUGCTL, on ? DEBUGCTL_BTF : DEBUGCTL_LBR);
	l1_run(&g);
	try_rdmsr(MSR_BR_FROM, &from[1]);
	check_eq(fmt("M13.moved.%u", on), "the vcpu was saved, wiped and restored", hypercall(HC_LAB_COUNT, LAB_MOVES, 0, 0), 1);
	check_eq(fmt("M13.debugctl.%u", on), "L2 has its DEBUGCTL", g.regs.rsi, DEBUGCTL_LBR);
	check_eq(fmt("M13.debugctl.l1.%u", on), on ? "and L1 its own" : "which is L1's, and which it has turned off", debugctl(), on ? DEBUGCTL_BTF : 0);
	check_eq(fmt("M13.from.%u", on), "and its last branch", on ? get(block, S_BR_FROM) : from[1], (uint64_t)m08_mfrom);
	if (on) {
		check_eq("M13.to", "to the end", get(block, S_BR_FROM + 8), (uint64_t)m08_mto);
		check_eq("M13.from.l1", "L1's records are its own", from[1], from[0]);
	}
	try_wrmsr(MSR_DEBUGCTL, 0);
}

SCENARIO(m08_lbrv, "LBR virtualization decides whose DEBUGCTL a guest's guest has", SCN_NESTED)
{
	uint32_t r[4];

	if (!env.amd)
		scenario_skip("SVM's LBR virtualization");
	if (env.level > 2)
		scenario_skip("with three drovers below each step is thousands of exits");
	l1_begin();
	cpuid(0x8000000a, 0, r);
	if (!(r[3] >> 1 & 1) || !debugctl_acts()) {
		l1_end();
		scenario_skip("no LBR virtualization here");
	}
	db.anywhere = true;
	shared();
	switched();
	posted();
	ints("int", m08_int, 0x75);
	ints("icebp", m08_icebp, 0x88);
	if (env.lab && env.level == 1) { /* stepped by a drover that is stepped: minutes on Bochs */
		carried(true);
		carried(false);
	}
	try_wrmsr(MSR_DEBUGCTL, 0);
	l1_end();
}
