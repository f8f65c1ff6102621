/* SPDX-License-Identifier: MIT */
/* Symptom: a debugger that left causes in DR6 sees a breakpoint that did not hit, or loses the step that it had not looked at yet.
 * Cause: a guest that has breakpoints but does not own its registers runs with another DR6 than its own; the hypervisor loads the stale
 * one there and takes it for the payload, or gives the guest the payload alone.
 * Who had it: Linux KVM until 375e28ffc0cf and d67668e9dd76.
 * Rules: H13, S02, A12. s02_dr6_payload does it with hand-made exits in ring 0; here each way into the hit, both rings, emulated hits too. */
#include "tests/guest/guest.h"

CODE64(h13_store, "movb %al, (%rbx); nop;" DONE)
CODE64(h13_exit_store, "cpuid; lea watch_buf, %rbx; movb %al, (%rbx); nop;" DONE)
CODE64(h13_nop, "nop;" DONE)
CODE64(h13_out, "outb %al, %dx; nop;" DONE)
CODE64(h13_outs, "outsb; nop;" DONE)

SCENARIO(h13_stale_dr6, "stale B3 and BS in DR6, then a hit of DR0: B0 and BS", 0)
{
	static const struct {
		const char *name, *code, *want;
		uint32_t dr7;
		uint64_t dr0;
	} c[] = {
		{ "data", h13_store, "DB+2/ffff4ff1", DR7_BP(0, RW_WRITE, LEN_1), 0 },
		{ "exit", h13_exit_store, "DB+c/ffff4ff1", DR7_BP(0, RW_WRITE, LEN_1), 0 },
		{ "exec", h13_nop, "DB+0/ffff4ff1", DR7_BP(0, RW_EXEC, LEN_1), (uint64_t)h13_nop },
		{ "io", h13_out, "DB+1/ffff4ff1", DR7_BP(0, RW_IO, LEN_1), 0x3ff },
		{ "outs", h13_outs, "DB+1/ffff4ff1", DR7_BP(0, RW_RDWR, LEN_1), 0 },
	};

	write_cr4(read_cr4() | CR4_DE);
	for (unsigned cpl = 0; cpl < 4; cpl += 3)
		FOR_FX(k)
			for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
				struct run r = { .code = c[i].code, .cpl = cpl, .iopl = cpl };
				const char *id = fmt("%s.%u.%s", c[i].name, cpl, fx_name(k));

				r.regs = (struct regs){ .rbx = (uint64_t)watch_buf, .rsi = (uint64_t)watch_buf, .rdx = 0x3ff };
				write_dr0(c[i].dr0 ? c[i].dr0 : (uint64_t)watch_buf);
				write_dr3((uint64_t)watch_buf + 32);
				write_dr7(DR7_INIT | c[i].dr7);
				write_dr6(DR6_INIT | DR6_B3 | DR6_BS);
				db.keep_dr6 = true;
				fx(k);
				run_code(&r);
				db.keep_dr6 = false;
				write_dr7(DR7_INIT);
				check_trace(fmt("H13.%s", id), "B0 new, BS kept, B3 gone", r.code, c[i].want);
				fx(k);
				check_eq(fmt("H13.after.%s", id), "and the same is read later", read_dr6(), 0xffff4ff1);
			}
}
