/* SPDX-License-Identifier: MIT */
/* Symptom: a guest hangs on its breakpoint, or runs through it.
 * Cause: an exec breakpoint is a fault before the instruction; RF in the returned flags lets it run once. Lost RF (an exit
 * between the IRET and the instruction) means a second #DB, RF kept too long means a miss.
 * Who had it: hypervisors that skip or re-execute an instruction without care for RF; kvm-unit-tests' debug.c checks it.
 * Rules: A18, A15 (disabled ones are no cause). */
#include "tests/guest/guest.h"

CODE64(a18_code, "nop; .globl a18_at; a18_at: nop; nop; jmp 1f; 1: nop;" DONE)
CODE64(a18_loop, "mov $3, %ecx; 1: .globl a18_loop_at; a18_loop_at: nop; loop 1b;" DONE)
CODE64(a18_after_exit, "cpuid; .globl a18_after_at; a18_after_at: nop;" DONE)
CODE32(a18_code32, "nop; .globl a18_at32; a18_at32: inc %eax;" DONE)
LABEL(a18_at);
LABEL(a18_loop_at);
LABEL(a18_after_at);
LABEL(a18_at32);

static void one(const char *name, const char *code, const char *at, bool compat, uint64_t rflags, const char *want)
{
	FOR_FX(k)
		for (unsigned cpl = 0; cpl < 4; cpl += 3) {
			struct run r = { .code = code, .cpl = cpl, .compat = compat, .rflags = rflags };

			write_dr3((uint64_t)at);
			write_dr7(DR7_INIT | DR7_BP(3, RW_EXEC, LEN_1));
			fx(k);
			run_code(&r);
			check_trace(fmt("A18.%s.%u.%s", name, cpl, fx_name(k)), "the #DBs", at, want);
			write_dr7(DR7_INIT);
		}
}

SCENARIO(a18_exec_bp, "an exec breakpoint: once, at the instruction, RF passes it", 0)
{
	one("once", a18_code, a18_at, false, 0, "DB+0/ffff0ff8");
	one("loop", a18_loop, a18_loop_at, false, 0, "DB+0/ffff0ff8;DB+0/ffff0ff8;DB+0/ffff0ff8");
	one("after-exit", a18_after_exit, a18_after_at, false, 0, "DB+0/ffff0ff8");
	one("compat", a18_code32, a18_at32, true, 0, "DB+0/ffff0ff8");
	one("rf", a18_at, a18_at, false, FL_RF, "none");
	one("rf-one-insn", a18_code, a18_at, false, FL_RF, "DB+0/ffff0ff8");
	one("step", a18_code, a18_at, false, FL_TF,
	    "DB+0/ffff4ff0;DB+0/ffff0ff8;DB+1/ffff4ff0;DB+2/ffff4ff0;DB+4/ffff4ff0;DB+5/ffff4ff0");

	struct run r = { .code = a18_code };

	write_dr0((uint64_t)a18_at);
	write_dr1((uint64_t)a18_at + 1);
	write_dr7(DR7_INIT | DR7_BP(1, RW_EXEC, LEN_1));
	run_code(&r);
	check_eq("A15.disabled", "a disabled breakpoint raises nothing", trap_log.n, 1);
	check_eq("A15.rip", "the enabled one fires", trap_nth(VEC_DB, 0)->rip - (uint64_t)a18_at, 1);
	check_eq("A15.b1", "and says so", trap_nth(VEC_DB, 0)->dr6 & (DR6_B1 | DR6_B2 | DR6_B3), DR6_B1);
	write_dr7(DR7_INIT);
}
