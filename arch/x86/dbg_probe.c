/* SPDX-License-Identifier: MIT */
/* Single-steps the host over a jump with BTF, and records a branch with LBR: what then happens is what the CPU can do. */
#include "arch/x86/dbg_probe.h"

#include <stddef.h>

#include "arch/lib/log.h"
#include "arch/x86/dbg_hw.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/traps.h"

static struct dbg_cpu *stepping;
static uint64_t first_rip; /* of the first #DB; 0: none yet */

static bool on_step(struct trapframe *tf)
{
	if (!first_rip)
		first_rip = tf->rip;
	tf->rflags &= ~RFLAGS_TF;
	hw_write_dr(stepping, 6, DR6_INIT);
	return true;
}

/* With BTF the first #DB is the jump's, at its target; without, the first NOP's. The #DB has cleared BTF (A30). */
static bool steps_branches(struct dbg_cpu *c)
{
	uint64_t target;

	if (!hw_try_write_debugctl(c, DEBUGCTL_BTF))
		return false;
	stepping = c;
	first_rip = 0;
	target = step_over_jump();
	hw_write_debugctl(c, 0);
	return first_rip == target;
}

/* Intel: the newest record is where TOS points to. AMD: one record. It has to be of the jump here: firmware may have left others. */
static bool records_branches(struct dbg_cpu *c)
{
	uint64_t v = 0, jump;

	if (!hw_try_write_debugctl(c, DEBUGCTL_LBR))
		return false;
	__asm__ volatile("lea 2f(%%rip), %0\n2:\tjmp 1f\n1:" : "=r"(jump));
	hw_write_debugctl(c, 0);
	if (rdmsr_safe(MSR_LBR_TOS, &v))
		return v < 32 && rdmsr_safe(MSR_LBR_FROM + (uint32_t)v, &v) && (v ^ jump) << 16 == 0; /* upper bits: flags of the record */
	return rdmsr_safe(MSR_LASTBRANCHFROMIP, &v) && v == jump;
}

void dbg_probe(struct dbg_cpu *c)
{
	c->can = 0;
	if (!c->has_debugctl) {
		log_printf("drover: DEBUGCTL: this CPU has none\n");
		return;
	}
	trap_set_hook(VEC_DB, on_step);
	if (steps_branches(c))
		c->can |= DBG_FEAT_BTF;
	if (records_branches(c))
		c->can |= DBG_FEAT_LBR;
	trap_set_hook(VEC_DB, NULL);
	log_printf("drover: DEBUGCTL: BTF %s, LBR %s\n", c->can & DBG_FEAT_BTF ? "steps branches" : "does nothing",
		   c->can & DBG_FEAT_LBR ? "records branches" : "records nothing");
}
