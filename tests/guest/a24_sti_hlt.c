/* SPDX-License-Identifier: MIT */
/* Symptom: stepping over HLT never comes back.
 * Cause: the step trap after HLT leaves the halt state at once; a hypervisor that emulates HLT halts the vCPU and forgets it.
 * Who had it: Linux KVM until 302fbd56 (kvm-unit-tests' singlestep_with_sti_hlt).
 * Rules: A24, E01 (HLT). On bare the timer ends a HLT that the trap did not: then V20 is in the trace. Under a hypervisor
 * without the rule the VM halts for good, which it reports. */
#include "tests/guest/guest.h"

CODE64(a24_hlt, "hlt; nop;" DONE)
CODE64(a24_sti_hlt_code, "sti; hlt; nop;" DONE)

#define PIC1 0x20
#define VEC_TIMER 0x20

static bool timer_hook(struct trap_frame *f, struct trap_rec *rec)
{
	(void)f;
	(void)rec;
	io_outb(PIC1, 0x20);
	return true;
}

/* IRQ 0 at vector 0x20, once, in 20 ms. */
static void timer_arm(void)
{
	static const uint8_t init[4] = { 0x11, VEC_TIMER, 4, 1 };

	io_outb(PIC1, init[0]);
	for (unsigned i = 1; i < 4; i++)
		io_outb(PIC1 + 1, init[i]);
	io_outb(PIC1 + 1, 0xfe);
	trap_set_hook(VEC_TIMER, timer_hook);
	io_outb(0x43, 0x30);
	io_outb(0x40, 23864 & 0xff);
	io_outb(0x40, 23864 >> 8);
}

static void timer_off(void)
{
	io_outb(PIC1 + 1, 0xff);
}

static void one(const char *name, const char *code, uint64_t rflags, const char *want)
{
	FOR_FX(k)
	{
		struct run r = { .code = code, .rflags = rflags };

		if (!env.drover)
			timer_arm();
		fx(k);
		run_code(&r);
		timer_off();
		check_trace(fmt("A24.%s.%s", name, fx_name(k)), "the #DBs", r.code, want);
	}
}

SCENARIO(a24_sti_hlt, "a step trap ends HLT", 0)
{
	one("hlt", a24_hlt, FL_TF | FL_IF, "DB+1/ffff4ff0;DB+2/ffff4ff0");
	one("sti-hlt", a24_sti_hlt_code, FL_TF, "DB+1/ffff4ff0;DB+2/ffff4ff0;DB+3/ffff4ff0");
}
