/* SPDX-License-Identifier: MIT */
/* The quirk svm-db-cause: Bochs ends the guest for an intercepted #DB before it has put the cause anywhere, neither into VMCB.DR6 nor DR6. */
#include "arch/lib/log.h"
#include "arch/x86/dbg_hw.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/quirks.h"
#include "arch/x86/svm/svm.h"
#include "vmm/fetch.h"

static bool on, told;

void svm_quirk_init(void)
{
	on = quirks_auto && quirk_is_bochs();
}

/* Breakpoints: an exec one is at RIP; for data and I/O the address is gone, and only where one slot alone can have caused the #DB it is known. */
static uint32_t breakpoints(struct vcpu *v, struct cpu *c, const struct vmcb *b, uint64_t rip, bool alone)
{
	uint32_t exec = 0, data = 0;

	for (unsigned i = 0; i < 4; i++) {
		if (!(b->dr7 & DR7_ENABLE(i)))
			continue;
		if (DR7_RW(b->dr7, i) != DR_RW_EXEC)
			data |= 1u << i;
		else if (!(b->rflags & RFLAGS_RF) && (v->dbg.state == DBG_LIVE ? hw_read_dr(&c->dbg, i) : v->dbg.dr[i]) == rip)
			exec |= 1u << i;
	}
	if (exec || !alone || (data & (data - 1)))
		return exec;
	return data;
}

/* What can be told from the state at the exit. A step and a data hit of the same instruction show as the step alone: a known deviation. */
static uint32_t cause(struct vcpu *v, struct cpu *c, const struct vmcb *b, uint64_t rip)
{
	struct decoded d;
	bool step = b->rflags & RFLAGS_TF;

	if (!step && (b->dr7 & DR7_GD) && fetch_decode(v, DEC_MOV_DR, DEC_MOV_DR, &d))
		return (uint32_t)DR6_BD;
	return (step ? (uint32_t)DR6_BS : 0) | breakpoints(v, c, b, rip, !step);
}

void svm_quirk_db_cause(struct vcpu *v, struct cpu *c, struct vmcb *b, uint64_t rip)
{
	if (!on)
		return;
	if (!told)
		log_printf("drover: quirk svm-db-cause: the cause of an intercepted #DB is derived from the state at the exit\n");
	told = true;
	b->dr6 = dbg_dr6_merge(b->dr6, cause(v, c, b, rip), v->dbg.feat);
	if (v->dbg.state != DBG_LIVE)
		dbg_vm_fields_unknown(&v->dbg);
}
