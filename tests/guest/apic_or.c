/* SPDX-License-Identifier: MIT */
/* Symptom: a guest that changes an APIC register by OR instead of MOV goes on with a wrong value, or hangs on that instruction for ever.
 * Cause: the hypervisor emulates what it did not decode, or nothing, and does not say so. drover stops such a guest and names the reason.
 * Who had it: nobody in particular. Runs by name only. */
#include "tests/guest/apic.h"

SCENARIO(apic_or, "changes an APIC register by an instruction that is no MOV: ends this VM", SCN_BY_NAME | SCN_DROVER)
{
	apic_begin();
	console_drain();
	__asm__ volatile("orl $1, (%0)" ::"r"(APIC_PAGE + APIC_TPR) : "memory");
	print("! still here\n");
	apic_end();
}
