/* SPDX-License-Identifier: MIT */
/* Symptom: a breakpoint on the first user instruction behind a system call is lost, or hits for ever; the step that SYSRET asks for comes late.
 * Cause: SYSRET loads RFLAGS from R11 but for RF and VM, and looks at the TF that it has loaded. IRET loads RF. A hypervisor that goes back by the one
 * where the guest used the other has to make up the difference.
 * Who had it: PVM returns to users by SYSRET where it can, and has to look for RF and TF first; QEMU loads RF.
 * Rules: P17, A18, A20. */
#include "tests/guest/guest.h"

CODE64(p17_sysret, "sysretq;")
CODE64(p17_sysretl, "sysretl;")
CODE64(p17_user, "nop; nop;" DONE)
CODE32(p17_user32, "nop; nop;" DONE)
CODE64(p17_iret_user, "mov %rsp, %rax; push $0x2b; push %rax; push %r11; push $0x33; push %rcx; iretq;")

static void one(const char *name, const char *how, const char *user, uint64_t flags, bool bp, const char *want)
{
	FOR_FX(k)
	{
		struct run r = { .code = how, .regs = { .rcx = (uint64_t)user, .r11 = flags | FL_FIXED } };

		write_dr1(bp ? (uint64_t)user : 0);
		if (bp)
			write_dr7(DR7_INIT | DR7_BP(1, RW_EXEC, LEN_1));
		fx(k);
		run_code(&r);
		write_dr7(DR7_INIT);
		check_trace(fmt("P17.%s.%s", name, fx_name(k)), "the #DBs, from the user's code", user, want);
	}
}

SCENARIO(p17_sysret_flags, "RF and TF over a return to user mode", 0)
{
	uint64_t efer = 0;

	try_rdmsr(MSR_EFER, &efer);
	try_wrmsr(MSR_EFER, efer | EFER_SCE);
	try_wrmsr(MSR_STAR, (uint64_t)SEL_KCODE64 << 32 | (uint64_t)SEL_UCODE32 << 48);
	one("sysret.rf", p17_sysret, p17_user, FL_RF, true, "DB+0/ffff0ff2");
	one("sysret.bp", p17_sysret, p17_user, 0, true, "DB+0/ffff0ff2");
	one("sysret.tf", p17_sysret, p17_user, FL_TF, false, "DB+0/ffff4ff0;DB+1/ffff4ff0;DB+2/ffff4ff0");
	one("sysret32.rf", p17_sysretl, p17_user32, FL_RF, true, "DB+0/ffff0ff2");
	one("sysret32.tf", p17_sysretl, p17_user32, FL_TF, false, "DB+0/ffff4ff0;DB+1/ffff4ff0;DB+2/ffff4ff0");
	one("iret.rf", p17_iret_user, p17_user, FL_RF, true, "none");
	one("iret.bp", p17_iret_user, p17_user, 0, true, "DB+0/ffff0ff2");
	one("iret.tf", p17_iret_user, p17_user, FL_TF, false, "DB+1/ffff4ff0;DB+2/ffff4ff0");
	try_wrmsr(MSR_EFER, efer);
}
