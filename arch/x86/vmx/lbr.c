/* SPDX-License-Identifier: MIT */
/* Last-branch records on Intel: a stack of MSRs that no control block switches. Always intercepted; a guest that uses them has its own set. */
#include "arch/x86/def/msr.h"
#include "arch/x86/vmx/internal.h"

/* SDM "Last Branch Record (LBR) Stack": Nehalem and later have FROM at 680 and TO at 6c0 and up; how many differs by model and is found by reading
 * them. Skylake adds the info words. Older layouts (40, 60) are not given to guests. */
struct lbr_stack {
	unsigned depth; /* 0: not of this kind */
	bool info;
};
static struct lbr_stack stack;
/* Of a VM whose DEBUGCTL is software's (Haswell's). Its records are never in the CPU's MSRs. */
static const struct lbr_stack soft_stack = { .depth = 16 };

#define NR_FIXED 2 /* LBR_SELECT, TOS */

static struct vmx_vcpu *owner; /* lbr_loaded is set in this one; one CPU runs guests for now */

void vmx_lbr_init(void)
{
	static const unsigned depths[] = { 32, 16, 8, 4 };
	uint64_t v;

	stack.depth = 0;
	if (!rdmsr_safe(MSR_LBR_SELECT, &v) || !rdmsr_safe(MSR_LBR_TOS, &v))
		return;
	for (unsigned i = 0; i < sizeof(depths) / sizeof(depths[0]) && !stack.depth; i++)
		if (rdmsr_safe(MSR_LBR_FROM + depths[i] - 1, &v) && rdmsr_safe(MSR_LBR_TO + depths[i] - 1, &v))
			stack.depth = depths[i];
	stack.info = stack.depth && rdmsr_safe(MSR_LBR_INFO + stack.depth - 1, &v);
}

bool vmx_lbr_known(void)
{
	return stack.depth != 0;
}

static unsigned nr_msrs(const struct lbr_stack *s)
{
	return NR_FIXED + s->depth * (s->info ? 3 : 2);
}

_Static_assert(NR_FIXED + 32 * 3 <= VMX_LBR_MAX, "the largest stack fits");

static uint32_t msr_of(const struct lbr_stack *s, unsigned i)
{
	if (i < NR_FIXED)
		return i ? MSR_LBR_TOS : MSR_LBR_SELECT;
	i -= NR_FIXED;
	return (i < s->depth ? MSR_LBR_FROM : i < 2 * s->depth ? MSR_LBR_TO : MSR_LBR_INFO) + i % s->depth;
}

/* Index of an MSR of the stack, or -1. */
static int index_of(const struct lbr_stack *s, uint32_t msr)
{
	for (unsigned i = 0; s->depth && i < nr_msrs(s); i++)
		if (msr_of(s, i) == msr)
			return (int)i;
	return -1;
}

/* From the CPU: the guest's branches, up to the exit, which has stopped recording. Before the host's DEBUGCTL comes back. */
void vmx_lbr_save(struct vmx_vcpu *hw)
{
	if (!hw->lbr_loaded)
		return;
	for (unsigned i = 0; i < nr_msrs(&stack); i++)
		hw->lbr[i] = rdmsr(msr_of(&stack, i));
	hw->lbr_loaded = false;
	owner = NULL;
}

/* Nothing of the host or of another guest is left to be read (V23). */
void vmx_lbr_load(struct vmx_vcpu *hw)
{
	if (hw->lbr_loaded)
		return;
	for (unsigned i = 0; i < nr_msrs(&stack); i++)
		wrmsr_safe(msr_of(&stack, i), hw->lbr[i]); /* a snapshot may bring values that the CPU refuses: they stay out */
	hw->lbr_loaded = true;
	owner = hw;
}

void vmx_lbr_wanted(void)
{
	if (owner)
		vmx_lbr_save(owner);
}

/* What software writes there: a filter, a place in the stack, and zeroes to clear a record. Anything else is refused, since the CPU may fault on it;
 * but records that are memory take back what they have given. */
static bool may_write(const struct lbr_stack *s, int i, uint64_t val)
{
	return i == 0 ? val <= 0x3ff : i == 1 ? val < s->depth : s == &soft_stack || val == 0;
}

static uint64_t *soft_records(const struct vcpu *v)
{
	return ((struct vmx_vm *)v->vm->hw)->lbr;
}

/* The records in memory and their shape. Those of software are of the VM, whichever of its levels runs: no entry or exit switches them. */
static uint64_t *records(struct vcpu *v, const struct lbr_stack **s)
{
	if (v->dbg.soft) {
		*s = &soft_stack;
		return soft_records(v);
	}
	vmx_lbr_save(vmx_hw(v));
	*s = &stack;
	return vmx_hw(v)->lbr;
}

bool vmx_lbr(struct vcpu *v, uint32_t msr, bool write, uint64_t *val)
{
	const struct lbr_stack *s = v->dbg.soft ? &soft_stack : &stack;
	int i = index_of(s, msr);
	uint64_t *lbr;

	if (i < 0 || (write && !may_write(s, i, *val)))
		return false;
	lbr = records(v, &s);
	if (write)
		lbr[i] = *val;
	else
		*val = lbr[i];
	return true;
}

/* Only with v->dbg.soft. */
void vmx_lbr_record(struct vcpu *v, uint64_t from, uint64_t to, bool event)
{
	uint64_t *lbr = soft_records(v), *tos = &lbr[1];

	(void)event; /* one record like any other */
	*tos = (*tos + 1) % soft_stack.depth;
	lbr[NR_FIXED + *tos] = from;
	lbr[NR_FIXED + soft_stack.depth + *tos] = to;
}

unsigned vmx_lbr_state(struct vcpu *v, uint64_t *array, bool restore)
{
	const struct lbr_stack *s;
	uint64_t *lbr = records(v, &s);

	for (unsigned i = 0; i < nr_msrs(s); i++)
		if (restore)
			lbr[i] = array[i];
		else
			array[i] = lbr[i];
	return nr_msrs(s);
}
