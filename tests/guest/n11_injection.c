/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor reinjects its guest's ICEBP and gets it back for ever, or its VM dies of "invalid control field"; a #DB that it injects changes DR6.
 * Cause: L0 guesses ICEBP from an empty DR6 and drops type or length; it sends an injected event through its own interception, or merges its payload.
 * Who had it: Linux KVM (32d43cd391ba). Rules: N11, N21, V03. */
#include "tests/guest/l1_vmx.h"

CODE64(n11_icebp, "nop; .byte 0xf1; nop;" VMX_END)
CODE64(n11_prefixed, ".byte 0x66, 0x2e, 0xf1; nop;" VMX_END)
CODE64(n11_code, "nop; nop; nop;" VMX_END)

static void icebp(const char *id, const void *code, uint64_t at, unsigned len)
{
	struct vmx_l2 r = { .code = code, .exceptions = 1u << VEC_DB };

	db.anywhere = true;
	trap_clear();
	write_dr6(DR6_INIT | DR6_B2);
	vmx_run(&r);
	check_eq(fmt("N11.%s", id), "ICEBP: a privileged software exception", r.type, VE_ICEBP);
	check_eq(fmt("N11.%s.vector", id), "vector 1", r.vector, VEC_DB);
	check_eq(fmt("N11.%s.len", id), "its length is told", r.len, len);
	check_eq(fmt("N11.%s.rip", id), "RIP is at it", r.rip - (uint64_t)code, at);
	check_eq(fmt("N11.%s.payload", id), "without a cause", r.payload, 0);
	r.event = VE_ICEBP;
	r.event_vector = VEC_DB;
	r.event_len = (uint8_t)len;
	vmx_resume(&r);
	check_eq(fmt("N11.%s.back", id), "injected it is delivered, not intercepted again", r.exit, VX_HLT);
	check_trace(fmt("N11.%s.trace", id), "once, behind it, DR6 untouched", (const char *)code + at + len, "DB+0/ffff0ff4");
	debug_state_reset();
}

static void injected(const char *id, unsigned type, unsigned vector, unsigned len, const char *expected)
{
	struct vmx_l2 r = { .code = n11_code, .exceptions = ~0u, .event = (uint8_t)type, .event_vector = (uint8_t)vector, .event_len = (uint8_t)len };

	db.anywhere = true;
	trap_clear();
	write_dr6(DR6_INIT | DR6_B2);
	vmx_run(&r);
	check_eq(fmt("N11.%s.exit", id), "no exit by the delivery", r.exit, VX_HLT);
	check_trace(fmt("N11.%s", id), "delivered before the first instruction", n11_code, expected);
	debug_state_reset();
}

static bool skip_fault(struct trap_frame *f, struct trap_rec *rec)
{
	(void)f;
	(void)rec;
	return true;
}

SCENARIO(n11_injection, "events that a hypervisor injects go in as they are; ICEBP is told as what it is", SCN_NESTED)
{
	vmx_start();
	icebp("icebp", n11_icebp, 1, 1);
	icebp("prefixed", n11_prefixed, 0, 3);
	injected("db", VE_EXC, VEC_DB, 0, "DB+0/ffff0ff4");
	injected("int80", VE_SOFT_INT, VEC_INT80, 2, "I80+2");
	trap_set_hook(VEC_UD, skip_fault);
	injected("ud", VE_EXC, VEC_UD, 0, "UD+0");
	trap_set_hook(VEC_BP, skip_fault);
	injected("bp", VE_SOFT_EXC, VEC_BP, 1, "BP+1");
	vmx_stop();
}
