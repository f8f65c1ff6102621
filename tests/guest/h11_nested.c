/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor inside a guest, or its guest, reads a DR6 that it wrote long ago.
 * Cause: doc0's at both levels: DR6 is the guest's in hardware, its MOV does not exit, and an exit that L0 handles without giving the registers back (a fast
 * hypercall, WRMSR of the TSC deadline, a self-IPI) or the switch to L2 and back loads an old copy.
 * Who had it: Linux KVM until c2fee09fc167 (2025); the log of source document 0 is of L1 and L2.
 * Rules: H11, S03, M04, N20: SVM's VMRUN takes L2's DR6 from the block, VMX has one for both. */
#include "tests/guest/apic.h"
#include "tests/guest/l1.h"

#define ROUNDS (env.level > 1 && !env.amd ? 40u : 200u) /* each round writes a whole VMCS: with two drovers below eighty times fifty exits */
#define VEC_SELF 0x61

/* Twice: written without an exit, an exit of L0's (WRMSR of TSC deadline: 0, off), read. */
CODE64(h11_l2, "mov %dr6, %r8; mov %r9, %dr6; mov $0x6e0, %ecx; xor %eax, %eax; xor %edx, %edx; wrmsr; mov %dr6, %r10;"
	"mov %r11, %dr6; wrmsr; mov %dr6, %r12;" L2_END)

static uint64_t dr6_of(unsigned i)
{
	return DR6_INIT | (i * 7 & 0xf) | (i & 1 ? DR6_BS : 0) | (i & 2 ? DR6_BD : 0);
}

SCENARIO(h11_nested, "DR6 stays what L1 or L2 last wrote, through exits that L0 handles and level switches", SCN_NESTED | SCN_LAB)
{
	unsigned l1 = 0, l2 = 0, first = 0, back = 0, block = 0, ended = 0;

	l1_begin();
	apic_begin();
	trap_set_hook(VEC_SELF, apic_taken);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct l2 g = { .code = h11_l2, .dr6 = dr6_of(i + 1), .regs = { .r9 = dr6_of(i + 2), .r11 = dr6_of(i + 3) } };

		for (unsigned k = 0; k < 4; k++) { /* the first ones are slow: drover has to find the instruction's length anew */
			(void)read_dr7(); /* the guest owns its registers from here on */
			write_dr6(dr6_of(i + k));
			fx(FX_FAST);
			l1 += read_dr6() != dr6_of(i + k);
		}
		write_dr6(dr6_of(i));
		if (i % 2)
			try_wrmsr(MSR_TSC_DEADLINE, 0);
		if (i % 5 == 0) {
			apic_write(APIC_ICR, ICR_SELF | VEC_SELF);
			__asm__ volatile("sti; nop; cli" ::: "memory");
		}
		l1 += read_dr6() != dr6_of(i);
		fx(FX_FAST);
		l1_run(&g);
		ended += g.exit.kind == L1_CPUID;
		first += g.regs.r8 != dr6_of(i + 1);
		l2 += g.regs.r10 != dr6_of(i + 2) || g.regs.r12 != dr6_of(i + 3);
		block += g.dr6 != dr6_of(i + 3);
		back += g.exit.l1_dr6 != dr6_of(i + 3);
	}
	apic_end();
	check_eq("H11.nested.ended", "each L2 runs to its end", ended, ROUNDS);
	check_eq("H11.nested.l1", "L1 reads what it wrote", l1, 0);
	check_eq("H11.nested.first", "L2 begins with the block's", first, 0);
	check_eq("H11.nested.l2", "L2 reads what it wrote, behind exits that are not L1's", l2, 0);
	check_eq("M04.nested.block", "which is in the block at the exit", block, 0);
	check_eq("M04.nested.back", "and what L1 reads then", back, 0);
	l1_end();
}
