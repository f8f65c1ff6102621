/* SPDX-License-Identifier: MIT */
/* Nested VMX: what a vcpu needs for it, and the interface to the machine model. */
#include "arch/lib/string.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/snapshot.h"
#include "arch/x86/pmem.h"
#include "arch/x86/vmx/nested.h"

/* ---- CR0 and CR4 of the nested guest: state.c ---- */

void vmx_nested_cr(const struct vcpu *v, struct vmx_nested_cr *c)
{
	const struct nvmx *n = nvmx_of(v);
	uint64_t fixed = n->proc2 & PROC2_UNRESTRICTED ? 0 : CR0_PE | CR0_PG;

	*c = (struct vmx_nested_cr){
		.mask0 = V12(n, CR0_MASK), .mask4 = V12(n, CR4_MASK), .shadow0 = V12(n, CR0_SHADOW), .shadow4 = V12(n, CR4_SHADOW), .fixed0 = fixed,
		.own0 = n->cr0, .own4 = n->cr4, .pdptes_loaded = n->run_pending && nvmx_ept(n),
	};
}

void vmx_nested_own_cr(struct vcpu *v, uint64_t cr0, uint64_t cr4)
{
	nvmx_of(v)->cr0 = cr0;
	nvmx_of(v)->cr4 = cr4;
}

/* ---- The interface ---- */

static void destroy(struct vcpu *v)
{
	struct nvmx *n = nvmx_of(v);

	if (!n)
		return;
	if (n->hw1)
		nvmx_use_hw(v, n->hw1);
	nvmx_ept_destroy(n);
	nvmx_shadow_destroy(n);
	if (n->hw2)
		vmx_vmcs_destroy(n->hw2);
	pmem_free(n->hw2, sizeof(*n->hw2));
	if (n->vm2)
		pmem_free(n->vm2->msr_bitmap, PAGE_SIZE);
	pmem_free(n->vm2, sizeof(*n->vm2));
	pmem_free(n->image, PAGE_SIZE);
	pmem_free(n, sizeof(*n));
	v->nested = NULL;
}

static bool init(struct vcpu *v)
{
	struct nvmx *n = pmem_alloc(sizeof(*n), PAGE_SIZE);

	if (!n)
		return false;
	v->nested = n;
	n->current = n->vmxon_pa = NO_VMCS;
	n->hw1 = v->hw;
	n->hw2 = pmem_alloc(sizeof(*n->hw2), PAGE_SIZE);
	n->vm2 = pmem_alloc(sizeof(*n->vm2), PAGE_SIZE);
	n->image = pmem_alloc(PAGE_SIZE, PAGE_SIZE);
	if (!n->hw2 || !n->vm2 || !n->image || !nvmx_ept_init(n) || !nvmx_shadow_init(n))
		return false;
	n->vm2->msr_bitmap = pmem_alloc(PAGE_SIZE, PAGE_SIZE);
	if (!n->vm2->msr_bitmap)
		return false;
	memset(n->vm2->msr_bitmap, 0xff, PAGE_SIZE);
	n->vm2->eptp = n->hw1->vm->eptp;
	n->vm2->vpid = n->hw1->vm->vpid | 0x8000; /* a tag of its own: the same EPT and other page tables */
	n->hw2->vm = n->vm2;
	if (!vmx_vmcs_create(n->hw2, v->vm->bus_lock_exit))
		return false;
	nvmx_mtf_probe(v, n);
	return true;
}

static void reset(struct vcpu *v)
{
	struct nvmx *n = nvmx_of(v);

	nvmx_use_hw(v, n->hw1);
	nvmx_shadow_off(v, n);
	n->vmxon = n->run_pending = n->kick = n->init = false;
	v->step.asleep = false;
	n->current = n->vmxon_pa = NO_VMCS;
}

/* CR0_FIXED0; an unrestricted nested guest may leave PE and PG off. */
static uint64_t cr0_fixed(const struct vcpu *v)
{
	const struct nvmx *n = nvmx_of(v);

	if (!n->vmxon)
		return 0;
	return v->level && (n->proc2 & PROC2_UNRESTRICTED) ? CR0_NE : CR0_NE | CR0_PE | CR0_PG;
}

/* SDM "INIT signals": blocked in VMX root operation, an exit in the other. */
static bool init_signal(struct vcpu *v)
{
	struct nvmx *n = nvmx_of(v);

	n->init = n->vmxon;
	v->event_pending = true;
	return n->init;
}

static uint64_t cr4_fixed(const struct vcpu *v)
{
	return nvmx_of(v)->vmxon ? CR4_VMXE : 0; /* CR4_FIXED0, at both levels */
}

static void flush(struct vcpu *v)
{
	nvmx_ept_zap(nvmx_of(v));
}

const struct nested_ops vmx_nested = {
	.init = init,
	.destroy = destroy,
	.reset = reset,
	.cpuid = nvmx_cpuid,
	.cr4 = CR4_VMXE,
	.cr0_fixed = cr0_fixed,
	.cr4_fixed = cr4_fixed,
	.msr = nvmx_msr,
	.insn = nvmx_insn,
	.exit = nvmx_exit,
	.event = nvmx_event,
	.init_signal = init_signal,
	.state_size = sizeof(struct vmx_nested_snapshot),
	.save = nvmx_save,
	.check = nvmx_check,
	.restore = nvmx_restore,
	.phys = nvmx_phys,
	.irq_open = nvmx_irq_open,
	.access = nvmx_access,
	.miss = nvmx_miss,
	.flush = flush,
};
