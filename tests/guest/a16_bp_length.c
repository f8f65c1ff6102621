/* SPDX-License-Identifier: MIT */
/* Symptom: a watchpoint misses the write it was set for.
 * Cause: the match compares addresses for equality, or does not mask the low bits that LEN covers. Guests need not align DRn.
 * Who had it: code with its own matcher (Xen's guest I/O breakpoints before check_guest_io_breakpoint, emulators).
 * Rules: A16, A19 (RIP behind the access). */
#include "tests/guest/guest.h"

CODE64(a16_w1, "movb %al, (%rbx);" DONE)
CODE64(a16_w2, "movw %ax, (%rbx);" DONE)
CODE64(a16_w4, "movl %eax, (%rbx);" DONE)
CODE64(a16_w8, "movq %rax, (%rbx);" DONE)
CODE64(a16_r1, "movb (%rbx), %al;" DONE)

struct shape {
	const char *name, *want, *code;
	unsigned bp, len, rw, at; /* offsets into watch_buf */
};

SCENARIO(a16_bp_length, "LEN masks low address bits; any overlap hits", 0)
{
	static const struct shape c[] = {
		{ "len4.unaligned", "DB+2/ffff0ff1", a16_w1, 19, LEN_4, RW_WRITE, 16 },
		{ "len8.unaligned", "DB+2/ffff0ff1", a16_w1, 23, LEN_8, RW_WRITE, 16 },
		{ "len2.unaligned", "DB+2/ffff0ff1", a16_w1, 17, LEN_2, RW_WRITE, 16 },
		{ "len4.behind", "none", a16_w1, 19, LEN_4, RW_WRITE, 20 },
		{ "len4.before", "none", a16_w1, 16, LEN_4, RW_WRITE, 15 },
		{ "len2.behind", "none", a16_w1, 17, LEN_2, RW_WRITE, 18 },
		{ "len8.last", "DB+2/ffff0ff1", a16_w1, 16, LEN_8, RW_WRITE, 23 },
		{ "len1.in8", "DB+3/ffff0ff1", a16_w8, 23, LEN_1, RW_WRITE, 16 },
		{ "len1.in4", "DB+2/ffff0ff1", a16_w4, 18, LEN_1, RW_WRITE, 16 },
		{ "len2.in2", "DB+3/ffff0ff1", a16_w2, 16, LEN_2, RW_WRITE, 17 },
		{ "len4.across", "DB+3/ffff0ff1", a16_w8, 16, LEN_4, RW_WRITE, 12 },
		{ "read.not-write", "none", a16_r1, 16, LEN_1, RW_WRITE, 16 },
		{ "read.rdwr", "DB+2/ffff0ff1", a16_r1, 19, LEN_4, RW_RDWR, 16 },
		{ "write.rdwr", "DB+2/ffff0ff1", a16_w1, 19, LEN_4, RW_RDWR, 17 },
	};

	for (unsigned cpl = 0; cpl < 4; cpl += 3)
		FOR_FX(k)
			for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
				struct run r = { .code = c[i].code, .cpl = cpl };

				r.regs.rbx = (uint64_t)watch_buf + c[i].at;
				write_dr0((uint64_t)watch_buf + c[i].bp);
				write_dr7(DR7_INIT | DR7_BP(0, c[i].rw, c[i].len));
				fx(k);
				run_code(&r);
				check_trace(fmt("A16.%s.%u.%s", c[i].name, cpl, fx_name(k)), "the #DBs", r.code, c[i].want);
				write_dr7(DR7_INIT);
			}
}
