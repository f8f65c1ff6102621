/* SPDX-License-Identifier: MIT */
/* The guest never runs with the host's DEBUGCTL, and the host has its own back after each exit.
 *
 * Symptom: a host that uses bus-lock traps, branch stepping or branch records dies of, or loses data by, an event that only the
 * guest caused: the guest's split lock raised #DB because the host's DEBUGCTL[2] was still set, and cleared DR6.BLD in the guest.
 * Cause: SVM switches DEBUGCTL only with LBR virtualization enabled. Without it the host's value stays in force in the guest.
 * Swallowing the unexpected #DB hides half of it: DR6 has changed already (S09).
 * Who: KVM on AMD until 433265870ab3.
 * Rules: S07, S08, S09, V06, H16; mutation B06. Needs an MSR that stores what is written: no QEMU, and Bochs with its MSR file only.
 * Bochs's VMX knows no DEBUGCTL: neither its entry loads it nor its exit zeroes it, so there the guest's reads are a listed deviation. */
#include "tests/guest/guest.h"

/* Bits that each vendor has (LBR, BTF) and that harm nothing in a host that steps and records nothing. */
static const uint64_t host_value[] = { DEBUGCTL_LBR, DEBUGCTL_BTF, DEBUGCTL_LBR | DEBUGCTL_BTF, DEBUGCTL_LBR };
#define NR_VALUES (sizeof(host_value) / sizeof(host_value[0]))
#define EXITS 100

/* DEBUGCTL writes, and exits of this vCPU, over EXITS exits of kind k. A host interrupt may add an exit between the two readings,
 * which the counts then show as a mismatch: so the caller takes the best of several tries. */
static void count(enum force_exit k, uint64_t *writes, uint64_t *exits)
{
	uint64_t w0 = hypercall(HC_LAB_COUNT, LAB_DEBUGCTL_WRITES, 0, 0);
	uint64_t e0 = hypercall(HC_LAB_COUNT, LAB_EXITS, 0, 0);

	for (unsigned i = 0; i < EXITS; i++)
		fx(k);
	*exits = hypercall(HC_LAB_COUNT, LAB_EXITS, 0, 0) - e0 + 2; /* + the exits of w0 to e0, and of this one to the next */
	*writes = hypercall(HC_LAB_COUNT, LAB_DEBUGCTL_WRITES, 0, 0) - w0;
}

static void swap_costs(enum force_exit k, const char *id, unsigned per_exit)
{
	uint64_t writes = 0, exits = 0;

	hypercall(HC_LAB_COUNT, LAB_DEBUGCTL_READS, 1, 0);
	for (unsigned i = 0; i < 8; i++) {
		count(k, &writes, &exits);
		if (writes == exits * per_exit)
			break;
	}
	check_eq(fmt("%s.writes.%s", id, fx_name(k)), "DEBUGCTL writes over 100 exits and those of the count itself", writes,
		 exits * per_exit);
	check_eq(fmt("%s.reads.%s", id, fx_name(k)), "DEBUGCTL reads: none, the value comes from the shadow",
		 hypercall(HC_LAB_COUNT, LAB_DEBUGCTL_READS, 0, 0), 0);
}

static void end(void)
{
	hypercall(HC_LAB_OPEN_DEBUGCTL, 0, 0, 0);
	hypercall(HC_LAB_HOST_DEBUGCTL, 0, 0, 0);
}

SCENARIO(doc2_debugctl, "the guest runs with its own DEBUGCTL, the host keeps its own", SCN_LAB)
{
	uint64_t in_guest = 0, in_guest_fast = 0, after = 0, want = 0;

	if (hypercall(HC_LAB_HOST_DEBUGCTL, host_value[0], 0, 0) != 0)
		scenario_skip("DEBUGCTL does not store here");
	hypercall(HC_LAB_OPEN_DEBUGCTL, 1, 0, 0);
	for (unsigned i = 0; i < NR_VALUES && !in_guest && !in_guest_fast && after == want; i++) {
		want = host_value[i];
		hypercall(HC_LAB_HOST_DEBUGCTL, want, 0, 0);
		if (try_rdmsr(MSR_DEBUGCTL, &in_guest) != NO_FAULT) {
			end();
			scenario_error("RDMSR of DEBUGCTL faults although it was opened");
		}
		fx(FX_FAST);
		try_rdmsr(MSR_DEBUGCTL, &in_guest_fast);
		after = hypercall(HC_LAB_HOST_DEBUGCTL_RD, 0, 0, 0);
	}
	check_eq("S07.guest", "the host's DEBUGCTL is set: the guest reads its own, 0, from the register", in_guest, 0);
	check_eq("S07.guest.fast", "and again after a trip round the inner loop", in_guest_fast, 0);
	check_eq("S07.host", "after the exit the host reads its own value", after, want);

	/* SVM, PVM: one write before, one after. VMX: the entry loads the guest's, the exit zeroes; one write after. */
	swap_costs(FX_SLOW, "S08.slow", env.vmx ? 1 : 2);
	swap_costs(FX_FAST, "S08.fast", env.vmx ? 1 : 2);
	check_eq("V05.host", "and after all of them it is still there", hypercall(HC_LAB_HOST_DEBUGCTL_RD, 0, 0, 0), want);

	hypercall(HC_LAB_HOST_DEBUGCTL, 0, 0, 0);
	swap_costs(FX_SLOW, "V06.slow", 0);
	swap_costs(FX_FAST, "V06.fast", 0);
	check_eq("V06.host", "the host's value is 0 again", hypercall(HC_LAB_HOST_DEBUGCTL_RD, 0, 0, 0), 0);
	end();
}
