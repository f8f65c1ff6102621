/* SPDX-License-Identifier: MIT */
/* Symptom: a program is told of a bus lock that it never asked about, or DR6 says that there was one in each #DB.
 * Cause: DEBUGCTL's bus-lock trap is given half: the bit but not DR6.BLD, or the trap but not its enable; or the host's own is on.
 * Who had it: Linux KVM on AMD until ee89e8013383 (the bit) and 433265870ab3 (the host's).
 * Rules: A33, A13, A01, A34, S11. Needs the trap: drover's `debugctl=emulate`, or silicon. */
#include "tests/guest/guest.h"

CODE64(a33_split, "lock addl $1, 62(%rbx); nop;" DONE)
CODE64(a33_whole, "lock addl $1, 60(%rbx); nop;" DONE)
CODE64(a33_plain, "addl $1, 62(%rbx); nop;" DONE)
CODE64(a33_xchg, "xchg %eax, 62(%rbx); nop;" DONE)
CODE64(a33_indexed, "lock xaddw %ax, 1(%rbx,%rcx,2); nop;" DONE)
CODE64(a33_bit, "lock btsl %ecx, (%rbx); nop;" DONE)
CODE32(a33_split32, "lock incl 62(%ebx); nop;" DONE)

static uint8_t buf[128] __attribute__((aligned(64)));

#define CLEAR 0xffff07f0u /* DR6 with BLD cleared and nothing else */

static void one(const char *name, const char *code, unsigned cpl, uint64_t rflags, uint64_t rcx, const char *want)
{
	struct run r = { .code = code, .cpl = cpl, .compat = code == a33_split32, .rflags = rflags, .regs = { .rbx = (uint64_t)buf, .rcx = rcx } };

	run_code(&r);
	check_trace(fmt("A33.%s.%u", name, cpl), "the #DBs", code, want);
}

static void traps(void)
{
	one("split", a33_split, 3, 0, 0, "DB+5/ffff07f0");
	one("split32", a33_split32, 3, 0, 0, "DB+4/ffff07f0");
	one("split", a33_split, 0, 0, 0, "none");
	one("whole", a33_whole, 3, 0, 0, "none");
	one("plain", a33_plain, 3, 0, 0, "none");
	one("xchg", a33_xchg, 3, 0, 0, "DB+3/ffff07f0");
	one("index", a33_indexed, 3, 0, 31, "DB+7/ffff07f0");
	one("index.in", a33_indexed, 3, 0, 30, "none");
	one("bit", a33_bit, 3, 0, 16 * 32, "none");
}

static void odd(void)
{
	struct run r = { .code = a33_split, .cpl = 3, .regs = { .rbx = (uint64_t)buf + 1 } };

	run_code(&r);
	check_trace("A33.odd", "one byte of four in the next line is enough", a33_split, "DB+5/ffff07f0");
	r = (struct run){ .code = a33_bit, .cpl = 3, .regs = { .rbx = (uint64_t)buf + 2, .rcx = 15 * 32 } };
	run_code(&r);
	check_trace("A33.bits", "BTS by a register reaches beyond its operand", a33_bit, "DB+4/ffff07f0");
}

static void dr6(void)
{
	uint64_t v = 0;
	struct run r = { .code = a33_whole, .cpl = 3, .rflags = FL_TF, .regs = { .rbx = (uint64_t)buf } };

	try_mov_to_dr(6, 0);
	try_mov_from_dr(6, &v);
	check_eq("A01.bld", "BLD can be 0", v, CLEAR);
	run_code(&r);
	check_eq("A13.kept", "a step leaves it 0", trap_nth(VEC_DB, 0)->dr6, CLEAR | DR6_BS);
	one("tf", a33_split, 3, FL_TF, 0, "DB+5/ffff47f0;DB+6/ffff4ff0");
}

SCENARIO(a33_bus_lock, "a split lock traps behind itself, at CPL 3, while DEBUGCTL asks for it", 0)
{
	uint64_t v = 0;

	if (!env.bld)
		scenario_skip("no bus-lock trap in this CPU model");
	one("off", a33_split, 3, 0, 0, "none");
	check_eq("S11.write", "DEBUGCTL takes the bit", try_wrmsr(MSR_DEBUGCTL, DEBUGCTL_BLD), NO_FAULT);
	try_rdmsr(MSR_DEBUGCTL, &v);
	check_eq("S11.read", "and keeps it", v, DEBUGCTL_BLD);
	traps();
	odd();
	dr6();
	try_rdmsr(MSR_DEBUGCTL, &v);
	check_eq("A33.stays", "no #DB clears it", v, DEBUGCTL_BLD);
	try_wrmsr(MSR_DEBUGCTL, 0);
	one("off.again", a33_split, 3, 0, 0, "none");
}
