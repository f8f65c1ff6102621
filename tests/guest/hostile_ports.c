/* SPDX-License-Identifier: MIT */
/* Symptom: a guest resets the machine by port 0xcf9, moves a PCI device by 0xcf8, or reads the host's RTC.
 * Cause: a hole in the I/O permission bitmap, often one port beside a device that is virtual, or a wide access that reaches past it.
 * Who had it: thin hypervisors that clear bits of a bitmap which begins all open.
 * Rules: HP = what a hostile guest probes. Expected: ports without a device read as all ones and swallow writes; narrow IN keeps the rest of RAX. */
#include "tests/guest/guest.h"

CODE64(hp_in1, "inb %dx, %al;" DONE)
CODE64(hp_in2, "inw %dx, %ax;" DONE)
CODE64(hp_in4, "inl %dx, %eax;" DONE)

static const uint16_t ports[] = {
	0x0, 0x20, 0x21, 0x40, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x80, 0x92, 0xa0, 0xa1, 0xb2, 0xea, 0xf0, 0xf3, 0xf8, 0x170, 0x1f0, 0x1f7,
	0x2f8, 0x2ff, 0x3c0, 0x3d5, 0x3f0, 0x3f4, 0x402, 0x408, 0x4d0, 0x510, 0x511, 0x600, 0x604, 0x608, 0xb004, 0xb008, 0xcf8, 0xcf9, 0xcfc, 0x1000,
	0x7fff, 0x8000, 0x8900, 0xc000, 0xfff0, 0xfffc,
};

static uint64_t in(uint16_t port, unsigned size)
{
	struct run r = { .code = size == 1 ? hp_in1 : size == 2 ? hp_in2 : hp_in4 };

	r.regs = (struct regs){ .rax = 0x1122334455667788, .rdx = port };
	run_code(&r);
	return r.regs.rax;
}

static void all_ones(const char *when, uint16_t port)
{
	check_eq(fmt("HP.in1.%x%s", port, when), "one byte", in(port, 1), 0x11223344556677ff);
	check_eq(fmt("HP.in2.%x%s", port, when), "two", in(port, 2), 0x112233445566ffff);
	check_eq(fmt("HP.in4.%x%s", port, when), "four; they clear the upper half", in(port, 4), 0xffffffff);
}

static void out2(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" ::"a"(v), "d"(port));
}

SCENARIO(hostile_ports, "a guest that probes ports: no device but its own", SCN_DROVER)
{
	for (unsigned i = 0; i < sizeof(ports) / sizeof(ports[0]); i++)
		all_ones("", ports[i]);
	check_eq("HP.in1.e9", "the debug port reads its own number", in(0xe9, 1), 0x11223344556677e9);
	check_eq("HP.in2.e9", "alone", in(0xe9, 2), 0x112233445566ffe9);
	/* The neighbours of the UART and of the exit port, and accesses that reach past the UART. */
	check_eq("HP.in1.3f7", "below the UART", in(0x3f7, 1), 0x11223344556677ff);
	check_eq("HP.in1.400", "above it", in(0x400, 1), 0x11223344556677ff);
	check_eq("HP.in1.f4", "the exit port is write-only", in(0xf4, 1), 0x11223344556677ff);
	io_outb(0x3ff, 0x5a);
	check_eq("HP.in1.3ff", "the scratch register, alone", in(0x3ff, 1), 0x112233445566775a);
	check_eq("HP.in2.3ff", "and the port above", in(0x3ff, 2), 0x112233445566ff5a);
	check_eq("HP.in4.3ff", "and three", in(0x3ff, 4), 0xffffff5a);

	/* Writes: those at the end would reset or switch off the machine. */
	io_outl(0xcf8, 0x80000000);
	all_ones(".after", 0xcf8);
	all_ones(".after", 0xcfc);
	io_outb(0x70, 0x8f);
	all_ones(".after", 0x70);
	all_ones(".after", 0x71);
	io_outb(0x3f7, 0);
	io_outb(0x400, 0);
	io_outl(0xf0, 0);
	out2(0xf3, 0);
	io_outb(0x92, 0x03);
	io_outb(0xcf9, 0x06);
	io_outb(0x64, 0xfe);
	out2(0x604, 0x2000);
	out2(0xb004, 0x2000);
	out2(0x404, 0x3400);
	all_ones(".after", 0x64);
	check_eq("HP.alive", "the machine is still on, and its UART has not been touched", in(0x3ff, 1), 0x112233445566775a);
}
