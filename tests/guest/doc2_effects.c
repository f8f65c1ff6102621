/* SPDX-License-Identifier: MIT */
/* What source document 2 is about, with the effects: the host uses a bus-lock trap, BTF or branch records, and its guest notices nothing.
 *
 * Symptom: a program in a guest dies of a debug exception that nobody asked for; a debugger in a guest steps over whole blocks; DR6.BLD cannot be trusted.
 * Cause: SVM runs a guest with the host's DEBUGCTL unless LBR virtualization is on. doc2_debugctl reads the register; this one does what the bits act on.
 * Who had it: KVM on AMD until 433265870ab3.
 * Rules: S07, S09, A33, A30. Needs a DEBUGCTL that acts under the host: drover below drover with `debugctl=emulate`, or silicon. */
#include "tests/guest/guest.h"

CODE64(doc2_split, "lock addl $1, 62(%rbx); nop;" DONE)
CODE64(doc2_flow, "nop; nop; jmp 1f; nop; 1: nop;" DONE)

static uint8_t buf[128] __attribute__((aligned(64)));

static bool host(uint64_t value)
{
	return hypercall(HC_LAB_HOST_DEBUGCTL, value, 0, 0) == 0;
}

static void bus_lock(void)
{
	struct run r = { .code = doc2_split, .cpl = 3, .regs = { .rbx = (uint64_t)buf } };
	uint64_t dr6 = 0, ctl = ~0ul;

	/* Where the guest has no BLD, 0 in it shows that the register could take it. */
	db.keep_dr6 = true;
	host(DEBUGCTL_BLD);
	try_mov_to_dr(6, env.bld ? DR6_INIT : 0);
	run_code(&r);
	try_mov_from_dr(6, &dr6);
	db.keep_dr6 = false;
	hypercall(HC_LAB_OPEN_DEBUGCTL, 1, 0, 0);
	try_rdmsr(MSR_DEBUGCTL, &ctl);
	hypercall(HC_LAB_OPEN_DEBUGCTL, 0, 0, 0);
	check_trace("S07.bus_lock", "a split lock of the guest does not trap for the host's sake", doc2_split, "none");
	check_eq("S09.dr6", "and DR6 has no bus lock in it", dr6, DR6_INIT);
	check_eq("S07.value", "the guest's DEBUGCTL is its own, 0", ctl, 0);
	check_eq("S07.host", "the host has its own", hypercall(HC_LAB_HOST_DEBUGCTL_RD, 0, 0, 0), DEBUGCTL_BLD);
}

static void btf(void)
{
	struct run r = { .code = doc2_flow, .cpl = 3, .rflags = FL_TF };

	host(DEBUGCTL_BTF);
	run_code(&r);
	check_trace("S07.btf", "the guest steps by instructions, whatever the host steps by", doc2_flow,
		    "DB+1/ffff4ff0;DB+2/ffff4ff0;DB+5/ffff4ff0;DB+6/ffff4ff0");
	check_eq("S07.btf.host", "the guest's #DBs leave the host's BTF", hypercall(HC_LAB_HOST_DEBUGCTL_RD, 0, 0, 0), DEBUGCTL_BTF);
}

SCENARIO(doc2_effects, "no effect of the host's DEBUGCTL reaches the guest", SCN_LAB)
{
	if (!host(DEBUGCTL_BLD) || !host(DEBUGCTL_BTF)) {
		host(0);
		scenario_skip("the host's DEBUGCTL has no such bits");
	}
	bus_lock();
	btf();
	host(0);
}
