/* SPDX-License-Identifier: MIT */
/* Breakpoints stay armed and keep their place over any number of exits.
 *
 * Symptom: a watchpoint that worked stops working after a while, or an address from long ago hits. Cause: DR7 is in the control
 * block, DR0-3 are not; a block that is marked as unchanged (SVM clean bits), or an exit after which only one of the two was loaded,
 * leaves a DR7 with other addresses (rule H14). Who: KVM dc55b3c3f612 for the clean-bit form, Xen adf8feba1a for the other.
 * Rules: S01, H14; mutations B37, B67. The values themselves are in h10_live_sync. */
#include "tests/guest/guest.h"

CODE64(s01_store, "cpuid; movq $0x1, watch_buf; nop;" DONE)
CODE64(s01_other, "cpuid; movq $0x1, watch_buf+32; nop;" DONE)

static unsigned hits_of(const void *code)
{
	struct run r = { .code = code, .cpl = 3 };

	run_code(&r);
	return trap_count(VEC_DB);
}

static void one(enum force_exit k)
{
	unsigned i, here = 1, there = 0;
	uint64_t own = DR6_INIT, want = DR6_INIT;
	uint64_t base = (uint64_t)(uintptr_t)watch_buf;

	for (i = 0; i < 250 && here == 1 && there == 0; i++) {
		unsigned slot = i % 4;

		debug_state_reset();
		switch (slot) {
		case 0: write_dr0(base); write_dr1(base + 32); break;
		case 1: write_dr1(base); write_dr2(base + 32); break;
		case 2: write_dr2(base); write_dr3(base + 32); break;
		default: write_dr3(base); write_dr0(base + 32); break;
		}
		write_dr7(DR7_INIT | DR7_BP(slot, RW_WRITE, LEN_8));
		fx(k);
		fx(k);
		here = hits_of(s01_store);
		if (own == want) {
			own = trap_nth(VEC_DB, 0)->dr6;
			want = DR6_INIT | 1u << slot;
		}
		fx(k);
		there = hits_of(s01_other);
	}
	check_eq(fmt("S01.hit.%s", fx_name(k)), "the armed slot hits once, 250 times with exits between", here, 1);
	check_eq(fmt("S01.slot.%s", fx_name(k)), "and DR6 tells that slot", own, want);
	check_eq(fmt("S01.other.%s", fx_name(k)), "the address in a slot that is not enabled never hits", there, 0);
}

SCENARIO(s01_dr_across_exits, "breakpoints stay armed, and where they are, over exits", 0)
{
	for (enum force_exit k = FX_NONE; k < FX_NR; k++)
		if (fx_available(k))
			one(k);
	debug_state_reset();
}
