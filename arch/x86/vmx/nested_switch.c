/* SPDX-License-Identifier: MIT */
/* Nested VMX: the level switch. It happens between runs, when no debug register is a guest's in hardware: it only changes what the next plan sees. */
#include "arch/lib/string.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/exitcode.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/pmem.h"
#include "arch/x86/quirks.h"
#include "arch/x86/tsc.h"
#include "arch/x86/vmx/nested.h"

void nvmx_use_hw(struct vcpu *v, struct vmx_vcpu *to)
{
	struct vmx_vcpu *from = vmx_hw(v);

	if (from == to)
		return;
	vmx_lbr_save(from);
	memcpy(to->lbr, from->lbr, sizeof(to->lbr)); /* branch records are the CPU's: no level has its own */
	memcpy(to->host_msr, from->host_msr, sizeof(to->host_msr));
	to->host_gdt = from->host_gdt;
	to->host_idt = from->host_idt;
	to->loaded = from->loaded;
	v->hw = to;
	vmx_make_current(to, this_cpu());
	if (to->host_loads != from->host_loads) {
		vmcs_write_host(this_cpu());
		to->host_loads = from->host_loads;
	}
}

/* ---- Debug state ---- */

/* DR0-3 and DR6 are not among it: one set for all levels (N08). The control block that comes now holds other values than the one before. */
static void debug_switch(struct vcpu *v, uint64_t dr7, uint64_t debugctl)
{
	v->dbg.dr7 = dbg_dr7_fix(dr7, v->dbg.feat);
	v->dbg.debugctl = debugctl;
	dbg_settle(&v->dbg);
	dbg_vm_fields_unknown(&v->dbg);
	v->dbg.vm_dr6 = DR6_INIT; /* not used on VMX, as vcpu_reset has it */
}

/* "Load debug controls": vmcs12's; without it the guest hypervisor's stay in force (N03). */
static void debug_enter(struct vcpu *v, const struct nvmx *n)
{
	struct dbg_vcpu probe = v->dbg;

	if (!(V12(n, ENTRY_CTL) & ENTRY_LOAD_DEBUG)) {
		debug_switch(v, v->dbg.dr7, v->dbg.debugctl);
		return;
	}
	/* Checked already; what the CPU model lacks is dropped here as in a WRMSR, and FREEZE_IN_SMM is the host's (N02). */
	dbg_wrmsr_debugctl(&probe, V12(n, GUEST_DEBUGCTL) & ~DEBUGCTL_FREEZE_IN_SMM);
	debug_switch(v, V12(n, GUEST_DR7), probe.debugctl);
}

/* ---- The preemption timer ---- */

/* drover's own limit (vmcs.c): the guest hypervisor's APIC timer comes in time, even where no host interrupt would end its guest. */
static uint64_t own_limit(const struct vcpu *v)
{
	uint64_t limit = tsc_from_us(VMX_TIMER_US), now = rdtsc();

	if (v->apic.expiry != VLAPIC_NEVER && v->apic.expiry < now + limit)
		limit = v->apic.expiry > now ? v->apic.expiry - now : 1;
	return limit >> (vmx_caps.misc & MISC_TIMER_SHIFT);
}

/* vmcs02's timer is that limit and the guest hypervisor's, whichever comes first. */
void nvmx_timer_arm(const struct vcpu *v, struct nvmx *n)
{
	uint64_t own = own_limit(v), t = own;

	if ((V12(n, PIN_CTL) & PIN_TIMER) && (n->timer_left < own || !quirks_auto))
		t = n->timer_left;
	if (nvmx_mtf_ticks(n) < t)
		t = nvmx_mtf_ticks(n);
	n->timer_set = t;
	if (vmx_caps.allowed1[CTL_PIN] & PIN_TIMER)
		vmcs_write(VMCS_PREEMPTION_TIMER, n->kick ? 0 : t);
}

/* ---- In ---- */

/* The event of vmcs12 is like one that an exit has cut short: it goes in without being intercepted, and changes no debug register (N11). */
static void take_event(struct vcpu *v, struct nvmx *n)
{
	static const uint8_t type[8] = { [VMX_TYPE_INTR] = EVENT_INTR, [VMX_TYPE_NMI] = EVENT_NMI, [VMX_TYPE_EXC] = EVENT_FAULT,
					 [VMX_TYPE_SOFT_INT] = EVENT_SOFT_INT, [VMX_TYPE_PRIV_SOFT] = EVENT_PRIV_SOFT,
					 [VMX_TYPE_SOFT_EXC] = EVENT_SOFT_EXC };
	uint32_t info = V12_32(n, ENTRY_INTR_INFO);
	struct event *e = &v->exit.vectoring;

	e->type = EVENT_NONE;
	n->mtf.due = (info & INFO_VALID) && INFO_TYPE(info) == VMX_TYPE_OTHER; /* a pending MTF exit */
	if (!(info & INFO_VALID) || n->mtf.due)
		return;
	vcpu_need(v, VST_CR2);
	*e = (struct event){
		.type = type[INFO_TYPE(info)], .vector = (uint8_t)info, .level = 1, .len = (uint8_t)V12(n, ENTRY_INSN_LEN), .reinjected = true,
		.has_error = (info & INFO_ERROR) != 0, .error = V12_32(n, ENTRY_ERROR_CODE), .cr2 = v->st.cr2, /* a #PF finds CR2 as it is */
	};
}

static uint64_t entry_efer(const struct nvmx *n)
{
	bool ia32e = V12(n, ENTRY_CTL) & ENTRY_IA32E;
	uint64_t both = EFER_LMA | EFER_LME;

	if (V12(n, ENTRY_CTL) & ENTRY_LOAD_EFER)
		return V12(n, GUEST_EFER);
	if (!(V12(n, GUEST_CR0) & CR0_PG))
		return n->l1.efer & ~EFER_LMA;
	return ia32e ? n->l1.efer | both : n->l1.efer & ~both;
}

static void save_l1(struct vcpu *v, struct nvmx *n)
{
	vcpu_need(v, VST_CR | VST_MSR | VST_SHADOW);
	n->l1.rip = v->rip;
	n->l1.rsp = v->r[GPR_RSP];
	n->l1.rflags = v->rflags;
	n->l1.dr7 = v->dbg.dr7;
	n->l1.debugctl = v->dbg.debugctl;
	n->l1.efer = v->st.efer;
	n->l1.pat = v->st.pat;
	n->l1.nmi_blocked = v->st.nmi_blocked;
	if (v->st_dirty)
		vmx_commit(v); /* to vmcs01, which is current */
}

/* Translations: those of another EPTP, or of another VPID, or without VPIDs any, are not this nested guest's. */
static void translations(struct vcpu *v, struct nvmx *n)
{
	uint16_t vpid = n->proc2 & PROC2_VPID ? (uint16_t)V12(n, VPID) : 0;
	uint64_t eptp;

	if (!vpid || vpid != n->vpid)
		n->vm2->flush = true;
	if (!vpid)
		n->hw1->vm->flush = true; /* both ways: an entry and an exit without VPID flush */
	n->vpid = vpid;
	if (nvmx_ept(n))
		nvmx_ept_use(n, V12(n, EPTP));
	eptp = nvmx_ept(n) ? virt_to_phys(demand_root(&n->ept, 0)) | MEMTYPE_WB | 3 << 3 : n->hw1->vm->eptp;
	if (eptp != n->vm2->eptp) /* a flush is of the one in force: one that the shadow's still needs may have gone to the other */
		n->vm2->flush = true;
	n->vm2->eptp = eptp;
	(void)v;
}

void nvmx_to_level1(struct vcpu *v, struct nvmx *n)
{
	translations(v, n);
	nvmx_use_hw(v, n->hw2);
	v->level = 1;
	n->hw2->proc_or = V12_32(n, PROC_CTL) & ~(PROC_IO_BITMAPS | PROC_MSR_BITMAPS | PROC_SECONDARY);
	if (nvmx_mtf_means != MTF_HW)
		n->hw2->proc_or &= ~PROC_MTF;
	nvmx_merge_msr_bitmap(v, n);
	nvmx_merge(v, n);
	v->st_valid = v->st_dirty = 0; /* st was the guest hypervisor's; MSRs that no VMCS has are fetched from the CPU */
}

void nvmx_enter(struct vcpu *v, struct nvmx *n)
{
	uint64_t bad;

	save_l1(v, n);
	nvmx_to_level1(v, n);
	v->st.cr0 = V12(n, GUEST_CR0);
	v->st.cr3 = V12(n, GUEST_CR3);
	v->st.cr4 = V12(n, GUEST_CR4);
	v->st.efer = entry_efer(n);
	vcpu_dirty(v, VST_CR | VST_CTL);
	v->rip = V12(n, GUEST_RIP);
	v->r[GPR_RSP] = V12(n, GUEST_RSP);
	v->rflags = V12(n, GUEST_RFLAGS);
	debug_enter(v, n);
	take_event(v, n);
	n->timer_left = V12(n, PREEMPTION_TIMER);
	n->kick = n->mtf.handled = false;
	n->mtf.state = MTF_OFF;
	nvmx_timer_arm(v, n);
	n->run_pending = true;
	v->event_pending = true;
	v->step.asleep = V12(n, GUEST_ACTIVITY) == 1;
	bad = nvmx_msrs_load(v, V12(n, ENTRY_MSR_LOAD), V12_32(n, ENTRY_MSR_LOAD_COUNT));
	if (bad)
		nvmx_entry_failed(v, n, R_MSR_LOAD, bad);
}

/* ---- Out ---- */

static void save_debug(const struct vcpu *v, struct nvmx *n)
{
	if (!(V12(n, EXIT_CTL) & EXIT_SAVE_DEBUG))
		return; /* N05 */
	V12(n, GUEST_DR7) = v->dbg.dr7;
	V12(n, GUEST_DEBUGCTL) = v->dbg.debugctl;
}

/* A trap #DB that has not been delivered waits in vmcs12's field (N12, N16, N17). A fault does not: General Detect or a code breakpoint comes again
 * with its instruction (N13, N15). */
static void save_pending(const struct vcpu *v, struct nvmx *n)
{
	if (v->exception.type == EVENT_NONE || v->exception.vector != VEC_DB || v->exception.db.cls != DBG_TRAP)
		return;
	V12(n, GUEST_PENDING_DBG) |= dbg_pending_from_payload(v->exception.db.payload);
	n->dirty[N12_GUEST_PENDING_DBG] = true; /* vmcs02 does not have it */
}

/* Under a shadow hardware has noted the hidden TF of a step as BS. The field has to say what the nested guest's own TF does, or the guest hypervisor's next
 * entry is refused (V09). */
static void hide_step(const struct vcpu *v, struct nvmx *n)
{
	if (!v->dbg.soft || !(V12(n, GUEST_INTERRUPTIBILITY) & (INTR_STI | INTR_MOV_SS)))
		return;
	V12(n, GUEST_PENDING_DBG) &= ~PEND_BS;
	if ((v->rflags & RFLAGS_TF) && !(v->dbg.debugctl & DEBUGCTL_BTF))
		V12(n, GUEST_PENDING_DBG) |= PEND_BS;
	n->dirty[N12_GUEST_PENDING_DBG] = true;
}

static void save_guest(struct vcpu *v, struct nvmx *n)
{
	uint32_t ctl = V12_32(n, EXIT_CTL);
	uint64_t entry = V12(n, ENTRY_CTL);

	if (v->st_dirty)
		vmx_commit(v); /* to vmcs02 */
	vcpu_need(v, VST_CR | VST_MSR);
	nvmx_save_copied(n);
	hide_step(v, n);
	V12(n, GUEST_CR0) = v->st.cr0;
	V12(n, GUEST_CR3) = v->st.cr3;
	V12(n, GUEST_CR4) = v->st.cr4;
	V12(n, ENTRY_CTL) = v->st.efer & EFER_LMA ? entry | ENTRY_IA32E : entry & ~(uint64_t)ENTRY_IA32E;
	V12(n, GUEST_RIP) = v->rip;
	V12(n, GUEST_RSP) = v->r[GPR_RSP];
	V12(n, GUEST_RFLAGS) = v->rflags;
	if (ctl & EXIT_SAVE_EFER)
		V12(n, GUEST_EFER) = v->st.efer;
	if (ctl & EXIT_SAVE_PAT)
		V12(n, GUEST_PAT) = v->st.pat;
	if (ctl & EXIT_SAVE_TIMER)
		V12(n, PREEMPTION_TIMER) = n->timer_left;
	save_debug(v, n);
	save_pending(v, n);
}

static void save_info(struct nvmx *n, const struct l1_exit *x)
{
	V12(n, EXIT_REASON) = x->reason;
	V12(n, EXIT_QUALIFICATION) = x->qual;
	V12(n, EXIT_INTR_INFO) = x->intr_info;
	V12(n, EXIT_ERROR_CODE) = x->intr_error;
	V12(n, IDT_VECTORING_INFO) = x->idt_info;
	V12(n, IDT_VECTORING_ERROR) = x->idt_error;
	V12(n, EXIT_INSN_LEN) = x->insn_len;
	V12(n, EXIT_INSN_INFO) = x->insn_info;
	V12(n, GUEST_LINEAR) = x->gla;
	V12(n, GUEST_PA) = x->gpa;
	V12(n, ENTRY_INTR_INFO) &= ~(uint64_t)INFO_VALID;
}

static void load_segments(struct vcpu *v, const struct nvmx *n)
{
	static const uint8_t sel[] = { [SEG_ES] = N12_HOST_ES_SEL, [SEG_CS] = N12_HOST_CS_SEL, [SEG_SS] = N12_HOST_SS_SEL,
				       [SEG_DS] = N12_HOST_DS_SEL, [SEG_FS] = N12_HOST_FS_SEL, [SEG_GS] = N12_HOST_GS_SEL };
	struct seg *s = v->st.seg;

	for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
		s[i] = (struct seg){ .sel = (uint16_t)n->f[sel[i]], .ar = SEG_AR_DATA32, .limit = 0xffffffff };
		if (!s[i].sel)
			s[i].ar = SEG_AR_UNUSABLE;
	}
	s[SEG_CS].ar = SEG_AR_CODE64;
	s[SEG_FS].base = V12(n, HOST_FS_BASE);
	s[SEG_GS].base = V12(n, HOST_GS_BASE);
	s[SEG_LDTR] = (struct seg){ .ar = SEG_AR_UNUSABLE };
	s[SEG_TR] = (struct seg){ .sel = (uint16_t)V12(n, HOST_TR_SEL), .ar = SEG_AR_TSS32_BUSY, .limit = 0x67, .base = V12(n, HOST_TR_BASE) };
	v->st.gdtr.base = V12(n, HOST_GDTR_BASE);
	v->st.idtr.base = V12(n, HOST_IDTR_BASE);
	v->st.gdtr.limit = v->st.idtr.limit = 0xffff;
	v->st.cpl = 0;
}

/* SDM "Loading Host State". vmcs01 is current; what it had of the guest hypervisor is replaced as a whole. */
static void load_host(struct vcpu *v, struct nvmx *n)
{
	uint32_t ctl = V12_32(n, EXIT_CTL);
	struct vcpu_state *st = &v->st;

	st->cr0 = V12(n, HOST_CR0) | CR0_ET;
	st->cr3 = V12(n, HOST_CR3);
	st->cr4 = V12(n, HOST_CR4);
	st->efer = ctl & EXIT_LOAD_EFER ? V12(n, HOST_EFER) : st->efer | EFER_LMA | EFER_LME;
	if (ctl & EXIT_LOAD_PAT)
		st->pat = V12(n, HOST_PAT);
	st->sysenter_cs = V12(n, HOST_SYSENTER_CS);
	st->sysenter_esp = V12(n, HOST_SYSENTER_ESP);
	st->sysenter_eip = V12(n, HOST_SYSENTER_EIP);
	load_segments(v, n);
	st->shadow = SHADOW_NONE;
	st->pending_dbg = 0;
	v->rip = V12(n, HOST_RIP);
	v->r[GPR_RSP] = V12(n, HOST_RSP);
	v->rflags = RFLAGS_BIT1;
	debug_switch(v, DR7_INIT, 0); /* always (N05) */
	vcpu_dirty(v, VST_CR | VST_CS | VST_SEG | VST_DESC | VST_MSR | VST_SHADOW | VST_CTL);
}

static void to_level0(struct vcpu *v, struct nvmx *n)
{
	vcpu_need(v, VST_CR | VST_MSR); /* what the exit does not load goes on */
	nvmx_use_hw(v, n->hw1);
	v->level = 0;
	v->st_valid = VST_CR | VST_MSR;
	v->st_dirty = 0;
	v->exception.type = v->exit.vectoring.type = v->inject.type = EVENT_NONE;
	v->event_pending = true; /* what waits for the guest hypervisor is looked at again */
	n->run_pending = n->kick = n->unmoved = n->mtf.due = false;
	n->mtf.state = MTF_OFF;
	v->held = 0;
	v->step.asleep = false;
}

static void host_msrs(struct vcpu *v, const struct nvmx *n)
{
	uint64_t bad = nvmx_msrs_load(v, V12(n, EXIT_MSR_LOAD), V12_32(n, EXIT_MSR_LOAD_COUNT));

	if (bad)
		vcpu_stop(v, EXIT_TRIPLE, "VMX abort 4: entry %lu of the exit's MSR-load area", bad);
}

void nvmx_leave(struct vcpu *v, struct nvmx *n, const struct l1_exit *x)
{
	bool nmi = x->reason == R_EXCEPTION && INFO_TYPE(x->intr_info) == VMX_TYPE_NMI, blocked = n->l1.nmi_blocked;

	n->launched = true; /* the entry has succeeded */
	save_guest(v, n);
	save_info(n, x);
	if (!(V12(n, PIN_CTL) & PIN_VIRTUAL_NMI))
		blocked = V12(n, GUEST_INTERRUPTIBILITY) & INTR_NMI; /* one blocking for both */
	if (!nvmx_msrs_store(v, V12(n, EXIT_MSR_STORE), V12_32(n, EXIT_MSR_STORE_COUNT)))
		vcpu_stop(v, EXIT_TRIPLE, "VMX abort 1: the exit's MSR-store area");
	to_level0(v, n);
	v->st.nmi_blocked = nmi || blocked;
	load_host(v, n);
	nvmx_shadow_out(v, n);
	host_msrs(v, n);
}

void nvmx_entry_failed(struct vcpu *v, struct nvmx *n, uint32_t reason, uint64_t qual)
{
	V12(n, EXIT_REASON) = reason | EXIT_REASON_ENTRY_FAIL;
	V12(n, EXIT_QUALIFICATION) = qual;
	if (v->level == 0)
		save_l1(v, n);
	to_level0(v, n);
	v->st.nmi_blocked = n->l1.nmi_blocked;
	v->st.efer = n->l1.efer; /* no guest state has taken its place */
	v->st.pat = n->l1.pat;
	load_host(v, n);
	nvmx_shadow_out(v, n);
	host_msrs(v, n);
}

void nvmx_late_vmfail(struct vcpu *v, struct nvmx *n)
{
	to_level0(v, n);
	v->st_valid = 0; /* vmcs01 has it all */
	v->rip = n->l1.rip;
	v->r[GPR_RSP] = n->l1.rsp;
	v->rflags = n->l1.rflags;
	debug_switch(v, n->l1.dr7, n->l1.debugctl); /* N07 */
	vcpu_dirty(v, VST_CTL);
	v->exit.len = n->l1.insn_len;
	nvmx_vmfail(v, n, VMFAIL_CONTROLS);
}
