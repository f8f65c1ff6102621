/* SPDX-License-Identifier: MIT */
/* Symptom: a user single-steps the kernel's SYSCALL entry, on a stack that is the user's still (privilege escalation).
 * Cause: the emulator decides by the TF that SYSCALL found; the CPU decides by the one that SYSCALL leaves, after FMASK. With TF left on
 * the #DB comes at the first kernel instruction, before it. SYSENTER has no mask and leaves TF as it was.
 * Who had it: Xen (XSA-204, b9a8061bc2), Linux KVM (CVE-2017-7518, c8401dda2f0a).
 * Rules: A21, E03. */
#include "tests/guest/guest.h"

CODE64(a21_call, "syscall; nop;" DONE)
CODE64(a21_entry, "nop; nop;" DONE)
CODE64(a21_entry_exit, "cpuid; nop;" DONE)
CODE64(a21_sysenter, "sysenter; nop;" DONE)
LABEL(snippet_stack_top);

static void one(const char *name, const char *code, const char *entry, uint64_t mask, uint64_t rflags, const char *want)
{
	try_wrmsr(MSR_LSTAR, (uint64_t)entry);
	try_wrmsr(MSR_SFMASK, mask);
	for (unsigned cpl = 0; cpl < 4; cpl += 3)
		FOR_FX(k)
		{
			struct run r = { .code = code, .cpl = cpl, .rflags = rflags };
			const char *id = fmt("%s.%u.%s", name, cpl, fx_name(k));

			fx(k);
			run_code(&r);
			check_trace(fmt("A21.%s", id), "the #DBs, from the entry", entry, want);
			check(fmt("A21.entered.%s", id), "it did enter", r.end_rip - (uint64_t)entry < 16);
			if (code == a21_call)
				check_eq(fmt("A21.r11.%s", id), "R11 has the caller's TF", r.regs.r11 & FL_TF, rflags & FL_TF);
		}
}

static void sysenter(void)
{
	if (!env.intel || !env.sysenter) {
		check_skip("A21.sysenter", "SYSENTER leaves TF", "no SYSENTER in 64-bit mode here");
		return;
	}
	try_wrmsr(MSR_SYSENTER_CS, SEL_KCODE64);
	try_wrmsr(MSR_SYSENTER_ESP, (uint64_t)snippet_stack_top - 64);
	try_wrmsr(MSR_SYSENTER_EIP, (uint64_t)a21_entry);
	try_wrmsr(MSR_LSTAR, (uint64_t)a21_entry);
	for (unsigned cpl = 0; cpl < 4; cpl += 3) {
		struct run r = { .code = a21_sysenter, .cpl = cpl, .rflags = FL_TF };

		run_code(&r);
		check_trace(fmt("A21.sysenter.%u", cpl), "stepped from the entry on", a21_entry, "DB+0/ffff4ff0;DB+1/ffff4ff0;DB+2/ffff4ff0");
	}
	try_wrmsr(MSR_SYSENTER_CS, 0);
}

SCENARIO(a21_syscall_tf, "SYSCALL is stepped by the TF that it leaves", 0)
{
	uint64_t efer = 0;

	try_rdmsr(MSR_EFER, &efer);
	try_wrmsr(MSR_EFER, efer | EFER_SCE);
	try_wrmsr(MSR_STAR, (uint64_t)SEL_KCODE64 << 32 | (uint64_t)(SEL_UCODE32) << 48);
	one("masked", a21_call, a21_entry, FL_TF, FL_TF, "none");
	one("masked.cpuid", a21_call, a21_entry_exit, FL_TF | FL_IF, FL_TF, "none");
	one("open", a21_call, a21_entry, 0, FL_TF, "DB+0/ffff4ff0;DB+1/ffff4ff0;DB+2/ffff4ff0");
	one("open.cpuid", a21_call, a21_entry_exit, 0, FL_TF, "DB+0/ffff4ff0;DB+2/ffff4ff0;DB+3/ffff4ff0");
	one("notf", a21_call, a21_entry, 0, 0, "none");
	sysenter();
	try_wrmsr(MSR_EFER, efer);
	try_wrmsr(MSR_SFMASK, 0);
}
