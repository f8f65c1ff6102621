/* SPDX-License-Identifier: MIT */
/* Effective and linear addresses: SDM "Specifying an Offset" and "Segmentation in 64-bit mode". */
#include "vmm/operand.h"

static uint64_t reg(const struct vcpu *v, unsigned i)
{
	return i < GPR_NR ? v->r[i] : 0;
}

static uint64_t cut(uint64_t a, unsigned bytes)
{
	return bytes >= 8 ? a : a & ((1ull << 8 * bytes) - 1);
}

uint64_t operand_address(struct vcpu *v, const struct decoded *d, unsigned *seg)
{
	uint64_t a = (d->base == DECODE_RIP ? v->rip + d->len : reg(v, d->base)) + (reg(v, d->index) << d->scale) + d->disp;

	*seg = d->seg != DECODE_NO_SEG ? d->seg : d->base == GPR_RSP || d->base == GPR_RBP ? SEG_SS : SEG_DS;
	a = cut(a, d->addr_size);
	vcpu_need(v, VST_SEG);
	if (!vcpu_long64(v))
		return (a + v->st.seg[*seg].base) & 0xffffffff;
	return *seg == SEG_FS || *seg == SEG_GS ? a + v->st.seg[*seg].base : a;
}
