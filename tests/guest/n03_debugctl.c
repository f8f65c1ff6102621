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
	vmx_stop();
}
