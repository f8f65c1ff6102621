/* SPDX-License-Identifier: MIT */
/* The VMCS itself: which one is current, its constant parts, the host-state area, and the MSRs that hardware leaves to us. */
#include "arch/lib/panic.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/pmem.h"
#include "arch/x86/quirks.h"
#include "arch/x86/tsc.h"
#include "arch/x86/vmx/internal.h"

_Noreturn void vmcs_access_failed(const char *what, enum vmcs_field f)
{
	panic("%s %s (0x%x) failed, VM-instruction error %llu", what, vmcs_field_name(f), (unsigned)f,
	      (unsigned long long)vmcs_peek(VMCS_INSN_ERROR));
}

/* ---- Constant fields ---- */

/* External-interrupt exiting ends a guest's stay whatever its IF says. In Bochs 2.7 an entry with IF=0 masks interrupts (the flags are loaded
 * before the CPU counts as a guest), so that `cli; jmp .` never ends. Nobody waits longer than three host ticks where the timer works: it
 * restarts from this field at each entry and costs nothing there. */
static void init_timer(void)
{
	if (!quirks_auto || !(vmx_caps.allowed1[CTL_PIN] & PIN_TIMER))
		return;
	vmcs_write(VMCS_PIN_CTL, vmx_caps.base[CTL_PIN] | PIN_TIMER);
	vmcs_write(VMCS_PREEMPTION_TIMER, tsc_from_us(VMX_TIMER_US) >> (vmx_caps.misc & MISC_TIMER_SHIFT));
}

void vmcs_init(struct vmx_vcpu *hw, bool bus_lock_exit)
{
	uint32_t bus_lock = bus_lock_exit ? vmx_caps.allowed1[CTL_PROC2] & PROC2_BUS_LOCK : 0;

	hw->proc = vmx_caps.base[CTL_PROC] | PROC_MOV_DR;
	vmcs_write(VMCS_PIN_CTL, vmx_caps.base[CTL_PIN]);
	init_timer();
	vmcs_write(VMCS_PROC_CTL, hw->proc);
	vmcs_write(VMCS_PROC2_CTL, vmx_caps.base[CTL_PROC2] | bus_lock);
	vmcs_write(VMCS_EXIT_CTL, vmx_caps.base[CTL_EXIT]);
	vmcs_write(VMCS_ENTRY_CTL, vmx_caps.base[CTL_ENTRY]);

	/* #DB and #AC always: a guest whose handler's stack hits again would never come back (rules H01, H02). #MC is the host's business.
	 * #PF is not in the bitmap, and mask = match = 0 keeps it out. */
	vmcs_write(VMCS_EXCEPTION_BITMAP, 1u << VEC_DB | 1u << VEC_AC | 1u << VEC_MC);
	vmcs_write(VMCS_PF_MASK, 0);
	vmcs_write(VMCS_PF_MATCH, 0);
	vmcs_write(VMCS_CR3_TARGET_COUNT, 0);
	vmcs_write(VMCS_EXIT_MSR_STORE_COUNT, 0);
	vmcs_write(VMCS_EXIT_MSR_LOAD_COUNT, 0);
	vmcs_write(VMCS_ENTRY_MSR_LOAD_COUNT, 0);
	vmcs_write(VMCS_ENTRY_INTR_INFO, 0);
	vmcs_write(VMCS_MSR_BITMAP, virt_to_phys(hw->vm->msr_bitmap));
	vmcs_write(VMCS_EPTP, hw->vm->eptp);
	if (vmx_caps.base[CTL_PROC2] & PROC2_VPID)
		vmcs_write(VMCS_VPID, hw->vm->vpid);

	vmcs_write(VMCS_LINK_POINTER, ~0ull);
	vmcs_write(VMCS_GUEST_DEBUGCTL, 0);
	hw->debugctl = 0;
	vmcs_write(VMCS_GUEST_PENDING_DBG, 0);
	vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, 0);
	vmcs_write(VMCS_GUEST_ACTIVITY, 0); /* always active: HLT exits, and the machine model remembers it */
	vmcs_write(VMCS_GUEST_SMBASE, 0);
	for (unsigned i = 0; i < 4; i++)
		vmcs_write((enum vmcs_field)(VMCS_GUEST_PDPTE0 + 2 * i), 0);
	hw->rip = hw->rsp = hw->rflags = 0;
	vmcs_write(VMCS_GUEST_RIP, 0);
	vmcs_write(VMCS_GUEST_RSP, 0);
	vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_BIT1);
	hw->rflags = RFLAGS_BIT1;
}

/* ---- Host state ---- */

/* Base of the TSS that TR points to. A 64-bit TSS descriptor is 16 bytes. */
static uint64_t tss_base(const struct desc_ptr *gdt, uint16_t sel)
{
	const uint64_t *d = (const uint64_t *)(gdt->base + (sel & ~7u));

	return (d[0] >> 16 & 0xffffff) | (d[0] >> 56 & 0xff) << 24 | d[1] << 32;
}

void vmcs_write_host(struct cpu *c)
{
	struct desc_ptr gdt, idt;
	uint16_t tr = str();

	sgdt(&gdt);
	sidt(&idt);
	vmcs_write(VMCS_HOST_CR0, read_cr0());
	vmcs_write(VMCS_HOST_CR3, read_cr3());
	vmcs_write(VMCS_HOST_CR4, read_cr4());
	/* RPL and TI must be 0, and the null selector is good enough for data segments of 64-bit code. */
	vmcs_write(VMCS_HOST_CS_SEL, read_cs());
	vmcs_write(VMCS_HOST_SS_SEL, read_ss());
	vmcs_write(VMCS_HOST_DS_SEL, 0);
	vmcs_write(VMCS_HOST_ES_SEL, 0);
	vmcs_write(VMCS_HOST_FS_SEL, 0);
	vmcs_write(VMCS_HOST_GS_SEL, 0);
	vmcs_write(VMCS_HOST_TR_SEL, tr);
	vmcs_write(VMCS_HOST_FS_BASE, rdmsr(MSR_FS_BASE));
	vmcs_write(VMCS_HOST_GS_BASE, (uint64_t)(uintptr_t)c); /* this_cpu() works from the first instruction on */
	vmcs_write(VMCS_HOST_TR_BASE, tss_base(&gdt, tr));
	vmcs_write(VMCS_HOST_GDTR_BASE, gdt.base);
	vmcs_write(VMCS_HOST_IDTR_BASE, idt.base);
	vmcs_write(VMCS_HOST_SYSENTER_CS, 0);
	vmcs_write(VMCS_HOST_SYSENTER_ESP, 0);
	vmcs_write(VMCS_HOST_SYSENTER_EIP, 0);
	vmcs_write(VMCS_HOST_PAT, rdmsr(MSR_PAT));
	vmcs_write(VMCS_HOST_EFER, rdmsr(MSR_EFER));
	vmcs_write(VMCS_HOST_RIP, (uint64_t)(uintptr_t)vmx_exit_entry);
}

/* ---- MSRs that the guest uses directly: swapped on VM change only ---- */

static const struct {
	uint32_t msr;
	uint16_t off;
} swapped[VMX_SWAPPED_MSRS] = {
	{ MSR_STAR, offsetof(struct vcpu_state, star) },
	{ MSR_LSTAR, offsetof(struct vcpu_state, lstar) },
	{ MSR_CSTAR, offsetof(struct vcpu_state, cstar) },
	{ MSR_SFMASK, offsetof(struct vcpu_state, sfmask) },
	{ MSR_KERNEL_GS_BASE, offsetof(struct vcpu_state, kernel_gs_base) },
	{ MSR_TSC_AUX, offsetof(struct vcpu_state, tsc_aux) }, /* last: may be absent */
};

static unsigned nr_swapped(void)
{
	return vmx_caps.tsc_aux ? VMX_SWAPPED_MSRS : VMX_SWAPPED_MSRS - 1;
}

static uint64_t *swapped_slot(struct vcpu *v, unsigned i)
{
	return (uint64_t *)((char *)&v->st + swapped[i].off);
}

void vmx_msrs_read(struct vcpu *v)
{
	for (unsigned i = 0; i < nr_swapped(); i++)
		*swapped_slot(v, i) = rdmsr(swapped[i].msr);
}

void vmx_msrs_write(struct vcpu *v)
{
	for (unsigned i = 0; i < nr_swapped(); i++)
		wrmsr(swapped[i].msr, *swapped_slot(v, i));
}

void vmx_msrs_swap_in(struct vcpu *v)
{
	for (unsigned i = 0; i < nr_swapped(); i++)
		vmx_hw(v)->host_msr[i] = rdmsr(swapped[i].msr);
	vmx_msrs_write(v);
}

void vmx_msrs_swap_out(struct vcpu *v)
{
	for (unsigned i = 0; i < nr_swapped(); i++)
		wrmsr(swapped[i].msr, vmx_hw(v)->host_msr[i]);
}
