/* SPDX-License-Identifier: MIT */
/* Bad input: an endless loop with interrupts on. Bare: hangs. drover: the VM's budget ends it. */
#include "tests/guest/guest.h"

SCENARIO(loop_if1, "an endless loop, IF=1", SCN_BY_NAME | SCN_NO_PLAN)
{
	print("# loop_if1: begins\n");
	console_drain();
	__asm__ volatile("sti; 1: jmp 1b");
}
