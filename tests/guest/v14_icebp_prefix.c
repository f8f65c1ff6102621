/* SPDX-License-Identifier: MIT */
/* ICEBP with prefixes: one #DB, RIP behind the whole instruction.
 *
 * Symptom: the guest executes F1 for ever, or continues inside the instruction. Cause: on Intel the exit's RIP points at the
 * instruction and the hypervisor must skip it, by the length that the exit reports (prefixes included), then inject; KVM guessed
 * ICEBP from an empty DR6 and skipped one byte or none (CVE-2018-1087, 32d43cd391ba); Jailhouse reinjects it without a length.
 * Rules: V14, A26; mutations B21, B25, B61, B64. */
#include "tests/guest/guest.h"

CODE64(v14_plain, ".byte 0xf1; nop;" DONE)
CODE64(v14_two, ".byte 0x66, 0x2e, 0xf1; nop;" DONE)
CODE64(v14_many, ".byte 0x66, 0x66, 0x66, 0x2e, 0x3e, 0x48, 0xf1; nop;" DONE)
CODE32(v14_compat, ".byte 0x66, 0x67, 0xf1; nop;" DONE)
CODE64(v14_step, "nop; .byte 0x66, 0x66, 0xf1; nop; nop;" DONE)

static void one(const char *id, const void *code, unsigned cpl, bool compat, const char *trace)
{
	struct run r = { .code = code, .cpl = cpl, .compat = compat };

	write_dr6(DR6_INIT);
	run_code(&r);
	check_trace(id, "one #DB behind F1 and its prefixes, no cause in DR6", code, trace);
}

SCENARIO(v14_icebp_prefix, "ICEBP with prefixes traps once, behind all of it", 0)
{
	struct run r = { .code = v14_step, .cpl = 0, .rflags = FL_TF };

	one("V14.plain.k", v14_plain, 0, false, "DB+1/ffff0ff0");
	one("V14.plain.u", v14_plain, 3, false, "DB+1/ffff0ff0");
	one("V14.two.k", v14_two, 0, false, "DB+3/ffff0ff0");
	one("V14.two.u", v14_two, 3, false, "DB+3/ffff0ff0");
	one("V14.many.u", v14_many, 3, false, "DB+7/ffff0ff0");
	one("V14.compat.u", v14_compat, 3, true, "DB+3/ffff0ff0");
	/* TF is in the pushed flags and off in the handler, so F1 itself gives one #DB, without BS; the next instruction steps again. */
	run_code(&r);
	check_trace("V14.step", "with TF=1: F1 gives its own #DB and no step", v14_step,
		    "DB+1/ffff4ff0;DB+4/ffff0ff0;DB+5/ffff4ff0;DB+6/ffff4ff0");
}
