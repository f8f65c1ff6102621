/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor that steps its guest by the monitor trap flag misses an instruction, or its guest's own single step is lost, or comes twice.
 * Cause: the flag's exit outranks the #DB trap of the same boundary, which has to wait in the pending-debug field; but not a fault, nor ICEBP. What L0
 * carries out for the guest ends at the same boundary as what hardware does, and L0's own means of stepping must not show.
 * Who had it: Linux KVM until 5ef8acbdd687, 8d178f460772 (source document 3); kvm-unit-tests, vmx_mtf_test. Rules: N12, N13, N14, N17, N25; NV. */
#include "tests/guest/l1_vmx.h"

CODE64(n12_many, "nop; pushf; pop %rax; push %rax; popf; sti; nop; cli; mov %ss, %ebx; mov %ebx, %ss; nop; rep movsb; mov %dr0, %rbx; mov $0x1b, %ecx;"
		 "rdmsr; out %al, $0x80; nop;" VMX_END)
CODE64(n12_out, "out %al, $0x80; nop; nop;" VMX_END)
CODE64(n12_nop, "nop; nop; nop;" VMX_END)
CODE64(n12_store, "movb $1, watch_buf; nop;" VMX_END)
CODE64(n12_gd, "mov %dr1, %rax; nop;" VMX_END)
CODE64(n12_icebp, ".byte 0xf1; nop;" VMX_END)
CODE64(n12_int, "int $0x80; nop;" VMX_END)
CODE64(n12_ud, "ud2; nop;" VMX_END)
CODE64(n12_wrmsr, "wrmsr; nop;" VMX_END)

#define VC_PROC_MTF (1u << 27)
#define BS 0x4000u

static uint64_t pending, timer;
static bool flag, with_timer;

static void tune(struct vmx_l2 *r)
{
	(void)r;
	vf_change(VF_PROC, VC_PROC_MTF, flag ? VC_PROC_MTF : 0);
	vf_set(VF_PENDING, pending);
	if (with_timer) {
		vf_change(VF_PIN, 0, VC_PIN_TIMER);
		vf_set(VF_TIMER, timer);
	}
}

static struct vmx_l2 l2(const void *code)
{
	flag = true;
	with_timer = false;
	pending = 0;
	return (struct vmx_l2){ .code = code, .tune = tune };
}

static void is_mtf(const char *id, const struct vmx_l2 *r, uint64_t rip, uint64_t pend)
{
	check_eq(fmt("%s", id), "the trap flag's exit", r->reason, 37);
	check_eq(fmt("%s.rip", id), "where", r->rip, rip);
	check_eq(fmt("%s.pending", id), "what waits in the pending-debug field", vf(VF_PENDING), pend);
}

static void many(void)
{
	static const uint8_t at[] = { 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 13, 13, 13, 15, 18, 23, 25, 27, 28 };
	struct vmx_l2 r = l2(n12_many);
	unsigned wrong = 0, tf = 0, n = 0;

	r.regs.rdi = (uint64_t)watch_buf;
	r.regs.rsi = (uint64_t)watch_buf + 32;
	r.regs.rcx = 3;
	vmx_run(&r);
	for (; n < sizeof(at) && r.reason == 37; n++) {
		if (r.rip - (uint64_t)n12_many != at[n] && !wrong)
			wrong = 0x100 * (n + 1) + (unsigned)(r.rip - (uint64_t)n12_many);
		tf |= (unsigned)((r.rflags | (n == 2 ? r.regs.rax : 0)) & FL_TF);
		if (n == 5)
			check_eq("NV.mtf.sti", "behind STI: in its shadow", vf(VF_SHADOW), 1);
		if (n == 9)
			check_eq("NV.mtf.movss", "behind MOV SS: in its shadow", vf(VF_SHADOW), 2);
		vmx_resume(&r);
	}
	check_eq("N25.each", "one exit behind each instruction, hardware's or L0's, and each round of REP: 0, or the first that is not", wrong, 0);
	check_eq("N25.count", "as many", n, sizeof(at));
	check_eq("N25.tf", "nothing of it in RFLAGS, nor in what PUSHF pushes", tf, 0);
	check_eq("N25.end", "and another exit is no exit of the flag's", r.exit, VX_HLT);
	debug_state_reset();
}

/* N12, N17: the same with #DB intercepted and not. */
static void traps(bool intercepted)
{
	const char *who = intercepted ? "N17" : "N12";
	uint32_t bit = intercepted ? 1u << VEC_DB : 0;
	struct vmx_l2 r = l2(n12_out);

	db.anywhere = true;
	trap_clear();
	write_dr6(DR6_INIT | DR6_B2);
	r.exceptions = bit;
	r.rflags = FL_TF;
	vmx_run(&r);
	is_mtf(fmt("%s.out", who), &r, (uint64_t)n12_out + 2, BS);
	check_eq(fmt("%s.out.dr6", who), "DR6 does not have it yet", read_dr6(), DR6_INIT | DR6_B2);
	check_eq(fmt("%s.out.none", who), "no #DB has been delivered", trap_count(VEC_DB), 0);
	vmx_resume(&r);
	if (intercepted) {
		check_eq("N17.then", "the step is the next exit", r.exit == VX_EXC ? r.payload : 0x100 + r.exit, DR6_BS);
		check_eq("N17.then.rip", "at the same place", r.rip, (uint64_t)n12_out + 2);
		check_eq("N17.then.pending", "and waits no longer", vf(VF_PENDING), 0);
	} else {
		is_mtf("N12.then", &r, trap_gate(VEC_DB), 0);
		check_eq("N12.then.dr6", "the #DB has been delivered", read_dr6(), DR6_INIT | DR6_BS);
	}
	r = l2(n12_nop);
	r.exceptions = bit;
	r.rflags = FL_TF;
	vmx_run(&r);
	is_mtf(fmt("%s.nop", who), &r, (uint64_t)n12_nop + 1, BS);
	r = l2(n12_store);
	r.exceptions = bit;
	r.dr7 = DR7_INIT | DR7_BP(1, RW_WRITE, LEN_1);
	write_dr1((uint64_t)watch_buf);
	vmx_run(&r);
	is_mtf(fmt("%s.store", who), &r, (uint64_t)n12_store + 8, 0x1002);
	debug_state_reset();
}

static void faults(bool intercepted)
{
	uint32_t bit = intercepted ? 1u << VEC_DB : 0;
	const char *who = intercepted ? "N13.theirs" : "N13.own";
	struct vmx_l2 r = l2(n12_gd);

	r.exceptions = bit;
	r.dr7 = DR7_INIT | DR7_GD;
	write_dr6(DR6_INIT);
	vmx_run(&r);
	if (intercepted)
		check_eq("N13.theirs.gd", "General Detect comes first", r.exit == VX_EXC ? r.payload : 0x100 + r.exit, DR6_BD);
	else
		is_mtf("N13.own.gd", &r, trap_gate(VEC_DB), 0);
	check_eq(fmt("%s.gd.waits", who), "nothing waits", vf(VF_PENDING), 0);
	check_eq(fmt("%s.gd.dr6", who), "in DR6 once it is delivered", read_dr6(), DR6_INIT | (intercepted ? 0 : DR6_BD));
	for (unsigned i = 0; i < 2; i++) {
		write_dr6(DR6_INIT);
		write_dr0((uint64_t)n12_nop + i);
		r = l2(n12_nop);
		r.exceptions = bit;
		r.dr7 = DR7_INIT | DR7_BP(0, RW_EXEC, LEN_1);
		vmx_run(&r);
		if (i)
			is_mtf(fmt("%s.next", who), &r, (uint64_t)n12_nop + 1, 0);
		else if (intercepted)
			check_eq("N13.theirs.code", "a code breakpoint comes first", r.exit == VX_EXC ? r.payload : 0x100 + r.exit, DR6_B0);
		else
			is_mtf("N13.own.code", &r, trap_gate(VEC_DB), 0);
		if (i && intercepted) {
			vmx_resume(&r);
			check_eq("N13.theirs.again", "the one behind is found when its turn has come", r.exit == VX_EXC ? r.payload : 0x100 + r.exit, DR6_B0);
			check_eq("N13.theirs.again.rip", "at its instruction", r.rip, (uint64_t)n12_nop + 1);
		}
	}
	debug_state_reset();
}

static void at_handler(const char *id, const void *code, unsigned vec)
{
	struct vmx_l2 r = l2(code);

	write_dr6(DR6_INIT);
	vmx_run(&r);
	is_mtf(id, &r, trap_gate(vec), 0);
	debug_state_reset();
}

static void events(void)
{
	struct vmx_l2 r = l2(n12_icebp);

	at_handler("N14.icebp", n12_icebp, VEC_DB);
	r.exceptions = 1u << VEC_DB;
	vmx_run(&r);
	check_eq("N14.theirs", "ICEBP that is intercepted: its exit", r.type, VE_ICEBP);
	at_handler("NV.mtf.int", n12_int, VEC_INT80);
	at_handler("NV.mtf.ud", n12_ud, VEC_UD);
	at_handler("NV.mtf.gp", n12_wrmsr, VEC_GP); /* MSR 0: L0 raises it */
	r = l2(n12_nop);
	r.event = VE_SOFT_INT;
	r.event_vector = VEC_INT80;
	r.event_len = 2;
	vmx_run(&r);
	is_mtf("NV.mtf.event", &r, trap_gate(VEC_INT80), 0);
	r = l2(n12_nop);
	flag = false;
	pending = BS;
	r.rflags = FL_TF;
	r.exceptions = 1u << VEC_DB;
	r.event = VE_PENDING_MTF;
	vmx_run(&r);
	is_mtf("NV.mtf.injected", &r, (uint64_t)n12_nop, BS);
	vmx_resume(&r);
	check_eq("NV.mtf.injected.once", "once: then the step that waited", r.exit == VX_EXC ? r.payload : 0x100 + r.exit, DR6_BS);
	r = l2(n12_nop);
	with_timer = true;
	timer = 0;
	vmx_run(&r);
	check_eq("NV.mtf.timer", "a timer of 0 leaves no instruction to trap behind", r.exit, VX_TIMER);
	check_eq("NV.mtf.timer.rip", "RIP", r.rip, (uint64_t)n12_nop);
	timer = 100000;
	vmx_run(&r);
	is_mtf("NV.mtf.timer.later", &r, (uint64_t)n12_nop + 1, 0);
	debug_state_reset();
}

SCENARIO(n12_mtf, "the monitor trap flag, its boundary, and what waits there", SCN_NESTED)
{
	uint64_t cap = 0;

	vmx_start();
	if (try_rdmsr(0x48e, &cap) != NO_FAULT || !(cap >> 32 & VC_PROC_MTF))
		scenario_skip("no monitor trap flag");
	many();
	traps(false);
	traps(true);
	faults(false);
	faults(true);
	events();
	vmx_stop();
}
