/* SPDX-License-Identifier: MIT */
/* Symptom: the host takes a #DB of its guest's breakpoint while it works for the guest: its copy of the guest's buffer hits, far from any guest.
 * Cause: a host without hardware help reads guest memory by linear addresses of its own, which may be the numbers that the guest watches: DR7 has to be off
 * before the first such access behind an exit, and armed as the last thing before the entry.
 * Who had it: source document 4 has the order; PVM's first version loaded the registers with the guest's state, early.
 * Rules: P06, P02, H04, H08. drover's map of all memory begins at 0xffff800000000000: the guest watches its own buffer there, wherever its memory may be,
 * while drover reads and writes it (OUTS, INS, faults). Nothing of that is at the watched address to the guest. */
#include "tests/guest/guest.h"

#define DIRECT 0xffff800000000000ul
#define STEP 0x200000ul
#define STEPS 160u /* 320 MiB: all that the runners give a machine */

CODE64(p06_outs, "outsb; nop;" DONE)
CODE64(p06_ins, "insb; nop;" DONE)
CODE64(p06_fault, "ud2;" DONE)

static unsigned watched(uint64_t at, unsigned gd)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 3; i++) {
		struct run r = { .code = i == 0 ? p06_outs : i == 1 ? p06_ins : p06_fault, .allow = 1 << VEC_UD, .cpl = i == 2 ? 3 : 0 };

		r.regs = (struct regs){ .rdx = 0x3ff, .rsi = (uint64_t)watch_buf, .rdi = (uint64_t)watch_buf };
		write_dr0(at);
		write_dr7(DR7_INIT | DR7_BP(0, RW_RDWR, LEN_8) | gd);
		run_code(&r);
		n += trap_count(VEC_DB);
		if (gd) /* the first access takes General Detect's #DB, which clears it */
			n += try_mov_to_dr(7, DR7_INIT) != VEC_DB;
		write_dr7(DR7_INIT);
	}
	return n;
}

SCENARIO(p06_host_reads, "the host does not hit breakpoints on its own map of the guest", 0)
{
	for (unsigned gd = 0; gd < 2; gd++) {
		unsigned n = 0;

		db.anywhere = true;
		for (unsigned k = 0; k < STEPS; k++)
			n += watched(DIRECT + k * STEP + ((uint64_t)watch_buf & (STEP - 1)), gd ? DR7_GD : 0);
		check_eq(gd ? "P02.direct-map" : "P06.direct-map", "no #DB, and the host lives", n, 0);
	}
}
