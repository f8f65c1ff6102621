/* SPDX-License-Identifier: MIT */
/* What exits and debug events cost. Each figure: the least of several batches, per operation, the loop's own cost taken off.
 *
 * The unit is TSC ticks: with QEMU's -icount shift=0 one tick is one instruction, so the figures are exact and repeat; elsewhere
 * they are only an indication. Bare, an instruction that does not exit costs 1. What needs drover or its lab is left out without.
 * A figure includes everything the guest causes: first_mov_dr the later sync of registers that it took, a hit the handler's code. */
#include "tests/guest/guest.h"

#define BATCH 100
#define TRIES 7


/* A loop of n times `body`; R12 counts, all that exits clobber is declared. */
#define LOOP(name, body)                                                                                                 \
	__attribute__((noinline)) static void name(uint64_t n)                                                           \
	{                                                                                                                \
		__asm__ volatile("mov %0, %%r12; .balign 16; 1: " body " dec %%r12; jnz 1b" ::"r"(n)                     \
				 : "rax", "rbx", "rcx", "rdx", "r12", "cc", "memory");                                   \
	}

LOOP(loop_0, "")
LOOP(loop_1, "xor %%eax, %%eax;") /* as many instructions as the set-up of the operation below */
LOOP(loop_cpuid, "xor %%eax, %%eax; cpuid;")
LOOP(loop_vmmcall, "xor %%eax, %%eax; vmmcall;")
LOOP(loop_vmcall, "xor %%eax, %%eax; vmcall;")
LOOP(loop_rdmsr_debugctl, "mov $0x1d9, %%ecx; rdmsr;")
LOOP(loop_rdmsr_efer, "mov $0xc0000080, %%ecx; rdmsr;")
LOOP(loop_out, "mov $0x3ff, %%edx; out %%al, %%dx;")
LOOP(loop_mov_dr, "mov %%rbx, %%dr0;")
LOOP(loop_read_dr, "mov %%dr0, %%rbx;")
LOOP(loop_slow_amd, "xor %%eax, %%eax; vmmcall; mov %%rbx, %%dr0;")
LOOP(loop_slow_intel, "xor %%eax, %%eax; vmcall; mov %%rbx, %%dr0;")
LOOP(loop_slow_bare, "xor %%eax, %%eax; cpuid; mov %%rbx, %%dr0;")
LOOP(loop_store, "movb $1, watch_buf;")
LOOP(loop_fast_amd, "mov $0x10, %%eax; vmmcall;")
LOOP(loop_fast_intel, "mov $0x10, %%eax; vmcall;")
/* The breakpoint sits on bench_here. */
extern const char bench_here[];
LOOP(loop_exec, ".globl bench_here; bench_here: nop;")
/* TF on and off again around 64 instructions; the PUSHF, AND and POPF behind them are stepped as well. */
LOOP(loop_steps, "pushfq; orq $0x100, (%%rsp); popfq; .rept 64; nop; .endr; pushfq; andq $~0x100, (%%rsp); popfq;")
LOOP(loop_no_steps, "pushfq; orq $0x000, (%%rsp); popfq; .rept 64; nop; .endr; pushfq; andq $~0x100, (%%rsp); popfq;")
#define STEPS_PER_LOOP 67

/* Raw handlers. bench_db does the least that a real one does: reads DR6, resets it, counts; bench_db_rf also sets RF, which an exec
 * breakpoint needs; bench_db_iret only counts. */
extern const char bench_db[], bench_db_rf[], bench_db_iret[];
static volatile uint64_t bench_hits __attribute__((used));
static volatile uint64_t bench_dr6 __attribute__((used));
__asm__(".text; .globl bench_db, bench_db_rf, bench_db_iret;"
	".balign 16; bench_db_rf: orl $0x10000, 16(%rsp);"
	"bench_db: push %rax; mov %dr6, %rax; mov %rax, bench_dr6; mov $0xffff0ff0, %eax; mov %rax, %dr6; pop %rax;"
	"bench_db_iret: incq bench_hits; iretq;");

static uint64_t ticks(void (*loop)(uint64_t), uint64_t n)
{
	uint64_t best = ~0ull;

	for (unsigned i = 0; i < TRIES; i++) {
		uint64_t t = rdtsc();

		loop(n);
		t = rdtsc() - t;
		if (t < best)
			best = t;
	}
	return best;
}

/* Rounded to the nearest: the two RDTSC cancel out. */
static uint64_t cost(void (*loop)(uint64_t), void (*base)(uint64_t), uint64_t ops_per_loop)
{
	uint64_t with = ticks(loop, BATCH), without = ticks(base, BATCH), ops = BATCH * ops_per_loop;

	return with > without ? (with - without + ops / 2) / ops : 0;
}

static void say(const char *name, uint64_t value, const char *unit)
{
	print("bench: %s %lu %s\n", name, value, unit);
}

static void exits(void)
{
	bool debugctl = env.debugctl;

	say("cpuid", cost(loop_cpuid, loop_1, 1), "ticks");
	if (env.drover)
		say("hypercall", cost(env.amd ? loop_vmmcall : loop_vmcall, loop_1, 1), "ticks");
	if (env.lab)
		say("fast_exit", cost(env.amd ? loop_fast_amd : loop_fast_intel, loop_1, 1), "ticks");
	say("rdmsr", cost(debugctl ? loop_rdmsr_debugctl : loop_rdmsr_efer, loop_1, 1), "ticks");
	say("out_port", cost(loop_out, loop_1, 1), "ticks");
}

static void mov_dr(void)
{
	void (*with)(uint64_t) = !env.drover ? loop_slow_bare : env.amd ? loop_slow_amd : loop_slow_intel;
	void (*without)(uint64_t) = !env.drover ? loop_cpuid : env.amd ? loop_vmmcall : loop_vmcall;

	say("first_mov_dr", cost(with, without, 1), "ticks");
	write_dr0(0); /* live from here on */
	say("later_mov_dr", cost(loop_mov_dr, loop_0, 1), "ticks");
	say("later_mov_dr_read", cost(loop_read_dr, loop_0, 1), "ticks");
}

/* hits per loop: 1, or the run is no measurement. */
static void hits(const char *name, const void *handler, void (*loop)(uint64_t), void (*base)(uint64_t), unsigned per_loop)
{
	uint64_t c;

	trap_set_gate(VEC_DB, handler, 1, 0);
	bench_hits = 0;
	c = cost(loop, base, per_loop);
	trap_restore_gate(VEC_DB);
	if (bench_hits != (uint64_t)TRIES * BATCH * per_loop)
		print("bench: %s invalid: %lu hits instead of %u\n", name, bench_hits, TRIES * BATCH * per_loop);
	else
		say(name, c, "ticks");
}

/* The base loop is the same one, not armed: so it runs first, by itself. */
static uint64_t unarmed(void (*loop)(uint64_t))
{
	write_dr7(DR7_INIT);
	return ticks(loop, BATCH);
}

static void armed_hits(const char *name, const void *handler, void (*loop)(uint64_t), uint64_t dr0, unsigned rw)
{
	uint64_t base = unarmed(loop), with;

	write_dr0(dr0);
	write_dr6(DR6_INIT);
	trap_set_gate(VEC_DB, handler, 1, 0);
	bench_hits = 0;
	write_dr7(DR7_INIT | DR7_BP(0, rw, LEN_1));
	with = ticks(loop, BATCH);
	write_dr7(DR7_INIT);
	trap_restore_gate(VEC_DB);
	if (bench_hits != TRIES * BATCH)
		print("bench: %s invalid: %lu hits instead of %u\n", name, bench_hits, TRIES * BATCH);
	else
		say(name, (with - base + BATCH / 2) / BATCH, "ticks");
}

/* Accesses by the host, and exits, over one run of fn; least of several, since host interrupts add to them. */
static uint64_t counted(enum lab_counter k, void (*fn)(uint64_t), uint64_t n)
{
	uint64_t best = ~0ull;

	for (unsigned i = 0; i < TRIES; i++) {
		uint64_t before = hypercall(HC_LAB_COUNT, k, 0, 0), v;

		fn(n);
		v = hypercall(HC_LAB_COUNT, k, 0, 0) - before;
		if (v < best)
			best = v;
	}
	return best;
}

static void four_writes(uint64_t v)
{
	write_dr0(v);
	write_dr1(v);
	write_dr2(v);
	write_dr3(v);
}

static void counts(void)
{
	debug_state_reset();
	fx(FX_SLOW);
	say("dr_accesses_idle_exit", counted(LAB_DR_READS, loop_cpuid, BATCH) + counted(LAB_DR_WRITES, loop_cpuid, BATCH),
	    "per 100 exits");
	say("debugctl_accesses_idle_exit",
	    counted(LAB_DEBUGCTL_READS, loop_cpuid, BATCH) + counted(LAB_DEBUGCTL_WRITES, loop_cpuid, BATCH), "per 100 exits");
	say("four_dr_writes_exits", counted(LAB_EXITS, four_writes, 0x1000) - 1, "exits"); /* 1: the counter's own call */
}

SCENARIO(bench, "what exits and debug events cost", SCN_BY_NAME | SCN_NO_PLAN)
{
	print("bench: unit ticks=tsc (instructions with -icount shift=0)\n");
	exits();
	mov_dr();
	armed_hits("watchpoint_hit", bench_db, loop_store, (uint64_t)(uintptr_t)watch_buf, RW_WRITE);
	armed_hits("watchpoint_hit_no_dr6", bench_db_iret, loop_store, (uint64_t)(uintptr_t)watch_buf, RW_WRITE);
	armed_hits("exec_bp_hit", bench_db_rf, loop_exec, (uint64_t)(uintptr_t)bench_here, RW_EXEC);
	hits("single_step", bench_db, loop_steps, loop_no_steps, STEPS_PER_LOOP);
	if (env.lab)
		counts();
	debug_state_reset();
}
