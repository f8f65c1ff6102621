/* SPDX-License-Identifier: MIT */
/* Symptom: a VM that is migrated while its guest's guest runs comes back with that one's breakpoints or single step gone, with its hypervisor's, or with a
 * hypervisor that misses the trap flag's exit.
 * Cause: a restore goes the way of an entry, and takes the debug controls from vmcs12, or, without "load debug controls", what the hypervisor has now
 * and not what was in force before the entry; or what is pending at the boundary is nowhere in the snapshot.
 * Who had it: Linux KVM until 764643a6be07 (DEBUGCTL), df2a69af85be (MTF). Rules: N04, N12, N18, Z11; mutations B48, B69. */
#include "tests/guest/l1_vmx.h"

#include "arch/x86/def/snapshot.h"

CODE64(n04_dr7, "mov %dr7, %rax; out %al, $0x80; mov %dr7, %rbx; nop;" VMX_END)
CODE64(n04_step, "out %al, $0x80; nop; nop;" VMX_END)
CODE64(n04_watch, "mov $0x402, %eax; out %al, $0x80; movb $1, watch_buf; nop;" VMX_END)
CODE64(n04_state, "mov %ss, %ebx; out %al, $0x80; mov %rsp, %rcx; mov %cr3, %rdx; mov $0xc0000080, %ecx; mov %rdx, %rdi; rdmsr; nop;" VMX_END)

#define VC_PROC_MTF (1u << 27)

static bool load, flag, own_cr3;
static uint64_t timer, l2_pml4[512] __attribute__((aligned(4096)));
extern const uint64_t boot_pml4[512];

static void tune(struct vmx_l2 *r)
{
	(void)r;
	vf_change(VF_ENTRY, VC_ENTRY_LOAD_DEBUG, load ? VC_ENTRY_LOAD_DEBUG : 0);
	if (flag)
		vf_change(VF_PROC, 0, VC_PROC_MTF);
	if (timer) {
		vf_change(VF_PIN, 0, VC_PIN_TIMER);
		vf_set(VF_TIMER, timer);
	}
	if (own_cr3) {
		for (unsigned i = 0; i < 512; i++)
			l2_pml4[i] = boot_pml4[i];
		vf_set(VF_CR3, (uint64_t)l2_pml4);
	}
	if (hypercall(HC_LAB_SNAPSHOT, LAB_MIGRATE_L2, 0, 0))
		scenario_error("no snapshot of levels");
	hypercall(HC_LAB_COUNT, LAB_MOVES, 1, 0);
	write_dr7(0x402);
}

/* Runs it; the lab carries the vcpu over at its first exit that drover handles. That it did, and once. */
static void moved(const char *what, struct vmx_l2 *r)
{
	vmx_run(r);
	check_eq(fmt("N04.moved.%s", what), "the vcpu was saved, wiped and restored while the nested guest ran", hypercall(HC_LAB_COUNT, LAB_MOVES, 0, 0), 1);
}

static struct vmx_l2 l2(const void *code)
{
	load = true;
	flag = own_cr3 = false;
	timer = 0;
	return (struct vmx_l2){ .code = code, .tune = tune };
}

/* N04: with and without "load debug controls". */
static void controls(void)
{
	struct vmx_l2 r = l2(n04_dr7);

	r.dr7 = 0x408;
	moved("load", &r);
	check_eq("N04.load", "DR7 by vmcs12, before and after the move", r.regs.rax << 32 | r.regs.rbx, 0x408ul << 32 | 0x408);
	r = l2(n04_dr7);
	load = false;
	r.dr7 = 0x408;
	moved("inherit", &r);
	check_eq("N04.inherit", "inherited, before and after", r.regs.rax << 32 | r.regs.rbx, 0x402ul << 32 | 0x402);
	check_eq("N04.l1", "the hypervisor has the reset value behind the exit", read_dr7(), DR7_INIT);
	r = l2(n04_watch);
	r.exceptions = 1u << VEC_DB;
	r.dr7 = DR7_INIT | DR7_BP(2, RW_WRITE, LEN_1);
	write_dr2((uint64_t)watch_buf);
	write_dr6(DR6_INIT | DR6_BS);
	moved("watch", &r);
	check_eq("N04.watch", "a watchpoint of the nested guest's is still armed", r.exit == VX_EXC ? r.payload : 0x100 + r.exit, DR6_B2);
	check_eq("N04.dr6", "DR6 too is as it was", read_dr6(), DR6_INIT | DR6_BS);
	debug_state_reset();
}

/* What waits at the very boundary of the move: the step of the OUT that L0 has carried out, the trap flag. */
static void waiting(void)
{
	struct vmx_l2 r = l2(n04_step);

	r.rflags = FL_TF;
	r.exceptions = 1u << VEC_DB;
	moved("step", &r);
	check_eq("N04.step", "a #DB that waits comes once", r.exit == VX_EXC ? r.payload : 0x100 + r.exit, DR6_BS);
	check_eq("N04.step.rip", "at its place", r.rip, (uint64_t)n04_step + 2);
	check_eq("N04.step.dr6", "and was not merged on the way", read_dr6(), DR6_INIT);
	vmx_resume(&r);
	check_eq("N04.step.next", "the next one is the next instruction's", r.rip, (uint64_t)n04_step + 3);
	r = l2(n04_step);
	flag = true;
	moved("mtf", &r);
	check_eq("N12.mtf.due", "the trap flag's exit, when nothing else waits", r.reason, 37);
	check_eq("N12.mtf.due.rip", "behind the OUT, not an instruction later", r.rip, (uint64_t)n04_step + 2);
	r = l2(n04_step);
	r.rflags = FL_TF;
	flag = true;
	moved("mtf-step", &r);
	check_eq("N12.mtf.moved", "the trap flag's exit comes behind the OUT", r.reason, 37);
	check_eq("N12.mtf.moved.rip", "there", r.rip, (uint64_t)n04_step + 2);
	check_eq("N12.mtf.moved.pending", "with the step in the pending-debug field", vf(VF_PENDING), 0x4000);
	debug_state_reset();
}

static void others(void)
{
	struct vmx_l2 r = l2(n04_state);

	r.own_tables = own_cr3 = true;
	moved("state", &r);
	check_eq("N04.ends", "the nested guest goes on to its end, by its hypervisor's tables", r.exit, VX_HLT);
	check_eq("N04.cr3", "CR3 is the nested guest's", r.regs.rdi, (uint64_t)l2_pml4);
	check("N04.cr3.l1", "and the hypervisor has its own", read_cr3() != (uint64_t)l2_pml4);
	check_eq("N04.efer", "EFER.LMA", r.regs.rax >> 10 & 1, 1);
	r = l2(n04_step);
	timer = 1ul << 31;
	moved("timer", &r);
	check_eq("N04.timer", "a preemption timer that has not come", r.exit, VX_HLT);
}

/* Nothing is believed: levels saved outside of a nested guest, changed in one place. */
static union {
	struct vmx_nested_snapshot s;
	uint8_t bytes[4096];
} image __attribute__((aligned(4096)));

/* Behind the first call RAX is 0 where it has saved, 1 where it is come back to; the second one restores. R11: the second one's RAX, if that comes back. */
CODE64(n04_again, "vmcall; test %eax, %eax; jnz 1f; mov %r8, %rax; mov %r9, %rbx; mov %r10, %rcx; vmcall; mov %rax, %r11; mov $77, %eax; 1: nop;" DONE)

static void refused(const char *what, size_t at, uint64_t bits)
{
	uint64_t saved = hypercall(HC_LAB_SNAPSHOT, LAB_NESTED_SAVE, (uint64_t)&image, sizeof(image.s));

	*(volatile uint64_t *)(void *)(image.bytes + at) ^= bits;
	check_eq(fmt("NV.bad.%s", what), "refused", saved ? ~0ul : hypercall(HC_LAB_SNAPSHOT, LAB_NESTED_RESTORE, (uint64_t)&image, sizeof(image.s)), HC_EINVAL);
}

/* With nothing changed it is restored, or the refusals above say nothing. */
static void restored(void)
{
	struct run r = { .code = n04_again, .regs = { .rax = HC_LAB_SNAPSHOT, .rbx = LAB_NESTED_SAVE, .rcx = (uint64_t)&image, .rdx = sizeof(image.s) } };

	r.regs.r8 = HC_LAB_SNAPSHOT;
	r.regs.r9 = LAB_NESTED_RESTORE;
	r.regs.r10 = (uint64_t)&image;
	r.regs.r11 = 99;
	run_code(&r);
	check_eq("NV.good", "levels as they were saved are restored: it goes on behind the call that saved, which says so", r.regs.rax, 1);
	check_eq("NV.good.once", "and not behind the one that restored", r.regs.r11, 99);
	check_eq("NV.good.vmcs", "the current VMCS is the same", vf(VF_RIP), (uint64_t)n04_step);
}

#define AT(field) offsetof(struct vmx_nested_snapshot, field)

static void refusals(void)
{
	refused("magic", AT(magic), 1);
	refused("version", AT(version), 1);
	refused("size", AT(size), 8);
	refused("flags", AT(flags), 1u << 31);
	refused("vmxoff", AT(flags), VMX_SNAPSHOT_VMXON);
	refused("level2", AT(level), 2);
	refused("level1", AT(level), 1); /* nothing has been launched: vmx_prepare() */
	refused("reserved", AT(reserved), 1);
	refused("vmxon", AT(vmxon_pa), 1ul << 40);
	refused("current", AT(current), 8);
	refused("width", AT(f), 1ul << 16); /* VPID has 16 bits */
	refused("rest", AT(f) + 8 * (VMX_SNAPSHOT_FIELDS - 1), 1);
	restored();
	check_eq("NV.bad.buffer", "nor one of another size", hypercall(HC_LAB_SNAPSHOT, LAB_NESTED_RESTORE, (uint64_t)&image, sizeof(image.s) - 8), HC_EINVAL);
}

SCENARIO(n04_snapshot, "a nested guest is carried over while it runs", SCN_NESTED | SCN_LAB)
{
	uint64_t cap = 0;

	vmx_start();
	if (try_rdmsr(0x48e, &cap) != NO_FAULT || !(cap >> 32 & VC_PROC_MTF))
		scenario_skip("no monitor trap flag");
	controls();
	waiting();
	others();
	vmx_prepare(&(struct vmx_l2){ .code = n04_step });
	refusals();
	vmx_stop();
}
