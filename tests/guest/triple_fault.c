/* SPDX-License-Identifier: MIT */
/* Bad input: an exception with no IDT, hence no #DF handler either. Bare: the machine resets. drover: this VM is stopped and
 * reported, the next one runs. */
#include "tests/guest/guest.h"

SCENARIO(triple_fault, "an exception with no IDT", SCN_BY_NAME | SCN_NO_PLAN)
{
	static const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none = { 0, 0 };

	print("# triple_fault: begins\n");
	console_drain();
	__asm__ volatile("lidt %0; ud2" ::"m"(none));
	print("not ok 1 triple_fault survived\n");
	guest_exit(EXIT_FAIL);
}
