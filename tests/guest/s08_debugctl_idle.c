/* SPDX-License-Identifier: MIT */
/* An exit costs no DEBUGCTL access while host and guest agree on the value.
 *
 * Symptom: each exit is hundreds of cycles slower than it has to be. Cause: the hypervisor reads DEBUGCTL before every entry to
 * learn the host's value, or writes it whether or not it differs. Who: KVM on Intel read the MSR on each entry until it kept the
 * value in memory. What happens when they differ is told in doc2_debugctl, which needs an MSR that stores; this one does not.
 * Rules: S08, V06, H16. */
#include "tests/guest/guest.h"

SCENARIO(s08_debugctl_idle, "idle exits touch no DEBUGCTL", SCN_LAB)
{
	for (enum force_exit k = FX_CPUID; k < FX_NR; k++) {
		if (!fx_available(k))
			continue;
		hypercall(HC_LAB_COUNT, LAB_DEBUGCTL_READS, 1, 0);
		hypercall(HC_LAB_COUNT, LAB_DEBUGCTL_WRITES, 1, 0);
		for (unsigned i = 0; i < 500; i++)
			fx(k);
		check_eq(fmt("S08.writes.%s", fx_name(k)), "500 exits, host value 0: DEBUGCTL writes",
			 hypercall(HC_LAB_COUNT, LAB_DEBUGCTL_WRITES, 0, 0), 0);
		check_eq(fmt("H16.reads.%s", fx_name(k)), "and reads", hypercall(HC_LAB_COUNT, LAB_DEBUGCTL_READS, 0, 0), 0);
	}
}
