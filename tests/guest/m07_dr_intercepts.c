/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor inside a guest misses MOV DR of its own guest that it has asked to see, from the second one on.
 * Cause: L0 hands the debug registers to what runs (lazy ownership) and clears all intercepts for that, L1's among them; or it takes an exit that L1 asked
 * for as its own.
 * Who had it: each lazy implementation has the place for it (Linux KVM: recalc_intercepts); kvm-unit-tests, "dr intercept check".
 * Rules: M07, H10, S06, A07. DR0-7, read and written. On SVM DR8-15 have intercepts of their own, and are #UD before those are asked;
 * VMX's exit has no number for them. */
#include "tests/guest/l1.h"

static const void *mov(unsigned n, bool to)
{
	const uint8_t b[] = { 0x0f, to ? 0x23 : 0x21, (uint8_t)(0xc0 | n << 3), 0x0f, 0xa2 };

	return code_make(b, sizeof(b));
}

static void one(unsigned n, bool to)
{
	struct l2 g = { .code = mov(n, to), .movdr = 1u << (n + (to ? 16 : 0)), .regs = { .rax = n == 7 || n == 5 ? DR7_INIT : DR6_INIT } };
	const char *id = fmt("dr%u.%s", n, to ? "to" : "from");

	l1_run(&g);
	check_eq(fmt("M07.%s", id), "exits where L1 asks", g.exit.kind == L1_MOVDR ? g.exit.dr | (g.exit.write ? 16u : 0) : 99, n | (to ? 16u : 0));
	check_eq(fmt("M07.rip.%s", id), "at the instruction", g.rip - (uint64_t)g.code, 0);
	g = (struct l2){ .code = mov(n, to), .movdr = ~(1u << (n + (to ? 16 : 0))), .regs = { .rax = n == 7 || n == 5 ? DR7_INIT : DR6_INIT } };
	l1_run(&g);
	if (env.amd)
		check_eq(fmt("M07.not.%s", id), "and not where it does not", g.exit.kind, L1_CPUID);
}

/* No such register, whatever L1 asks for. */
static void undefined(unsigned n, bool to)
{
	const uint8_t b[] = { 0x44, 0x0f, to ? 0x23 : 0x21, (uint8_t)(0xc0 | (n & 7) << 3), 0x0f, 0xa2 };
	struct l2 g = { .code = code_make(b, sizeof(b)), .movdr = ~0u };

	l1_run(&g);
	check_eq(fmt("M07.dr%u.%s", n, to ? "to" : "from"), "#UD, and no exit of a register", g.exit.kind == L1_EXCEPTION ? g.exit.vector : 100 + g.exit.kind, VEC_UD);
}

CODE64(m07_mixed, "mov %dr0, %rax; mov %rax, %dr1; mov %dr2, %rax; .globl m07_dr6; m07_dr6: mov %dr6, %rax; nop;" L2_END)
LABEL(m07_dr6);

/* L1 asks for one register; the others are L2's to touch, and by the first of them it owns the registers. */
static void lazy(void)
{
	FOR_FX(k)
	{
		struct l2 g = { .code = m07_mixed, .movdr = 1u << 6 };

		if (!env.amd)
			break;
		fx(k);
		l1_run(&g);
		check_eq(fmt("M07.lazy.%s", fx_name(k)), "L1's intercept outlives the hand-over", g.exit.kind, L1_MOVDR);
		check_eq(fmt("M07.lazy.rip.%s", fx_name(k)), "at the instruction", g.rip, (uint64_t)m07_dr6);
	}
}

SCENARIO(m07_dr_intercepts, "MOV DR of L2 exits to L1 where it asks, and only there", SCN_NESTED)
{
	l1_begin();
	for (unsigned i = 0; i < 16; i++)
		one(i / 2, i & 1);
	for (unsigned i = 16; env.amd && i < 32; i++)
		undefined(i / 2, i & 1);
	lazy();
	l1_end();
}
