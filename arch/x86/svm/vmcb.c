/* SPDX-License-Identifier: MIT */
/* Setting up SVM's control block: intercepts as a table, the two permission maps, the fixed fields. */
#include "arch/lib/log.h"
#include "arch/lib/string.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/pmem.h"
#include "arch/x86/svm/svm.h"

/* What is intercepted always. SVM has no "allowed" masks: an intercept is there when the instruction is; has names the flag in svm_feat that
 * tells so, else the bit is left clear. Not here on purpose: other MOV CR
 * (harmless with nested paging), task switches, PAUSE, RDTSC. MOV DR and VINTR come and go: state.c. */
static const struct {
	uint8_t word;
	uint32_t bits;
	const bool *has;
} svm_intercepts[] = {
	{ VMCB_I_EXC, 1u << VEC_DB, NULL }, /* H01: a #DB storm must not hold the CPU */
	/* Not caught by #DB's. Hardware clears GD, LBR and BTF for the #DB that it delivers, and drover would not hear of it (A11, S14). */
	{ VMCB_I_MISC2, VMCB_I2_ICEBP, NULL },
	{ VMCB_I_EXC, 1u << VEC_AC, NULL }, /* H02 */
	{ VMCB_I_EXC, 1u << VEC_MC, NULL }, /* a machine check is the host's */
	{ VMCB_I_CR, 1u << (16 + 4), NULL }, /* writes of CR4: bits that CPUID hides stay off, or PKRU and 5-level paging would be in use unseen (H15) */
	{ VMCB_I_CR, 1u << 8 | 1u << (16 + 8), NULL }, /* the task priority is the virtual APIC's, not V_TPR */
	{ VMCB_I_MISC1, VMCB_I1_INTR | VMCB_I1_NMI | VMCB_I1_INIT | VMCB_I1_SHUTDOWN, NULL },
	{ VMCB_I_MISC1, VMCB_I1_CPUID | VMCB_I1_HLT | VMCB_I1_RDPMC | VMCB_I1_INVD, NULL },
	{ VMCB_I_MISC1, VMCB_I1_IOIO | VMCB_I1_MSR, NULL },
	{ VMCB_I_MISC2, VMCB_I2_VMMCALL | VMCB_I2_WBINVD, NULL },
	/* The guest has no SVM. VMRUN's intercept is required by the entry checks, VMLOAD and VMSAVE would take host-physical addresses. */
	{ VMCB_I_MISC1, VMCB_I1_INVLPGA, NULL },
	{ VMCB_I_MISC2, VMCB_I2_VMRUN | VMCB_I2_VMLOAD | VMCB_I2_VMSAVE | VMCB_I2_STGI | VMCB_I2_CLGI | VMCB_I2_SKINIT, NULL },
	{ VMCB_I_MISC2, VMCB_I2_MONITOR | VMCB_I2_MWAIT, &svm_feat.monitor },
	{ VMCB_I_MISC2, VMCB_I2_XSETBV, &svm_feat.xsave },
};

/* MSRs that the VMCB switches (VMRUN, VMLOAD, VMSAVE) and whose every value is the guest's own business. All others are intercepted: EFER so that
 * SVME stays set and hidden, PAT because an illegal value in G_PAT fails the next entry. */
static const uint32_t svm_open_msrs[] = {
	MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SFMASK, MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE,
	MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* One for all VMs: every port is intercepted. */
static uint8_t *svm_iopm;

void svm_set_intercept(struct svm_vcpu *hw, unsigned word, uint32_t bits, bool on)
{
	struct vmcb *b = hw->vmcb;
	uint32_t old = b->intercept[word];

	b->intercept[word] = on ? old | bits : old & ~(bits & ~hw->floor[word]);
	if (b->intercept[word] != old)
		b->clean &= ~VMCB_CLEAN_I;
}

/* Ranges: 0-1fff, c000_0000-c000_1fff, c001_0000-c001_1fff; an MSR outside them is always intercepted and is ignored here. */
void svm_msrpm_set(uint8_t *msrpm, uint32_t msr, bool read, bool write)
{
	static const uint32_t base[] = { 0, 0xc0000000, 0xc0010000 };

	for (unsigned i = 0; i < COUNT(base); i++) {
		uint32_t n = msr - base[i], shift;
		uint8_t *p;

		if (n >= 0x2000)
			continue;
		p = &msrpm[i * 0x800 + n / 4];
		shift = n % 4 * 2;
		*p = (uint8_t)((*p & ~(3u << shift)) | (unsigned)read << shift | (unsigned)write << (shift + 1));
	}
}

/* What a guest hypervisor's map is merged into: the rest of drover's is ones, whatever it says (nested_merge.c). */
static void note_open_word(struct svm_vm *s, uint32_t msr)
{
	uint32_t high = msr >= 0xc0000000, word = (high * 0x800 + (msr & 0x1fff) / 4) / 8;

	for (unsigned i = 0; i < s->nr_open; i++)
		if (s->open[i] == word)
			return;
	if (s->nr_open < SVM_OPEN_WORDS)
		s->open[s->nr_open++] = (uint16_t)word; /* one that does not fit exits always, which is safe */
}

/* ASID 0 is the host's. With more VMs than ASIDs some share one: vcpu_load flushes. */
uint32_t svm_next_asid(void)
{
	static uint32_t last;

	last = last % (svm_feat.nr_asids - 1) + 1;
	return last;
}

bool svm_vm_init(struct vm *vm)
{
	/* Small enough for a page of its own; pmem has nothing smaller. */
	struct svm_vm *s = pmem_alloc(sizeof(*s), PAGE_SIZE);

	vm->hw = s;
	if (!svm_iopm) {
		svm_iopm = pmem_alloc(VMCB_IOPM_SIZE, PAGE_SIZE);
		if (svm_iopm)
			memset(svm_iopm, 0xff, VMCB_IOPM_SIZE);
	}
	if (s)
		s->msrpm = pmem_alloc(VMCB_MSRPM_SIZE, PAGE_SIZE);
	if (!s || !svm_iopm || !s->msrpm) {
		log_printf("drover: svm: no memory for the permission maps\n");
		svm_vm_destroy(vm);
		return false;
	}
	memset(s->msrpm, 0xff, VMCB_MSRPM_SIZE);
	for (unsigned i = 0; i < COUNT(svm_open_msrs); i++) {
		svm_msrpm_set(s->msrpm, svm_open_msrs[i], false, false);
		note_open_word(s, svm_open_msrs[i]);
	}
	note_open_word(s, MSR_DEBUGCTL); /* the lab opens it for a while */
	s->asid = svm_next_asid();
	return true;
}

void svm_vm_destroy(struct vm *vm)
{
	struct svm_vm *s = vm->hw;

	if (!s)
		return;
	pmem_free(s->msrpm, VMCB_MSRPM_SIZE);
	pmem_free(s, sizeof(*s));
	vm->hw = NULL;
}

static void fixed_fields(struct vmcb *b, const struct vm *vm)
{
	const struct svm_vm *s = vm->hw;

	for (unsigned i = 0; i < COUNT(svm_intercepts); i++)
		if (!svm_intercepts[i].has || *svm_intercepts[i].has)
			b->intercept[svm_intercepts[i].word] |= svm_intercepts[i].bits;
	b->iopm_pa = virt_to_phys(svm_iopm);
	b->msrpm_pa = virt_to_phys(s->msrpm);
	b->asid = s->asid;
	b->vintr = VMCB_V_INTR_MASKING; /* the guest's IF and TPR hold back its own interrupts only, never the host's */
	b->np_control = VMCB_NP_ENABLE;
	b->n_cr3 = vm->slat_root;
	b->g_pat = MSR_PAT_RESET;
	b->efer = EFER_SVME;
	b->rflags = RFLAGS_BIT1;
}

void svm_use_vmcb(struct vcpu *v, struct vmcb *b)
{
	struct svm_vcpu *hw = svm_hw(v);

	hw->vmcb = b;
	hw->vmcb_pa = virt_to_phys(b);
	v->live = (struct vcpu_live){ .cr3 = &b->cr3, .efer = &b->efer, .cs_attr = &b->cs.attr, .cpl = &b->cpl, .shadow = &b->int_state };
}

bool svm_vcpu_init(struct vcpu *v)
{
	struct svm_vcpu *hw = pmem_alloc(sizeof(*hw), PAGE_SIZE);

	v->hw = hw;
	if (hw)
		hw->vmcb = pmem_alloc(sizeof(*hw->vmcb), PAGE_SIZE);
	if (!hw || !hw->vmcb) {
		log_printf("drover: svm: no memory for the control block\n");
		svm_vcpu_destroy(v);
		return false;
	}
	svm_use_vmcb(v, hw->vmcb);
	fixed_fields(hw->vmcb, v->vm);
	return true;
}

void svm_vcpu_destroy(struct vcpu *v)
{
	struct svm_vcpu *hw = svm_hw(v);

	if (!hw)
		return;
	pmem_free(hw->vmcb, sizeof(*hw->vmcb));
	pmem_free(hw, sizeof(*hw));
	v->hw = NULL;
}
