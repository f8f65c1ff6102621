/* SPDX-License-Identifier: MIT */
/* A #DB storm by an exec breakpoint on the #DB handler's first instruction: each delivery ends at it, faults, and is delivered again.
 *
 * Symptom and cause as in storm_db, with one difference: on hardware an interrupt can come between two deliveries, so that it does
 * not hang a host that misses it; but each #DB is an exit, and a hypervisor that reflects them without looking up (H03) stays in
 * its loop for ever. Also the one that QEMU can do: its data breakpoints do not fire while an exception is being pushed.
 * Rules: H01, H03; mutation B22. Bare it must hang: the handler says so if it is reached. */
#include "tests/guest/guest.h"

extern const char storm_db_code_handler[];
__asm__(".text; .globl storm_db_code_handler; storm_db_code_handler:"
	"mov $0x3f8, %dx; mov $'!', %al; out %al, (%dx);"
	"mov $0xf4, %dx; mov $0x11, %eax; out %eax, (%dx);"
	"1: cli; hlt; jmp 1b");

SCENARIO(storm_db_code, "an exec breakpoint on the #DB handler's first instruction", SCN_BY_NAME | SCN_NO_PLAN)
{
	print("# storm_db_code: begins; a ! after this line means that the handler was reached\n");
	console_drain();
	trap_set_gate(VEC_DB, storm_db_code_handler, 1, 0); /* an IST stack does not run out */
	write_dr0((uint64_t)(uintptr_t)storm_db_code_handler);
	write_dr7(DR7_INIT | DR7_BP(0, RW_EXEC, LEN_1));
	((void (*)(void))(uintptr_t)storm_db_code_handler)();
}
