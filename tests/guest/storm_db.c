/* SPDX-License-Identifier: MIT */
/* A #DB storm: the delivery of each #DB causes the next one, and the CPU never gets to an instruction.
 *
 * Symptom: a guest's user locks up the whole machine; not even an NMI comes through. Cause: a data breakpoint on the stack that the
 * #DB handler starts on (an IST stack, so it begins at the same place each time): pushing the frame hits it, and the trap is
 * taken right after the delivery. On bare hardware this loops in microcode; a hypervisor that does not intercept #DB loops with it.
 * Who: everybody, until CVE-2015-8104 (KVM cbdb967af3d5, Xen bd2239d9fa).
 * Rules: H01, H03; mutation B22. Bare it must hang: if the handler below runs, this machine has no storm to test with. */
#include "tests/guest/guest.h"

#define IST_SLOT 1

extern const char storm_db_handler[];
__asm__(".text; .globl storm_db_handler; storm_db_handler:"
	"mov $0x3f8, %dx; mov $'!', %al; out %al, (%dx);" /* once reached, no storm: say so and end */
	"mov $0xf4, %dx; mov $0x11, %eax; out %eax, (%dx);"
	"1: cli; hlt; jmp 1b");

extern const uint64_t guest_gdt[];

static uint64_t ist_top(void)
{
	const uint64_t *d = guest_gdt + SEL_TSS / 8; /* not by SGDT, which in ring 3 may tell another one */
	uint64_t tss;

	tss = (d[0] >> 16 & 0xffffff) | (d[0] >> 56 & 0xff) << 24 | d[1] << 32;
	return *(const uint64_t *)(tss + 0x24 + 8 * (IST_SLOT - 1)) & ~15ull;
}

SCENARIO(storm_db, "a watchpoint on the #DB handler's own IST stack", SCN_BY_NAME | SCN_NO_PLAN)
{
	uint64_t top = ist_top();

	print("# storm_db: begins; a ! after this line means that the handler was reached\n");
	console_drain();
	trap_set_gate(VEC_DB, storm_db_handler, IST_SLOT, 0);
	write_dr0(top - 40); /* where RIP is pushed, the last of the frame */
	write_dr1((uint64_t)(uintptr_t)watch_buf);
	write_dr7(DR7_INIT | DR7_BP(0, RW_WRITE, LEN_8) | DR7_BP(1, RW_WRITE, LEN_1));
	watch_buf[0] = 1;
	print("not ok 1 storm_db no #DB at all\n");
	guest_exit(EXIT_FAIL);
}
