/* SPDX-License-Identifier: MIT */
/* Symptom: a debugger gets two #DBs for one instruction, or one with a cause missing.
 * Cause: the step and the breakpoints of one instruction come from different places (emulation, hardware, pending field)
 * and are not merged.
 * Who had it: Linux KVM (kvm-unit-tests' vmx_db_test); E10 for emulated I/O.
 * Rules: A34, E10. */
#include "tests/guest/guest.h"

CODE64(a34_store, "movb %al, (%rbx); nop;" DONE)
CODE64(a34_movs, "movsb; nop;" DONE)
CODE64(a34_out, "outb %al, %dx; nop;" DONE)
CODE64(a34_in, "inb %dx, %al; nop;" DONE)

SCENARIO(a34_one_db, "step and breakpoints of one instruction are one #DB", 0)
{
	static const struct {
		const char *name, *code, *want;
		uint32_t dr7;
		uint16_t port;
	} c[] = {
		{ "store", a34_store, "DB+2/ffff4ff1;DB+3/ffff4ff0", DR7_BP(0, RW_WRITE, LEN_1), 0 },
		{ "store2", a34_store, "DB+2/ffff4ff3;DB+3/ffff4ff0", DR7_BP(0, RW_WRITE, LEN_1) | DR7_BP(1, RW_RDWR, LEN_4), 0 },
		{ "movs", a34_movs, "DB+1/ffff4ffc;DB+2/ffff4ff0", DR7_BP(2, RW_RDWR, LEN_1) | DR7_BP(3, RW_WRITE, LEN_1), 0 },
		{ "out80", a34_out, "DB+1/ffff4ff1;DB+2/ffff4ff0", DR7_BP(0, RW_IO, LEN_1), 0x80 },
		{ "in80", a34_in, "DB+1/ffff4ff1;DB+2/ffff4ff0", DR7_BP(0, RW_IO, LEN_1), 0x80 },
		{ "out3ff", a34_out, "DB+1/ffff4ff1;DB+2/ffff4ff0", DR7_BP(0, RW_IO, LEN_1), 0x3ff },
		{ "in3ff", a34_in, "DB+1/ffff4ff3;DB+2/ffff4ff0", DR7_BP(0, RW_IO, LEN_1) | DR7_BP(1, RW_IO, LEN_1), 0x3ff },
	};
	const uint64_t buf = (uint64_t)watch_buf;

	write_cr4(read_cr4() | CR4_DE);
	for (unsigned cpl = 0; cpl < 4; cpl += 3)
		FOR_FX(k)
			for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
				struct run r = { .code = c[i].code, .cpl = cpl, .iopl = cpl, .rflags = FL_TF,
						 .regs = { .rbx = buf, .rsi = buf + 16, .rdi = buf + 32, .rdx = c[i].port } };

				write_dr0(c[i].port ? c[i].port : buf);
				write_dr1(c[i].port ? c[i].port : buf);
				write_dr2(buf + 16);
				write_dr3(buf + 32);
				write_dr7(DR7_INIT | c[i].dr7);
				fx(k);
				run_code(&r);
				write_dr7(DR7_INIT);
				check_trace(fmt("A34.%s.%u.%s", c[i].name, cpl, fx_name(k)), "the #DBs", r.code, c[i].want);
			}
}
