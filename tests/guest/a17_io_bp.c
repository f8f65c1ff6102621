/* SPDX-License-Identifier: MIT */
/* Symptom: a guest's I/O breakpoint never fires on a port that the hypervisor emulates.
 * Cause: hardware does not look at I/O breakpoints for an access that exits; the emulator must match them itself.
 * Who had it: Linux KVM still, on its emulator path; Xen until bec9e32050. And without CR4.DE, RW=10 must not turn into a
 * data breakpoint (Xen's set_debugreg).
 * Rules: A17, E09, A19. Port 0x3ff (the UART's scratch register) is emulated under drover, 0x80 is as the host likes. */
#include "tests/guest/guest.h"

CODE64(a17_out_imm, "outb %al, $0x80;" DONE)
CODE64(a17_in_imm, "inb $0x80, %al;" DONE)
CODE64(a17_out, "outb %al, %dx;" DONE)
CODE64(a17_in, "inb %dx, %al;" DONE)
CODE64(a17_out2, "outw %ax, %dx;" DONE)
CODE64(a17_in4, "inl %dx, %eax;" DONE)
CODE32(a17_out_32, "outb %al, %dx;" DONE)
CODE64(a17_store, "movb %al, (%rdx);" DONE)

struct io {
	const char *name, *want, *code;
	unsigned port, bp, len;
	bool compat;
};
static const struct io cases[] = {
	{ "out80imm", "DB+2/ffff0ff2", a17_out_imm, 0x80, 0x80, LEN_1, false },
	{ "in80imm", "DB+2/ffff0ff2", a17_in_imm, 0x80, 0x80, LEN_1, false },
	{ "out80", "DB+1/ffff0ff2", a17_out, 0x80, 0x80, LEN_1, false },
	{ "in80", "DB+1/ffff0ff2", a17_in, 0x80, 0x80, LEN_1, false },
	{ "out3ff", "DB+1/ffff0ff2", a17_out, 0x3ff, 0x3ff, LEN_1, false },
	{ "in3ff", "DB+1/ffff0ff2", a17_in, 0x3ff, 0x3ff, LEN_1, false },
	{ "out3ff.32", "DB+1/ffff0ff2", a17_out_32, 0x3ff, 0x3ff, LEN_1, true },
	{ "range2", "DB+1/ffff0ff2", a17_out, 0x3ff, 0x3fe, LEN_2, false },
	{ "range4", "DB+1/ffff0ff2", a17_in, 0x3ff, 0x3fd, LEN_4, false },
	{ "out2.second", "DB+2/ffff0ff2", a17_out2, 0x80, 0x81, LEN_1, false },
	{ "in4.last", "DB+1/ffff0ff2", a17_in4, 0x80, 0x83, LEN_1, false },
	{ "miss.next", "none", a17_out, 0x3ff, 0x400, LEN_1, false },
	{ "miss.range", "none", a17_out, 0x3ff, 0x3fc, LEN_2, false },
};
#define NR_CASES (sizeof(cases) / sizeof(cases[0]))

static void one(const struct io *c, unsigned cpl, bool de, enum force_exit k)
{
	struct run r = { .code = c->code, .cpl = cpl, .iopl = cpl, .compat = c->compat, .regs = { .rax = 0x5a, .rdx = c->port } };

	de ? write_cr4(read_cr4() | CR4_DE) : write_cr4(read_cr4() & ~CR4_DE);
	write_dr1(c->bp);
	write_dr7(DR7_INIT | DR7_BP(1, RW_IO, c->len));
	fx(k);
	run_code(&r);
	write_dr7(DR7_INIT);
	check_trace(fmt("A17.%s.%s.%u.%s", de ? "de" : "node", c->name, cpl, fx_name(k)), "the #DBs", c->code, de ? c->want : "none");
}

SCENARIO(a17_io_bp, "I/O breakpoints fire with CR4.DE, behind the access, and only then", 0)
{
	FOR_FX(k)
		for (unsigned cpl = 0; cpl < 4; cpl += 3)
			for (unsigned i = 0; i < NR_CASES; i++)
				one(&cases[i], cpl, true, k);
	for (unsigned i = 0; i < 2; i++)
		one(&cases[2 + 2 * i], 0, false, FX_CPUID);

	/* An armed I/O breakpoint is no data breakpoint of the same number. */
	struct run r = { .code = a17_store, .regs = { .rdx = (uint64_t)watch_buf } };

	write_cr4(read_cr4() | CR4_DE);
	write_dr1((uint64_t)watch_buf);
	write_dr7(DR7_INIT | DR7_BP(1, RW_IO, LEN_1));
	run_code(&r);
	check_trace("A17.no-data", "a store to that address", r.code, "none");
	write_dr7(DR7_INIT);
	/* The value did get out and in. */
	io_outb(0x3ff, 0xa5);
	check_eq("A17.scratch", "the scratch register holds its value", io_inb(0x3ff), 0xa5);
}
