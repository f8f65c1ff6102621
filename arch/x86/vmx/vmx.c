/* SPDX-License-Identifier: MIT */
/* The VMX backend: what it needs of a CPU, turning it on and off, VMs and vcpus, and one entry and exit. */
#include "arch/x86/vmx/vmx.h"

#include "arch/lib/fmt.h"
#include "arch/lib/log.h"
#include "arch/lib/panic.h"
#include "arch/lib/string.h"
#include "arch/x86/dbg_switch.h"
#include "arch/x86/def/cpuid.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/hypercall.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/pmem.h"
#include "arch/x86/vmx/internal.h"

#define CAPS (DBG_CAP_VM_DR7 | DBG_CAP_VM_DEBUGCTL | DBG_CAP_EXIT_ZEROES_DEBUGCTL | DBG_CAP_PENDING)

struct vmx_caps vmx_caps;
static struct vmx_cpu cpus[1]; /* one CPU runs guests for now */

static struct vmx_cpu *vmx_cpu(const struct cpu *c)
{
	(void)c;
	return &cpus[0];
}

/* ---- Probe ---- */

/* fault=vtx-locked: as if firmware had locked VT-x off. */
static bool read_feature_control(uint64_t *v, const char *fault)
{
	if (fault && str_eq(fault, "vtx-locked")) {
		*v = FEATURE_CONTROL_LOCK;
		return true;
	}
	return rdmsr_safe(MSR_FEATURE_CONTROL, v);
}

static bool ept_ok(struct vmx_caps *c, char *reason, size_t size)
{
	static const struct {
		uint64_t bits;
		const char *name;
	} need[] = {
		{ EPTCAP_WALK4, "4-level EPT" }, { EPTCAP_WB, "write-back EPT" }, { EPTCAP_2M, "2 MiB EPT pages" },
		{ EPTCAP_INVEPT, "INVEPT" }, { EPTCAP_INVEPT_ALL, "INVEPT of all contexts" },
	};

	if (!rdmsr_safe(MSR_VMX_EPT_VPID_CAP, &c->ept_vpid))
		c->ept_vpid = 0;
	for (size_t i = 0; i < sizeof(need) / sizeof(need[0]); i++)
		if (!(c->ept_vpid & need[i].bits)) {
			fmt_snprintf(reason, size, "VMX: CPU lacks %s", need[i].name);
			return false;
		}
	/* A CPU with VPID but no way to flush one of them: better none. */
	if (!(c->ept_vpid & EPTCAP_INVVPID) || !(c->ept_vpid & EPTCAP_INVVPID_ALL))
		c->base[CTL_PROC2] &= ~PROC2_VPID;
	return true;
}

static enum backend_verdict vmx_probe(char *reason, size_t size, const char *fault)
{
	uint64_t fc = 0;
	struct vmx_caps caps = { 0 };

	if (!(cpuid(1, 0).ecx & CPUID_1_ECX_VMX)) {
		fmt_snprintf(reason, size, "VMX: CPU lacks VMX");
		return BACKEND_ABSENT;
	}
	if (!read_feature_control(&fc, fault)) {
		fmt_snprintf(reason, size, "VMX: IA32_FEATURE_CONTROL cannot be read");
		return BACKEND_LACKS;
	}
	if ((fc & FEATURE_CONTROL_LOCK) && !(fc & FEATURE_CONTROL_VMX)) {
		fmt_snprintf(reason, size, "VMX: firmware locked VT-x off: IA32_FEATURE_CONTROL=0x%llx", (unsigned long long)fc);
		return BACKEND_LOCKED;
	}
	if (!vmx_ctl_init(&caps, reason, size) || !ept_ok(&caps, reason, size))
		return BACKEND_LACKS;
	if (BASIC_SIZE(caps.basic) > PAGE_SIZE || BASIC_MEMTYPE(caps.basic) != MEMTYPE_WB) {
		fmt_snprintf(reason, size, "VMX: VMCS of %u bytes, memory type %u, is not supported", BASIC_SIZE(caps.basic),
			     BASIC_MEMTYPE(caps.basic));
		return BACKEND_LACKS;
	}
	vmx_caps = caps;
	vmx_lbr_init();
	return BACKEND_OK;
}

/* ---- On and off ---- */

/* A VMXON or VMCS region: one page that starts with the revision. */
static void *alloc_region(void)
{
	uint32_t *p = pmem_alloc(PAGE_SIZE, PAGE_SIZE);

	if (p)
		*p = (uint32_t)(vmx_caps.basic & BASIC_REVISION);
	return p;
}

static bool unlock_feature_control(void)
{
	uint64_t fc = rdmsr(MSR_FEATURE_CONTROL);

	if (fc & FEATURE_CONTROL_LOCK)
		return true;
	log_printf("drover: VMX: IA32_FEATURE_CONTROL=0x%llx was not locked: VMX turned on and locked\n", (unsigned long long)fc);
	return wrmsr_safe(MSR_FEATURE_CONTROL, fc | FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX);
}

static bool vmx_cpu_on(struct cpu *c)
{
	struct vmx_cpu *p = vmx_cpu(c);

	if (!unlock_feature_control()) {
		log_printf("drover: VMX: IA32_FEATURE_CONTROL cannot be written\n");
		return false;
	}
	p->vmxon_region = alloc_region();
	if (!p->vmxon_region) {
		log_printf("drover: VMX: out of memory for the VMXON region\n");
		return false;
	}
	write_cr0((read_cr0() | vmx_caps.cr0_fixed0) & vmx_caps.cr0_fixed1);
	write_cr4((read_cr4() | vmx_caps.cr4_fixed0 | CR4_VMXE) & vmx_caps.cr4_fixed1);
	if (!vmxon(virt_to_phys(p->vmxon_region))) {
		log_printf("drover: VMX: VMXON failed\n");
		write_cr4(read_cr4() & ~CR4_VMXE);
		pmem_free(p->vmxon_region, PAGE_SIZE);
		return false;
	}
	p->current = NULL;
	c->dbg.lbr_wanted = vmx_lbr_wanted;
	invept(INV_ALL, 0);
	if (vmx_caps.base[CTL_PROC2] & PROC2_VPID)
		invvpid(INV_ALL, 0);
	return true;
}

static void vmx_cpu_off(struct cpu *c)
{
	struct vmx_cpu *p = vmx_cpu(c);

	if (p->current)
		vmclear(p->current->vmcs_pa);
	p->current = NULL;
	c->dbg.lbr_wanted = NULL;
	vmxoff();
	write_cr4(read_cr4() & ~CR4_VMXE);
	pmem_free(p->vmxon_region, PAGE_SIZE);
	p->vmxon_region = NULL;
}

/* ---- VMs ---- */

/* Read bits of MSRs 0-0x1fff, then of 0xc0000000 on, then the same for writes; 1 = exit. */
static void bitmap_open(uint8_t *map, uint32_t msr, bool rd, bool wr)
{
	uint32_t i = msr & 0x1fff, at = (msr >= 0xc0000000 ? 1024 : 0) + i / 8;
	uint8_t keep = (uint8_t)~(1u << i % 8);

	if (rd)
		map[at] &= keep;
	if (wr)
		map[2048 + at] &= keep;
}

/* What a guest hypervisor's bitmap is merged into; the rest of drover's is ones whatever it says (nested_merge.c). */
static void note_open_words(struct vmx_vm *p)
{
	const uint64_t *w = (const uint64_t *)(const void *)p->msr_bitmap;

	for (unsigned i = 0; i < PAGE_SIZE / 8 && p->nr_open < sizeof(p->open) / sizeof(p->open[0]); i++)
		if (w[i] != ~0ull || i == MSR_DEBUGCTL / 64) /* the lab opens that for a while */
			p->open[p->nr_open++] = (uint16_t)i;
}

static void bitmap_init(uint8_t *map)
{
	static const uint32_t both[] = { MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE, MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SFMASK,
					 MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP };
	static const uint32_t read_only[] = { MSR_EFER, MSR_PAT, MSR_TSC };

	memset(map, 0xff, PAGE_SIZE);
	for (size_t i = 0; i < sizeof(both) / sizeof(both[0]); i++)
		bitmap_open(map, both[i], true, true);
	for (size_t i = 0; i < sizeof(read_only) / sizeof(read_only[0]); i++)
		bitmap_open(map, read_only[i], true, false);
	if (vmx_caps.tsc_aux)
		bitmap_open(map, MSR_TSC_AUX, true, true);
}

static bool vmx_vm_init(struct vm *vm)
{
	struct vmx_vm *p = pmem_alloc(sizeof(*p), PAGE_SIZE);

	if (!p)
		return false;
	p->msr_bitmap = pmem_alloc(PAGE_SIZE, PAGE_SIZE);
	if (!p->msr_bitmap) {
		pmem_free(p, sizeof(*p));
		return false;
	}
	bitmap_init(p->msr_bitmap);
	note_open_words(p);
	p->eptp = vm->slat_root | MEMTYPE_WB | 3 << 3; /* page-walk length - 1; no accessed/dirty bits */
	p->vpid = (uint16_t)(vm->id + 1);              /* 0 is the host's */
	p->flush = true;                               /* an earlier VM may have had this root or this VPID */
	vm->hw = p;
	return true;
}

static void vmx_vm_destroy(struct vm *vm)
{
	struct vmx_vm *p = vm->hw;

	if (!p)
		return;
	pmem_free(p->msr_bitmap, PAGE_SIZE);
	pmem_free(p, sizeof(*p));
	vm->hw = NULL;
}

static void vmx_flush(struct vm *vm)
{
	((struct vmx_vm *)vm->hw)->flush = true;
	if (vm->vcpu->level)
		vmx_hw(vm->vcpu)->vm->flush = true; /* its own guest's translations are others */
}

static void flush_now(struct vmx_vm *p)
{
	bool single = vmx_caps.ept_vpid & EPTCAP_INVEPT_SINGLE;

	p->flush = false;
	invept(single ? INV_SINGLE : INV_ALL, p->eptp); /* with EPT the entries of every VPID go with it: no INVVPID */
}

/* ---- Vcpus ---- */

void vmx_make_current(struct vmx_vcpu *hw, struct cpu *c)
{
	struct vmx_cpu *p = vmx_cpu(c);

	if (p->current == hw)
		return;
	if (!vmptrld(hw->vmcs_pa))
		panic("VMPTRLD of 0x%llx failed", (unsigned long long)hw->vmcs_pa);
	p->current = hw;
}

bool vmx_vmcs_create(struct vmx_vcpu *hw, bool bus_lock_exit)
{
	hw->vmcs = alloc_region();
	if (!hw->vmcs)
		return false;
	hw->vmcs_pa = virt_to_phys(hw->vmcs);
	if (!vmclear(hw->vmcs_pa))
		panic("VMCLEAR of a fresh VMCS failed");
	vmx_make_current(hw, this_cpu());
	vmcs_init(hw, bus_lock_exit);
	return true;
}

void vmx_vmcs_destroy(struct vmx_vcpu *hw)
{
	struct vmx_cpu *p = vmx_cpu(this_cpu());

	if (!hw->vmcs)
		return;
	vmclear(hw->vmcs_pa); /* the CPU may hold parts of it: it must not write to the page later */
	if (p->current == hw)
		p->current = NULL;
	pmem_free(hw->vmcs, PAGE_SIZE);
	hw->vmcs = NULL;
}

static bool vmx_vcpu_init(struct vcpu *v)
{
	struct vmx_vcpu *hw = pmem_alloc(sizeof(*hw), PAGE_SIZE);

	if (!hw)
		return false;
	hw->vm = v->vm->hw;
	if (!vmx_vmcs_create(hw, v->vm->bus_lock_exit)) {
		pmem_free(hw, sizeof(*hw));
		return false;
	}
	v->hw = hw;
	return true;
}

static void vmx_vcpu_destroy(struct vcpu *v)
{
	struct vmx_vcpu *hw = vmx_hw(v);

	if (!hw)
		return;
	vmx_vmcs_destroy(hw);
	pmem_free(hw, sizeof(*hw));
	v->hw = NULL;
}

/* Between put and load, v->st has the swapped MSRs and CR2. */
static void vmx_vcpu_load(struct vcpu *v, struct cpu *c)
{
	struct vmx_vcpu *hw = vmx_hw(v);

	vmx_make_current(hw, c);
	sgdt(&hw->host_gdt);
	sidt(&hw->host_idt);
	vmcs_write_host(c);
	hw->host_loads++;
	vmx_msrs_swap_in(v);
	write_cr2(v->st.cr2);
	hw->loaded = true;
}

static void vmx_vcpu_put(struct vcpu *v, struct cpu *c)
{
	struct vmx_vcpu *hw = vmx_hw(v);
	uint32_t stale = (VST_MSR | VST_CR2) & ~v->st_valid;

	(void)c;
	vmx_lbr_save(hw);
	vmx_fetch(v, stale);
	v->st_valid |= stale;
	hw->loaded = false;
	vmx_msrs_swap_out(v);
	lgdt(&hw->host_gdt); /* exits leave both limits at 0xffff, whatever they were */
	lidt(&hw->host_idt);
}

/* ---- Entry and exit ---- */

static void inject(struct vcpu *v)
{
	static const uint8_t type[] = { [EVENT_INTR] = VMX_TYPE_INTR, [EVENT_NMI] = VMX_TYPE_NMI, [EVENT_FAULT] = VMX_TYPE_EXC,
					[EVENT_SOFT_INT] = VMX_TYPE_SOFT_INT, [EVENT_PRIV_SOFT] = VMX_TYPE_PRIV_SOFT,
					[EVENT_SOFT_EXC] = VMX_TYPE_SOFT_EXC };
	const struct event *ev = &v->inject;
	uint32_t info = ev->vector | (uint32_t)type[ev->type] << 8 | INFO_VALID;

	if (ev->has_error && (vmcs_read(VMCS_GUEST_CR0) & CR0_PE)) { /* real mode pushes none, and the entry check insists */
		info |= INFO_ERROR;
		vmcs_write(VMCS_ENTRY_ERROR_CODE, ev->error);
	}
	if (ev->type >= EVENT_SOFT_INT)
		vmcs_write(VMCS_ENTRY_INSN_LEN, ev->len);
	if (ev->type == EVENT_NMI) /* delivery blocks NMIs; at the entry they must not be, which matters for one that is injected again */
		vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, vmcs_read(VMCS_GUEST_INTERRUPTIBILITY) & ~INTR_NMI);
	if (ev->type == EVENT_FAULT && ev->vector == VEC_PF)
		write_cr2(ev->cr2);
	vmcs_write(VMCS_ENTRY_INTR_INFO, info);
	v->inject.type = EVENT_NONE;
	if (v->level)
		nvmx_mtf_injected(v);
	vmx_sync_pending_bs(v); /* rule V10: the check comes first, although the delivery will drop the pending bits */
}

static void write_registers(struct vcpu *v, struct vmx_vcpu *hw)
{
	if (v->rip != hw->rip)
		vmcs_write(VMCS_GUEST_RIP, v->rip);
	if (v->r[GPR_RSP] != hw->rsp)
		vmcs_write(VMCS_GUEST_RSP, v->r[GPR_RSP]);
	if (v->rflags != hw->rflags)
		vmcs_write(VMCS_GUEST_RFLAGS, v->rflags);
	if (((v->rflags ^ hw->rflags) & RFLAGS_TF) || v->step.on) /* a step after a step: TF is the same, and a guest hypervisor may have written the field */
		vmx_sync_pending_bs(v);
}

static void vmx_run(struct vcpu *v, struct cpu *c)
{
	struct vmx_vcpu *hw = vmx_hw(v);
	unsigned fail;

	vmx_make_current(hw, c);
	if (v->st_dirty || v->dbg.vm_dirty)
		vmx_commit(v);
	write_registers(v, hw);
	if (v->inject.type != EVENT_NONE)
		inject(v);
	if (hw->vm->flush)
		flush_now(hw->vm);
	if (v->dbg.vm_debugctl & DEBUGCTL_LBR) {
		if (c->dbg.debugctl & DEBUGCTL_LBR)
			dbg_debugctl_before(&c->dbg); /* else the host's branches up to the entry would be the guest's newest (V23) */
		vmx_lbr_load(hw);
	}
	fail = vmx_enter(v, hw);
	if (hw->lbr_loaded && (c->dbg.debugctl & DEBUGCTL_LBR))
		vmx_lbr_save(hw); /* else the host's own branches would follow the guest's */
	/* The exit zeroed it, and so does a failed entry, the early kind perhaps not: nothing to gain from telling them apart (V05, V06, V26). */
	if (dbg_debugctl_restore_after(&c->dbg, &v->dbg))
		dbg_debugctl_after(&c->dbg);
	vmx_decode(v, c, fail);
	if (v->exit.kind != EXITK_ENTRY_FAIL)
		hw->launched = 1;
	v->st_valid = 0;
}

/* ---- The interface ---- */

/* Hardware switches all of DEBUGCTL. What it does with BTF and LBR was tried (dbg_probe.c); the records need lbr.c to know the stack. */
static unsigned vmx_dbg_given(const struct cpu *c, unsigned feat)
{
	return (c->dbg.can & DBG_FEAT_BTF) | (vmx_lbr_known() ? c->dbg.can & DBG_FEAT_LBR : 0) | (feat & DBG_FEAT_BLD ? DBG_FEAT_BUS_LOCK : 0);
}

/* R, W and X of a table entry are 7; a leaf is readable and write-back (memory type in bits 5:3). */
static const struct slat_format ept_format = {
	.table = 7, .leaf = 1 | MEMTYPE_WB << 3, .write = 2, .exec = 4, .noexec = 0, .large = 1 << 7,
};

const struct backend vmx_backend = {
	.name = "vmx",
	.dbg_caps = CAPS,
	.dbg_given = vmx_dbg_given,
	.lbr = vmx_lbr,
	.lbr_state = vmx_lbr_state,
	.lbr_record = vmx_lbr_record,
	.nested = &vmx_nested,
	.guest_feature = HC_FEATURE_VMX,
	.slat = &ept_format,
	.probe = vmx_probe,
	.cpu_on = vmx_cpu_on,
	.cpu_off = vmx_cpu_off,
	.vm_init = vmx_vm_init,
	.vm_destroy = vmx_vm_destroy,
	.vcpu_init = vmx_vcpu_init,
	.vcpu_destroy = vmx_vcpu_destroy,
	.vcpu_load = vmx_vcpu_load,
	.vcpu_put = vmx_vcpu_put,
	.run = vmx_run,
	.fetch = vmx_fetch,
	.dbg_now = vmx_dbg_now,
	.flush = vmx_flush,
	.dump = vmx_dump,
	.audit = vmx_audit,
};
