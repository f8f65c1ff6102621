/* SPDX-License-Identifier: MIT */
/* After an exit the host has its own breakpoints back: DR0-3, then DR6, then DR7, in this order.
 *
 * Symptom: a breakpoint that the host set on its own code never fires again once a guest has run (Xen lost DEBUGCTL the same way,
 * 730dc8d2c9), or the host takes a storm of #DBs on addresses that a guest chose. Cause: VM exits disable DR7 and restore none of
 * DR0-3; whoever writes DR7 back first arms the guest's addresses for the host. Who: KVM f85d40160691.
 * Rules: H05, V05, S19. */
#include "tests/guest/guest.h"

#define NIBBLE_RDWR_1 ((LEN_1 << 2) | RW_RDWR)
#define SLOT 1

static uint64_t host_buf;

/* What the guest does with its own registers before the host touches its buffer. */
enum use { IDLE, ARMED, LIVE, NR_USES };
static const char *const use_name[NR_USES] = { "idle", "armed", "live" };

static void use_drs(enum use u)
{
	if (u == IDLE) {
		debug_state_reset();
		fx(FX_SLOW);
		return;
	}
	write_dr0(host_buf); /* the same address in another slot: would add B0 */
	write_dr1((uint64_t)(uintptr_t)watch_buf);
	write_dr2(host_buf + 8);
	write_dr3(0x3333);
	write_dr7(DR7_INIT | DR7_BP(0, RW_RDWR, LEN_8) | DR7_BP(1, RW_RDWR, LEN_1));
	if (u == ARMED)
		fx(FX_SLOW);
	else
		write_dr6(DR6_INIT | DR6_BS | DR6_B3);
}

static void one_use(enum use u)
{
	uint64_t dr6 = 0, dr7 = 0, dr1 = 0, hits;
	const uint64_t want_dr6 = DR6_INIT | DR6_B1, want_dr7 = DR7_INIT | DR7_BP(SLOT, RW_RDWR, LEN_1);
	unsigned i;

	hypercall(HC_LAB_HOST_DB, 1, 0, 0);
	for (i = 0; i < 100; i++) {
		use_drs(u);
		if (i & 1)
			fx(FX_FAST);
		dr6 = hypercall(HC_LAB_HOST_TOUCH, SLOT, 0, 0);
		dr7 = hypercall(HC_LAB_HOST_STATE, 0, 0, 0);
		dr1 = hypercall(HC_LAB_HOST_STATE, 1 + SLOT, 0, 0);
		if (dr6 != want_dr6 || dr7 != want_dr7 || dr1 != host_buf)
			break;
	}
	hits = hypercall(HC_LAB_HOST_DB, 0, 0, 0);
	check_eq(fmt("H05.hit.%s", use_name[u]), "the host touches its watched buffer: its own slot, nothing else", dr6, want_dr6);
	check_eq(fmt("V05.dr7.%s", use_name[u]), "host DR7 after the exit", dr7, want_dr7);
	check_eq(fmt("V05.dr1.%s", use_name[u]), "host DR1 after the exit", dr1, host_buf);
	check_eq(fmt("H05.count.%s", use_name[u]), "the host took one #DB per touch", hits, 100);
	if (u == IDLE)
		return;
	check_eq(fmt("H05.guest.%s", use_name[u]), "the guest still has its own DR1", read_dr1(), (uint64_t)(uintptr_t)watch_buf);
	write_dr7(DR7_INIT);
}

SCENARIO(h05_host_bps_back, "host breakpoints work after guests that use the registers", SCN_LAB)
{
	host_buf = hypercall(HC_LAB_HOST_BUF, 0, 0, 0);
	hypercall(HC_LAB_HOST_BP, host_buf, NIBBLE_RDWR_1, SLOT);
	for (enum use u = IDLE; u < NR_USES; u++)
		one_use(u);
	hypercall(HC_LAB_HOST_BP, 0, 0, ~0ull);
	check_eq("H05.removed", "removed: host DR7 is the reset value", hypercall(HC_LAB_HOST_STATE, 0, 0, 0), DR7_INIT);
}
