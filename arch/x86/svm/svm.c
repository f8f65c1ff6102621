/* SPDX-License-Identifier: MIT */
/* The SVM backend: can this CPU do it, turning it on and off, and the run function around the world switch. */
#include "arch/x86/svm/svm.h"

#include "arch/lib/fmt.h"
#include "arch/lib/log.h"
#include "arch/lib/string.h"
#include "arch/x86/dbg_switch.h"
#include "arch/x86/def/cpuid.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/hypercall.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/insn.h"
#include "arch/x86/pmem.h"

struct svm_features svm_feat;

/* Per CPU, by cpu.id. */
#define SVM_MAX_CPUS 64
static struct svm_cpu {
	void *host;  /* VMSAVE area with the host's FS, GS, TR, LDTR and SYSCALL MSRs */
	void *hsave; /* VM_HSAVE_PA: the CPU's own, never looked at */
} svm_cpu[SVM_MAX_CPUS];

/* ---- probe ---- */

/* Bits of CPUID 8000_000A EDX: wanted against there. What is only wanted has another way when it is absent. */
static const struct {
	uint32_t bit;
	bool must;
	const char *name;
} svm_wanted[] = {
	{ CPUID_SVM_EDX_NPT, true, "nested paging (NPT)" },
	{ CPUID_SVM_EDX_NRIPS, false, "next-RIP save" },
	{ CPUID_SVM_EDX_VMCB_CLEAN, false, "VMCB clean bits" },
	{ CPUID_SVM_EDX_FLUSH_BY_ASID, false, "flush by ASID" },
	{ CPUID_SVM_EDX_DECODE_ASSISTS, false, "decode assists" },
	{ CPUID_SVM_EDX_LBRV, false, "LBR virtualization" },
};

static bool has_svm(void)
{
	return cpuid(0x80000000, 0).eax >= 0x8000000a && (cpuid(0x80000001, 0).ecx & CPUID_81_ECX_SVM);
}

/* Firmware's veto. A CPU without the MSR (some emulators) has none. With SVMDIS set and not locked, cpu_on clears it. */
static bool locked_off(uint64_t *vm_cr, uint32_t edx, const char *fault)
{
	if (fault && str_eq(fault, "svm-locked"))
		*vm_cr = VM_CR_SVMDIS | VM_CR_LOCK;
	else if (!rdmsr_safe(MSR_VM_CR, vm_cr))
		return false;
	/* The lock bit came together with CPUID's SVML: before it, SVMDIS alone is final. */
	return (*vm_cr & VM_CR_SVMDIS) && ((*vm_cr & VM_CR_LOCK) || !(edx & CPUID_SVM_EDX_SVML));
}

static enum backend_verdict svm_probe(char *reason, size_t size, const char *fault)
{
	struct cpuid_regs ext;
	uint64_t vm_cr = 0;

	if (!has_svm()) {
		fmt_snprintf(reason, size, "SVM: CPU has none (CPUID 8000_0001 ECX bit 2)");
		return BACKEND_ABSENT;
	}
	ext = cpuid(0x8000000a, 0);
	if (locked_off(&vm_cr, ext.edx, fault)) {
		fmt_snprintf(reason, size, "SVM: firmware locked it off: VM_CR=0x%llx", (unsigned long long)vm_cr);
		return BACKEND_LOCKED;
	}
	for (size_t i = 0; i < sizeof(svm_wanted) / sizeof(svm_wanted[0]); i++)
		if (svm_wanted[i].must && !(ext.edx & svm_wanted[i].bit)) {
			fmt_snprintf(reason, size, "SVM: CPU lacks %s", svm_wanted[i].name);
			return BACKEND_LACKS;
		}
	if (ext.ebx < 2) {
		fmt_snprintf(reason, size, "SVM: CPU lacks an address-space ID for guests");
		return BACKEND_LACKS;
	}
	return BACKEND_OK;
}

static void read_features(void)
{
	struct cpuid_regs ext = cpuid(0x8000000a, 0), e1 = cpuid(0x80000001, 0), f1 = cpuid(1, 0);

	svm_feat.edx = ext.edx;
	svm_feat.nr_asids = ext.ebx;
	svm_feat.rdtscp = (e1.edx & CPUID_81_EDX_RDTSCP) != 0;
	svm_feat.dbext32 = (e1.ecx & CPUID_81_ECX_DBEXT32) != 0;
	svm_feat.xsave = (f1.ecx & CPUID_1_ECX_XSAVE) != 0;
	svm_feat.monitor = (f1.ecx & CPUID_1_ECX_MONITOR) != 0;
	svm_feat.clean = ext.edx & CPUID_SVM_EDX_VMCB_CLEAN ? VMCB_CLEAN_ALL : 0;
	svm_feat.flush = ext.edx & CPUID_SVM_EDX_FLUSH_BY_ASID ? VMCB_TLB_FLUSH_ASID : VMCB_TLB_FLUSH_ALL;
}

static void log_features(void)
{
	log_printf("drover: svm: %u ASIDs", svm_feat.nr_asids);
	for (size_t i = 0; i < sizeof(svm_wanted) / sizeof(svm_wanted[0]); i++)
		log_printf(", %s%s", svm_feat.edx & svm_wanted[i].bit ? "" : "no ", svm_wanted[i].name);
	log_printf("\n");
}

/* ---- on and off ---- */

static bool svm_cpu_on(struct cpu *c)
{
	struct svm_cpu *s;
	uint64_t vm_cr;

	if (c->id >= SVM_MAX_CPUS) {
		log_printf("drover: svm: CPU %u is beyond the %u that are supported\n", c->id, SVM_MAX_CPUS);
		return false;
	}
	s = &svm_cpu[c->id];
	read_features();
	svm_quirk_init(c);
	if (!s->host)
		s->host = pmem_alloc(PAGE_SIZE, PAGE_SIZE);
	if (!s->hsave)
		s->hsave = pmem_alloc(PAGE_SIZE, PAGE_SIZE);
	if (!s->host || !s->hsave) {
		log_printf("drover: svm: no memory for the host save areas\n");
		return false;
	}
	if (rdmsr_safe(MSR_VM_CR, &vm_cr) && (vm_cr & VM_CR_SVMDIS))
		wrmsr_safe(MSR_VM_CR, vm_cr & ~VM_CR_SVMDIS);
	if (!wrmsr_safe(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME)) {
		log_printf("drover: svm: setting EFER.SVME faults\n");
		return false;
	}
	wrmsr(MSR_VM_HSAVE_PA, virt_to_phys(s->hsave));
	vmsave(virt_to_phys(s->host));
	log_features();
	return true;
}

static void svm_cpu_off(struct cpu *c)
{
	(void)c;
	wrmsr(MSR_VM_HSAVE_PA, 0);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_SVME);
}

/* ---- a vcpu on a CPU ---- */

static void svm_vcpu_load(struct vcpu *v, struct cpu *c)
{
	struct svm_vcpu *hw = svm_hw(v);

	hw->host_pa = virt_to_phys(svm_cpu[c->id].host);
	hw->vmcb->clean = 0;         /* what this CPU cached of it may be of another time */
	hw->todo |= SVM_TODO_FLUSH;  /* with few ASIDs two VMs may share one */
	if (v->nested)
		svm_nested_loaded(v);
	/* VMRUN loads CR2 from the VMCB, says the APM. Not every L0 does; this way a guest cannot read the CR2 of the one before (H15). */
	write_cr2(hw->vmcb->cr2);
	if (svm_feat.rdtscp)
		wrmsr(MSR_TSC_AUX, v->st.tsc_aux); /* not in the VMCB; the host does not use it. Its MSR is intercepted, RDTSCP and RDPID are not */
}

static void svm_vcpu_put(struct vcpu *v, struct cpu *c)
{
	(void)c;
	svm_hw(v)->vmcb->cr2 = read_cr2(); /* #VMEXIT has stored this value already, and leaves it in the register; see svm_vcpu_load */
}

static void svm_flush(struct vm *vm)
{
	if (vm->vcpu && vm->vcpu->hw)
		svm_hw(vm->vcpu)->todo |= SVM_TODO_FLUSH;
}

_Static_assert(offsetof(struct vcpu, r) == 0 && sizeof(((struct vcpu *)0)->r[0]) == 8, "switch.S: r[i] at i * 8");
_Static_assert(GPR_RAX == 0 && GPR_RCX == 1 && GPR_RDX == 2 && GPR_RBX == 3 && GPR_RSP == 4 && GPR_RBP == 5 && GPR_RSI == 6 && GPR_RDI == 7 &&
		       GPR_R8 == 8 && GPR_R15 == 15, "switch.S: register order");

static void svm_run(struct vcpu *v, struct cpu *c)
{
	struct svm_vcpu *hw = svm_hw(v);
	struct vmcb *b = hw->vmcb;

	if (v->st_dirty | v->dbg.vm_dirty | v->inject.type | hw->todo)
		svm_prepare(v);
	b->rax = v->r[GPR_RAX];
	b->rsp = v->r[GPR_RSP];
	b->rip = v->rip;
	b->rflags = v->rflags;

	/* GIF off: nothing, not even an NMI, gets between the DEBUGCTL writes and the guest (S07). */
	clgi();
	if (dbg_debugctl_zero_before(SVM_DBG_CAPS, &c->dbg, &v->dbg))
		dbg_debugctl_before(&c->dbg);
	svm_switch(v, hw->vmcb_pa, hw->host_pa);
	if (dbg_debugctl_restore_after(&c->dbg, &v->dbg))
		dbg_debugctl_after(&c->dbg);
	stgi();

	v->exit.tsc = rdtsc();
	b->clean = svm_feat.clean;
	b->event_inj = 0; /* it has been delivered, or is in EXITINTINFO */
	v->r[GPR_RAX] = b->rax;
	v->r[GPR_RSP] = b->rsp;
	v->rip = b->rip;
	v->rflags = b->rflags;
	v->st_valid = 0;
	svm_decode(v, c);
}

/* DEBUGCTL and its friends only where VMRUN and #VMEXIT switch them, and only what this CPU was seen to do (dbg_probe.c). Masks need no help. */
static unsigned svm_dbg_given(const struct cpu *c, unsigned feat)
{
	unsigned given = c->dbg.has_masks ? DBG_FEAT_MASKS | (svm_feat.dbext32 ? DBG_FEAT_MASKS32 : 0) : 0;

	if (svm_feat.edx & CPUID_SVM_EDX_LBRV)
		given |= (c->dbg.can & (DBG_FEAT_LBR | DBG_FEAT_BTF)) | (feat & DBG_FEAT_BLD ? DBG_FEAT_BUS_LOCK : 0);
	return given;
}

/* Nested page tables are walked as user-mode accesses: every level needs U. Accessed and dirty are set already, to save the CPU the writes. */
static const struct slat_format svm_slat = {
	.table = 0x27,                /* P, W, U, A */
	.leaf = 0x65,                 /* P, U, A, D; PAT index 0: write-back */
	.write = 0x2,
	.exec = 0,
	.noexec = 0x8000000000000000, /* needs the host's EFER.NXE */
	.large = 0x80,
};

const struct backend svm_backend = {
	.name = "svm",
	.dbg_caps = SVM_DBG_CAPS,
	.dbg_given = svm_dbg_given,
	.lbr = svm_lbr,
	.lbr_state = svm_lbr_state,
	.lbr_record = svm_lbr_record,
	.nested = &svm_nested,
	.guest_feature = HC_FEATURE_SVM,
	.slat = &svm_slat,
	.probe = svm_probe,
	.cpu_on = svm_cpu_on,
	.cpu_off = svm_cpu_off,
	.vm_init = svm_vm_init,
	.vm_destroy = svm_vm_destroy,
	.vcpu_init = svm_vcpu_init,
	.vcpu_destroy = svm_vcpu_destroy,
	.vcpu_load = svm_vcpu_load,
	.vcpu_put = svm_vcpu_put,
	.run = svm_run,
	.fetch = svm_fetch,
	.dbg_now = svm_dbg_now,
	.flush = svm_flush,
	.dump = svm_dump,
	.audit = svm_audit,
};
