/* SPDX-License-Identifier: MIT */
/* An #AC storm: the delivery of each #AC raises the next one, and the CPU never gets to an instruction.
 *
 * Symptom: a guest locks up the whole machine. Cause: a 32-bit guest whose #AC gate leads to a ring-3 segment, so that the frame is
 * pushed with CPL 3 on the interrupted stack, and that stack is misaligned: the push itself is an alignment fault. #AC after #AC is
 * no double fault, so it loops, in microcode. A hypervisor that does not intercept #AC loops with it.
 * Who: everybody, until CVE-2015-5307 (KVM 54a20552e1ea, Xen XSA-156).
 * Rules: H02, H03; mutation B23. QEMU raises no #AC at all. Bare it must hang: the handler says so if it is reached. */
#include "tests/guest/guest.h"

#define IDT32_GATES 32

static uint64_t idt32[IDT32_GATES] __attribute__((aligned(8), used));
/* volatile: LIDT reads it, the compiler does not know. */
static volatile struct {
	uint16_t limit;
	uint32_t base;
} __attribute__((packed)) idtr32 __attribute__((used, aligned(8)));
static uint8_t stack3[256] __attribute__((aligned(16), used));

/* Entered by legacy32_enter(): CPL 0, 32 bits, paging off. */
CODE32(storm_ac_code,
       "lidt idtr32;"
       "mov %cr0, %eax; or $0x40000, %eax; mov %eax, %cr0;" /* CR0.AM */
       "mov $0x2b, %eax; mov %eax, %ds; mov %eax, %es;"
       "push $0x2b; push $stack3 + 129; push $0x43002; push $0x23; push $storm_ac_user; iret;" /* AC=1, IOPL 3, misaligned ESP */
       "storm_ac_user: mov (%esp), %eax;"
       "mov $'n', %al; jmp storm_ac_say;" /* no #AC */
       ".globl storm_ac_handler; storm_ac_handler: mov $'!', %al;"
       "storm_ac_say: mov $0x3f8, %dx; out %al, (%dx); mov $0xf4, %dx; mov $0x11, %eax; out %eax, (%dx); storm_ac_end: jmp storm_ac_end;")
LABEL(storm_ac_handler);

static uint64_t gate32(const void *handler, uint16_t sel, unsigned dpl)
{
	uint64_t a = (uint64_t)(uintptr_t)handler;

	return (a & 0xffff) | (uint64_t)sel << 16 | (0x8eull | dpl << 5) << 40 | (a >> 16 & 0xffff) << 48;
}

SCENARIO(storm_ac, "#AC handler in ring 3 with a misaligned stack, 32-bit legacy mode", SCN_BY_NAME | SCN_NO_PLAN)
{
	print("# storm_ac: begins; a ! after this line means that the handler was reached, an n that there is no #AC here\n");
	console_drain();
	idt32[VEC_AC] = gate32(storm_ac_handler, SEL_UCODE32, 3);
	idtr32.limit = sizeof(idt32) - 1;
	idtr32.base = (uint32_t)(uintptr_t)idt32;
	legacy32_enter(storm_ac_code, 0);
}
