/* SPDX-License-Identifier: MIT */
/* Nested VMX: vmcs02 from vmcs01 and vmcs12, by the kind that vmcs.def gives each field. */
#include "arch/lib/string.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/quirks.h"
#include "arch/x86/vmx/nested.h"
#include "vmm/gmem.h"

/* ---- MERGE: one function each ---- */

/* Host interrupts and NMIs are drover's, whatever vmcs12 asks for. */
static uint64_t merge_pin(const struct vcpu *v, const struct nvmx *n)
{
	uint32_t pin = vmx_caps.base[CTL_PIN] | V12_32(n, PIN_CTL);

	(void)v;
	if (quirks_auto)
		pin |= PIN_TIMER; /* vmcs.c: init_timer() */
	return pin & vmx_caps.allowed1[CTL_PIN];
}

/* proc_or: what vmcs12 wants stays wanted when the vcpu's own toggles go off (commit in state.c). */
static uint64_t merge_proc(const struct vcpu *v, const struct nvmx *n)
{
	(void)v;
	return n->hw2->proc | n->hw2->proc_or;
}

/* EPT and unrestricted guest are how drover runs any guest. RDTSCP is the guest hypervisor's choice: without it, #UD. */
static uint64_t merge_proc2(const struct vcpu *v, const struct nvmx *n)
{
	uint32_t bus_lock = v->vm->bus_lock_exit ? vmx_caps.allowed1[CTL_PROC2] & PROC2_BUS_LOCK : 0;

	return (vmx_caps.base[CTL_PROC2] & ~PROC2_RDTSCP) | (n->proc2 & (PROC2_RDTSCP | PROC2_DESC | PROC2_WBINVD)) | bus_lock;
}

static uint64_t merge_exceptions(const struct vcpu *v, const struct nvmx *n)
{
	n->hw2->int3 = v->debugger.catch_int3;
	if (n->hw2->exceptions) {
		vmcs_write(VMCS_PF_MASK, V12(n, PF_MASK));
		vmcs_write(VMCS_PF_MATCH, V12(n, PF_MATCH));
	}
	n->hw2->exceptions = 0; /* written anew */
	return (n->hw2->int3 ? 1u << VEC_BP : 0) | 1u << VEC_DB | 1u << VEC_AC | 1u << VEC_MC | V12_32(n, EXCEPTION_BITMAP); /* H01, H02 hold for every guest */
}

/* The timer's rest is wanted only while vmcs12 counts on it. */
static uint64_t merge_exit(const struct vcpu *v, const struct nvmx *n)
{
	(void)v;
	return vmx_caps.base[CTL_EXIT] | (V12(n, PIN_CTL) & PIN_TIMER ? EXIT_SAVE_TIMER : 0);
}

static uint64_t merge_eptp(const struct vcpu *v, const struct nvmx *n)
{
	(void)v;
	return n->vm2->eptp;
}

static uint64_t merge_pat(const struct vcpu *v, const struct nvmx *n)
{
	(void)v;
	return V12(n, ENTRY_CTL) & ENTRY_LOAD_PAT ? V12(n, GUEST_PAT) : n->l1.pat;
}

/* ---- The table ---- */

#define COPY N12_COPY, NULL
#define MERGE(f) N12_MERGE, merge_##f
#define MODEL N12_MODEL, NULL
#define HOST N12_HOST, NULL
#define INFO N12_INFO, NULL
#define NONE N12_NONE, NULL
#define FIELD(encoding, width, is_guest, kind, function) { encoding, width, kind, is_guest, function }
#define FIELD_OF(...) FIELD(__VA_ARGS__)
#define IS_CTL false
#define IS_GUEST true
#define IS_HOST false
#define IS_INFO false
const struct n12_field n12_fields[N12_NR] = {
#define VMCS(name, encoding, width, vkind, nested) FIELD_OF(encoding, width, IS_##vkind, nested),
#include "arch/x86/def/vmcs.def"
#undef VMCS
};

/* With EPT the nested guest's PDPTEs are vmcs12's; without, they are loaded from memory when CR3 is (commit_pdptes). */
static bool copied(const struct nvmx *n, unsigned i)
{
	bool pdpte = i >= N12_GUEST_PDPTE0 && i <= N12_GUEST_PDPTE3;

	return n12_fields[i].kind == N12_COPY && (!pdpte || nvmx_ept(n));
}

void nvmx_merge(struct vcpu *v, struct nvmx *n)
{
	for (unsigned i = 0; i < N12_NR; i++) {
		const struct n12_field *d = &n12_fields[i];

		if (copied(n, i) && (n->dirty[i] || n->all_dirty)) {
			vmcs_write(d->field, n->f[i]);
			n->dirty[i] = false;
		} else if (d->kind == N12_MERGE) {
			vmcs_write(d->field, d->merge(v, n)); /* other code changes some of them in between: not worth a cache */
		}
	}
	n->all_dirty = false;
}

void nvmx_save_copied(struct nvmx *n)
{
	for (unsigned i = 0; i < N12_NR; i++)
		if (n12_fields[i].guest && copied(n, i))
			n->f[i] = vmcs_read(n12_fields[i].field);
}

/* ---- MSR bitmap ---- */

/* Only the few words in which drover's leaves something open; the rest was ones from the start. */
void nvmx_merge_msr_bitmap(struct vcpu *v, struct nvmx *n)
{
	const struct vmx_vm *vm1 = n->hw1->vm;
	const uint64_t *own = (const uint64_t *)(const void *)vm1->msr_bitmap;
	uint64_t *both = (uint64_t *)(void *)n->vm2->msr_bitmap;
	bool has = V12(n, PROC_CTL) & PROC_MSR_BITMAPS;

	for (unsigned k = 0; k < vm1->nr_open; k++) {
		unsigned i = vm1->open[k];
		uint64_t theirs = ~0ull;

		if (has)
			gmem_read(v->vm, (struct gpa){ V12(n, MSR_BITMAP) + i * 8 }, &theirs, 8);
		both[i] = own[i] | theirs;
	}
	n->vm2->msr_bitmap[MSR_DEBUGCTL / 8] |= 1u << MSR_DEBUGCTL % 8; /* the lab's opening is for the guest itself */
}
