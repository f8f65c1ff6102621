/* SPDX-License-Identifier: MIT */
/* Symptom: with a debugger attached to a VM from outside, the guest reads the debugger's breakpoints, gets its #DBs, or finds bits in DR6 that it
 * did not cause; or the debugger loses its breakpoints as soon as the guest touches a debug register.
 * Cause: one set of registers for two owners.
 * Who had it: Linux KVM (d67668e9dd76: guest DR6 clobbered; guest_debug and lazy switching).
 * Rules: Z01, Z02, Z04, E14. */
#include "tests/guest/guest.h"

#define SLOT 2
#define NIBBLE(rw, len) ((uint64_t)(len) << 2 | (rw))

CODE64(z01_store, "movb $1, (%rdi); nop; nop;" DONE)
CODE64(z01_exec, "nop; .globl z01_exec_at; z01_exec_at: inc %rax; nop;" DONE)
CODE64(z01_outs, "outsb; nop;" DONE)
LABEL(z01_exec_at);

static bool attach(const volatile void *at, unsigned rw, unsigned len)
{
	hypercall(HC_LAB_DEBUGGER_HITS, 1, 0, 0);
	return hypercall(HC_LAB_DEBUGGER, (uint64_t)(uintptr_t)at, NIBBLE(rw, len), SLOT) == 0;
}

static uint64_t hits(void)
{
	return hypercall(HC_LAB_DEBUGGER_HITS, 1, 0, 0);
}

static struct run store_to(const volatile void *at, uint64_t rflags)
{
	struct run r = { .code = z01_store, .rflags = rflags };

	r.regs.rdi = (uint64_t)(uintptr_t)at;
	run_code(&r);
	return r;
}

static void debugger_alone(void)
{
	check("Z01.attach", "a slot that the guest does not use is free", attach(&watch_buf[0], RW_WRITE, LEN_1));
	store_to(&watch_buf[0], 0);
	check_trace("Z04.watch", "the debugger's watchpoint is not the guest's #DB", z01_store, "none");
	check_eq("Z04.watch.hits", "but the debugger's", hits(), 1);
	check_eq("Z04.watch.dr6", "with its bit in the DR6 that it is shown", hypercall(HC_LAB_DEBUGGER_HITS, 2, 0, 0), DR6_INIT | 1u << SLOT);
	check_eq("Z01.dr2", "the guest reads its own DR2", read_dr2(), 0);
	check_eq("Z01.dr7", "its own DR7", read_dr7(), DR7_INIT);
	check_eq("Z04.dr6", "and its own DR6", read_dr6(), DR6_INIT);
	store_to(&watch_buf[0], FL_TF);
	check_trace("Z04.step", "a stepping guest gets its steps only", z01_store, "DB+3/ffff4ff0;DB+4/ffff4ff0;DB+5/ffff4ff0");
	check_eq("Z04.step.hits", "and the debugger its hit", hits(), 1);
}

/* Guest accesses would turn it LIVE, and the debugger's slot would be gone. */
static void guest_writes(void)
{
	FOR_FX(k) {
		write_dr0(0x1000 + k);
		write_dr2(0x2000 + k);
		write_dr6(DR6_INIT | DR6_BS);
		write_dr7(DR7_INIT | DR7_LE);
		fx(k);
		check_eq(fmt("Z02.dr0.%s", fx_name(k)), "DR0 holds what the guest wrote", read_dr0(), 0x1000u + k);
		check_eq(fmt("Z02.dr2.%s", fx_name(k)), "DR2 too, although the slot is the debugger's", read_dr2(), 0x2000u + k);
		check_eq(fmt("Z02.dr6.%s", fx_name(k)), "DR6", read_dr6(), DR6_INIT | DR6_BS);
		check_eq(fmt("Z02.dr7.%s", fx_name(k)), "DR7", read_dr7(), DR7_INIT | DR7_LE);
	}
	store_to(&watch_buf[0], 0);
	check_eq("Z02.hits", "and the debugger's breakpoint still works", hits(), 1);
	debug_state_reset();
}

static void both(void)
{
	write_dr0((uint64_t)(uintptr_t)&watch_buf[0]);
	write_dr7(DR7_INIT | DR7_BP(0, RW_WRITE, LEN_1));
	store_to(&watch_buf[0], 0);
	check_trace("Z04.both", "one store, two owners: the guest gets its bit alone", z01_store, "DB+3/ffff0ff1");
	check_eq("Z04.both.hits", "the debugger its own", hits(), 1);
	debug_state_reset();
	write_dr1((uint64_t)(uintptr_t)&watch_buf[8]);
	write_dr7(DR7_INIT | DR7_BP(1, RW_WRITE, LEN_1));
	store_to(&watch_buf[8], 0);
	check_trace("Z01.other", "the guest's own breakpoints work", z01_store, "DB+3/ffff0ff2");
	check_eq("Z01.other.hits", "and are none of the debugger's", hits(), 0);
	check_eq("Z01.taken", "a slot that the guest has enabled is refused",
		 hypercall(HC_LAB_DEBUGGER, (uint64_t)(uintptr_t)&watch_buf[0], NIBBLE(RW_WRITE, LEN_1), 1), HC_EINVAL);
	debug_state_reset();
}

static void exec_and_emulated(void)
{
	struct run r = { .code = z01_exec }, o = { .code = z01_outs };

	attach(z01_exec_at, RW_EXEC, LEN_1);
	run_code(&r);
	check_trace("Z04.exec", "the debugger's code breakpoint is not the guest's #DB", r.code, "none");
	check_eq("Z04.exec.hits", "it hits once", hits(), 1);
	check_eq("Z04.exec.ran", "and its instruction runs once", r.regs.rax, 1);
	attach(&watch_buf[4], RW_RDWR, LEN_1);
	o.regs.rsi = (uint64_t)(uintptr_t)&watch_buf[4];
	o.regs.rdx = 0x80;
	run_code(&o);
	check_trace("E14.outs", "nor is a hit of an access that drover makes for the guest", o.code, "none");
	check_eq("E14.outs.hits", "it is the debugger's", hits(), 1);
}

SCENARIO(z01_debugger, "a debugger outside has breakpoints of its own, and the guest never knows", SCN_LAB)
{
	debugger_alone();
	guest_writes();
	both();
	exec_and_emulated();
	check_eq("Z01.detach", "it gives its slots back", hypercall(HC_LAB_DEBUGGER, 0, 0, ~0ull), 0);
	store_to(&watch_buf[4], 0);
	check_trace("Z01.gone", "and nothing is left", z01_store, "none");
	check_eq("Z01.gone.hits", "of them", hits(), 0);
}
