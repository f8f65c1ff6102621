/* SPDX-License-Identifier: MIT */
/* Symptom: an injected interrupt is lost, comes inside an STI shadow, or an NMI nests in the NMI handler and destroys its frame.
 * Cause: the window for an event that cannot be taken yet is not asked for; NMI blocking is not tracked up to the handler's IRET.
 * Who had it: each new hypervisor once. Seen red: without NMI blocking in the SVM backend the VM triple-faults.
 * Rules: section 0, the ladder. */
#include "tests/guest/guest.h"

#include "arch/x86/def/hypercall.h"

#define VEC_IRQ 0x40
#define INJECT_IRQ(call) "mov $0x19, %eax; xor %ebx, %ebx; mov $0x40, %ecx; xor %edx, %edx; " call ";"

/* Each twice: a hypercall is another instruction on each vendor's CPU. */
#define SNIPPETS(v, call)                                                                                                \
	CODE64(ev_sti_##v, INJECT_IRQ(call) "nop; sti; nop; .globl ev_sti_at_" #v "; ev_sti_at_" #v ": nop; cli;" DONE)  \
	CODE64(ev_open_##v, INJECT_IRQ(call) ".globl ev_open_at_" #v "; ev_open_at_" #v ": nop; nop;" DONE)              \
	CODE64(ev_popf_##v, INJECT_IRQ(call) "pushf; orl $0x200, (%rsp); popf; .globl ev_popf_at_" #v "; ev_popf_at_" #v ": nop; cli;" DONE) \
	LABEL(ev_sti_at_##v);                                                                                            \
	LABEL(ev_open_at_##v);                                                                                           \
	LABEL(ev_popf_at_##v);
SNIPPETS(amd, "vmmcall")
SNIPPETS(intel, "vmcall")

static unsigned nested, in_nmi, more;

static bool irq_hook(struct trap_frame *f, struct trap_rec *rec)
{
	(void)f;
	(void)rec;
	return true;
}

static bool nmi_hook(struct trap_frame *f, struct trap_rec *rec)
{
	(void)f;
	(void)rec;
	nested += in_nmi;
	in_nmi = 1;
	if (more) {
		more--;
		hypercall(HC_LAB_INJECT, LAB_NMI, 0, 0);
		hypercall(HC_NOP, 0, 0, 0);
	}
	in_nmi = 0;
	return true;
}

static void irq(const char *id, const char *code, const char *at, uint64_t rflags)
{
	struct run r = { .code = code, .rflags = rflags };

	run_code(&r);
	check_eq(fmt("EV.%s.n", id), "one interrupt", trap_count(VEC_IRQ), 1);
	check_eq(fmt("EV.%s.rip", id), "its RIP", trap_nth(VEC_IRQ, 0)->rip, (uint64_t)(uintptr_t)at);
}

SCENARIO(lab_events, "injected interrupts and NMIs come once, and not before they may", SCN_LAB)
{
	uint64_t t;

	trap_set_hook(VEC_IRQ, irq_hook);
	irq("sti", env.amd ? ev_sti_amd : ev_sti_intel, env.amd ? ev_sti_at_amd : ev_sti_at_intel, 0);
	irq("open", env.amd ? ev_open_amd : ev_open_intel, env.amd ? ev_open_at_amd : ev_open_at_intel, FL_IF);
	if (env.pvm)
		check_skip("EV.popf", "an interrupt behind POPF", "in ring 3 POPF does not reach IF");
	else
		irq("popf", env.amd ? ev_popf_amd : ev_popf_intel, env.amd ? ev_popf_at_amd : ev_popf_at_intel, 0);
	trap_set_hook(VEC_NMI, nmi_hook);
	trap_clear();
	more = 3;
	hypercall(HC_LAB_INJECT, LAB_NMI, 0, 0);
	t = rdtsc();
	while (*(volatile unsigned *)&trap_log.n < 4 && rdtsc() - t < 400000000)
		fx(FX_NOP); /* on SVM the next NMI may wait for an exit (docs/CAVEATS.md) */
	check_eq("EV.nmi.nested", "no NMI inside an NMI handler", nested, 0);
	check_eq("EV.nmi.n", "all came", trap_count(VEC_NMI), 4);
}
