/* SPDX-License-Identifier: MIT */
/* The registers are the host's again before the host does anything else: before the exit is handled and before interrupts open.
 *
 * Symptom: host interrupt code hits a breakpoint of the guest, or reads the guest's DR7; an exit handler that emulates MOV DR works
 * on values from before the guest's last writes. Cause: the sync comes late, or only on some exits. Who: the rule is a comment in
 * KVM's vcpu_enter_guest; here it is a test.
 * Rules: H12, H10. */
#include "tests/guest/guest.h"

#define HOST_ADDR 0xffff900000001000ull

static void arm(uint64_t seed)
{
	write_dr0(seed);
	write_dr1(seed + 0x100);
	write_dr2(seed + 0x200);
	write_dr3(seed + 0x300);
	write_dr7(DR7_INIT | DR7_BP(0, RW_WRITE, LEN_1) | DR7_BP(1, RW_WRITE, LEN_1) | DR7_BP(2, RW_WRITE, LEN_1) |
		  DR7_BP(3, RW_RDWR, LEN_1));
	write_dr6(DR6_INIT | DR6_BS);
}

/* The guest is live with four breakpoints; the exit's handler looks at the host's registers. */
static void handler_sees_host_state(void)
{
	uint64_t v[5];

	hypercall(HC_LAB_HOST_BP, HOST_ADDR, (LEN_1 << 2) | RW_WRITE, 2);
	for (unsigned i = 0; i < 5; i++) {
		arm(0x7000000);
		v[i] = hypercall(HC_LAB_HOST_STATE, i, 0, 0);
	}
	hypercall(HC_LAB_HOST_BP, 0, 0, ~0ull);
	check_eq("H12.dr7", "in the exit's handler DR7 is the host's", v[0], DR7_INIT | DR7_BP(2, RW_WRITE, LEN_1));
	check_eq("H12.dr2", "DR2 is the host's", v[3], HOST_ADDR);
	check_eq("H12.dr0", "DR0 is not the guest's", v[1], 0);
	check_eq("H12.dr1", "DR1 is not the guest's", v[2], 0);
	check_eq("H12.dr3", "DR3 is not the guest's", v[4], 0);
	arm(0x7000000);
	check_eq("H12.off", "with no host breakpoint, host DR7 is the reset value", hypercall(HC_LAB_HOST_STATE, 0, 0, 0), DR7_INIT);
}

/* Long enough for host timer ticks to cut in at any instruction. */
static void spin_with_live_registers(void)
{
	uint64_t exits = hypercall(HC_LAB_COUNT, LAB_EXITS, 0, 0), seed = 0, bad = 0, got = 0;

	for (unsigned i = 0; i < 20000 && !bad; i++) {
		seed = 0x7000000 + 0x1000 * (uint64_t)(i % 64);
		arm(seed);
		for (volatile unsigned k = 0; k < 100; k++) {
		}
		if ((got = read_dr0()) != seed)
			bad = 1;
		else if ((got = read_dr1() - 0x100) != seed)
			bad = 2;
		else if ((got = read_dr2() - 0x200) != seed)
			bad = 3;
		else if ((got = read_dr3() - 0x300) != seed)
			bad = 4;
		else if ((read_dr6() & 0xf00f) != DR6_BS)
			bad = 5;
	}
	check_eq("H12.ticks", "live registers over host interrupts: each reads back (seed of the first that does not)", got, seed);
	check_eq("H12.ticks.dr6", "DR6 too (1-4: DR0-3 differed, 5: DR6)", bad, 0);
	exits = hypercall(HC_LAB_COUNT, LAB_EXITS, 0, 0) - exits;
	note("%lu exits during the loop", exits);
	check("H12.ticks.exits", "there were host interrupts", exits > 10);
}

SCENARIO(h12_sync_first, "the host handles an exit with its own debug registers", SCN_LAB)
{
	handler_sees_host_state();
	spin_with_live_registers();
	write_dr7(DR7_INIT);
}
