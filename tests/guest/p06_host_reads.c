/* SPDX-License-Identifier: MIT */
/* Symptom: the host takes a #DB of its guest's breakpoint while it works for the guest: its copy of the guest's buffer hits, far from any guest.
 * Cause: a host without hardware help reads guest memory by linear addresses of its own, which may be the numbers that the guest watches: DR7 has to be off
 * before the first such access behind an exit, and armed as the last thing before the entry.
 * Who had it: source document 4 has the order; PVM's first version loaded the registers with the guest's state, early.
 * Rules: P06, P02, H04, H08. drover's map of all memory begins at 0xffff800000000000: the guest watches there, wherever its memory may be, what drover reads
 * first of all behind an exit: the instruction's bytes and the page-table entries that lead to them and to what is touched, and then its buffer (OUTS, INS).
 * Nothing of that is at the watched addresses to the guest. */
#include "tests/guest/guest.h"

#define DIRECT 0xffff800000000000ul
#define STEP 0x200000ul
#define STEPS 160u /* 320 MiB: all that the runners give a machine */
#define ENTRY_PS 0x80ul
#define ENTRY_ADDR 0xffffffffff000ul

CODE64(p06_outs, "outsb; nop;" DONE)
CODE64(p06_ins, "insb; nop;" DONE)
CODE64(p06_fault, "ud2;" DONE)
CODE64(p06_fill, "invlpg (%rsi); movb (%rsi), %al; movb %al, (%rsi);" DONE)

static const struct {
	const char *code;
	unsigned cpl;
} work[] = { { p06_outs, 0 }, { p06_ins, 0 }, { p06_fault, 3 }, { p06_fill, 0 } };
#define NR_WORK (sizeof(work) / sizeof(work[0]))

/* Where the entry of that level (3: PML4) lies that leads to va: all tables are identity-mapped. A level that there is not: the leaf's. */
static uint64_t entry_at(uint64_t va, unsigned level)
{
	uint64_t table = read_cr3() & ENTRY_ADDR, at = 0;

	for (unsigned i = 3; i + 1 > level; i--) {
		at = table + 8 * (va >> (12 + 9 * i) & 511);
		if (*(volatile uint64_t *)at & ENTRY_PS)
			break;
		table = *(volatile uint64_t *)at & ENTRY_ADDR;
	}
	return at;
}

/* Four places of this guest's memory, by their addresses in drover's map. */
static unsigned watched(const uint64_t at[4], unsigned kind, uint64_t base, unsigned gd)
{
	struct run r = { .code = work[kind].code, .allow = 1 << VEC_UD, .cpl = work[kind].cpl };
	uint32_t dr7 = DR7_INIT | gd;
	unsigned n;

	r.regs = (struct regs){ .rdx = 0x3ff, .rsi = (uint64_t)watch_buf, .rdi = (uint64_t)watch_buf };
	for (unsigned i = 0; i < 4; i++) {
		try_mov_to_dr(i, base + (at[i] & (STEP - 1) & ~7ul));
		dr7 |= DR7_BP(i, RW_RDWR, LEN_8);
	}
	write_dr7(dr7);
	run_code(&r);
	n = trap_count(VEC_DB);
	if (gd) /* the first access takes General Detect's #DB, which clears it */
		n += try_mov_to_dr(7, DR7_INIT) != VEC_DB;
	write_dr7(DR7_INIT);
	return n;
}

SCENARIO(p06_host_reads, "the host does not hit breakpoints on its own map of the guest", 0)
{
	if (env.lab)
		hypercall(HC_LAB_HOST_DB, 1, 0, 0);
	for (unsigned gd = 0; gd < 2; gd++) {
		unsigned n = 0;

		db.anywhere = true;
		for (unsigned kind = 0; kind < NR_WORK; kind++) {
			uint64_t code = (uint64_t)work[kind].code, data = (uint64_t)watch_buf;
			uint64_t first[4] = { code, entry_at(code, 1), entry_at(data, 1), data };
			uint64_t tables[4] = { entry_at(code, 3), entry_at(code, 2), entry_at(data, 2), entry_at(code, 0) };

			for (unsigned k = 0; k < STEPS; k++) {
				n += watched(first, kind, DIRECT + k * STEP, gd ? DR7_GD : 0);
				n += watched(tables, kind, DIRECT + k * STEP, gd ? DR7_GD : 0);
			}
		}
		check_eq(gd ? "P02.direct-map" : "P06.direct-map", "no #DB, and the host lives", n, 0);
		if (env.lab)
			check_eq(gd ? "P02.host" : "P06.host", "no #DB in the host", hypercall(HC_LAB_HOST_DB, 1, 0, 0), 0);
	}
}
