/* SPDX-License-Identifier: MIT */
/* Symptom: a guest's #DB handler reads a DR6 from before, with a stray bit 12, or finds GD still set.
 * Cause: an intercepted #DB has changed nothing on VMX; the hypervisor must merge the payload, drop its bit 12 ("a breakpoint
 * was enabled"), clear GD, once, at delivery. Injection changes nothing by itself either.
 * Who had it: Jailhouse, hvpp (no merge at all); Xen until 81a28f1400 (GD, LBR).
 * Rules: V02, V03, V04, S05, A10-A12, A15. One run goes through all kinds of #DB, with everything armed;
 * with TF no exec breakpoint, as a step trap and the fault of the next instruction meet there (a18_exec_bp has that). */
#include "tests/guest/guest.h"

CODE64(v02_mix, "nop; .globl v02_exec; v02_exec: nop; movb %al, (%rbx); outb %al, $0x80; .byte 0xf1; cpuid; .globl v02_rd; v02_rd: nop;" DONE)
LABEL(v02_exec);
LABEL(v02_rd);

static void mix(unsigned cpl, bool tf, enum force_exit k)
{
	struct run r = { .code = v02_mix, .cpl = cpl, .iopl = cpl, .rflags = tf ? FL_TF : 0, .regs = { .rbx = (uint64_t)watch_buf } };
	const char *id = fmt("%s.%u.%s", tf ? "tf" : "run", cpl, fx_name(k));
	uint64_t junk = 0, gd = 0, dr7 = DR7_INIT | DR7_BP(1, RW_WRITE, LEN_1) | DR7_BP(2, RW_IO, LEN_1);

	if (!tf)
		dr7 |= DR7_BP(0, RW_EXEC, LEN_1) | DR7_BP(3, RW_EXEC, LEN_1);

	write_cr4(read_cr4() | CR4_DE);
	write_dr0(tf ? 0 : (uint64_t)v02_exec);
	write_dr1((uint64_t)watch_buf);
	write_dr2(0x80);
	write_dr3(tf ? 0 : (uint64_t)v02_rd);
	write_dr6(DR6_INIT);
	write_dr7(dr7 | DR7_GD);
	fx(k);
	run_code(&r);
	for (unsigned i = 0; i < trap_log.n; i++) {
		junk |= (trap_log.rec[i].dr6 ^ DR6_INIT) & ~(uint64_t)(0xf | DR6_BS);
		gd |= trap_log.rec[i].dr7 & DR7_GD;
	}
	check_trace(fmt("V02.%s", id), "each #DB with its own causes", r.code,
		    tf ? "DB+1/ffff4ff0;DB+2/ffff4ff0;DB+4/ffff4ff2;DB+6/ffff4ff4;DB+7/ffff0ff0;DB+9/ffff4ff0;DB+a/ffff4ff0" :
			 "DB+1/ffff0ff1;DB+4/ffff0ff2;DB+6/ffff0ff4;DB+7/ffff0ff0;DB+9/ffff0ff8");
	check_eq(fmt("V04.%s", id), "no bit 12, no BT, nothing but causes", junk, 0);
	check_eq(fmt("V02.gd.%s", id), "GD is off in every handler", gd, 0);
	check_eq(fmt("V02.dr7.%s", id), "and afterwards; the rest of DR7 stays", read_dr7(), dr7);
	write_dr7(DR7_INIT);
}

SCENARIO(v02_db_intercepted, "every kind of #DB reaches the guest as hardware delivers it", 0)
{
	for (unsigned cpl = 0; cpl < 4; cpl += 3)
		for (unsigned tf = 0; tf < 2; tf++)
			FOR_FX(k)
				mix(cpl, tf, k);
}
