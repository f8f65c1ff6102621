/* SPDX-License-Identifier: MIT */
/* The host's DR6 is reset when the guest's was live in the register, and only then.
 *
 * Symptom: the host's #DB handler sees a single step (BS) or a breakpoint that only the guest had; or, the other way round,
 * every exit of every guest pays for a DR6 write.
 * Cause: neither VMX nor SVM puts the host's DR6 back at an exit. If the guest's DR6 was in the register it stays there, and
 * its bits are sticky. Writing DR6 at each exit instead is right but costs more than the exit's own work.
 * Who: KVM without efdab992813f (BS escaped to the host); unconditional writes until 1ccb6f983a06.
 * Rules: H06; mutations B03 and B04. QEMU's SVM puts the host's DR6 back by itself (hardware does not), so there B03 cannot show. */
#include "tests/guest/guest.h"

static const uint32_t cause[] = { DR6_BS, DR6_BS | DR6_B3, DR6_BD, DR6_BT | DR6_B0, 0xf, DR6_BS | DR6_BD | DR6_BT | 0xf };
#define NR_CAUSES (sizeof(cause) / sizeof(cause[0]))
#define NIBBLE_RDWR_1 ((LEN_1 << 2) | RW_RDWR)

CODE64(doc1_steps, "nop; nop; nop;" DONE)

/* The guest's DR6 is written while the guest owns the registers; the very next exit is the question to the host. */
static void host_sees_reset_value(void)
{
	uint64_t got = DR6_INIT, kept = 0;
	unsigned i;

	for (i = 0; i < NR_CAUSES && got == DR6_INIT; i++) {
		(void)read_dr7();
		write_dr6(DR6_INIT | cause[i]);
		got = hypercall(HC_LAB_HOST_DR6, 0, 0, 0);
		kept = read_dr6();
		if (kept != (DR6_INIT | cause[i]))
			break;
	}
	check_eq("H06.live", "guest DR6 with causes in it is live: the host's DR6 is the reset value", got, DR6_INIT);
	check_eq("H06.kept", "and the guest still has its own", kept, DR6_INIT | cause[NR_CAUSES - 1]);

	write_dr6(DR6_INIT | DR6_BS);
	fx(FX_SLOW); /* not live any more, but the guest's view of DR6 keeps BS */
	check_eq("H06.idle", "the guest's DR6 has BS but is not live: the host's DR6 is the reset value",
		 hypercall(HC_LAB_HOST_DR6, 0, 0, 0), DR6_INIT);
	check_eq("H06.idle.kept", "and the guest still has its own", read_dr6(), DR6_INIT | DR6_BS);
}

/* BS comes from real steps here, not from a write. */
static void host_sees_no_step(void)
{
	struct run r = { .code = doc1_steps, .cpl = 0, .rflags = FL_TF };

	db.keep_dr6 = true;
	run_code(&r);
	check_eq("H06.stepped", "the guest has single-stepped: the host's DR6 is the reset value",
		 hypercall(HC_LAB_HOST_DR6, 0, 0, 0), DR6_INIT);
	db.keep_dr6 = false;
}

static void host_handler_sees_own_hit(void)
{
	uint64_t buf = hypercall(HC_LAB_HOST_BUF, 0, 0, 0), got = 0, want = 0, hits;

	hypercall(HC_LAB_HOST_BP, buf, NIBBLE_RDWR_1, 2);
	hypercall(HC_LAB_HOST_DB, 1, 0, 0);
	for (unsigned i = 0; i < 50 && got == want; i++) {
		write_dr6(DR6_INIT | cause[i % NR_CAUSES]);
		got = hypercall(HC_LAB_HOST_TOUCH, 2, 0, 0);
		want = DR6_INIT | DR6_B2;
	}
	hits = hypercall(HC_LAB_HOST_DB, 0, 0, 0);
	check_eq("H06.hit", "the host's own breakpoint hit shows its slot and nothing of the guest's causes", got, want);
	check_eq("H06.hit.count", "50 touches made 50 #DBs in the host", hits, 50);
	hypercall(HC_LAB_HOST_BP, 0, 0, ~0ull);
}

/* The policies that keep every guest LIVE pay for each slow exit: what an idle one costs is the others' rule. */
static bool always_live(void)
{
	return env.policy == POLICY_EAGER || env.policy == POLICY_CACHED;
}

static void no_accesses(const char *id, const char *desc, uint64_t n)
{
	if (always_live())
		check_skip(id, desc, "this policy reads and writes the registers at each slow exit");
	else
		check_eq(id, desc, n, 0);
}

static void idle_exits_cost_nothing(enum force_exit k)
{
	uint64_t writes, reads;

	fx(FX_SLOW);
	hypercall(HC_LAB_COUNT, LAB_DR_READS, 1, 0);
	hypercall(HC_LAB_COUNT, LAB_DR_WRITES, 1, 0);
	for (unsigned i = 0; i < 500; i++)
		fx(k);
	writes = hypercall(HC_LAB_COUNT, LAB_DR_WRITES, 0, 0);
	reads = hypercall(HC_LAB_COUNT, LAB_DR_READS, 0, 0);
	no_accesses(fmt("B04.writes.%s", fx_name(k)), "500 exits of a guest that uses no debug register: DR writes", writes);
	no_accesses(fmt("B04.reads.%s", fx_name(k)), "and DR reads", reads);
}

SCENARIO(doc1_host_dr6, "the host's DR6 is reset iff the guest's was live; idle exits touch no debug register", SCN_LAB)
{
	host_sees_reset_value();
	host_sees_no_step();
	host_handler_sees_own_hit();
	debug_state_reset();
	for (enum force_exit k = FX_CPUID; k < FX_NR; k++)
		if (fx_available(k))
			idle_exits_cost_nothing(k);
	/* A guest that has a cause in its DR6 but does not touch it is as idle as one that has none. */
	write_dr6(DR6_INIT | DR6_BS | DR6_B1);
	fx(FX_SLOW);
	hypercall(HC_LAB_COUNT, LAB_DR_WRITES, 1, 0);
	for (unsigned i = 0; i < 500; i++)
		fx(FX_SLOW);
	no_accesses("B04.writes.sticky", "the same with BS and B1 left in the guest's DR6: DR writes", hypercall(HC_LAB_COUNT, LAB_DR_WRITES, 0, 0));
	check_eq("B04.sticky.kept", "and the guest still has them", read_dr6(), DR6_INIT | DR6_BS | DR6_B1);
}
