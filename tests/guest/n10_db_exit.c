/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor finds causes in its guest's DR6 that it has not delivered, or old ones in the exit.
 * Cause: L0 merges the payload into DR6, or clears GD, before it asks who wants the #DB; an exit changes none of the two.
 * Who had it: Linux KVM until f10c729ff965. Rules: N10, N08; mutation B50. */
#include "tests/guest/l1_vmx.h"

CODE64(n10_step, "nop; nop;" VMX_END)
CODE64(n10_store, "movb $1, watch_buf; nop;" VMX_END)
CODE64(n10_own, "nop; nop; nop;" VMX_END)

#define OLD_DR6 (DR6_INIT | DR6_BS | DR6_B3 | DR6_B1)

static void look(const char *id, const struct vmx_l2 *r, uint64_t payload, uint64_t rip, uint64_t dr7)
{
	check_eq(fmt("N10.%s", id), "#DB is an exit", r->exit == VX_EXC ? r->vector : 0x100 + r->exit, VEC_DB);
	check_eq(fmt("N10.%s.type", id), "a hardware exception", r->type, VE_EXC);
	check_eq(fmt("N10.%s.payload", id), "with the new causes only", r->payload, payload);
	check_eq(fmt("N10.%s.rip", id), "RIP", r->rip, rip);
	check_eq(fmt("N10.%s.dr6", id), "DR6 is as it was", read_dr6(), OLD_DR6);
	check_eq(fmt("N10.%s.dr7", id), "the nested guest's DR7 too, GD in it", r->dr7, dr7);
	check_eq(fmt("N10.%s.pending", id), "and nothing is pending", vf(VF_PENDING), 0);
}

SCENARIO(n10_db_exit, "an intercepted #DB of a nested guest has changed nothing", SCN_NESTED)
{
	struct vmx_l2 r = { .code = n10_step, .rflags = FL_TF, .exceptions = 1u << VEC_DB, .dr7 = DR7_INIT | DR7_GD };

	vmx_start();
	write_dr6(OLD_DR6);
	vmx_run(&r);
	look("step", &r, DR6_BS, (uint64_t)n10_step + 1, DR7_INIT | DR7_GD);
	vmx_resume(&r);
	look("step2", &r, DR6_BS, (uint64_t)n10_step + 2, DR7_INIT | DR7_GD);

	write_dr0((uint64_t)watch_buf);
	r = (struct vmx_l2){ .code = n10_store, .exceptions = 1u << VEC_DB, .dr7 = DR7_INIT | DR7_BP(0, RW_WRITE, LEN_1) };
	vmx_run(&r);
	look("store", &r, DR6_B0, (uint64_t)n10_store + 8, DR7_INIT | DR7_BP(0, RW_WRITE, LEN_1));

	/* Not intercepted: the nested guest's own. */
	db.anywhere = true;
	db.clear_tf_after = 2;
	r = (struct vmx_l2){ .code = n10_own, .rflags = FL_TF };
	write_dr6(DR6_INIT | DR6_B1);
	vmx_run(&r);
	check_eq("N10.own", "not intercepted: no exit", r.exit, VX_HLT);
	check_trace("N10.own.trace", "the nested guest's handler sees it", n10_own, "DB+1/ffff4ff0;DB+2/ffff4ff0");
	debug_state_reset();
	vmx_stop();
}
