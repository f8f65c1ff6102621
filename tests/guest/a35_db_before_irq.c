/* SPDX-License-Identifier: MIT */
/* Symptom: an interrupt handler is single-stepped, or a step is lost when an interrupt comes at the same boundary.
 * Cause: a trap #DB stands above NMI and interrupt, an exec breakpoint below; a hypervisor that takes what it finds first turns them round.
 * With the right order the #DB's handler starts first: the interrupt waits for its IRET (IF=0), an NMI comes at its first instruction.
 * Who had it: Linux KVM in variants (5ef8acbdd687, b9d44f9091ac: the ladder is commented there since).
 * Rule: A35, and section 0's ladder. */
#include "tests/guest/guest.h"

#include "arch/x86/def/hypercall.h"

#define VEC_IRQ 0x40
LABEL(trap_stubs);

/* An injection is a hypercall, 3 bytes, another one on each vendor's CPU. Its registers come from the run. */
#define SNIPPETS(v, call)                                                                                                \
	CODE64(a35_call_##v, call "; nop; nop;" DONE)                                                                    \
	CODE64(a35_popf_##v, call "; pushf; orl $0x200, (%rsp); popf; nop; cli;" DONE)
SNIPPETS(amd, "vmmcall")
SNIPPETS(intel, "vmcall")

static bool taken(struct trap_frame *f, struct trap_rec *rec)
{
	(void)f;
	(void)rec;
	return true;
}

static void one(const char *id, const char *code, uint64_t what, uint64_t rflags, unsigned exec_at, const char *want)
{
	FOR_FX(k)
	{
		struct run r = { .code = code, .rflags = rflags };

		r.regs = (struct regs){ .rax = HC_LAB_INJECT, .rbx = what, .rcx = VEC_IRQ };
		if (exec_at) {
			write_dr0((uint64_t)code + exec_at);
			write_dr7(DR7_INIT | DR7_BP(0, RW_EXEC, LEN_1));
		}
		fx(k);
		run_code(&r);
		write_dr7(DR7_INIT);
		check_trace(fmt("A35.%s.%s", id, fx_name(k)), "handlers in the order in which they began to log", code, want);
	}
}

/* No flag holds an NMI back: it comes inside the #DB's handler, at its first instruction. */
static void nmi(const char *code)
{
	FOR_FX(k)
	{
		struct run r = { .code = code, .rflags = FL_TF, .regs = { .rax = HC_LAB_INJECT, .rbx = LAB_NMI } };
		uint64_t rip;

		fx(k);
		run_code(&r);
		rip = trap_nth(VEC_NMI, 0)->rip;
		check_eq(fmt("A35.nmi.n.%s", fx_name(k)), "one NMI", trap_count(VEC_NMI), 1);
		check_eq(fmt("A35.nmi.db.%s", fx_name(k)), "no step lost", trap_count(VEC_DB), 3);
		check(fmt("A35.nmi.order.%s", fx_name(k)), "not at the boundary of both: the #DB was first", rip - (uint64_t)code > 8);
		check(fmt("A35.nmi.at.%s", fx_name(k)), "at the first instruction of the #DB's handler", rip == (uint64_t)trap_stubs + 16 * VEC_DB);
	}
}

SCENARIO(a35_db_before_irq, "trap #DB before NMI and interrupt, exec breakpoint after", SCN_LAB)
{
	const char *call = env.amd ? a35_call_amd : a35_call_intel, *popf = env.amd ? a35_popf_amd : a35_popf_intel;

	trap_set_hook(VEC_IRQ, taken);
	trap_set_hook(VEC_NMI, taken);
	/* Both due behind the emulated instruction. */
	one("irq.emulated", call, LAB_IRQ, FL_TF | FL_IF, 0, "DB+3/ffff4ff0;V40+3;DB+4/ffff4ff0;DB+5/ffff4ff0");
	nmi(call);
	/* Both due behind a native POPF, which opens IF with TF=1 before and after. */
	if (env.pvm)
		check_skip("A35.irq.native", "handlers in the order in which they began to log", "in ring 3 POPF does not reach IF");
	else
		one("irq.native", popf, LAB_IRQ, FL_TF, 0,
	    "DB+3/ffff4ff0;DB+4/ffff4ff0;DB+b/ffff4ff0;DB+c/ffff4ff0;V40+c;DB+d/ffff4ff0;DB+e/ffff4ff0");
	/* An exec breakpoint on the instruction at the boundary is looked at after the interrupt. */
	one("exec.emulated", call, LAB_IRQ, FL_IF, 3, "V40+3;DB+3/ffff0ff1");
	one("exec.nmi", call, LAB_NMI, 0, 3, "NMI+3;DB+3/ffff0ff1");
	if (env.pvm)
		check_skip("A35.exec.native", "handlers in the order in which they began to log", "in ring 3 POPF does not reach IF");
	else
		one("exec.native", popf, LAB_IRQ, 0, 12, "V40+c;DB+c/ffff0ff1");
}
