/* SPDX-License-Identifier: MIT */
/* What exits of a guest's guest cost: one that the lower hypervisor handles, and one that it gives to the guest hypervisor. SVM; ticks as in bench.c.
 *
 * l2_exit: CPUID in L2, which L1 does not ask for: L2, L0, L2.
 * l2_reflected: CPUID in L2, which L1 intercepts: L2, L0, L1, L0, L2. From one instruction of L2 to the next, less what L1 itself executes: VMRUN's own
 * emulation is in it, the instructions of L1's loop are not. VMLOAD and VMSAVE would be exits of their own: L1 needs none here. */
#include "tests/guest/l1.h"

#define BATCH 100
#define TRIES 7
#define VMCB_MISC1 0x0c
#define VMCB_I1_CPUID (1u << 18)
#define VMCB_RIP 0x578

CODE64(bench_l2_free, "rdtsc; mov %eax, %r8d; .rept 100; cpuid; .endr; rdtsc; mov %eax, %r9d; vmmcall;")
CODE64(bench_l2_none, "rdtsc; mov %eax, %r8d; rdtsc; mov %eax, %r9d; vmmcall;")
CODE64(bench_l2_asked, ".rept 128; cpuid; .endr;")

static uint8_t *block;

static void keep(uint8_t *b)
{
	block = b;
}

static void not_cpuid(uint8_t *b)
{
	*(volatile uint32_t *)(void *)(b + VMCB_MISC1) &= ~VMCB_I1_CPUID;
}

/* Ticks from one RDTSC of L2 to the next. */
static uint64_t inside(const void *code)
{
	uint64_t best = ~0ul;

	for (unsigned i = 0; i < TRIES; i++) {
		struct l2 g = { .code = code, .tweak = not_cpuid };
		uint64_t t;

		l1_run(&g);
		if (g.exit.kind != L1_HYPERCALL)
			return 0;
		t = (uint32_t)(g.regs.r9 - g.regs.r8);
		if (t < best)
			best = t;
	}
	return best;
}

/* L1's loop: enters L2 at the next CPUID. With GIF 0 behind each exit nothing gets between; STGI at the end. */
#define ROUNDS(name, enter)                                                                                                       \
	__attribute__((noinline)) static uint64_t name(void)                                                                      \
	{                                                                                                                         \
		uint64_t best = ~0ul;                                                                                             \
                                                                                                                                  \
		for (unsigned i = 0; i < TRIES; i++) {                                                                            \
			uint64_t t, n = BATCH;                                                                                    \
                                                                                                                                  \
			*(volatile uint64_t *)(void *)(block + VMCB_RIP) = (uint64_t)bench_l2_asked;                              \
			t = rdtsc();                                                                                              \
			__asm__ volatile(".balign 16; 1: " enter " addq $2, 0x578(%1); dec %0; jnz 1b" : "+r"(n) : "a"(block)     \
					 : "rbx", "rcx", "rdx", "cc", "memory");                                                  \
			t = rdtsc() - t;                                                                                          \
			if (t < best)                                                                                             \
				best = t;                                                                                         \
		}                                                                                                                 \
		return best;                                                                                                      \
	}
ROUNDS(with_entry, "vmrun %1;")
ROUNDS(without_entry, "")

static void reflected(void)
{
	struct l2 g = { .code = bench_l2_asked, .tweak = keep };
	uint64_t with, without, rip;

	l1_run(&g);
	with = with_entry();
	rip = *(volatile uint64_t *)(void *)(block + VMCB_RIP);
	__asm__ volatile(".byte 0x0f, 0x01, 0xdc" ::: "memory"); /* STGI */
	without = without_entry();
	if (g.exit.kind != L1_CPUID || rip != (uint64_t)bench_l2_asked + 2 * BATCH || *(volatile uint64_t *)(void *)(block + 0x70) != 0x72)
		print("bench: l2_reflected invalid: L2 stands at %lx, exit code %lx\n", rip, *(volatile uint64_t *)(void *)(block + 0x70));
	else
		print("bench: l2_reflected %lu ticks\n", (with - without + BATCH / 2) / BATCH);
}

SCENARIO(bench_nested, "what exits of a guest's guest cost", SCN_BY_NAME | SCN_NO_PLAN)
{
	uint64_t with, without;

	l1_begin();
	with = inside(bench_l2_free);
	without = inside(bench_l2_none);
	if (with && without)
		print("bench: l2_exit %lu ticks\n", (with - without + BATCH / 2) / BATCH);
	else
		print("bench: l2_exit invalid: L2 did not come to its end\n");
	reflected();
	l1_end();
}
