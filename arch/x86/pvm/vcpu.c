/* SPDX-License-Identifier: MIT */
/* A PVM vcpu besides running: memory for it, its state groups, what is printed of it. */
#include "arch/lib/log.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/insn.h"
#include "arch/x86/pmem.h"
#include "arch/x86/pvm/emul.h"
#include "vmm/cpuid.h"

#define DESC_KCODE 0x00af9b000000ffffull
#define DESC_KDATA 0x00cf93000000ffffull

/* ---- VMs and vcpus ---- */

bool pvm_vm_init(struct vm *vm)
{
	(void)vm;
	return true;
}

void pvm_vm_destroy(struct vm *vm)
{
	(void)vm;
}

void pvm_vcpu_destroy(struct vcpu *v)
{
	struct pvm_vcpu *hw = pvm_hw(v);

	pvm_mmu_destroy(v);
	for (unsigned i = 0; i < PVM_VIEWS; i++)
		pmem_free(hw->gdt[i], PVM_GDT_BYTES);
	pmem_free(hw, sizeof(*hw));
	v->hw = NULL;
}

bool pvm_vcpu_init(struct vcpu *v)
{
	struct pvm_vcpu *hw = pmem_alloc(sizeof(*hw), PAGE_SIZE);
	bool ok = hw != NULL;

	v->hw = hw;
	for (unsigned i = 0; ok && i < PVM_VIEWS; i++) {
		hw->gdt[i] = pmem_alloc(PVM_GDT_BYTES, PAGE_SIZE);
		ok = hw->gdt[i] != NULL;
		if (ok) {
			hw->gdt[i][PVM_KCODE / 8] = DESC_KCODE;
			hw->gdt[i][PVM_KDATA / 8] = DESC_KDATA;
		}
	}
	if (!ok || !pvm_mmu_init(v)) {
		log_printf("drover: pvm: no memory for the shadow tables\n");
		if (hw)
			pvm_vcpu_destroy(v);
		return false;
	}
	v->live = (struct vcpu_live){ .cr3 = &v->st.cr3, .efer = &v->st.efer, .cs_attr = (const uint16_t *)(const void *)&v->st.seg[SEG_CS].ar,
				      .cpl = &v->st.cpl, .shadow = &hw->live_shadow };
	pvm_gdt_rebuild(v);
	return true;
}

/* ---- State ---- */

static const enum seg_index data_segs[4] = { SEG_DS, SEG_ES, SEG_FS, SEG_GS };

static uint16_t *hw_sel(struct pvm_vcpu *hw, unsigned i)
{
	return i == 0 ? &hw->ds : i == 1 ? &hw->es : i == 2 ? &hw->fs : &hw->gs;
}

/* DS, ES, FS, GS are loaded by the guest itself; a selector that is still the one drover gave hardware stands for what st.seg has. */
void pvm_fetch(struct vcpu *v, uint32_t groups)
{
	struct pvm_vcpu *hw = pvm_hw(v);

	if (!(groups & VST_SEG) || (v->st_dirty & VST_SEG))
		return;
	for (unsigned i = 0; i < 4; i++) {
		if (*hw_sel(hw, i) != hw->known_sel[i])
			v->st.seg[data_segs[i]] = pvm_seg_from_hw(v, *hw_sel(hw, i));
		hw->known_sel[i] = *hw_sel(hw, i);
	}
	v->st.seg[SEG_FS].base = hw->fs_base;
	v->st.seg[SEG_GS].base = hw->gs_base;
}

void pvm_commit(struct vcpu *v)
{
	struct pvm_vcpu *hw = pvm_hw(v);

	if (v->st_dirty & (VST_CS | VST_SEG)) {
		vcpu_need(v, VST_SEG); /* with CS the view may be another, and data segments have to load there, too */
		pvm_hw_segs(v);
		for (unsigned i = 0; i < 4; i++)
			hw->known_sel[i] = *hw_sel(hw, i);
		hw->fs_base = v->st.seg[SEG_FS].base;
		hw->gs_base = v->st.seg[SEG_GS].base;
	}
	if ((v->st_dirty & VST_MSR) && cpuid_tsc_aux())
		wrmsr(MSR_TSC_AUX, v->st.tsc_aux); /* RDTSCP and RDPID read it */
	v->st_dirty = 0;
	v->dbg.vm_dirty = false;
}

/* ---- For a human ---- */

void pvm_dump(struct vcpu *v)
{
	const struct pvm_vcpu *hw = pvm_hw(v);

	log_printf("drover: pvm: virtual CPL %u, trap 0x%lx error 0x%lx cr2 0x%lx\n", v->st.cpl, hw->trap_vector, hw->trap_error, hw->trap_cr2);
	log_printf("drover:   hardware cs %04x ss %04x ds %04x es %04x fs %04x gs %04x fs base %016lx gs base %016lx\n", hw->cs, hw->ss, hw->ds, hw->es, hw->fs,
		   hw->gs, hw->fs_base, hw->gs_base);
	log_printf("drover:   cr0 %lx cr2 %lx cr3 %lx cr4 %lx efer %lx cs %04x ss %04x gdtr %lx/%x idtr %lx/%x\n", v->st.cr0, v->st.cr2, v->st.cr3, v->st.cr4,
		   v->st.efer, v->st.seg[SEG_CS].sel, v->st.seg[SEG_SS].sel, v->st.gdtr.base, v->st.gdtr.limit, v->st.idtr.base, v->st.idtr.limit);
}

/* There is no control block; what stands in for the entry checks is what IRETQ insists on. */
unsigned pvm_audit(struct vcpu *v)
{
	const struct pvm_vcpu *hw = pvm_hw(v);
	unsigned broken = 0;

	if ((hw->cs & 3) != 3 || (hw->ss & 3) != 3) {
		log_printf("drover: PVM breaks the entry rule: CS 0x%x and SS 0x%x are of ring 3\n", hw->cs, hw->ss);
		broken++;
	}
	if (!is_canonical(v->rip)) {
		log_printf("drover: PVM breaks the entry rule: RIP is canonical\n");
		broken++;
	}
	if (v->dbg.vm_dr7 >> 32) {
		log_printf("drover: PVM breaks the entry rule: DR7[63:32] are zero\n");
		broken++;
	}
	if (dbg_ring3_dr7(v->dbg.dr, v->dbg.vm_dr7) != v->dbg.vm_dr7 && !v->dbg.held) {
		log_printf("drover: PVM breaks the entry rule: DR7 0x%lx watches the guest's addresses only\n", v->dbg.vm_dr7);
		broken++;
	}
	return broken;
}
