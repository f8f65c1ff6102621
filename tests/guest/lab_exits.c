/* SPDX-License-Identifier: MIT */
/* Symptom: scenarios that force an exit of a kind between two steps prove nothing, since the exit is of another kind, or a counter stands still.
 * Cause: the other scenarios believe the lab hypercalls and their counters; nobody looks at these.
 * Who had it: nobody yet; it is the control of what the checks named after H06, H11, H16 and S08 rest on.
 * Rules: H06, H10, H16. Each kind of exit is what its name says, and each counter of the host's accesses moves when it has to. */
#include "tests/guest/guest.h"

static uint64_t count(enum lab_counter c)
{
	return hypercall(HC_LAB_COUNT, c, 0, 0);
}

SCENARIO(lab_exits, "each forced exit is of its kind, each counter counts", SCN_LAB)
{
	uint64_t base, all, fast = 0, before;

	write_dr7(DR7_INIT);
	base = count(LAB_EXITS);
	base = count(LAB_EXITS) - base; /* what asking costs: the counter's own call */
	FOR_FX(k) {
		all = ~0ul;
		for (unsigned i = 0; i < 3; i++) { /* an interrupt of the host is an exit as well: the fewest count */
			uint64_t fast0 = count(LAB_FAST_EXITS), all0 = count(LAB_EXITS), n, quick;

			fx(k);
			n = count(LAB_EXITS) - all0 - base;
			quick = count(LAB_FAST_EXITS) - fast0;
			if (n < all || (n == all && quick > fast)) { /* at the end of a slice a fast one takes the slow path */
				all = n;
				fast = quick;
			}
		}
		check_eq(fmt("H10.exits.%s", fx_name(k)), "exits that it makes", all, k == FX_NONE ? 0 : 1);
		check_eq(fmt("H10.fast.%s", fx_name(k)), "of them in the inner loop", fast, k == FX_FAST ? 1 : 0);
	}
	if (hypercall(HC_LAB_POLICY, 0, 0, 0) <= 2) { /* trapped: the guest's registers are never in hardware */
		write_dr0(0x1000); /* the guest owns them from here to the next slow exit */
		before = count(LAB_DR_READS);
		write_dr0(0x2000);
		check("H06.reads", "leaving an owner reads its registers, and the host's reads are counted", count(LAB_DR_READS) - before >= 4);
	} else {
		check_skip("H06.reads", "leaving an owner reads its registers, and the host's reads are counted", "dbg=trapped: it owns none");
	}
	before = count(LAB_DEBUGCTL_READS);
	if (hypercall(HC_LAB_HOST_DEBUGCTL_RD, 0, 0, 0) == HC_ENODEV)
		check_skip("H16.control", "a read of DEBUGCTL by the host is counted", "no such MSR here");
	else
		check("H16.control", "a read of DEBUGCTL by the host is counted", count(LAB_DEBUGCTL_READS) - before >= 1);
}
