/* SPDX-License-Identifier: MIT */
/* Symptom: a step over STI is lost, or a VM fails to enter with the STI shadow and TF together.
 * Cause: the STI shadow holds interrupts only, no #DB; VMX wants PENDING_DBG.BS to agree with TF while it is there.
 * Who had it: Linux KVM and Xen (XSA-308); kvm-unit-tests' singlestep_with_sti_blocking.
 * Rule: A24 (HLT: a24_sti_hlt). */
#include "tests/guest/guest.h"

CODE64(a24_sti, "sti; nop; nop;" DONE)
CODE64(a24_popf_sti, "pushfq; orq $0x100, (%rsp); popfq; .globl a24_at; a24_at: sti; nop;" DONE)
CODE64(a24_sti_cpuid, "sti; cpuid; nop;" DONE)
LABEL(a24_at);

static void one(const char *name, const char *code, const char *base, uint64_t rflags, const char *want)
{
	for (unsigned cpl = 0; cpl < 4; cpl += 3)
		FOR_FX(k)
		{
			struct run r = { .code = code, .cpl = cpl, .iopl = cpl, .rflags = rflags };

			fx(k);
			run_code(&r);
			check_trace(fmt("A24.%s.%u.%s", name, cpl, fx_name(k)), "the #DBs", base, want);
		}
}

SCENARIO(a24_sti_tf, "the STI shadow does not hold a step trap", 0)
{
	one("sti", a24_sti, a24_sti, FL_TF, "DB+1/ffff4ff0;DB+2/ffff4ff0;DB+3/ffff4ff0");
	one("popf-sti", a24_popf_sti, a24_at, 0, "DB+1/ffff4ff0;DB+2/ffff4ff0");
	one("sti-cpuid", a24_sti_cpuid, a24_sti_cpuid, FL_TF, "DB+1/ffff4ff0;DB+3/ffff4ff0;DB+4/ffff4ff0");
}
