/* SPDX-License-Identifier: MIT */
/* Bad input: an endless loop with interrupts off. Bare: hangs. drover: the VM's budget ends it all the same, because the host's
 * interrupts do not ask for the guest's IF. */
#include "tests/guest/guest.h"

SCENARIO(loop_if0, "an endless loop, IF=0", SCN_BY_NAME | SCN_NO_PLAN)
{
	print("# loop_if0: begins\n");
	console_drain();
	__asm__ volatile("cli; 1: jmp 1b");
}
