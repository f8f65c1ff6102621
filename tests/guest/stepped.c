/* SPDX-License-Identifier: MIT */
/* Symptom: a run that is to show that hidden steps do not show is green, because nothing is stepped.
 * Cause: DEBUGCTL takes the write and does nothing; each scenario then sees what it sees unstepped.
 * Rules: A33 (the bit that asks for the steps), A20. Runs where the guest was started with `debugctl=4` (tests/run/debugctl.py): counts the exits. */
#include "tests/guest/guest.h"

CODE64(stepped_nops, ".rept 64; nop; .endr; pushf; pop %rbx;" DONE)

static uint64_t exits(uint64_t *flags)
{
	struct run r = { .code = stepped_nops };
	uint64_t before = hypercall(HC_LAB_COUNT, LAB_EXITS, 0, 0);

	run_code(&r);
	*flags |= r.regs.rbx | r.end_rflags;
	return hypercall(HC_LAB_COUNT, LAB_EXITS, 0, 0) - before;
}

SCENARIO(stepped, "with a bus-lock trap asked for each instruction is an exit, and no step shows", SCN_BY_NAME | SCN_LAB)
{
	uint64_t asked = env.run_debugctl, flags = 0, n;

	if (asked != DEBUGCTL_BLD)
		scenario_error("needs the guest's option debugctl=4");
	n = exits(&flags);
	check("A33.stepped", "each of 66 instructions is an exit", n >= 66);
	env.run_debugctl = 0;
	n = exits(&flags);
	env.run_debugctl = asked;
	check_le("A33.unstepped", "and none of them is without that", n, 20);
	check_eq("A20.stepped", "no TF in what it reads or pushes", flags & FL_TF, 0);
	check_eq("A20.stepped.none", "and no #DB", trap_count(VEC_DB), 0);
}
