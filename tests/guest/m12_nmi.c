/* SPDX-License-Identifier: MIT */
/* Symptom: under a load of NMIs a hypervisor inside a guest, or its guest, takes single steps that nobody asked for, or finds TF set in flags that it saved.
 * Cause: SVM has no exit for the end of NMI blocking; L0 steps over the IRET with TF, and the step or the flag reaches vmcb12, a pushed frame, or L1.
 * Who had it: Linux KVM (9b61174793f2, 4aebd0e9ca47 name the leaks). drover steps over nothing: it waits for the exit behind the IRET (S16 has no place here).
 * Rules: M12, B55's twin. */
#include "tests/guest/l1.h"

#include "arch/x86/def/hypercall.h"

#define FLAGS (FL_TF | FL_RF)

CODE64(m12_nmi, "vmmcall; nop; nop; vmmcall; nop; pushf; pop %r8;" L2_END)

static unsigned nested, frames;

/* The first handler asks for another NMI, which waits for its IRET. */
static bool taken(struct trap_frame *f, struct trap_rec *rec)
{
	(void)rec;
	frames |= f->rflags & FL_TF ? 1 : 0;
	if (nested) {
		nested--;
		hypercall(HC_LAB_INJECT, LAB_NMI, 0, 0);
	}
	return true;
}

static void in_l2(unsigned round)
{
	struct l2 g = { .code = m12_nmi, .lab = true, .own = 1u << VEC_DB | 1u << VEC_NMI, .regs = { .rax = HC_LAB_INJECT, .rbx = LAB_NMI } };
	unsigned want = 1 + round % 2;
	uint64_t flags;

	/* The second call of the code finds RAX = 0: no lab call. */
	nested = round % 2;
	frames = 0;
	db.anywhere = true;
	trap_clear();
	l1_run(&g);
	__asm__ volatile("pushf; pop %0" : "=r"(flags));
	check_eq(fmt("M12.exit.%u", round), "L2 runs to its end", g.exit.kind, L1_CPUID);
	check_eq(fmt("M12.nmis.%u", round), "each NMI is taken in L2", trap_count(VEC_NMI), want);
	check_eq(fmt("M12.nmi.rip.%u", round), "the first one behind the call that asked for it", trap_nth(VEC_NMI, 0)->rip - (uint64_t)m12_nmi, 3);
	if (want == 2) /* drover waits for an exit behind the IRET: the second call at the latest (CAVEATS) */
		check_le(fmt("M12.nmi.next.%u", round), "the second one behind the first one's IRET, at the next exit at the latest",
			 trap_nth(VEC_NMI, 1)->rip - (uint64_t)m12_nmi - 3, 5);
	check_eq(fmt("M12.steps.%u", round), "no step", trap_count(VEC_DB), 0);
	check_eq(fmt("M12.frames.%u", round), "no TF in a pushed frame", frames, 0);
	check_eq(fmt("M12.block.%u", round), "no TF, no RF in the block", g.rflags & FLAGS, 0);
	check_eq(fmt("M12.read.%u", round), "no TF in what L2 reads", g.regs.r8 & FL_TF, 0);
	check_eq(fmt("M12.l1.%u", round), "none in L1's flags", flags & FL_TF, 0);
	check_eq(fmt("M12.dr6.%u", round), "DR6 has no step", g.exit.l1_dr6, DR6_INIT);
}

/* L1 wants the NMI: the exit comes behind the call, with nothing of L0's in L2's flags; the #DB of a step of L2's own is L1's. */
static void to_l1(void)
{
	struct l2 g = { .code = m12_nmi, .lab = true, .nmi = true, .regs = { .rax = HC_LAB_INJECT, .rbx = LAB_NMI } };

	nested = 0;
	trap_clear();
	l1_run(&g);
	check_eq("M12.wanted", "an NMI that L1 intercepts exits", g.exit.kind, L1_NMI);
	check_eq("M12.wanted.block", "no TF, no RF in the block", g.rflags & FLAGS, 0);
	check_eq("M12.wanted.taken", "L1 takes it at STGI", trap_count(VEC_NMI), 1);
	check_eq("M12.wanted.steps", "and no step", trap_count(VEC_DB), 0);
}

SCENARIO(m12_nmi, "NMIs while L2 runs leave no step and no TF behind", SCN_NESTED | SCN_LAB)
{
	if (!env.amd)
		scenario_skip("SVM only: this is an Intel CPU");
	l1_begin();
	trap_set_hook(VEC_NMI, taken);
	for (unsigned round = 0; round < 4; round++)
		in_l2(round);
	to_l1();
	trap_set_hook(VEC_NMI, NULL);
	l1_end();
}
