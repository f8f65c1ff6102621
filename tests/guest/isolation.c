/* SPDX-License-Identifier: MIT */
/* Two VMs that share a CPU never see each other's registers. This is VM A; VM B runs `peer`, in the same group.
 *
 * Symptom: one guest reads (or hits) another's breakpoints, computes with its floating-point registers, jumps by its LSTAR.
 * Cause: registers that hardware does not switch, and that the hypervisor switches lazily or not at all: DR0-3, AMD's address masks
 * (Xen 5d54282f98, XSA-444: a mask of another VM widens my breakpoint), FPU state, XCR0, CR2, SYSCALL and SYSENTER MSRs, TSC_AUX.
 * Rules: H15, H17, H12; mutation B39. Bare, it shows that the patterns are such that this machine keeps them. */
#include "tests/guest/iso_state.h"

#define ROUNDS_MIN 12
#define ROUNDS_MAX 2000

SCENARIO(isolation, "VM A of two: its state is its own whenever it runs", 0)
{
	unsigned round;

	if (env.drover && !env.lab)
		scenario_skip("needs the lab hypercalls");
	iso_init();
	/* Even seeds here, odd ones in the peer: each item differs at every switch. Ends when the peer has. */
	for (round = 0; round < (env.lab ? ROUNDS_MAX : ROUNDS_MIN); round++) {
		uint32_t seed = 2 * round + 0x40;

		iso_put(seed);
		if (env.lab && hypercall(HC_LAB_YIELD, 0, 0, 0) != 0)
			break;
		iso_compare(seed);
	}
	if (round == 0)
		scenario_skip("no second VM in this group");
	iso_report();
	check("H15.rounds", "the peer ran between, often enough", round >= ROUNDS_MIN);
}
