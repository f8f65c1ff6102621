/* SPDX-License-Identifier: MIT */
/* The PVM backend: no hardware help. Any x86-64 CPU can run it; the run function leaves by IRETQ to ring 3 and comes back by a trap. */
#include "arch/x86/pvm/pvm.h"

#include "arch/lib/log.h"
#include "arch/lib/string.h"
#include "arch/x86/dbg_hw.h"
#include "arch/x86/dbg_switch.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/exitcode.h"
#include "arch/x86/def/hypercall.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/insn.h"
#include "arch/x86/pvm/area.h"
#include "arch/x86/pvm/emul.h"
#include "arch/x86/pvm/exit.h"
#include "arch/x86/pvm/space.h"
#include "arch/x86/traps.h"
#include "vmm/cpuid.h"

#define PVM_DBG_CAPS DBG_CAP_RING3

/* RFLAGS that are virtual: hardware has IF=1 and IOPL=0, whatever the guest thinks. VIF and VIP: POPF cannot set them. */
#define VIRTUAL_FLAGS (RFLAGS_IF | RFLAGS_IOPL | RFLAGS_VM | RFLAGS_VIF_VIP)

extern const uint8_t pvm_syscall64[], pvm_syscall32[], pvm_stubs[], pvm_text_end[]; /* switch.S */

static struct {
	uint64_t cr0, cr4, efer;      /* the host's; cr4 without PGE: the guest's addresses are the direct map's too, and a global entry would stay */
	uint64_t now_cr4, now_efer;   /* what the registers have: the guest's TSD and SCE are left there */
	bool cpuid_faults, cpuid_amd;
} host;

/* ---- probe, on and off ---- */

static enum backend_verdict pvm_probe(char *reason, size_t size, const char *fault)
{
	(void)reason;
	(void)size;
	(void)fault;
	return BACKEND_OK;
}

#define MSR_PLATFORM_INFO 0xce
#define PLATFORM_CPUID_FAULTING (1ull << 31)
#define MSR_MISC_FEATURES 0x140
#define MISC_CPUID_FAULTING 1ull
#define X21_EAX_CPUID_USER_DIS (1u << 17)
#define HWCR_CPUID_USER_DIS (1ull << 35)

static void cpuid_faulting(bool on)
{
	uint64_t v;

	if (host.cpuid_amd && rdmsr_safe(MSR_HWCR, &v))
		wrmsr_safe(MSR_HWCR, on ? v | HWCR_CPUID_USER_DIS : v & ~HWCR_CPUID_USER_DIS);
	else if (host.cpuid_faults && rdmsr_safe(MSR_MISC_FEATURES, &v))
		wrmsr_safe(MSR_MISC_FEATURES, on ? v | MISC_CPUID_FAULTING : v & ~MISC_CPUID_FAULTING);
}

static void find_cpuid_faulting(void)
{
	uint64_t v;

	host.cpuid_amd = cpuid(0x80000000, 0).eax >= 0x80000021 && (cpuid(0x80000021, 0).eax & X21_EAX_CPUID_USER_DIS);
	host.cpuid_faults = host.cpuid_amd || (rdmsr_safe(MSR_PLATFORM_INFO, &v) && (v & PLATFORM_CPUID_FAULTING));
}

static bool pvm_cpu_on(struct cpu *c)
{
	if (!pvm_space_init(c))
		return false;
	host.cr0 = read_cr0();
	host.cr4 = host.now_cr4 = read_cr4() & ~CR4_PGE;
	host.efer = host.now_efer = rdmsr(MSR_EFER) & ~EFER_SCE;
	write_cr4(host.cr4);
	lldt(0);
	wrmsr(MSR_EFER, host.efer);
	wrmsr(MSR_STAR, (uint64_t)PVM_KCODE << 32);
	wrmsr(MSR_LSTAR, (uint64_t)(uintptr_t)pvm_syscall64);
	wrmsr(MSR_CSTAR, (uint64_t)(uintptr_t)pvm_syscall32);
	wrmsr(MSR_SFMASK, ~RFLAGS_BIT1 & 0xffffffff);
	wrmsr_safe(MSR_SYSENTER_CS, 0); /* #GP */
	pvm_quirk_init(c);
	find_cpuid_faulting();
	cpuid_faulting(true);
	log_printf("drover: pvm: guests run in ring 3, %s\n",
		   host.cpuid_faults ? "CPUID faults there" : "CPUID there is the hardware's own (only the paravirtual one is drover's)");
	return true;
}

static void pvm_cpu_off(struct cpu *c)
{
	(void)c;
	cpuid_faulting(false);
	wrmsr(MSR_EFER, host.efer);
	write_cr4(host.cr4 | CR4_PGE);
	pvm_space_done();
}

/* ---- A vcpu on the CPU ---- */

static void pvm_vcpu_load(struct vcpu *v, struct cpu *c)
{
	(void)c;
	pvm_space_use(pvm_hw(v));
	if (cpuid_tsc_aux())
		wrmsr(MSR_TSC_AUX, v->st.tsc_aux);
}

static void pvm_vcpu_put(struct vcpu *v, struct cpu *c)
{
	(void)v;
	(void)c;
}

static void pvm_flush(struct vm *vm)
{
	if (vm->vcpu && vm->vcpu->hw)
		pvm_mmu_flush(vm->vcpu);
}

/* ---- The run function ---- */

/* What there is to do before an entry. False: no entry, v->exit says why. */
static bool prepare(struct vcpu *v)
{
	bool delivered = v->inject.type != EVENT_NONE;

	if (!(v->st.efer & EFER_LMA)) {
		vcpu_stop(v, EXIT_UNHANDLED, "left long mode, which PVM has not, rip=0x%lx", v->rip);
		return false;
	}
	if (delivered && !pvm_deliver(v))
		return false;
	if (v->exception.type != EVENT_NONE)
		return false; /* delivered, and something more is due before the handler's first instruction */
	if (delivered && !v->st.shadow && ((v->want_intr_window && (v->rflags & RFLAGS_IF)) || (v->want_nmi_window && !v->st.nmi_blocked))) {
		v->exit.kind = EXITK_INTR_WINDOW; /* it comes at the handler's first instruction */
		return false;
	}
	if (v->dbg.vm_dr7 >> 32) { /* no guest can have it so (A03); MOV DR7 would fault in the host */
		v->exit.kind = EXITK_ENTRY_FAIL;
		v->exit.u.fail.code = v->dbg.vm_dr7;
		return false;
	}
	if (!is_canonical(v->rip) || (!vcpu_long64(v) && v->rip > v->st.seg[SEG_CS].limit)) { /* IRETQ would fault in the host */
		vcpu_raise(v, VEC_GP, true, 0);
		return false;
	}
	return true;
}

static bool no_entry(struct vcpu *v)
{
	v->exit.kind = EXITK_NONE;
	v->exit.len = 0;
	v->exit.hw_reason = 0;
	v->exit.dr6 = DR6_INIT;
	v->exit.vectoring.type = EVENT_NONE;
	if (prepare(v))
		return false;
	v->exit.tsc = rdtsc();
	pvm_hw(v)->live_shadow = v->st.shadow != SHADOW_NONE;
	return true;
}

/* All that an entry needs, in the one place that both address spaces have. */
static void fill_area(struct vcpu *v, uint64_t rflags)
{
	struct pvm_vcpu *hw = pvm_hw(v);
	enum pvm_view view = v->st.cpl == 3 ? PVM_USER : PVM_KERNEL;
	struct pvm_area *a = &pvm_area;

	memcpy(a->r, v->r, sizeof(a->r));
	a->frame.rip = v->rip;
	a->frame.cs = hw->cs;
	a->frame.rflags = (rflags & ~VIRTUAL_FLAGS) | RFLAGS_IF | RFLAGS_BIT1;
	a->frame.rsp = v->r[GPR_RSP];
	a->frame.ss = hw->ss;
	a->entry_rsp = hw->stack16 ? pvm_space_stack16(v->r[GPR_RSP]) : (uint64_t)(uintptr_t)&a->frame;
	a->ds = hw->ds;
	a->es = hw->es;
	a->fs = hw->fs;
	a->gs = hw->gs;
	a->fs_base = hw->fs_base;
	a->gs_base = hw->gs_base;
	a->cr3 = pvm_mmu_root(v, view);
	a->gdtr = (struct desc_ptr){ PVM_GDT_BYTES - 1, PVM_GDT_VA + view * PVM_GDT_BYTES };
}

/* Is the instruction at RIP a string instruction with REP? */
static bool at_rep(struct vcpu *v)
{
	bool rep = false;
	unsigned n;
	const uint8_t *p = pvm_code(v, &n);

	for (unsigned i = 0; p && i < n; i++) {
		if (p[i] == 0xf2 || p[i] == 0xf3)
			rep = true;
		else if (p[i] != 0x66 && p[i] != 0x67 && p[i] != 0x2e && p[i] != 0x36 && p[i] != 0x3e && p[i] != 0x26 && (p[i] & 0xfe) != 0x64 && (p[i] & 0xf0) != 0x40)
			return rep && ((p[i] & 0xfc) == 0x6c || (p[i] & 0xf4) == 0xa4 || (p[i] & 0xfe) == 0xaa);
	}
	return false;
}

/* Hardware's image of a fault has RF set, whatever the guest had; what drover carries out is no fault to the guest, and what is one gets RF from event.c.
 * That of an interrupt has it between the iterations of REP only, says the SDM; QEMU sets it always, and the guest would miss a breakpoint at RIP. */
static void take_rf(struct vcpu *v)
{
	static const uint32_t faults = 1u << VEC_UD | 1u << VEC_NP | 1u << VEC_SS | 1u << VEC_GP | 1u << VEC_PF;
	struct pvm_vcpu *hw = pvm_hw(v);
	bool same = v->rip == hw->entry_rip, fault = hw->trap_vector < 32 && (faults >> hw->trap_vector & 1);

	if (fault || (same && hw->again) || (hw->trap_vector >= 32 && (v->rflags & RFLAGS_RF) && !at_rep(v)))
		v->rflags = (v->rflags & ~RFLAGS_RF) | (same ? hw->entry_rflags & RFLAGS_RF : 0);
	hw->again = hw->again && same && hw->trap_vector >= 32 && hw->trap_vector < PVM_TRAP_SYSCALL; /* an interrupt came before it ran */
}

static void take_area(struct vcpu *v)
{
	struct pvm_vcpu *hw = pvm_hw(v);
	const struct pvm_area *a = &pvm_area;
	bool syscall = a->vector >= PVM_TRAP_SYSCALL;

	memcpy(v->r, a->r, sizeof(a->r));
	v->r[GPR_RSP] = a->rsp;
	v->rip = a->rip;
	v->rflags = (a->rflags & ~VIRTUAL_FLAGS) | (v->rflags & VIRTUAL_FLAGS);
	hw->trap_vector = a->vector;
	hw->trap_error = a->error;
	hw->ds = a->ds;
	hw->es = a->es;
	hw->fs = a->fs;
	hw->gs = a->gs;
	hw->fs_base = a->fs_base;
	hw->gs_base = a->gs_base;
	v->st_valid = VST_ALL & ~(uint32_t)VST_SEG;
	if (!syscall && ((uint16_t)a->cs != hw->cs || (uint16_t)a->ss != hw->ss)) {
		pvm_cs_from_hw(v, (uint16_t)a->cs, (uint16_t)a->ss);
		hw->cs = (uint16_t)a->cs;
		hw->ss = (uint16_t)a->ss;
	}
	if (hw->stack16 && (syscall ? a->vector == PVM_TRAP_SYSCALL32 : !vcpu_long64(v)))
		v->r[GPR_RSP] &= 0xffffffff; /* bits 63:32 are our frame's, and no part of ESP */
	take_rf(v);
}

/* What the guest's CR0, CR4 and EFER have to do with ring 3; MP (of WAIT) only with TS or EM. They must not stay: the host saves the FPU. Returns whether CR0 has to
 * go back. */
static bool guest_controls(const struct vcpu *v, bool syscalls)
{
	bool user = v->st.cpl == 3;
	uint64_t cr0 = host.cr0 | (v->st.cr0 & (CR0_TS | CR0_EM)) | (user ? v->st.cr0 & CR0_AM : 0);
	uint64_t cr4 = host.cr4 | (user ? v->st.cr4 & CR4_TSD : 0), efer = host.efer | (syscalls ? v->st.efer & EFER_SCE : 0);

	/* SYSCALL comes with the guest's RSP, so that a #DB in its wake needs a stack of its own; two #DBs need one below the other. */
	pvm_area.idt[VEC_DB].ist = efer & EFER_SCE ? IST_DB : IST_NONE;
	if (cr0 & (CR0_TS | CR0_EM))
		cr0 = (cr0 & ~CR0_MP) | (v->st.cr0 & CR0_MP);
	if (cr4 != host.now_cr4)
		write_cr4(host.now_cr4 = cr4);
	if (efer != host.now_efer)
		wrmsr(MSR_EFER, host.now_efer = efer);
	if (cr0 == host.cr0)
		return false;
	write_cr0(cr0);
	return true;
}

static void pvm_run(struct vcpu *v, struct cpu *c)
{
	struct pvm_vcpu *hw = pvm_hw(v);
	uint64_t dr6 = DR6_INIT, rflags, dr7;
	bool shadow, cr0;

	if (no_entry(v))
		return;
	shadow = v->st.shadow != SHADOW_NONE;
	if (v->st_dirty | v->dbg.vm_dirty)
		pvm_commit(v);
	hw->again = hw->again && v->rip == hw->entry_rip;
	hw->entry_rip = v->rip;
	hw->entry_rflags = rflags = v->rflags;
	if (hw->again)
		rflags |= RFLAGS_RF;
	if (shadow)
		rflags |= pvm_shadow_enter(v);
	fill_area(v, rflags);
	dr7 = v->dbg.vm_dr7;
	/* Without EFER.SCE SYSCALL is #UD, and emulated. Where a MOV SS before it holds a #DB back, that is lost, as with any fault. */
	cr0 = guest_controls(v, !pvm_quirk_db_twice || !(dbg_armed(dr7) || (rflags & RFLAGS_TF)));

	/* From here to the write of DR7 behind the exit nothing of the direct map: the guest may watch these addresses as its own (P06). */
	if (dbg_debugctl_zero_before(PVM_DBG_CAPS, &c->dbg, &v->dbg))
		dbg_debugctl_before(&c->dbg);
	if (dbg_armed(dr7))
		hw_write_dr(&c->dbg, 7, dr7);
	pvm_switch();
	if (dbg_armed(dr7))
		hw_write_dr(&c->dbg, 7, DR7_INIT);
	if (dbg_debugctl_restore_after(&c->dbg, &v->dbg))
		dbg_debugctl_after(&c->dbg);

	if (pvm_area.vector == VEC_DB) {
		dr6 = hw_read_dr(&c->dbg, 6);
		if (dbg_dr6_needs_reset(dr6))
			hw_write_dr(&c->dbg, 6, DR6_INIT);
	} else if (pvm_area.vector == VEC_PF) {
		hw->trap_cr2 = read_cr2();
	}
	if (cr0)
		write_cr0(host.cr0);
	v->exit.tsc = rdtsc();
	take_area(v);
	hw->host_db = pvm_area.inside_db; /* of this exit, or nobody's: a fault drops what MOV SS held */
	pvm_area.inside_db = 0;
	pvm_decode(v, dr6);
	if (shadow)
		pvm_shadow_leave(v);
	hw->live_shadow = v->st.shadow != SHADOW_NONE;
}

/* In the middle of the switcher, with either address space's page tables a moment ago. A #DB can only be what a MOV SS of the guest's held back over its INT3
 * or SYSCALL (P15, XSA-260): noted, off, and on; everything else is a bug, or an NMI, for which the host has no handler. */
void pvm_inside(struct trapframe *tf)
{
	struct dbg_cpu *d = &this_cpu()->dbg;

	uint64_t offset = tf->rip - (uint64_t)(uintptr_t)pvm_stubs, way_in = tf->rip - (uint64_t)(uintptr_t)pvm_switch;

	if ((tf->vector == VEC_GP || tf->vector == VEC_NP || tf->vector == VEC_SS) && way_in < (uint64_t)(uintptr_t)pvm_syscall32 - (uint64_t)(uintptr_t)pvm_switch) {
		/* What prepare() should have seen: a segment or IRETQ did not load. The VM ends, not the host. */
		tf->vector = PVM_TRAP_LOST;
		tf->cs |= 3;
		return;
	}
	if (tf->vector != VEC_DB || offset >= (uint64_t)(pvm_text_end - pvm_stubs)) {
		tf->cs = GDT_KCODE;
		trap_handle(tf);
		return;
	}
	hw_write_dr(d, 7, DR7_INIT);
	pvm_area.inside_db |= dbg_payload_from_dr6(hw_read_dr(d, 6));
	hw_write_dr(d, 6, DR6_INIT);
	tf->rflags &= ~RFLAGS_TF;
	if (offset == VEC_DB * PVM_STUB_SIZE && pvm_area.idt[VEC_DB].ist != IST_NONE) {
		/* No CPU should: a second #DB at the first one's handler. Its frame lies on the first one's, and there is no way back to the guest. */
		tf->vector = PVM_TRAP_LOST;
		tf->cs |= 3;
	}
}

static void pvm_exit_ring(struct vcpu *v)
{
	if (pvm_hw(v)->trap_vector == PVM_TRAP_SOFT)
		pvm_soft_int(v, (uint8_t)pvm_hw(v)->trap_error, 0, false);
	else if (pvm_hw(v)->trap_vector >= PVM_TRAP_SYSCALL)
		pvm_syscall(v);
	else
		pvm_emulate(v);
}

/* ---- The rest ---- */

/* DEBUGCTL acts on the host and the guest alike, and masks widen breakpoints into the host's range: none is given (P10). */
static unsigned pvm_dbg_given(const struct cpu *c, unsigned feat)
{
	(void)c;
	(void)feat;
	return 0;
}

/* There is no control block: DR7 is what the bracket in pvm_run() writes. */
static void pvm_dbg_now(const struct vcpu *v, struct dbg_now *now)
{
	*now = (struct dbg_now){ 0, v->dbg.vm_dr7, 0 };
}

const struct backend pvm_backend = {
	.name = "pvm",
	.dbg_caps = PVM_DBG_CAPS,
	.dbg_given = pvm_dbg_given,
	.guest_feature = HC_FEATURE_PVM,
	.ring3 = PVM_DBG_CAPS & DBG_CAP_RING3,
	.dbg_now = pvm_dbg_now,
	.probe = pvm_probe,
	.cpu_on = pvm_cpu_on,
	.cpu_off = pvm_cpu_off,
	.vm_init = pvm_vm_init,
	.vm_destroy = pvm_vm_destroy,
	.vcpu_init = pvm_vcpu_init,
	.vcpu_destroy = pvm_vcpu_destroy,
	.vcpu_load = pvm_vcpu_load,
	.vcpu_put = pvm_vcpu_put,
	.run = pvm_run,
	.emulate = pvm_exit_ring,
	.fetch = pvm_fetch,
	.flush = pvm_flush,
	.dump = pvm_dump,
	.audit = pvm_audit,
};
