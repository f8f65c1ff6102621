/* SPDX-License-Identifier: MIT */
/* Host breakpoints are never active in the guest, the guest's never in the host, although both are linear addresses.
 *
 * Symptom: a guest gets a #DB that it did not ask for, because the host watches the same number in its own address space; or the
 * host takes #DBs where a guest pointed (host kernel addresses are easily guessed). Cause: DR7 is not disabled before entry, or
 * DR0-3 are left loaded when the host's DR7 comes back. Who: KVM f85d40160691; Xen XSA-444 for the guest-to-guest form.
 * Rules: H08. That DR7 goes off before DR0-3 change (H04, B05) leaves a window of a few instructions, seen by host tests only. */
#include "tests/guest/guest.h"

#define NIBBLE_RDWR_8 ((LEN_8 << 2) | RW_RDWR)
#define NIBBLE_EXEC 0

CODE64(h08_access, "movq $0x55, watch_buf; movq watch_buf, %rax; cpuid; movq $0x66, watch_buf;" DONE)
CODE64(h08_access_live, "mov %dr7, %rax; movq $0x55, watch_buf; movq watch_buf, %rax; movq $0x66, watch_buf;" DONE)

static uint64_t va(const volatile void *p)
{
	return (uint64_t)(uintptr_t)p;
}

/* The host watches the guest-linear addresses; the guest uses them. */
static void host_bps_stay_out(void)
{
	struct run r = { .code = h08_access, .cpl = 0 };
	struct run live = { .code = h08_access_live, .cpl = 0 };
	uint64_t bad = hypercall(HC_LAB_HOST_BP, va(watch_buf), NIBBLE_RDWR_8, 0);

	bad |= hypercall(HC_LAB_HOST_BP, va(h08_access), NIBBLE_EXEC, 1);
	bad |= hypercall(HC_LAB_HOST_BP, va(h08_access_live), NIBBLE_EXEC, 2);
	check_eq("H08.set", "the host has them", bad, 0);
	check_eq("H08.set.dr7", "in its DR7", hypercall(HC_LAB_HOST_STATE, 0, 0, 0),
		 DR7_INIT | DR7_BP(0, RW_RDWR, LEN_8) | DR7_BP(1, RW_EXEC, LEN_1) | DR7_BP(2, RW_EXEC, LEN_1));
	debug_state_reset();
	fx(FX_SLOW);
	run_code(&r);
	check_trace("H08.idle", "host breakpoints on the guest's code and data, guest idle: no #DB", h08_access, "none");
	run_code(&live);
	check_trace("H08.live", "guest live: no #DB", h08_access_live, "none");

	write_dr3(0x12345000);
	write_dr7(DR7_INIT | DR7_BP(3, RW_WRITE, LEN_1));
	fx(FX_SLOW);
	run_code(&r);
	check_trace("H08.armed", "guest has another breakpoint of its own: no #DB", h08_access, "none");
	check_eq("H08.dr6", "and nothing in the guest's DR6", read_dr6(), DR6_INIT);
	write_dr7(DR7_INIT);

	/* The same slot and address as the host's, but for writes only and with a guest's DR7: one hit, the guest's own, per store. */
	write_dr0(va(watch_buf));
	write_dr7(DR7_INIT | DR7_BP(0, RW_WRITE, LEN_8));
	run_code(&live);
	check_eq("H08.own", "the guest's own breakpoint on that address hits for each of the two stores only", trap_count(VEC_DB), 2);
	check_eq("H08.own.dr6", "its slot and no other", trap_nth(VEC_DB, 0)->dr6, DR6_INIT | DR6_B0);
	write_dr7(DR7_INIT);
	hypercall(HC_LAB_HOST_BP, 0, 0, ~0ull);
}

/* The guest watches the host's buffer, by its host-linear address; the host touches it. */
static void guest_bps_stay_out(bool live)
{
	const char *mode = live ? "live" : "armed";
	uint64_t buf = hypercall(HC_LAB_HOST_BUF, 0, 0, 0), dr6 = 0, hits;

	/* HC_LAB_HOST_TOUCH reads where a host slot points: an exec breakpoint there points but cannot hit. */
	hypercall(HC_LAB_HOST_BP, buf, NIBBLE_EXEC, 3);
	hypercall(HC_LAB_HOST_DB, 1, 0, 0);
	write_dr0(buf);
	write_dr1(buf);
	write_dr7(DR7_INIT | DR7_BP(0, RW_RDWR, LEN_8) | DR7_BP(1, RW_WRITE, LEN_8));
	if (!live)
		fx(FX_SLOW);
	for (unsigned i = 0; i < 50 && dr6 == 0; i++) {
		if (live)
			(void)read_dr7();
		dr6 = hypercall(HC_LAB_HOST_TOUCH, 3, 0, 0);
	}
	hits = hypercall(HC_LAB_HOST_DB, 0, 0, 0);
	check_eq(fmt("H08.host.%s", mode), "the guest watches the host's buffer, the host touches it: no #DB there", dr6, 0);
	check_eq(fmt("H08.host.count.%s", mode), "none at all", hits, 0);

	hypercall(HC_LAB_HOST_BP, buf, NIBBLE_RDWR_8, 3);
	if (live)
		(void)read_dr7();
	check_eq(fmt("H08.host.b3.%s", mode), "with a host breakpoint in slot 3: B3 only, the guest's slots 0 and 1 do not show",
		 hypercall(HC_LAB_HOST_TOUCH, 3, 0, 0), DR6_INIT | DR6_B3);
	hypercall(HC_LAB_HOST_BP, 0, 0, ~0ull);
	check_eq(fmt("H08.kept.%s", mode), "the guest still has its DR0", read_dr0(), buf);
	write_dr7(DR7_INIT);
}

SCENARIO(h08_bps_apart, "host breakpoints stay in the host, the guest's in the guest", SCN_LAB)
{
	host_bps_stay_out();
	guest_bps_stay_out(false);
	guest_bps_stay_out(true);
}
