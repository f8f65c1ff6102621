/* SPDX-License-Identifier: MIT */
/* Two faults of Bochs. svm-db-cause: an intercepted #DB ends the guest before its cause is anywhere, in VMCB.DR6 or DR6.
 * svm-stray-db: the single step that the guest's last instruction owed is taken by the host, as a #DB behind VMRUN.
 * Two of QEMU's TCG. svm-intr-twice: VMRUN leaves the vector of an injected interrupt where the next break of the emulation takes it for an exception to
 * deliver; only an exit clears it. svm-int3: INT3 and INTO have the intercept of INT n, not that of #BP and #OF. */
#include "arch/lib/log.h"
#include "arch/x86/dbg_hw.h"
#include "arch/x86/def/cpuid.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/quirks.h"
#include "arch/x86/svm/svm.h"
#include "arch/x86/traps.h"
#include "vmm/fetch.h"

bool svm_quirk_no_cause, svm_quirk_intr_twice, svm_quirk_int3;

static bool told;
static struct cpu *owner; /* of the stray #DB: GS is the guest's when it comes */

/* TR and GS are the guest's still, interrupts and GIF are off. The guest's DR6 is in the VMCB already; the step's BS goes from the host's. */
static bool stray_db(struct trapframe *tf)
{
	if (tf->rip != (uint64_t)(uintptr_t)svm_switch_exited)
		return false;
	hw_write_dr(&owner->dbg, 6, DR6_INIT);
	return true;
}

static bool on_tcg(void)
{
	struct cpuid_regs r = cpuid(0x40000000, 0);

	return (cpuid(1, 0).ecx & CPUID_1_ECX_HYPERVISOR) && r.ebx == 0x54474354 && r.ecx == 0x43544743 && r.edx == 0x47435447; /* "TCGTCGTCGTCG" */
}

/* No CPU announces SVM's lock without VM_CR, where that lock is. */
void svm_quirk_init(struct cpu *c)
{
	uint64_t vm_cr;
	bool on;

	if (quirks_auto && on_tcg()) {
		svm_quirk_intr_twice = svm_quirk_int3 = true;
		log_printf("drover: quirk svm-intr-twice: a guest exits once at the start of each interrupt handler\n");
	}
	on = quirks_auto && (svm_feat.edx & CPUID_SVM_EDX_SVML) && !rdmsr_safe(MSR_VM_CR, &vm_cr);

	if (!on)
		return;
	svm_quirk_no_cause = true;
	log_printf("drover: quirk svm-stray-db: a #DB right behind VMRUN is the guest's, and dropped\n");
	owner = c;
	trap_set_db_filter(stray_db);
}

/* The enabled exec breakpoints at RIP, and in *data the enabled others: the address that they watched is gone. */
static uint32_t breakpoints(struct vcpu *v, struct cpu *c, const struct vmcb *b, uint64_t rip, uint32_t *data)
{
	uint32_t exec = 0;

	*data = 0;
	for (unsigned i = 0; i < 4; i++) {
		if (!(b->dr7 & DR7_ENABLE(i)))
			continue;
		if (DR7_RW(b->dr7, i) != DR_RW_EXEC)
			*data |= 1u << i;
		else if (!(b->rflags & RFLAGS_RF) && (v->dbg.state == DBG_LIVE ? hw_read_dr(&c->dbg, i) : dbg_eff_dr(&v->dbg, i)) == rip)
			exec |= 1u << i;
	}
	return exec;
}

/* What the state at the exit leaves as possible. Known deviations: a data hit of a stepped instruction shows as the step alone, a step that lands
 * on an exec breakpoint as that, and a hit among several data slots as none. */
static uint32_t cause(struct vcpu *v, struct cpu *c, const struct vmcb *b, uint64_t rip)
{
	uint32_t data, exec = breakpoints(v, c, b, rip, &data);
	struct decoded d;

	if (exec)
		return exec;
	if (b->rflags & RFLAGS_TF)
		return (uint32_t)DR6_BS;
	if ((b->dr7 & DR7_GD) && fetch_decode(v, DEC_MOV_DR, DEC_MOV_DR, &d))
		return (uint32_t)DR6_BD;
	if (!data)
		return (uint32_t)DR6_BS; /* the stepped instruction has cleared TF */
	return data & (data - 1) ? 0 : data;
}

void svm_quirk_db_cause(struct vcpu *v, struct cpu *c, struct vmcb *b, uint64_t rip)
{
	if (!told)
		log_printf("drover: quirk svm-db-cause: the cause of an intercepted #DB is derived from the state at the exit\n");
	told = true;
	b->dr6 = dbg_dr6_merge(b->dr6, cause(v, c, b, rip), v->dbg.feat);
	if (v->dbg.state != DBG_LIVE)
		dbg_vm_fields_unknown(&v->dbg);
}
