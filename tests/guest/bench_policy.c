/* SPDX-License-Identifier: MIT */
/* What a debug-register policy (drover's option dbg=) costs: the host's DR accesses, the exits and the ticks of the same work under each.
 * `make bench` runs this once per policy and prints the four side by side. Each figure: the least of several tries. */
#include "tests/guest/guest.h"

#define ROUNDS 100
#define TRIES 5

enum { EXITS, READS, WRITES, TICKS, NR_FIGURES };
static const char *const name_of[NR_FIGURES] = { "exits", "dr_reads", "dr_writes", "ticks" };
static const enum lab_counter counter_of[TICKS] = { LAB_EXITS, LAB_DR_READS, LAB_DR_WRITES };

static void cpuids(void)
{
	for (unsigned i = 0; i < ROUNDS; i++)
		fx(FX_CPUID);
}

/* Each reading is an exit of its own and may cost accesses: so all before come first, all after last, and an empty run is taken off. */
static void readings(uint64_t at[NR_FIGURES])
{
	for (unsigned k = 0; k < TICKS; k++)
		at[k] = hypercall(HC_LAB_COUNT, counter_of[k], 0, 0);
	at[TICKS] = rdtsc();
}

static void least(void (*fn)(void), uint64_t best[NR_FIGURES])
{
	uint64_t before[NR_FIGURES], after[NR_FIGURES];

	for (unsigned k = 0; k < NR_FIGURES; k++)
		best[k] = ~0ull;
	for (unsigned i = 0; i < TRIES; i++) {
		readings(before);
		if (fn)
			fn();
		readings(after);
		for (unsigned k = 0; k < NR_FIGURES; k++)
			if (after[k] - before[k] < best[k])
				best[k] = after[k] - before[k];
	}
}

static void say(const char *what, void (*fn)(void))
{
	uint64_t with[NR_FIGURES], without[NR_FIGURES];

	least(fn, with);
	least(NULL, without);
	for (unsigned k = 0; k < NR_FIGURES; k++)
		print("bench: %s_%s %lu per %u\n", what, name_of[k], with[k] > without[k] ? with[k] - without[k] : 0, ROUNDS);
}

CODE64(bench_policy_steps, ".rept 100; nop; .endr;" DONE)

static void steps(void)
{
	struct run r = { .code = bench_policy_steps, .rflags = FL_TF };

	run_code(&r);
}

/* Debuggers do this at each of their stops. */
static void rearm(void)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		write_dr0((uint64_t)(uintptr_t)&watch_buf[i % 8]);
		write_dr7(DR7_INIT | DR7_BP(0, RW_WRITE, LEN_1));
		fx(FX_CPUID);
		write_dr7(DR7_INIT);
	}
}

SCENARIO(bench_policy, "what a debug-register policy costs one guest", SCN_BY_NAME | SCN_NO_PLAN | SCN_LAB)
{
	say("idle", cpuids);
	write_dr0((uint64_t)(uintptr_t)watch_buf);
	write_dr7(DR7_INIT | DR7_BP(0, RW_WRITE, LEN_1));
	say("armed", cpuids);
	debug_state_reset();
	say("rearming", rearm);
	debug_state_reset();
	say("stepping", steps);
	debug_state_reset();
}

static void turns(void)
{
	for (unsigned i = 0; i < ROUNDS; i++)
		if (hypercall(HC_LAB_YIELD, 0, 0, 0) != 0)
			return;
}

static void take_turns(volatile uint8_t *watched)
{
	write_dr0((uint64_t)(uintptr_t)watched);
	write_dr7(DR7_INIT | DR7_BP(0, RW_WRITE, LEN_1));
	say("turns", turns);
	debug_state_reset();
}

SCENARIO(bench_turns, "two guests with a breakpoint each, taking turns", SCN_BY_NAME | SCN_NO_PLAN | SCN_LAB)
{
	take_turns(&watch_buf[0]);
}

SCENARIO(bench_turns_b, "the other one, with another breakpoint", SCN_BY_NAME | SCN_NO_PLAN | SCN_LAB)
{
	take_turns(&watch_buf[1]);
}
