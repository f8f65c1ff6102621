/* SPDX-License-Identifier: MIT */
/* Nested VMX: the MSR load and store areas, through the same policy as RDMSR and WRMSR. */
#include "arch/x86/def/msr.h"
#include "arch/x86/vmx/nested.h"
#include "vmm/exits.h"
#include "vmm/gmem.h"

#define MSRS_MAX 512u /* MISC recommends no more; beyond it the results are undefined, here refused */

struct entry {
	uint32_t msr, zero;
	uint64_t value;
};

/* SDM "Loading MSRs": FS and GS base are guest state, x2APIC's and those of SMM are out of reach. */
static bool refused(const struct entry *e, bool load)
{
	if (e->zero || (e->msr >> 8) == MSR_X2APIC_BASE >> 8)
		return true;
	return load && (e->msr == MSR_FS_BASE || e->msr == MSR_GS_BASE);
}

uint64_t nvmx_msrs_load(struct vcpu *v, uint64_t area, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct entry e;

		if (i >= MSRS_MAX || !gmem_read(v->vm, (struct gpa){ area + i * sizeof(e) }, &e, sizeof(e)) || refused(&e, true) ||
		    !msr_write(v, e.msr, e.value))
			return i + 1;
	}
	return 0;
}

bool nvmx_msrs_store(struct vcpu *v, uint64_t area, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct gpa at = { area + i * sizeof(struct entry) };
		struct entry e;

		if (i >= MSRS_MAX || !gmem_read(v->vm, at, &e, sizeof(e)) || refused(&e, false) || !msr_read(v, e.msr, &e.value) ||
		    !gmem_write(v->vm, (struct gpa){ at.v + offsetof(struct entry, value) }, &e.value, sizeof(e.value)))
			return false;
	}
	return true;
}
