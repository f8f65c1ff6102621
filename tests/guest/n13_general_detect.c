/* SPDX-License-Identifier: MIT */
/* Symptom: a nested guest's General Detect never reaches its handler, or its hypervisor's next entry fails for a reserved pending-debug bit.
 * Cause: L0 takes every #DB with a payload for a trap, which may wait in the pending-debug field. General Detect is a fault: its instruction has not run,
 * and the field has no bit for it.
 * Who had it: Linux KVM until 8d178f460772 (source document 3). Rules: N13, N10, N15; mutation B12. */
#include "tests/guest/l1_vmx.h"

/* The first access finds the registers not the nested guest's (L0 sees MOV DR and judges), the second one finds them in hardware. */
CODE64(n13_first, "n13_first_mov: mov %dr0, %rax; nop;" VMX_END)
CODE64(n13_live, "mov %dr0, %rax; mov $0x2400, %ecx; mov %rcx, %dr7; .globl n13_live_mov; n13_live_mov: mov %dr0, %rax; nop;" VMX_END)
LABEL(n13_live_mov);

#define OLD_DR6 (DR6_INIT | DR6_B2)

static void theirs(const char *id, const void *code, const void *at, uint64_t dr7, uint64_t rflags)
{
	struct vmx_l2 r = { .code = code, .exceptions = 1u << VEC_DB, .dr7 = dr7, .rflags = rflags };

	write_dr6(OLD_DR6);
	vmx_run(&r);
	check_eq(fmt("N13.%s", id), "General Detect is an exit", r.exit == VX_EXC ? r.vector : 0x100 + r.exit, VEC_DB);
	check_eq(fmt("N13.%s.payload", id), "BD alone", r.payload, DR6_BD);
	check_eq(fmt("N13.%s.rip", id), "a fault: RIP at the MOV", r.rip, (uint64_t)at);
	check_eq(fmt("N13.%s.pending", id), "nothing in the pending-debug field", vf(VF_PENDING), 0);
	check_eq(fmt("N13.%s.dr6", id), "DR6 as it was", read_dr6(), OLD_DR6);
	check_eq(fmt("N13.%s.gd", id), "GD still on", r.dr7, DR7_INIT | DR7_GD);
	/* What a hypervisor does then: the #DB to its guest, by injection. */
	r.dr7 = DR7_INIT;
	vf_set(VF_DR7, r.dr7);
	vmx_resume(&r);
	check_eq(fmt("N13.%s.goes-on", id), "and the MOV runs when GD is off", r.exit, rflags ? VX_EXC : VX_HLT);
	debug_state_reset();
}

/* Slots in hardware do not keep the handler's first MOV from faulting: it sees GD off. */
static void own(const char *id, const void *code, const void *at, uint64_t dr7)
{
	struct vmx_l2 r = { .code = code, .dr7 = dr7 };

	db.anywhere = true;
	trap_clear();
	write_dr6(OLD_DR6);
	vmx_run(&r);
	check_eq(fmt("N13.%s", id), "not intercepted: the nested guest's own", r.exit, VX_HLT);
	check_trace(fmt("N13.%s.trace", id), "one #DB, a fault", at, "DB+0/ffff2ff0");
	debug_state_reset();
}

SCENARIO(n13_general_detect, "General Detect of a nested guest is a fault and waits nowhere", SCN_NESTED)
{
	vmx_start();
	db.anywhere = true; /* one that came to the nested guest would show in the checks */
	theirs("first", n13_first, n13_first, DR7_INIT | DR7_GD, 0);
	theirs("live", n13_live, n13_live_mov, DR7_INIT, 0);
	theirs("stepped", n13_first, n13_first, DR7_INIT | DR7_GD, FL_TF);
	own("own.first", n13_first, n13_first, DR7_INIT | DR7_GD);
	own("own.live", n13_live, n13_live_mov, DR7_INIT);
	vmx_stop();
}
