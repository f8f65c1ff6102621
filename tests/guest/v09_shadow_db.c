/* SPDX-License-Identifier: MIT */
/* Symptom: a user program with TF=1 and MOV SS before ICEBP, or before an instruction that exits, stops the VM (VM entry fails); or the
 * debugger gets two #DBs for one boundary, or loses the watchpoint on MOV SS's operand.
 * Cause: in a MOV SS shadow VMX wants PENDING_DBG.BS to agree with TF; and what the shadow holds back has to be joined with the step of the
 * instruction that the hypervisor skips there.
 * Who had it: XSA-308 (1d3eb82598), Linux KVM b9bed78e2fa9, c5bad4fa2d5d; kvm-unit-tests keeps the joined case as a known failure (vmx_db_test).
 * Rules: V09-V12, A23, A34. They hold on any backend and bare: the values are the CPU's. */
#include "tests/guest/guest.h"

#define SS_REG "mov %eax, %ss; " /* 2 bytes, as the form from (%rbx) */
#define SS_MEM "movw (%rbx), %ss; "
CODE64(v09_icebp, SS_REG ".byte 0xf1; nop;" DONE)
CODE64(v09_icebp2, SS_REG ".byte 0x66, 0xf1; nop;" DONE)
CODE32(v09_icebp32, SS_REG ".byte 0xf1; nop;" DONE)
CODE64(v10_cpuid, SS_REG "cpuid; nop;" DONE)
CODE64(v10_out, SS_REG "outb %al, %dx; nop;" DONE)
CODE64(v10_outs, SS_REG "outsb; nop;" DONE)
CODE32(v10_cpuid32, SS_REG "cpuid; nop;" DONE)
CODE64(v10_wbinvd, SS_REG "wbinvd; nop;" DONE)
CODE64(v10_movdr, SS_REG "mov %dr7, %rcx; nop;" DONE)
CODE64(v11_cpuid, SS_MEM "cpuid; nop;" DONE)
CODE64(v11_out, SS_MEM "outb %al, %dx; nop;" DONE)
CODE64(v11_wbinvd, SS_MEM "wbinvd; nop;" DONE)
CODE64(v11_two, SS_MEM "cpuid; cpuid; nop;" DONE)

#define SS_READ DR7_BP(0, RW_RDWR, LEN_2)
#define PORT DR7_BP(1, RW_IO, LEN_1)

struct shadow {
	const char *id, *code, *want;
	bool compat, kernel_only;
	uint64_t rflags;
	uint32_t dr7;
};
static const struct shadow cases[] = {
	{ "V09.icebp", v09_icebp, "DB+3/ffff0ff0;DB+4/ffff4ff0", false, false, FL_TF, 0 },
	{ "V09.icebp.prefix", v09_icebp2, "DB+4/ffff0ff0;DB+5/ffff4ff0", false, false, FL_TF, 0 },
	{ "V09.icebp32", v09_icebp32, "DB+3/ffff0ff0;DB+4/ffff4ff0", true, false, FL_TF, 0 },
	{ "V09.icebp.notf", v09_icebp, "DB+3/ffff0ff0", false, false, 0, 0 },
	{ "V10.cpuid", v10_cpuid, "DB+4/ffff4ff0;DB+5/ffff4ff0", false, false, FL_TF, 0 },
	{ "V10.cpuid32", v10_cpuid32, "DB+4/ffff4ff0;DB+5/ffff4ff0", true, false, FL_TF, 0 },
	{ "V10.out", v10_out, "DB+3/ffff4ff0;DB+4/ffff4ff0", false, false, FL_TF, 0 },
	{ "V10.outs", v10_outs, "DB+3/ffff4ff0;DB+4/ffff4ff0", false, false, FL_TF, 0 },
	{ "V10.out.io", v10_out, "DB+3/ffff4ff2;DB+4/ffff4ff0", false, false, FL_TF, PORT },
	{ "V10.wbinvd", v10_wbinvd, "DB+4/ffff4ff0;DB+5/ffff4ff0", false, true, FL_TF, 0 },
	{ "V10.movdr", v10_movdr, "DB+5/ffff4ff0;DB+6/ffff4ff0", false, true, FL_TF, 0 },
	{ "V11.cpuid", v11_cpuid, "DB+4/ffff0ff1", false, false, 0, SS_READ },
	{ "V11.out", v11_out, "DB+3/ffff0ff1", false, false, 0, SS_READ },
	{ "V11.wbinvd", v11_wbinvd, "DB+4/ffff0ff1", false, true, 0, SS_READ },
	{ "V11.two", v11_two, "DB+4/ffff0ff1", false, false, 0, SS_READ },
	{ "V12.cpuid", v11_cpuid, "DB+4/ffff4ff1;DB+5/ffff4ff0", false, false, FL_TF, SS_READ },
	{ "V12.out", v11_out, "DB+3/ffff4ff1;DB+4/ffff4ff0", false, false, FL_TF, SS_READ },
	{ "V12.out.io", v11_out, "DB+3/ffff4ff3;DB+4/ffff4ff0", false, false, FL_TF, SS_READ | PORT },
	{ "V12.wbinvd", v11_wbinvd, "DB+4/ffff4ff1;DB+5/ffff4ff0", false, true, FL_TF, SS_READ },
};

static void one(const struct shadow *c, unsigned cpl, enum force_exit k)
{
	uint64_t sel = cpl ? SEL_UDATA : SEL_KDATA;
	struct run r = { .code = c->code, .cpl = cpl, .iopl = cpl, .compat = c->compat, .rflags = c->rflags };

	r.regs = (struct regs){ .rax = sel, .rbx = (uint64_t)watch_buf, .rsi = (uint64_t)watch_buf + 32, .rdx = 0x3ff };
	*(volatile uint32_t *)watch_buf = (uint32_t)sel;
	write_dr6(DR6_INIT);
	write_dr0((uint64_t)watch_buf);
	write_dr1(0x3ff);
	write_dr7(DR7_INIT | c->dr7);
	fx(k);
	run_code(&r);
	write_dr7(DR7_INIT);
	check_trace(fmt("%s.%u.%s", c->id, cpl, fx_name(k)), "the #DBs", c->code, c->want);
}

SCENARIO(v09_shadow_db, "#DBs of instructions in a MOV SS shadow", 0)
{
	write_cr4(read_cr4() | CR4_DE);
	for (unsigned cpl = 0; cpl < 4; cpl += 3)
		FOR_FX(k)
			for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
				if (!cpl || !cases[i].kernel_only)
					one(&cases[i], cpl, k);
}
