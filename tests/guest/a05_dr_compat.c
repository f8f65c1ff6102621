/* SPDX-License-Identifier: MIT */
/* Symptom: a 32-bit debugger's breakpoint at 0x1000 sits at 0x1234567800001000.
 * Cause: MOV DR outside 64-bit mode is always 32 bits wide and clears the upper half on a write; the emulated path kept it.
 * Who had it: early KVM emulation (em_dr_write).
 * Rule: A05. In compatibility mode at CPL 0, with an exit before the MOV and one after. */
#include "tests/guest/guest.h"

CODE32(a05_write, "mov %eax, %dr0; mov %eax, %dr3;" DONE)
CODE32(a05_write_exit, "mov %eax, %esi; cpuid; mov %esi, %dr0; mov %esi, %dr3; cpuid;" DONE)
CODE32(a05_read, "mov %dr0, %eax; mov %dr7, %esi;" DONE)
CODE32(a05_read_exit, "cpuid; mov %dr0, %eax; mov %dr7, %esi;" DONE)
CODE32(a05_dr7, "mov %eax, %dr7;" DONE)

SCENARIO(a05_dr_compat, "MOV DR in 32-bit code is 32 bits wide", 0)
{
	static const char *const how[] = { "native", "cpuid" };
	const uint64_t high = 0x1234567800002000;

	for (unsigned k = 0; k < 2; k++) {
		struct run w = { .code = k ? a05_write_exit : a05_write, .compat = true, .regs = { .rax = 0x1000 } };
		struct run r = { .code = k ? a05_read_exit : a05_read, .compat = true };

		write_dr0(high);
		write_dr3(high);
		run_code(&w);
		check_eq(fmt("A05.dr0.%s", how[k]), "the write clears the upper half", read_dr0(), 0x1000);
		check_eq(fmt("A05.dr3.%s", how[k]), "the write clears the upper half", read_dr3(), 0x1000);
		write_dr0(high);
		r.regs.rax = ~0ull;
		run_code(&r);
		check_eq(fmt("A05.read.%s", how[k]), "the read gives the lower half", (uint32_t)r.regs.rax, 0x2000);
		check_eq(fmt("A05.read7.%s", how[k]), "DR7 too", (uint32_t)r.regs.rsi, DR7_INIT);
		check_eq(fmt("A05.kept.%s", how[k]), "and leaves the register alone", read_dr0(), high);
	}
	FOR_FX(k)
	{
		struct run r = { .code = a05_dr7, .compat = true, .allow = 1 << VEC_GP,
				 .regs = { .rax = 0xdeadbeef00000000 | DR7_INIT | DR7_GE } };

		fx(k);
		run_code(&r);
		check_eq(fmt("A05.nogp.%s", fx_name(k)), "no #GP for what is above the operand", r.end, VEC_DONE);
		check_eq(fmt("A05.dr7.%s", fx_name(k)), "DR7 is written", read_dr7(), DR7_INIT | DR7_GE);
		write_dr7(DR7_INIT);
	}
}
