/* SPDX-License-Identifier: MIT */
/* Symptom: a nested guest executes an instruction although its hypervisor set the preemption timer to 0; or loses the event or #DB of that entry.
 * Cause: the timer's exit comes behind the injection and behind a pending #DB, and before the first instruction. L0 runs on a timer of its own.
 * Who had it: Linux KVM (KUT preemption_timer_zero). Rules: N19, N20, N18. */
#include "tests/guest/l1_vmx.h"

CODE64(n19_code, "nop; nop;" VMX_END)
CODE64(n19_loop, "n19_again: inc %rbx; jmp n19_again;")

static uint64_t timer, pending;

static void tune(struct vmx_l2 *r)
{
	(void)r;
	vf_change(VF_PIN, 0, VC_PIN_TIMER);
	vf_set(VF_TIMER, timer);
	vf_set(VF_PENDING, pending);
}

SCENARIO(n19_timer, "the preemption timer at 0: behind injection and pending #DB, before any instruction", SCN_NESTED)
{
	struct vmx_l2 r = { .code = n19_code, .tune = tune };
	uint64_t cap = 0;

	vmx_start();
	if (try_rdmsr(0x48d, &cap) != NO_FAULT || !(cap >> 32 & VC_PIN_TIMER))
		scenario_skip("no preemption timer");
	timer = pending = 0;
	write_dr6(DR6_INIT | DR6_B1);
	vmx_run(&r);
	check_eq("N19.zero", "timer 0: an exit", r.exit, VX_TIMER);
	check_eq("N19.zero.rip", "before the first instruction", r.rip - (uint64_t)n19_code, 0);
	check_eq("N20.dr6", "DR6 stays", read_dr6(), DR6_INIT | DR6_B1);

	trap_clear();
	r = (struct vmx_l2){ .code = n19_code, .tune = tune, .event = VE_SOFT_INT, .event_vector = VEC_INT80, .event_len = 2 };
	vmx_run(&r);
	check_eq("N19.event", "with an event: an exit", r.exit, VX_TIMER);
	check_eq("N19.event.rip", "at the handler's first instruction", r.rip, trap_gate(VEC_INT80));
	check_eq("N19.event.waits", "which has not run", trap_count(VEC_INT80), 0);

	r = (struct vmx_l2){ .code = n19_code, .tune = tune, .exceptions = 1u << VEC_DB, .rflags = FL_TF };
	pending = 0x4000; /* BS */
	vmx_run(&r);
	check_eq("N19.pending", "a pending #DB comes first", r.exit == VX_EXC ? r.vector : 0x100 + r.exit, VEC_DB);
	check_eq("N18.pending.payload", "as the field says", r.payload, DR6_BS);
	check_eq("N19.pending.rip", "before the first instruction", r.rip - (uint64_t)n19_code, 0);
	check_eq("N18.pending.field", "and the field is empty", vf(VF_PENDING), 0);
	vmx_resume(&r);
	check_eq("N19.pending.then", "then the timer", r.exit, VX_TIMER);

	timer = 200000;
	pending = 0;
	r = (struct vmx_l2){ .code = n19_loop, .tune = tune };
	vmx_run(&r);
	check_eq("N19.later", "a timer that is not 0 ends a loop", r.exit, VX_TIMER);
	check("N19.later.ran", "after some rounds", r.regs.rbx > 100);
	debug_state_reset();
	vmx_stop();
}
