/* SPDX-License-Identifier: MIT */
/* Switching the extended state by XSAVE with the host's XCR0, which covers all that a guest may enable; FXSAVE where there is no XSAVE. */
#include "vmm/fpu.h"

#include "arch/x86/def/cr.h"
#include "arch/x86/insn.h"
#include "arch/x86/pmem.h"
#include "vmm/cpuid.h"

#define AREA_SIZE 4096u /* XCR0 is limited to x87, SSE and AVX: 832 bytes */
#define FCW_OFFSET 0
#define MXCSR_OFFSET 24
#define FCW_RESET 0x37f
#define MXCSR_RESET 0x1f80

/* XSTATE_BV = 0 stands for the initial state of each component. MXCSR is not covered by it. */
bool fpu_init(struct vcpu *v)
{
	uint8_t *area = pmem_alloc(AREA_SIZE, 64);

	v->fpu = area;
	v->xcr0 = XCR0_X87;
	if (!area)
		return false;
	*(uint16_t *)(void *)(area + FCW_OFFSET) = FCW_RESET;
	*(uint32_t *)(void *)(area + MXCSR_OFFSET) = MXCSR_RESET;
	return true;
}

void fpu_destroy(struct vcpu *v)
{
	pmem_free(v->fpu, AREA_SIZE);
	v->fpu = NULL;
}

void fpu_load(struct vcpu *v)
{
	uint64_t mask = cpuid_xcr0_mask();

	if (!mask) {
		fxrstor(v->fpu);
		return;
	}
	xsetbv(0, mask);
	xrstor(v->fpu, mask);
	xsetbv(0, v->xcr0);
}

void fpu_save(struct vcpu *v)
{
	uint64_t mask = cpuid_xcr0_mask();

	if (!mask) {
		fxsave(v->fpu);
		return;
	}
	xsetbv(0, mask);
	xsave(v->fpu, mask);
}
