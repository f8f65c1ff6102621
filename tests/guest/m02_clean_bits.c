/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor inside a guest changes DR6 or DR7 of its own guest, and that one goes on with those of the run before, or of another guest.
 * Cause: L0 takes the clean bits of the control block for a promise about its own copy, though it never announced them, or though the block is another one.
 * Who had it: the rule is Linux KVM's nested_vmcb02_prepare_save, which asks for the clean bit and for a new vmcb12; earlier versions copied by habit.
 * Rules: M02, S01. */
#include "tests/guest/l1.h"

#define ARM(n) (DR7_INIT | DR7_BP(n, RW_WRITE, LEN_4))

CODE64(m02_read, "mov %dr6, %r10; mov %dr7, %r11;" L2_END)

static uint32_t clean;

static void set_clean(uint8_t *block)
{
	*(uint32_t *)(void *)(block + 0xc0) = clean;
}

static void one(const char *what, unsigned block, uint32_t bits, uint64_t dr6, uint64_t dr7)
{
	struct l2 g = { .code = m02_read, .block = block, .dr6 = dr6, .dr7 = dr7, .tweak = set_clean };

	clean = bits;
	l1_run(&g);
	check_eq(fmt("M02.%s.dr6", what), "DR6 is the block's", g.regs.r10, dr6);
	check_eq(fmt("M02.%s.dr7", what), "DR7 is the block's", g.regs.r11, dr7);
	write_dr6(DR6_INIT);
}

SCENARIO(m02_clean_bits, "clean bits and another control block: DR6 and DR7 are the block's", SCN_NESTED)
{
	uint32_t r[4];

	if (!env.amd)
		scenario_skip("SVM only: this is an Intel CPU");
	l1_begin();
	cpuid(0x8000000a, 0, r);
	if (r[3] >> 5 & 1) {
		check_skip("M02", "clean bits that lie", "this CPU may keep what they call clean");
	} else {
		one("first", 0, 0, 0xffff0ff1, ARM(0));
		one("changed", 0, 0, 0xffff0ff2, ARM(1));
		one("clean", 0, 0x7ff, 0xffff4ff4, ARM(2));
		one("clean.dr", 0, 1u << 6, 0xffff0ff8, ARM(3));
		one("dirty.dr", 0, 0x7ff & ~(1u << 6), 0xffff4ff1, ARM(1) | DR7_GE);
	}
	/* Clean bits are about one block: all set in one that was never entered, and in one that has been entered before the other. */
	one("one", 0, 0, 0xffff0ff4, ARM(2));
	one("another", 1, 0, 0xffff0ff8, ARM(3));
	one("back", 0, 0, 0xffff0ff1, ARM(0));
	one("another.clean", 1, r[3] >> 5 & 1 ? 0 : 0x7ff, 0xffff4ff2, ARM(1));
	l1_end();
}
