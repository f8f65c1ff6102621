/* SPDX-License-Identifier: MIT */
/* Symptom: a debugger sees causes of an earlier #DB, or misses one.
 * Cause: BD, BS and BT stay until software clears them, B0-3 are written anew by each #DB; hypervisors that build DR6
 * from the exit's payload alone lose the first, those that OR everything keep too much of the second.
 * Who had it: Linux KVM before kvm_deliver_exception_payload(), Xen until db39fa4b27.
 * Rules: A12, V02, S02 (guest DR6 BS+B3, hit of DR0), S04 (live DR6 = BD, then a step). */
#include "tests/guest/guest.h"

CODE64(a12_nop, "nop;" DONE)
CODE64(a12_store, "movb $1, (%rbx);" DONE)
CODE64(a12_cpuid, "cpuid;" DONE)

struct sticky {
	const char *name, *want, *code;
	uint32_t dr6, dr7;
	uint64_t rflags;
};

SCENARIO(a12_dr6_sticky, "BD, BS, BT stay; B0-3 are those of the last #DB", 0)
{
	static const struct sticky c[] = {
		{ "exec", "DB+0/ffff4ff4", a12_nop, DR6_BS | DR6_B1, DR7_BP(2, RW_EXEC, LEN_1), 0 },
		{ "exec-cpuid", "DB+0/ffff4ff4", a12_cpuid, DR6_BS | DR6_B1, DR7_BP(2, RW_EXEC, LEN_1), 0 },
		{ "s02", "DB+3/ffff4ff1", a12_store, DR6_BS | DR6_B3, DR7_BP(0, RW_WRITE, LEN_1), 0 },
		{ "data", "DB+3/ffff2ff1", a12_store, DR6_BD | DR6_B3, DR7_BP(0, RW_WRITE, LEN_1), 0 },
		{ "s04", "DB+1/ffff6ff0", a12_nop, DR6_BD, 0, FL_TF },
		{ "step", "DB+1/ffff6ff0", a12_nop, DR6_BD | DR6_B0 | DR6_B1 | DR6_B2 | DR6_B3, 0, FL_TF },
		{ "step-cpuid", "DB+2/ffff6ff0", a12_cpuid, DR6_BD | DR6_B0, 0, FL_TF },
		{ "bt", "DB+1/ffffcff0", a12_nop, DR6_BT, 0, FL_TF },
	};

	db.keep_dr6 = true;
	for (unsigned cpl = 0; cpl < 4; cpl += 3)
		FOR_FX(k)
			for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
				struct run r = { .code = c[i].code, .cpl = cpl, .rflags = c[i].rflags };
				const char *id = fmt("%s.%u.%s", c[i].name, cpl, fx_name(k));

				r.regs.rbx = (uint64_t)watch_buf;
				write_dr0((uint64_t)watch_buf);
				write_dr2((uint64_t)c[i].code);
				write_dr7(DR7_INIT | c[i].dr7);
				write_dr6(DR6_INIT | c[i].dr6);
				fx(k);
				run_code(&r);
				check_trace(fmt("A12.%s", id), "DR6 in the handler", r.code, c[i].want);
				write_dr7(DR7_INIT);
			}
	FOR_FX(k)
	{
		struct run r = { .code = a12_nop, .regs = { .rbx = (uint64_t)watch_buf } };
		uint64_t v;

		trap_clear();
		write_dr6(DR6_INIT | DR6_BS | DR6_B0);
		write_dr7(DR7_INIT | DR7_GD);
		fx(k);
		try_mov_from_dr(0, &v);
		check_eq(fmt("A12.gd.%s", fx_name(k)), "GD: BD joins, B0 goes", trap_nth(VEC_DB, 0)->dr6, 0xffff6ff0);
		write_dr6(DR6_INIT | DR6_BS);
		write_dr2(0);
		write_dr0((uint64_t)a12_nop);
		write_dr7(DR7_INIT | DR7_BP(0, RW_EXEC, LEN_1));
		fx(k);
		run_code(&r);
		fx(k);
		check_eq(fmt("A12.kept.%s", fx_name(k)), "DR6 stays as the handler left it", read_dr6(), 0xffff4ff1);
		write_dr7(DR7_INIT);
	}
}
