/* SPDX-License-Identifier: MIT */
/* Symptom: a guest's guest runs with its hypervisor's DEBUGCTL, or the hypervisor goes on with its guest's; what the guest wrote is lost or comes unasked.
 * Cause: the debug controls of entry and exit are taken for DR7's alone; an exit has to leave DEBUGCTL 0, whatever was loaded.
 * Who had it: Linux KVM until 2996fca0690f (DR7's half); the snapshot of DEBUGCTL for it until 764643a6be07.
 * Rules: N03, N05, N06. Needs a DEBUGCTL that acts: drover's `debugctl=emulate`, or silicon. */
#include "tests/guest/apic.h"
#include "tests/guest/l1_vmx.h"

CODE64(n03_ctl_read, "mov $0x1d9, %ecx; rdmsr; mov %eax, %esi;" VMX_END)
CODE64(n03_ctl_write, "mov $0x1d9, %ecx; xor %eax, %eax; xor %edx, %edx; wrmsr;" VMX_END)
CODE64(n03_ctl_step, "nop; nop; jmp 1f; nop; 1: nop;" VMX_END)

static bool load, save;
static uint64_t own;

static void tune(struct vmx_l2 *r)
{
	(void)r;
	vf_change(VF_ENTRY, VC_ENTRY_LOAD_DEBUG, load ? VC_ENTRY_LOAD_DEBUG : 0);
	vf_change(VF_EXIT, VC_EXIT_SAVE_DEBUG, save ? VC_EXIT_SAVE_DEBUG : 0);
	try_wrmsr(MSR_DEBUGCTL, own);
}

static uint64_t debugctl(void)
{
	uint64_t v = ~0ul;

	try_rdmsr(MSR_DEBUGCTL, &v);
	return v;
}

static struct vmx_l2 one(const char *code, bool set_load, bool set_save, uint64_t theirs, uint64_t mine, uint64_t rflags)
{
	struct vmx_l2 r = { .code = code, .debugctl = theirs, .rflags = rflags, .exceptions = 1u << VEC_DB, .tune = tune };

	load = set_load;
	save = set_save;
	own = mine;
	vmx_run(&r);
	return r;
}

/* What drover steps it with must not show in the control block, where BS has to agree with TF behind MOV SS, or the next entry is refused. */
CODE64(n03_ctl_shadow, "mov %ss, %eax; mov %eax, %ss; cpuid; nop;" VMX_END)

static void shadow(void)
{
	struct vmx_l2 r = one(n03_ctl_shadow, true, true, DEBUGCTL_LBR, 0, 0);

	check_eq("V09.shadow", "CPUID exits behind MOV SS", r.exit == VX_CPUID ? vf(VF_SHADOW) & 3 : 99, 2);
	check_eq("V09.shadow.bs", "and no step is pending", vf(VF_PENDING) >> 14 & 1, 0);
	r.rip += r.len;
	vf_set(VF_SHADOW, 0);
	vmx_resume(&r);
	check_eq("V09.shadow.end", "it goes on to its end", r.exit, VX_HLT);
}

CODE64(n03_ctl_hlt, "hlt; nop;" VMX_END_USER)

static void arm(struct vmx_l2 *r)
{
	tune(r);
	vf_change(VF_PROC, VC_PROC_HLT, 0);
	apic_write(APIC_DIVIDE, APIC_DIVIDE_BY_1);
	apic_write(APIC_LVT_TIMER, 0x40);
	apic_write(APIC_INITIAL, 2000000);
}

static void halted(void)
{
	struct vmx_l2 r = { .code = n03_ctl_hlt, .debugctl = DEBUGCTL_LBR, .want = VW_INTR, .tune = arm };

	load = save = true;
	apic_begin();
	trap_set_hook(0x40, apic_taken);
	vmx_run(&r);
	check_eq("N03.hlt", "its HLT lasts until its hypervisor's interrupt", r.exit, VX_INTR);
	check_eq("N03.hlt.rip", "which finds it behind HLT", r.rip - (uint64_t)n03_ctl_hlt, 1);
	apic_write(APIC_EOI, 0);
	apic_end();
	trap_set_hook(0x40, NULL);
}

/* Its hypervisor's preemption timer goes on in HLT. */
static void arm_timer(struct vmx_l2 *r)
{
	tune(r);
	vf_change(VF_PROC, VC_PROC_HLT, 0);
	vf_change(VF_PIN, 0, VC_PIN_TIMER);
	vf_set(VF_TIMER, 20000);
}

static void halted_timer(void)
{
	struct vmx_l2 r = { .code = n03_ctl_hlt, .debugctl = DEBUGCTL_LBR, .tune = arm_timer };

	load = save = true;
	vmx_run(&r);
	check_eq("N03.hlt.timer", "its HLT lasts until its hypervisor's preemption timer", r.exit, VX_TIMER);
	check_eq("N03.hlt.timer.rip", "which finds it behind HLT", r.rip - (uint64_t)n03_ctl_hlt, 1);
	check_eq("N03.hlt.timer.state", "asleep", vf(VF_ACTIVITY), 1);
	check_eq("N03.hlt.timer.bs", "and no step is pending", vf(VF_PENDING) >> 14 & 1, 0);
	vf_set(VF_TIMER, 20000);
	vmx_resume(&r);
	check_eq("N03.hlt.again", "entered asleep, it sleeps on", r.exit == VX_TIMER ? r.rip - (uint64_t)n03_ctl_hlt : 0x100 + r.reason, 1);
	vf_set(VF_ACTIVITY, 0);
	vmx_resume(&r);
	check_eq("N03.hlt.awake", "and entered awake, it goes on", r.exit == VX_CPUID ? r.rip - (uint64_t)n03_ctl_hlt : 0x100 + r.reason, 2);
}

/* The monitor trap flag over what drover steps: neither step may show in the other. */
CODE64(n03_ctl_mtf, "nop; pushf; pop %rax; jmp 1f; nop; 1: nop; sti; nop; cli; mov %ss, %ebx; mov %ebx, %ss; nop; movb $1, watch_buf; out %al, $0x80; nop;" VMX_END)
CODE64(n03_ctl_int, "int $0x80; nop;" VMX_END)
CODE64(n03_ctl_icebp, ".byte 0xf1; nop;" VMX_END)
CODE64(n03_ctl_ud, "ud2; nop;" VMX_END)
#define VC_PROC_MTF (1u << 27)

static void flag(struct vmx_l2 *r)
{
	tune(r);
	vf_change(VF_PROC, 0, VC_PROC_MTF);
}

static struct vmx_l2 flagged(const void *code, uint64_t rflags)
{
	struct vmx_l2 r = { .code = code, .debugctl = DEBUGCTL_LBR, .rflags = rflags, .tune = flag };

	load = save = true;
	vmx_run(&r);
	return r;
}

/* Where the CPU goes by this vector. */
static uint64_t gate(unsigned vec)
{
	struct { uint16_t limit; uint64_t base; } __attribute__((packed)) idt;
	const uint64_t *g;

	__asm__ volatile("sidt %0" : "=m"(idt));
	g = (const uint64_t *)(idt.base + 16 * vec);
	return (g[0] & 0xffff) | (g[0] >> 32 & 0xffff0000) | g[1] << 32;
}

static void mtf(void)
{
	static const uint8_t at[] = { 1, 2, 3, 6, 7, 8, 9, 10, 12, 14, 15, 23, 25, 26 };
	struct vmx_l2 r;
	uint64_t cap = 0, wrong = 0, seen = 0;
	unsigned n = 0;

	if (try_rdmsr(0x48e, &cap) != NO_FAULT || !(cap >> 32 & VC_PROC_MTF)) {
		check_skip("N25.step", "the monitor trap flag over a step", "no monitor trap flag");
		return;
	}
	r = flagged(n03_ctl_mtf, 0);
	for (; n < sizeof(at) && r.reason == 37; n++) {
		if (r.rip - (uint64_t)n03_ctl_mtf != at[n] && !wrong)
			wrong = 0x100 * (n + 1) + (r.rip - (uint64_t)n03_ctl_mtf);
		seen |= (r.rflags & FL_TF) | (n == 2 ? r.regs.rax & FL_TF : 0) | vf(VF_PENDING);
		vmx_resume(&r);
	}
	check_eq("N25.step", "one exit behind each instruction: 0, or the first that is not", wrong, 0);
	check_eq("N25.step.count", "as many", n, sizeof(at));
	check_eq("N25.step.hidden", "nothing of the step in RFLAGS, on the stack, in the pending-debug field", seen, 0);
	check_eq("N25.step.end", "and another exit is no exit of the flag's", r.exit, VX_HLT);
	r = flagged(n03_ctl_step, FL_TF);
	check_eq("N12.step", "its own single step waits behind the flag's exit", r.reason == 37 ? vf(VF_PENDING) : 0x100 + r.reason, 0x4000);
	check_eq("N12.step.rip", "at the same place", r.rip - (uint64_t)n03_ctl_step, 1);
	r = flagged(n03_ctl_int, 0);
	check_eq("N25.step.int", "INT n: the exit at its handler", r.reason == 37 ? r.rip : r.reason, gate(VEC_INT80));
	r = flagged(n03_ctl_icebp, 0);
	check_eq("N14.step.icebp", "ICEBP likewise", r.reason == 37 ? r.rip : r.reason, gate(VEC_DB));
	r = flagged(n03_ctl_ud, 0);
	check_eq("N25.step.ud", "a fault likewise", r.reason == 37 ? r.rip : r.reason, gate(VEC_UD));
	debug_state_reset();
}

SCENARIO(n03_debugctl, "DEBUGCTL is loaded or inherited, saved or not, and 0 behind each exit", SCN_NESTED)
{
	struct vmx_l2 r;

	vmx_start();
	if (!debugctl_acts()) {
		vmx_stop();
		scenario_skip("DEBUGCTL does nothing here");
	}
	r = one(n03_ctl_read, true, true, DEBUGCTL_LBR, DEBUGCTL_BTF, 0);
	check_eq("N05.zero.load", "an exit leaves 0", debugctl(), 0);
	check_eq("N03.load", "the nested guest has the control block's", r.regs.rsi, DEBUGCTL_LBR);
	check_eq("N05.saved", "which the exit saves", r.debugctl, DEBUGCTL_LBR);
	r = one(n03_ctl_read, false, true, DEBUGCTL_LBR, DEBUGCTL_BTF, 0);
	check_eq("N05.zero.inherit", "an exit leaves 0", debugctl(), 0);
	check_eq("N03.inherit", "without the control it has its hypervisor's", r.regs.rsi, DEBUGCTL_BTF);
	r = one(n03_ctl_write, true, true, DEBUGCTL_LBR, 0, 0);
	check_eq("N06.saved", "what it writes is saved", r.debugctl, 0);
	r = one(n03_ctl_write, true, false, DEBUGCTL_LBR, 0, 0);
	check_eq("N05.unsaved", "or not, without the control", r.debugctl, DEBUGCTL_LBR);
	r = one(n03_ctl_step, true, true, 0, DEBUGCTL_BTF, FL_TF);
	check_eq("N03.step.load", "its hypervisor's BTF does not reach it", r.rip - (uint64_t)n03_ctl_step, 1);
	r = one(n03_ctl_step, false, true, 0, DEBUGCTL_BTF, FL_TF);
	check_eq("N03.step.inherit", "or does, where it is inherited", r.rip - (uint64_t)n03_ctl_step, 5);
	shadow();
	halted();
	halted_timer();
	mtf();
	vmx_stop();
}
