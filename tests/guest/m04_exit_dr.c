/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor inside a guest takes its own guest's breakpoints as #DBs of its own code, or finds DR6 and DR7 of its guest changed or old.
 * Cause: #VMEXIT to L1 leaves L2's DR7 in force, or stores L1's values; a DR6 or DR7 with upper bits is loaded instead of refused; DR0-3 are switched.
 * Who had it: Linux KVM has the M02 and M03 holes (svm/nested.c ORs the fixed bits, and keeps L1's DR7 for decisions); kvm-unit-tests svm_tests.
 * Rules: M01, M02, M03, M04, M06, N08, H14. */
#include "tests/guest/l1.h"

CODE64(m04_read, "mov %dr0, %r8; mov %dr1, %r9; mov %dr6, %r10; mov %dr7, %r11;" L2_END)
CODE64(m04_write, "mov %r8, %dr0; mov %r9, %dr3; mov %r10, %dr6; mov %r11, %dr7;" L2_END)
CODE64(m04_target, "nop; .globl m04_bp; m04_bp: nop;" L2_END)
LABEL(m04_bp);

static void both_ways(void)
{
	struct l2 g = { .code = m04_read, .dr6 = 0xffff4ff8, .dr7 = 0x00010402 };

	write_dr0(0x1111);
	write_dr1(0x2222);
	write_dr6(DR6_INIT | DR6_BD);
	write_dr7(DR7_INIT | DR7_L(1) | DR7_RWLEN(1, RW_WRITE, LEN_1));
	l1_run(&g);
	check_eq("N08.dr0", "L2 reads L1's DR0", g.regs.r8, 0x1111);
	check_eq("N08.dr1", "and DR1", g.regs.r9, 0x2222);
	check_eq("M02.dr6", "DR6 as the control block has it", g.regs.r10, 0xffff4ff8);
	check_eq("M02.dr7", "DR7 too", g.regs.r11, 0x00010402);
	check_eq("M04.block.dr6", "DR6 of L2 goes back", g.dr6, 0xffff4ff8);
	check_eq("M04.block.dr7", "DR7 too", g.dr7, 0x00010402);
	check_eq("M04.dr7", "L1 comes back with nothing armed", g.exit.l1_dr7, DR7_INIT);
	check_eq("M04.dr6", "DR6 is what L2 left", g.exit.l1_dr6, 0xffff4ff8);
	write_dr6(DR6_INIT);

	g = (struct l2){ .code = m04_write, .regs = { .r8 = 0xaaaa, .r9 = 0xbbbb, .r10 = 0xffff2ff1, .r11 = 0x0402 } };
	l1_run(&g);
	check_eq("N08.write.dr0", "L1 reads what L2 wrote to DR0", read_dr0(), 0xaaaa);
	check_eq("N08.write.dr3", "and to DR3", read_dr3(), 0xbbbb);
	check_eq("M04.write.dr6", "L2's DR6 in the block", g.dr6, 0xffff2ff1);
	check_eq("M04.write.dr7", "its DR7", g.dr7, 0x0402);
	check_eq("M04.write.l1dr7", "and nothing armed in L1", g.exit.l1_dr7, DR7_INIT);
	write_dr6(DR6_INIT);
}

static void fixed_bits(void)
{
	struct l2 g = { .code = m04_read, .dr6 = 0xffffffff & ~0x1ff0u, .dr7 = 0x2 };

	l1_run(&g);
	check_eq("M03.dr6", "bits that are always 1 are, RTM and BLD as this CPU has them", g.regs.r10 | (env.rtm ? DR6_RTM : 0) | (env.bld ? DR6_BLD : 0),
		 (0xffffe00fu | DR6_INIT) & ~0x1000u);
	check_eq("M02.dr7.bit10", "bit 10 of DR7", g.regs.r11, 0x402);
	write_dr6(DR6_INIT);
}

static uint64_t upper;
static bool upper_dr7;

static void set_upper(uint8_t *block)
{
	*(uint64_t *)(void *)(block + (upper_dr7 ? 0x560 : 0x568)) |= upper;
}

static void upper_halves(void)
{
	if (!env.amd) {
		check_skip("M01", "upper halves of DR6 and DR7", "SVM only");
		return;
	}
	for (unsigned bit = 32; bit < 64; bit += 31)
		for (unsigned r = 6; r < 8; r++) {
			struct l2 g = { .code = m04_read, .tweak = set_upper };

			upper = 1ul << bit;
			upper_dr7 = r == 7;
			write_dr7(DR7_INIT);
			l1_run(&g);
			check_eq(fmt("M01.dr%u.%u", r, bit), "refused", g.exit.kind, L1_INVALID);
		}
}

/* M06, H14: L1 has DR0 but nothing enabled; the block's DR7 arms it. */
static void own_dr7(void)
{
	FOR_FX(k)
	{
		struct l2 g = { .code = m04_target, .dr7 = DR7_INIT | DR7_BP(0, RW_EXEC, LEN_1) };

		write_dr0((uint64_t)m04_bp);
		write_dr7(DR7_INIT);
		fx(k);
		l1_run(&g);
		check_eq(fmt("M06.l2.%s", fx_name(k)), "a breakpoint armed for L2 only hits in L2", g.exit.kind == L1_EXCEPTION ? g.exit.vector : 99, VEC_DB);
		check_eq(fmt("M06.rip.%s", fx_name(k)), "at its address", g.rip, (uint64_t)m04_bp);
		if (env.amd)
			check_eq(fmt("M06.dr6.%s", fx_name(k)), "with its cause", g.dr6, DR6_INIT | DR6_B0);
		else
			check_eq(fmt("M06.dr6.%s", fx_name(k)), "with its cause, in the exit alone (N10)", g.dr6 << 32 | g.exit.payload,
				 (uint64_t)DR6_INIT << 32 | DR6_B0);
		write_dr6(DR6_INIT);
		g = (struct l2){ .code = m04_target };
		write_dr7(DR7_INIT | DR7_BP(0, RW_EXEC, LEN_1));
		fx(k);
		l1_run(&g);
		check_eq(fmt("M06.l1.%s", fx_name(k)), "one armed in L1 only does not", g.exit.kind, L1_CPUID);
		write_dr7(DR7_INIT);
	}
}

/* What L2 leaves armed must not hit in L1: L1 runs over the same address. */
static void not_armed(void)
{
	struct l2 g = { .code = m04_write, .regs = { .r8 = (uint64_t)watch_buf, .r10 = DR6_INIT, .r11 = DR7_INIT | DR7_BP(0, RW_WRITE, LEN_1) } };

	l1_run(&g);
	db.anywhere = true;
	trap_clear();
	watch_buf[0] = 1;
	check_eq("M04.armed", "what L2 has armed does not hit in L1", trap_count(VEC_DB), 0);
	check_eq("M04.armed.dr7", "L2's DR7 is in the block", g.dr7, DR7_INIT | DR7_BP(0, RW_WRITE, LEN_1));
	write_dr7(DR7_INIT);
}

SCENARIO(m04_exit_dr, "debug registers at the entry to L2 and at the exit from it", SCN_NESTED)
{
	l1_begin();
	both_ways();
	fixed_bits();
	upper_halves();
	own_dr7();
	not_armed();
	l1_end();
}
