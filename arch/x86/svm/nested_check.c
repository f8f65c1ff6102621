/* SPDX-License-Identifier: MIT */
/* What VMRUN checks of the control block that L1 made for L2: APM "Canonicalization and Consistency Checks", by the CPU that L1 is told to have. */
#include "arch/x86/def/cr.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/svm/nested.h"
#include "vmm/cpuid.h"

static bool beyond(uint64_t pa, uint64_t size)
{
	return ((pa & ~0xfffull) + size - 1) & ~cpuid_pa_mask();
}

static const char *control(const struct vmcb *b)
{
	if (!(b->intercept[VMCB_I_MISC2] & VMCB_I2_VMRUN))
		return "the VMRUN intercept bit is clear";
	if (b->asid == 0)
		return "ASID is zero";
	if (beyond(b->msrpm_pa, VMCB_MSRPM_SIZE))
		return "the MSR permission map reaches past the largest physical address";
	if (beyond(b->iopm_pa, VMCB_IOPM_SIZE))
		return "the I/O permission map reaches past the largest physical address";
	if (svm_event_illegal(b))
		return "illegal event injection";
	if (!(b->np_control & VMCB_NP_ENABLE))
		return NULL;
	if (svm_pat_illegal(b->g_pat))
		return "G_PAT holds an illegal memory type";
	return b->n_cr3 & ~cpuid_pa_mask() ? "a reserved bit of nCR3 is set" : NULL;
}

/* CR4 and EFER bits that drover hides from its guests are reserved for their guests too: PKRU or 5-level paging would be in use unseen (H15). */
const char *svm_nested_state_broken(const struct vmcb *b, uint64_t svme)
{
	bool long_mode = (b->efer & EFER_LME) && (b->cr0 & CR0_PG);

	if (svme & ~b->efer)
		return "EFER.SVME is zero";
	if (b->efer & ~(cpuid_efer_mask() | EFER_SVME))
		return "a reserved bit of EFER is set";
	if (b->cr0 >> 32)
		return "CR0[63:32] are not zero";
	if (!(b->cr0 & CR0_CD) && (b->cr0 & CR0_NW))
		return "CR0.CD is zero and CR0.NW is set";
	if (b->cr4 & ~cpuid_cr4_mask())
		return "a reserved bit of CR4 is set";
	if ((b->efer & EFER_LMA) && (b->cr3 & ~cpuid_pa_mask()))
		return "a reserved bit of CR3 is set";
	if (b->dr6 >> 32)
		return "DR6[63:32] are not zero"; /* M01 */
	if (b->dr7 >> 32)
		return "DR7[63:32] are not zero";
	if (!long_mode)
		return NULL;
	if (!(b->cr4 & CR4_PAE))
		return "EFER.LME and CR0.PG are set and CR4.PAE is zero";
	if (!(b->cr0 & CR0_PE))
		return "EFER.LME and CR0.PG are set and CR0.PE is zero";
	return (b->cs.attr & SEG_AR_L >> 4) && (b->cs.attr & SEG_AR_DB >> 4) ? "EFER.LME, CR0.PG, CR4.PAE, CS.L and CS.D are all set" : NULL;
}

const char *svm_nested_broken(const struct vmcb *b)
{
	const char *what = control(b);

	return what ? what : svm_nested_state_broken(b, EFER_SVME);
}
