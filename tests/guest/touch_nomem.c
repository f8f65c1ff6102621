/* SPDX-License-Identifier: MIT */
/* Bad input: memory that the VM does not have, above what the multiboot information promises. Bare, that is an empty bus and no
 * error. drover: the VM is stopped and reported. */
#include "tests/guest/guest.h"

SCENARIO(touch_nomem, "a read behind the end of memory", SCN_BY_NAME | SCN_NO_PLAN)
{
	uint64_t va = env.mem_bytes + 0x100000;

	print("# touch_nomem: begins, 0x%lx\n", va);
	console_drain();
	print("# touch_nomem: read 0x%x\n", *(volatile uint32_t *)va);
	if (env.drover) {
		print("not ok 1 touch_nomem survived\n");
		guest_exit(EXIT_FAIL);
	}
}
