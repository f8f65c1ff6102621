/* SPDX-License-Identifier: MIT */
/* Symptom: a guest arms the host's bus-lock trap or branch stepping through DEBUGCTL and dies by #DBs that are not its own.
 * Cause: the guest's WRMSR goes through, or the bits are kept and given to hardware.
 * Who had it: Linux KVM on SVM until ee89e8013383 and d0eac42f5cec.
 * Rules: S10; V17 on VMX for the bits that need a CPUID feature. Only under drover: on bare there is nothing to virtualize. */
#include "tests/guest/guest.h"

CODE64(s10_branch, "nop; nop; jmp 1f; 1: nop;" DONE)

SCENARIO(s10_debugctl_write, "what a guest may write to DEBUGCTL", SCN_DROVER)
{
	uint64_t v = ~0ull;

	check_eq("S10.read", "readable", try_rdmsr(MSR_DEBUGCTL, &v), NO_FAULT);
	check_eq("S10.reset", "0 at first", v, 0);
	if (env.svm || (env.pvm && env.amd)) {
		check_eq("S10.pins", "bits 5:2 can be written", try_wrmsr(MSR_DEBUGCTL, 0x3c), NO_FAULT);
		check_eq("S10.pins.read", "and are ignored, but for a bus-lock trap that CPUID announces", (try_rdmsr(MSR_DEBUGCTL, &v), v),
			 env.bld ? DEBUGCTL_BLD : 0);
		check_eq("S10.bit6", "bit 6 is #GP", try_wrmsr(MSR_DEBUGCTL, 1ull << 6), VEC_GP);
		check_eq("S10.bit63", "bit 63 is #GP", try_wrmsr(MSR_DEBUGCTL, 1ull << 63), VEC_GP);
	} else {
		check_skip("S10.pins", "bits 5:2 can be written", "SVM only");
		check_eq("V17.bts", "BTS, TR, BTINT are #GP", try_wrmsr(MSR_DEBUGCTL, 1 << 7), VEC_GP);
		check_eq("V17.bit63", "bit 63 is #GP", try_wrmsr(MSR_DEBUGCTL, 1ull << 63), VEC_GP);
		if (env.bld)
			check_skip("V17.bld", "bus-lock detect without CPUID is #GP", "CPUID has it");
		else
			check_eq("V17.bld", "bus-lock detect without CPUID is #GP", try_wrmsr(MSR_DEBUGCTL, DEBUGCTL_BLD), VEC_GP);
	}
	try_wrmsr(MSR_DEBUGCTL, 0);
	try_wrmsr(MSR_DEBUGCTL, 1ull << 63);
	check_eq("S10.kept", "refused writes change nothing", (try_rdmsr(MSR_DEBUGCTL, &v), v), 0);

	/* BTF is either dropped without a word, or it works. */
	struct run r = { .code = s10_branch, .rflags = FL_TF };

	check_eq("S10.btf", "BTF can be written", try_wrmsr(MSR_DEBUGCTL, DEBUGCTL_BTF), NO_FAULT);
	try_rdmsr(MSR_DEBUGCTL, &v);
	run_code(&r);
	check_trace("S10.btf.effect", "a BTF that reads 1 steps branches, one that reads 0 does not", r.code,
		    v & DEBUGCTL_BTF ? "DB+4/ffff4ff0;DB+5/ffff4ff0" : /* the first #DB has cleared it */ "DB+1/ffff4ff0;DB+2/ffff4ff0;DB+4/ffff4ff0;DB+5/ffff4ff0");
	try_wrmsr(MSR_DEBUGCTL, 0);
}
