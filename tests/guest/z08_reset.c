/* SPDX-License-Identifier: MIT */
/* RESET and INIT put the debug registers back, also those of a vCPU that had breakpoints armed.
 *
 * Symptom: an application processor that the guest restarts takes a #DB in its first instructions, from a breakpoint of its former
 * life. Cause: the reset code forgot DR0-3 (KVM ae561edeb421), or reset what the debugger had set (c863901075a4), or reset the copy
 * while the registers were live and the sync then wrote the old ones back.
 * Rules: Z08, H07; mutations B32, B52, B53. The first-instruction half is in its own scenario. */
#include "tests/guest/guest.h"

/* HC_LAB_RESET continues at RBX with RCX as the stack; other registers are not promised, so all live on the stack. */
#define RESET_ASM(insn)                                                                                                  \
	__asm__ volatile("push %%rbp; pushfq;"                                                                           \
			 "lea 1f(%%rip), %%rbx; mov %%rsp, %%rcx; mov %0, %%eax;" insn ";"                               \
			 "1: popfq; pop %%rbp"                                                                           \
			 :                                                                                               \
			 : "i"(HC_LAB_RESET)                                                                             \
			 : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc", "memory")

__attribute__((noinline)) static void lab_reset(void)
{
	if (env.amd)
		RESET_ASM("vmmcall");
	else
		RESET_ASM("vmcall");
}

CODE64(z08_touch, "movq $0x77, watch_buf; nop; nop;" DONE)

static void arm(void)
{
	uint64_t va = (uint64_t)(uintptr_t)watch_buf;

	write_dr0(va);
	write_dr1(va + 1);
	write_dr2(va + 2);
	write_dr3((uint64_t)(uintptr_t)z08_touch);
	write_dr7(DR7_INIT | DR7_GE | DR7_BP(0, RW_WRITE, LEN_8) | DR7_BP(1, RW_RDWR, LEN_1) | DR7_BP(2, RW_WRITE, LEN_1) |
		  DR7_BP(3, RW_EXEC, LEN_1));
	write_dr6(DR6_INIT | DR6_BS | DR6_BD | DR6_B2);
}

static void reset_values(const char *mode)
{
	struct run r = { .code = z08_touch, .cpl = 0 };

	run_code(&r); /* before the first MOV DR: what is armed, not what is read */
	check_trace(fmt("Z08.%s.hits", mode), "the old breakpoints do not hit", z08_touch, "none");
	check_eq(fmt("Z08.%s.dr0", mode), "DR0", read_dr0(), 0);
	check_eq(fmt("Z08.%s.dr1", mode), "DR1", read_dr1(), 0);
	check_eq(fmt("Z08.%s.dr2", mode), "DR2", read_dr2(), 0);
	check_eq(fmt("Z08.%s.dr3", mode), "DR3", read_dr3(), 0);
	check_eq(fmt("Z08.%s.dr6", mode), "DR6", read_dr6(), DR6_INIT);
	check_eq(fmt("Z08.%s.dr7", mode), "DR7", read_dr7(), DR7_INIT);
}

SCENARIO(z08_reset, "RESET of a vCPU with armed breakpoints", SCN_LAB)
{
	uint64_t host_va = hypercall(HC_LAB_HOST_BUF, 0, 0, 0), v;

	arm();
	lab_reset();
	reset_values("live"); /* the exit of the reset itself came from live registers */

	arm();
	fx(FX_SLOW);
	lab_reset();
	reset_values("armed");

	/* What belongs to the host survives a guest's reset. */
	hypercall(HC_LAB_HOST_BP, host_va, (LEN_1 << 2) | RW_WRITE, 1);
	arm();
	lab_reset();
	reset_values("host");
	check_eq("Z08.host.own7", "the host's DR7 is untouched by it", hypercall(HC_LAB_HOST_STATE, 0, 0, 0),
		 DR7_INIT | DR7_BP(1, RW_WRITE, LEN_1));
	check_eq("Z08.host.own1", "and its DR1", hypercall(HC_LAB_HOST_STATE, 2, 0, 0), host_va);
	hypercall(HC_LAB_HOST_BP, 0, 0, ~0ull);

	if (env.debugctl && try_rdmsr(MSR_DEBUGCTL, &v) == NO_FAULT)
		check_eq("Z08.debugctl", "DEBUGCTL", v, 0);
}
