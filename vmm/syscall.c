/* SPDX-License-Identifier: MIT */
/* SDM "SYSCALL - Fast System Call", "SYSRET - Return From Fast System Call": neither looks at a descriptor table. */
#include "vmm/syscall.h"

#include "arch/x86/def/cr.h"
#include "arch/x86/def/seg.h"

#define SYSRET_FLAGS 0x3c7fd7ull

static void flat(struct vcpu *v, enum seg_index i, uint16_t sel, uint32_t ar)
{
	v->st.seg[i] = (struct seg){ .sel = sel, .ar = ar, .limit = 0xffffffff };
}

/* CS and SS as SYSCALL and SYSRET load them: flat, from no table. */
static void flat_code(struct vcpu *v, uint16_t cs, uint16_t ss, unsigned cpl, bool long64)
{
	uint32_t dpl = cpl << 5;

	flat(v, SEG_CS, (uint16_t)(cs | cpl), (long64 ? SEG_AR_CODE64 : SEG_AR_CODE32) | dpl);
	flat(v, SEG_SS, (uint16_t)(ss | cpl), SEG_AR_DATA32 | dpl);
	v->st.cpl = (uint8_t)cpl;
	vcpu_dirty(v, VST_CS);
}

void syscall_enter(struct vcpu *v, unsigned len, bool compat)
{
	const struct vcpu_state *st = &v->st;

	v->r[GPR_RCX] = v->rip + len;
	v->r[GPR_R11] = v->rflags & ~RFLAGS_RF;
	v->rip = compat ? st->cstar : st->lstar;
	flat_code(v, (uint16_t)(st->star >> 32 & 0xfffc), (uint16_t)((st->star >> 32 & 0xfffc) + 8), 0, true);
	v->rflags = (v->rflags & ~(st->sfmask | RFLAGS_RF)) | RFLAGS_BIT1;
}

void syscall_return(struct vcpu *v, bool to64)
{
	uint16_t base = (uint16_t)(v->st.star >> 48 & 0xfffc);

	v->rip = to64 ? v->r[GPR_RCX] : v->r[GPR_RCX] & 0xffffffff;
	flat_code(v, (uint16_t)(to64 ? base + 16 : base), (uint16_t)(base + 8), 3, to64);
	v->rflags = (v->r[GPR_R11] & SYSRET_FLAGS) | RFLAGS_BIT1;
}
