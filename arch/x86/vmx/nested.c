/* SPDX-License-Identifier: MIT */
/* Nested VMX: the VMX instructions of a guest hypervisor, with the SDM's faults and error numbers. */
#include "arch/lib/string.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/pte.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/vmx/nested.h"
#include "vmm/cpuid.h"
#include "vmm/gva.h"

#define RFLAGS_PF (1ull << 2)
#define RFLAGS_AF (1ull << 4)
#define RFLAGS_SF (1ull << 7)
#define RFLAGS_OF (1ull << 11)
#define RFLAGS_ARITH (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

/* ---- Results: SDM "Conventions" ---- */

static void done(struct vcpu *v, uint64_t flags)
{
	vcpu_skip(v, v->exit.len);
	v->rflags = (v->rflags & ~RFLAGS_ARITH) | flags;
}

void nvmx_vmsucceed(struct vcpu *v)
{
	done(v, 0);
}

void nvmx_vmfail_invalid(struct vcpu *v)
{
	done(v, RFLAGS_CF);
}

void nvmx_vmfail(struct vcpu *v, struct nvmx *n, enum vmfail err)
{
	if (n->current == NO_VMCS) {
		nvmx_vmfail_invalid(v);
		return;
	}
	V12(n, INSN_ERROR) = err;
	done(v, RFLAGS_ZF);
}

/* ---- Pointers ---- */

/* The operand of VMXON, VMCLEAR and VMPTRLD. */
static bool read_pointer(struct vcpu *v, uint64_t *pa)
{
	struct nvmx_operand o;

	return nvmx_operand(v, 8, &o) && nvmx_read_operand(v, &o, pa, 8);
}

static bool region_address(uint64_t pa)
{
	return !(pa & 0xfff) && !(pa & ~cpuid_pa_mask());
}

/* ---- The current VMCS ---- */

/* What drover holds of vmcs12 goes back to the guest's memory. */
static void flush_current(struct vcpu *v, struct nvmx *n)
{
	if (n->current == NO_VMCS)
		return;
	nvmx_shadow_in(v, n);
	nvmx_shadow_off(v, n);
	*n->image = (struct n12_region){ .revision = NVMX_REVISION | (n->is_shadow ? REVISION_SHADOW : 0), .launched = n->launched };
	memcpy(n->image->f, n->f, sizeof(n->f));
	gmem_write(v->vm, (struct gpa){ n->current }, n->image, sizeof(*n->image));
	n->current = NO_VMCS;
}

static void vmclear12(struct vcpu *v, struct nvmx *n)
{
	uint32_t clear = 0;
	uint64_t pa;

	if (!read_pointer(v, &pa))
		return;
	if (!region_address(pa)) {
		nvmx_vmfail(v, n, VMFAIL_CLEAR_ADDR);
		return;
	}
	if (pa == n->vmxon_pa) {
		nvmx_vmfail(v, n, VMFAIL_CLEAR_VMXON);
		return;
	}
	if (pa == n->current)
		flush_current(v, n);
	gmem_write(v->vm, (struct gpa){ pa + offsetof(struct n12_region, launched) }, &clear, sizeof(clear));
	nvmx_vmsucceed(v);
}

static void vmptrld12(struct vcpu *v, struct nvmx *n)
{
	struct n12_region *image = n->image;
	uint32_t revision = ~0u;
	uint64_t pa;

	if (!read_pointer(v, &pa))
		return;
	if (!region_address(pa)) {
		nvmx_vmfail(v, n, VMFAIL_PTRLD_ADDR);
		return;
	}
	if (pa == n->vmxon_pa) {
		nvmx_vmfail(v, n, VMFAIL_PTRLD_VMXON);
		return;
	}
	if (pa == n->current) {
		nvmx_vmsucceed(v);
		return;
	}
	gmem_read(v->vm, (struct gpa){ pa }, &revision, sizeof(revision));
	if ((revision & ~REVISION_SHADOW) != NVMX_REVISION || !gmem_ptr(v->vm, (struct gpa){ pa }, sizeof(*image))) {
		nvmx_vmfail(v, n, VMFAIL_PTRLD_REVISION);
		return;
	}
	flush_current(v, n);
	gmem_read(v->vm, (struct gpa){ pa }, image, sizeof(*image)); /* one copy; its fields are cut to their widths and checked at an entry */
	for (unsigned i = 0; i < N12_NR; i++)
		n->f[i] = image->f[i] & n12_mask(i);
	n->launched = image->launched != 0;
	n->is_shadow = revision & REVISION_SHADOW;
	n->current = pa;
	n->all_dirty = true;
	nvmx_shadow_out(v, n);
	nvmx_vmsucceed(v);
}

static void vmptrst12(struct vcpu *v, struct nvmx *n)
{
	struct nvmx_operand o;

	if (nvmx_operand(v, 8, &o) && gva_write(v, o.at, &n->current, 8) != GVA_FAULT)
		nvmx_vmsucceed(v);
}

/* ---- INVEPT, INVVPID ---- */

struct inv_descriptor {
	uint64_t id, linear;
};

static bool read_inv(struct vcpu *v, uint64_t *type, struct inv_descriptor *d)
{
	struct nvmx_operand o;

	if (!nvmx_operand(v, sizeof(*d), &o) || !nvmx_read_operand(v, &o, d, sizeof(*d)))
		return false;
	*type = vcpu_long64(v) ? v->r[o.reg2] : v->r[o.reg2] & 0xffffffff;
	return true;
}

static void invept12(struct vcpu *v, struct nvmx *n)
{
	struct inv_descriptor d;
	uint64_t type;

	if (!read_inv(v, &type, &d))
		return;
	if ((type != INV_SINGLE && type != INV_ALL) || (type == INV_SINGLE && !nvmx_eptp_valid(d.id))) {
		nvmx_vmfail(v, n, VMFAIL_INV_OPERAND);
		return;
	}
	if (type == INV_ALL || d.id == n->eptp)
		nvmx_ept_zap(n);
	nvmx_vmsucceed(v);
}

/* Types: 0 one address, 1 one VPID, 2 all, 3 one VPID but global ones. All nested guests of a vcpu share one real VPID: each flushes all of that. */
static void invvpid12(struct vcpu *v, struct nvmx *n)
{
	struct inv_descriptor d;
	uint64_t type;

	if (!read_inv(v, &type, &d))
		return;
	if (type > 3 || d.id >> 16 || (type != INV_ALL && !d.id) || (type == 0 && !is_canonical(d.linear))) {
		nvmx_vmfail(v, n, VMFAIL_INV_OPERAND);
		return;
	}
	n->vm2->flush = true;
	nvmx_vmsucceed(v);
}

/* ---- VMXON, VMXOFF, VMLAUNCH, VMRESUME ---- */

static void vmxon12(struct vcpu *v, struct nvmx *n)
{
	uint64_t need = CR0_PE | CR0_NE | CR0_PG, pa;
	uint32_t revision = ~0u;

	if (n->vmxon) {
		nvmx_vmfail(v, n, VMFAIL_VMXON_IN_ROOT);
		return;
	}
	if ((v->st.cr0 & need) != need || v->vm->nested != NESTED_ON) { /* fixed bits; FEATURE_CONTROL */
		vcpu_raise(v, VEC_GP, true, 0);
		return;
	}
	if (!read_pointer(v, &pa))
		return;
	if (region_address(pa))
		gmem_read(v->vm, (struct gpa){ pa }, &revision, sizeof(revision));
	if (revision != NVMX_REVISION) {
		nvmx_vmfail_invalid(v);
		return;
	}
	n->vmxon = true;
	vcpu_dirty(v, VST_CR); /* bits of CR0 are fixed from now on */
	n->vmxon_pa = pa;
	n->current = NO_VMCS;
	nvmx_vmsucceed(v);
}

static void vmxoff12(struct vcpu *v, struct nvmx *n)
{
	flush_current(v, n);
	n->vmxon = false;
	vcpu_dirty(v, VST_CR);
	n->vmxon_pa = NO_VMCS;
	nvmx_vmsucceed(v);
	if (n->init)
		vcpu_init(v); /* blocked until now */
}

static void launch12(struct vcpu *v, struct nvmx *n, bool resume)
{
	uint64_t qual;

	if (n->current == NO_VMCS || n->is_shadow) {
		nvmx_vmfail_invalid(v);
		return;
	}
	vcpu_need(v, VST_SHADOW);
	if (v->st.shadow == SHADOW_MOV_SS) {
		nvmx_vmfail(v, n, VMFAIL_MOV_SS);
		return;
	}
	if (n->launched != resume) {
		nvmx_vmfail(v, n, resume ? VMFAIL_RESUME_NOT_LAUNCHED : VMFAIL_LAUNCH_NOT_CLEAR);
		return;
	}
	nvmx_shadow_in(v, n);
	if (!nvmx_check_controls(v, n) || !nvmx_check_host(v, n)) {
		nvmx_vmfail(v, n, nvmx_check_controls(v, n) ? VMFAIL_HOST : VMFAIL_CONTROLS);
		return;
	}
	n->l1.insn_len = v->exit.len;
	if (!nvmx_check_guest(v, n, &qual)) {
		nvmx_entry_failed(v, n, R_GUEST_STATE, qual);
		return;
	}
	nvmx_enter(v, n);
}

/* ---- Dispatch ---- */

enum { I_VMCLEAR = 19, I_VMLAUNCH, I_VMPTRLD, I_VMPTRST, I_VMREAD, I_VMRESUME, I_VMWRITE, I_VMXOFF, I_VMXON, I_INVEPT = 50, I_INVVPID = 53 };

/* What each of them checks first. The exit itself has outranked all but the mode. */
static bool allowed(struct vcpu *v, const struct nvmx *n, uint32_t reason)
{
	bool mode = (v->st.cr0 & CR0_PE) && !(v->rflags & RFLAGS_VM) && (!(v->st.efer & EFER_LMA) || vcpu_long64(v));

	if (reason == I_VMXON ? !(v->st.cr4 & CR4_VMXE) : !n->vmxon)
		mode = false;
	if (!mode) {
		vcpu_raise(v, VEC_UD, false, 0);
		return false;
	}
	if (vcpu_cpl(v) != 0) {
		vcpu_raise(v, VEC_GP, true, 0);
		return false;
	}
	return true;
}

void nvmx_insn(struct vcpu *v)
{
	uint32_t reason = v->exit.hw_reason & 0xffff;
	struct nvmx *n = nvmx_of(v);

	vcpu_need(v, VST_CR | VST_CS);
	if (!allowed(v, n, reason))
		return;
	switch (reason) {
	case I_VMCLEAR: vmclear12(v, n); return;
	case I_VMLAUNCH: launch12(v, n, false); return;
	case I_VMPTRLD: vmptrld12(v, n); return;
	case I_VMPTRST: vmptrst12(v, n); return;
	case I_VMREAD: nvmx_vmread(v, n); return;
	case I_VMRESUME: launch12(v, n, true); return;
	case I_VMWRITE: nvmx_vmwrite(v, n); return;
	case I_VMXOFF: vmxoff12(v, n); return;
	case I_VMXON: vmxon12(v, n); return;
	case I_INVEPT: invept12(v, n); return;
	case I_INVVPID: invvpid12(v, n); return;
	default: vcpu_raise(v, VEC_UD, false, 0); return; /* VMFUNC */
	}
}
