/* SPDX-License-Identifier: MIT */
/* Symptom: a watchpoint traps for ever on one instruction, or its store is lost.
 * Cause: a data breakpoint is a trap: RIP is behind the access and the access is done.
 * Who had it: Xen until 0747bc8b4d for emulated accesses.
 * Rule: A19. */
#include "tests/guest/guest.h"

CODE64(a19_store, "movq %rax, (%rbx); nop;" DONE)
CODE64(a19_add, "addq %rax, (%rbx); nop;" DONE)
CODE64(a19_push, "pushq %rax; popq %rcx; nop;" DONE)
CODE64(a19_stos, "cld; mov %rbx, %rdi; mov $8, %ecx; stosq; nop;" DONE)
CODE32(a19_store32, "movl %eax, (%ebx); nop;" DONE)

struct data {
	const char *name, *want, *code;
	uint64_t start, after;
	bool compat;
};

SCENARIO(a19_data_bp, "a data breakpoint: behind the access, once, access done", 0)
{
	static const struct data c[] = {
		{ "store", "DB+3/ffff0ff4", a19_store, 0, 0x1122334455667788, false },
		{ "add", "DB+3/ffff0ff4", a19_add, 1, 0x1122334455667789, false },
		{ "stos", "DB+b/ffff0ff4", a19_stos, 0, 0x1122334455667788, false },
		{ "store32", "DB+2/ffff0ff4", a19_store32, 0, 0x55667788, true },
	};
	volatile uint64_t *word = (volatile uint64_t *)watch_buf;

	for (unsigned cpl = 0; cpl < 4; cpl += 3)
		FOR_FX(k)
			for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
				struct run r = { .code = c[i].code, .cpl = cpl, .compat = c[i].compat,
						 .regs = { .rax = 0x1122334455667788, .rbx = (uint64_t)watch_buf } };
				const char *id = fmt("%s.%u.%s", c[i].name, cpl, fx_name(k));

				*word = c[i].start;
				write_dr2((uint64_t)watch_buf);
				write_dr7(DR7_INIT | DR7_BP(2, RW_WRITE, LEN_8));
				fx(k);
				run_code(&r);
				write_dr7(DR7_INIT);
				check_trace(fmt("A19.%s", id), "one #DB behind it", r.code, c[i].want);
				check_eq(fmt("A19.done.%s", id), "memory has changed", *word, c[i].after);
			}
}
