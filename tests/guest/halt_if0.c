/* SPDX-License-Identifier: MIT */
/* Bad input: HLT with interrupts off: nothing can wake it. Bare: hangs. drover: the VM is stopped and reported at once. */
#include "tests/guest/guest.h"

SCENARIO(halt_if0, "HLT with IF=0", SCN_BY_NAME | SCN_NO_PLAN)
{
	print("# halt_if0: begins\n");
	console_drain();
	__asm__ volatile("cli; 1: hlt; jmp 1b");
}
