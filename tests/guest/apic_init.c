/* SPDX-License-Identifier: MIT */
/* Symptom: a guest that sends itself INIT goes on as if nothing had happened, or in a state that no CPU has behind it.
 * Cause: INIT is taken for a message to others. Here it leads to the reset vector, where this machine has no firmware: that ends the VM.
 * Who had it: nobody in particular. Runs by name only. */
#include "tests/guest/apic.h"

SCENARIO(apic_init, "sends itself INIT: ends this VM", SCN_BY_NAME | SCN_DROVER)
{
	apic_begin();
	console_drain();
	apic_write(APIC_ICR, 0x4500);
	print("! still here\n");
	apic_end();
}
