/* SPDX-License-Identifier: MIT */
/* Bad input: the guest ends itself with a value that is no exit code. drover must not take it for a pass. */
#include "tests/guest/guest.h"

SCENARIO(bad_exit, "an unknown value to the debug-exit port", SCN_BY_NAME | SCN_NO_PLAN)
{
	print("# bad_exit: begins\n");
	console_drain();
	guest_exit(0x05);
}
