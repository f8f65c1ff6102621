/* SPDX-License-Identifier: MIT */
/* Symptom: a debugger that steps through a hypervisor inside a guest loses it at the instruction that enters its guest, or meets the breakpoint on that
 * instruction for ever.
 * Cause: L0 emulates the entry and forgets the step that is due behind it when L1 comes back; or keeps RF=1 in what it saves.
 * Who had it: Linux KVM until the fix by kvm-unit-tests 7839b0ec, 0689a980 (host_rflags).
 * Rules: M10, M11. */
#include "tests/guest/l1.h"

CODE64(m10_code, "nop;" L2_END)

/* RF belongs to one instruction: it lets VMRUN pass its breakpoint, is no flag of L2's, and is over behind the exit, where a step's frame shows it. */
static void rf(void)
{
	const uint64_t first = DR7_INIT | DR7_BP(1, RW_EXEC, LEN_1);
	struct l2 g = { .code = m10_code, .l1_rflags = env.amd ? FL_TF : 0 };

	write_dr0((uint64_t)l1_enter_insn);
	write_dr1((uint64_t)m10_code);
	write_dr7(DR7_INIT | DR7_BP(0, RW_EXEC, LEN_1));
	db.clear_tf_after = 2;
	trap_clear();
	l1_run(&g);
	db.clear_tf_after = 0;
	if (env.amd) { /* VMX: an exit loads RFLAGS anew */
		check_eq("M11.step.n", "the breakpoint on VMRUN, and the step behind the exit", trap_count(VEC_DB), 2);
		check_eq("M11.step.at", "there", trap_nth(VEC_DB, 1)->rip - (uint64_t)l1_exit_insn, 0);
		check_eq("M11.step.rf", "RF is over", trap_nth(VEC_DB, 1)->rflags & FL_RF, 0);
	}

	g = (struct l2){ .code = m10_code, .dr7 = first };
	write_dr7(DR7_INIT | DR7_BP(0, RW_EXEC, LEN_1));
	trap_clear();
	l1_run(&g);
	check_eq("M11.l2", "L1's RF does not let L2 pass a breakpoint of its own", g.exit.kind == L1_EXCEPTION ? g.exit.vector : 99, VEC_DB);
	check_eq("M11.l2.at", "at its first instruction", g.rip, (uint64_t)m10_code);
	write_dr6(DR6_INIT);
	g = (struct l2){ .code = m10_code, .dr7 = first, .rflags = FL_RF };
	write_dr7(DR7_INIT);
	l1_run(&g);
	check_eq("M11.l2.own", "the RF in its block does", g.exit.kind, L1_CPUID);
	write_dr6(DR6_INIT);
}

SCENARIO(m10_vmrun_tf, "TF and RF of L1 over the instruction that enters L2", SCN_NESTED)
{
	struct l2 g = { .code = m10_code, .l1_rflags = FL_TF };

	l1_begin();
	db.anywhere = true;
	db.clear_tf_after = 1;
	trap_clear();
	l1_run(&g);
	check_eq("M10.exit", "L2 runs to its exit", g.exit.kind, L1_CPUID);
	check_trace("M10.step", env.amd ? "the step is taken behind the exit, in L1" : "VMX: none: the exit has loaded RFLAGS, TF is 0", l1_exit_insn,
		    env.amd ? "DB+0/ffff4ff0" : "none");
	check_eq("M10.l2", "TF of L1 is not L2's", g.rflags & FL_TF, 0);

	g = (struct l2){ .code = m10_code };
	db.clear_tf_after = 0;
	write_dr0((uint64_t)l1_enter_insn);
	write_dr7(DR7_INIT | DR7_BP(0, RW_EXEC, LEN_1));
	trap_clear();
	l1_run(&g);
	check_eq("M11.exit", "L2 runs to its exit", g.exit.kind, L1_CPUID);
	check_trace("M11.rf", "a breakpoint on the instruction hits once", l1_enter_insn, "DB+0/ffff0ff1");
	check_eq("M11.dr7", "and is off afterwards", g.exit.l1_dr7, DR7_INIT);
	rf();
	l1_end();
}
