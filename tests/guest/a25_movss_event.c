/* SPDX-License-Identifier: MIT */
/* Symptom: a #DB arrives in the kernel at the first instruction of an interrupt gate, by a user's hand; or is delivered twice, or as
 * somebody else's.
 * Cause: a data breakpoint that MOV SS hit is held over the next instruction. Is that INT n, INT3 or SYSCALL, then the event comes first and
 * the #DB inside its handler; ICEBP and faults drop it.
 * Who had it: CVE-2018-8897 (all operating systems), CVE-2018-1087 (Linux KVM); Linux selftest mov_ss_trap.c, kvm-unit-tests a094abdd.
 * Rules: A25, A23; with the guest's kernel in ring 3 P15. */
#include "tests/guest/guest.h"

#define SS_LOAD "movw (%rbx), %ss; "
CODE64(a25_int3, SS_LOAD "int3; nop;" DONE)
CODE64(a25_int80, SS_LOAD "int $0x80; nop;" DONE)
CODE64(a25_int1, SS_LOAD ".byte 0xcd, 1; nop;" DONE)
CODE64(a25_icebp, SS_LOAD ".byte 0xf1; nop;" DONE)
CODE64(a25_ud2, SS_LOAD "ud2; nop;" DONE)
CODE64(a25_syscall, SS_LOAD "syscall; nop;" DONE)
CODE64(a25_entry, "nop; nop;" DONE)

static void load_and(struct run *r, unsigned cpl, enum force_exit k)
{
	uint64_t sel = cpl ? SEL_UDATA : SEL_KDATA;

	r->cpl = cpl;
	r->regs.rbx = (uint64_t)watch_buf;
	r->resume = 1 << VEC_BP;
	r->allow = 1 << VEC_UD;
	*(volatile uint32_t *)watch_buf = (uint32_t)sel;
	write_dr6(DR6_INIT);
	write_dr0((uint64_t)watch_buf);
	write_dr7(DR7_INIT | DR7_BP(0, RW_RDWR, LEN_2));
	fx(k);
	run_code(r);
	write_dr7(DR7_INIT);
}

static void one(const char *name, const char *code, const char *base, unsigned cpl, enum force_exit k, const char *want)
{
	struct run r = { .code = code };

	load_and(&r, cpl, k);
	check_trace(fmt("A25.%s.%u.%s", name, cpl, fx_name(k)), "event and #DB, in the order in which the handlers ran", base, want);
}

SCENARIO(a25_movss_event, "what MOV SS holds, and an event in its shadow", 0)
{
	uint64_t efer = 0;

	try_rdmsr(MSR_EFER, &efer);
	try_wrmsr(MSR_EFER, efer | EFER_SCE);
	try_wrmsr(MSR_STAR, (uint64_t)SEL_KCODE64 << 32 | (uint64_t)(SEL_UCODE32) << 48);
	try_wrmsr(MSR_LSTAR, (uint64_t)a25_entry);
	for (unsigned cpl = 0; cpl < 4; cpl += 3)
		FOR_FX(k)
		{
			struct run r = { .code = a25_icebp };
			const char *id = fmt("%u.%s", cpl, fx_name(k));

			/* The #DB stands before the handler's first instruction: it logs first. */
			one("int3", a25_int3, a25_int3, cpl, k, "DB@handler3/ffff0ff1;BP+3");
			one("int80", a25_int80, a25_int80, cpl, k, "DB@handler80/ffff0ff1;I80+4");
			one("ud", a25_ud2, a25_ud2, cpl, k, "UD+2");
			one("syscall", a25_syscall, a25_entry, cpl, k, "DB+0/ffff0ff1");
			if (env.pvm && cpl) /* it was raised inside the host, in the switcher */
				check_eq(fmt("P15.syscall.%s", fx_name(k)), "the #DB came back to its kernel, at SYSCALL's entry",
					 trap_nth(VEC_DB, 0)->rip - (uint64_t)a25_entry, 0);
			/* INT 1's own #DB never gets to log: the second one takes its stack. Its gate is closed to ring 3. */
			if (!cpl)
				one("int1", a25_int1, a25_int1, cpl, k, "DB@handler1/ffff0ff1");
			load_and(&r, cpl, k);
			check_eq(fmt("A25.icebp.n.%s", id), "ICEBP: its own #DB only", trap_count(VEC_DB), 1);
			check_eq(fmt("A25.icebp.rip.%s", id), "behind ICEBP", trap_nth(VEC_DB, 0)->rip - (uint64_t)a25_icebp, 3);
		}
	try_wrmsr(MSR_EFER, efer);
}
