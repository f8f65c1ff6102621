/* SPDX-License-Identifier: MIT */
/* Instructions that may fault, their exception table, and the reset of all debug state. */
#include "tests/guest/rt.h"

struct ex_entry {
	uint64_t at, to;
};

extern const struct ex_entry ex_table_start[], ex_table_end[];
static volatile unsigned fault_vec = NO_FAULT;

bool trap_fixup(struct trap_frame *f)
{
	if (f->cs != SEL_KCODE64)
		return false;
	for (const struct ex_entry *e = ex_table_start; e < ex_table_end; e++)
		if (e->at == f->rip) {
			fault_vec = (unsigned)f->vec;
			f->rip = e->to;
			return true;
		}
	return false;
}

void try_begin(void)
{
	fault_vec = NO_FAULT;
}

unsigned try_end(void)
{
	return fault_vec;
}

#define TRY(insn, ...)                                                                                                   \
	do {                                                                                                             \
		try_begin();                                                                                             \
		__asm__ volatile("1: " insn "\n2:\n" EXTABLE("1b", "2b") __VA_ARGS__);                                   \
	} while (0)

/* Any of the 16 encodings: 0f 21/23 with the register in ModRM.reg and REX.R; RAX in ModRM.rm. */
#define DR_CASE(n, rex, modrm)                                                                                           \
	case n:                                                                                                          \
		TRY(".byte " rex ", 0x0f, " DR_OP ", " modrm, : "+a"(v)::"memory");                                      \
		break;
#define DR_CASES                                                                                                         \
	DR_CASE(0, "0x48", "0xc0")                                                                                       \
	DR_CASE(1, "0x48", "0xc8")                                                                                       \
	DR_CASE(2, "0x48", "0xd0")                                                                                       \
	DR_CASE(3, "0x48", "0xd8")                                                                                       \
	DR_CASE(4, "0x48", "0xe0")                                                                                       \
	DR_CASE(5, "0x48", "0xe8")                                                                                       \
	DR_CASE(6, "0x48", "0xf0")                                                                                       \
	DR_CASE(7, "0x48", "0xf8")                                                                                       \
	DR_CASE(8, "0x4c", "0xc0")                                                                                       \
	DR_CASE(9, "0x4c", "0xc8")                                                                                       \
	DR_CASE(10, "0x4c", "0xd0")                                                                                      \
	DR_CASE(11, "0x4c", "0xd8")                                                                                      \
	DR_CASE(12, "0x4c", "0xe0")                                                                                      \
	DR_CASE(13, "0x4c", "0xe8")                                                                                      \
	DR_CASE(14, "0x4c", "0xf0")                                                                                      \
	DR_CASE(15, "0x4c", "0xf8")

unsigned try_mov_to_dr(unsigned n, uint64_t v)
{
#define DR_OP "0x23"
	switch (n) {
		DR_CASES
	default:
		scenario_error("no register DR%u", n);
	}
#undef DR_OP
	return try_end();
}

unsigned try_mov_from_dr(unsigned n, uint64_t *out)
{
	uint64_t v = *out;

#define DR_OP "0x21"
	switch (n) {
		DR_CASES
	default:
		scenario_error("no register DR%u", n);
	}
#undef DR_OP
	if (try_end() == NO_FAULT)
		*out = v;
	return try_end();
}

unsigned try_rdmsr(uint32_t msr, uint64_t *v)
{
	uint32_t lo = 0, hi = 0;

	TRY("rdmsr", : "+a"(lo), "+d"(hi) : "c"(msr) : "memory");
	if (try_end() == NO_FAULT)
		*v = (uint64_t)hi << 32 | lo;
	return try_end();
}

unsigned try_wrmsr(uint32_t msr, uint64_t v)
{
	TRY("wrmsr", ::"a"((uint32_t)v), "d"((uint32_t)(v >> 32)), "c"(msr) : "memory");
	return try_end();
}

unsigned try_write_cr4(uint64_t v)
{
	TRY("mov %0, %%cr4", ::"r"(v) : "memory");
	return try_end();
}

unsigned try_xgetbv(uint32_t n, uint64_t *v)
{
	uint32_t lo = 0, hi = 0;

	TRY("xgetbv", : "+a"(lo), "+d"(hi) : "c"(n) : "memory");
	if (try_end() == NO_FAULT)
		*v = (uint64_t)hi << 32 | lo;
	return try_end();
}

unsigned try_xsetbv(uint32_t n, uint64_t v)
{
	TRY("xsetbv", ::"a"((uint32_t)v), "d"((uint32_t)(v >> 32)), "c"(n) : "memory");
	return try_end();
}

unsigned try_read8(uint64_t va, uint8_t *v)
{
	uint8_t b = 0;

	TRY("movb (%1), %0", : "+q"(b) : "r"(va) : "memory");
	if (try_end() == NO_FAULT)
		*v = b;
	return try_end();
}

/* ---- Reset ---- */

void debug_state_reset(void)
{
	unsigned tries = 0;

	if (read_cr4() & CR4_DE)
		write_cr4(read_cr4() & ~CR4_DE);
	/* GD may be left on: the first write then takes the #DB that clears it. If it does not clear, nothing can go on. */
	while (try_mov_to_dr(7, DR7_INIT) != NO_FAULT)
		if (++tries == 3) {
			note("MOV to DR7 still faults after three #DBs: DR7.GD does not clear");
			guest_exit(EXIT_ERROR);
		}
	write_dr0(0);
	write_dr1(0);
	write_dr2(0);
	write_dr3(0);
	write_dr6(DR6_INIT);
	trap_clear();
}

CODE64(acts_jump, "nop; jmp 1f; nop; .globl acts_target; acts_target: 1: nop;" DONE)
LABEL(acts_target);

bool debugctl_acts(void)
{
	struct run r = { .code = acts_jump, .rflags = FL_TF };
	bool acts;

	if (try_wrmsr(MSR_DEBUGCTL, DEBUGCTL_BTF) != NO_FAULT)
		return false;
	run_code(&r);
	acts = trap_nth(VEC_DB, 0)->rip == (uint64_t)acts_target;
	try_wrmsr(MSR_DEBUGCTL, 0);
	trap_clear();
	return acts;
}
