/* SPDX-License-Identifier: MIT */
/* Nested VMX: the VMX instructions of a guest hypervisor, with the SDM's faults and error numbers. */
#include "arch/lib/string.h"
#include "arch/x86/def/cr.h"
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

/* ---- Operands: SDM tables "Format of the VM-Exit Instruction-Information Field" ---- */

struct operand {
	bool is_reg;
	uint8_t reg;     /* is_reg, VMREAD and VMWRITE only */
	uint8_t reg2;    /* the other operand */
	struct gva at;
};

static uint64_t gpr_of(const struct vcpu *v, unsigned i, unsigned addr_size)
{
	uint64_t x = v->r[i];

	return addr_size == 2 ? x : addr_size == 1 ? x & 0xffffffff : x & 0xffff;
}

/* Limit and presence outside 64-bit mode, canonical addresses in it. */
static bool segment_ok(struct vcpu *v, unsigned seg, uint64_t offset, uint64_t linear, unsigned size)
{
	const struct seg *s = &v->st.seg[seg];

	if (vcpu_long64(v))
		return nvmx_canonical(linear) && nvmx_canonical(linear + size - 1);
	return !(s->ar & SEG_AR_UNUSABLE) && offset + size - 1 <= s->limit;
}

/* False: a fault has been queued. size: of a memory operand, bytes. */
static bool operand(struct vcpu *v, unsigned size, struct operand *o)
{
	uint32_t info = vmcs_read32(VMCS_EXIT_INSN_INFO);
	unsigned addr_size = info >> 7 & 7, seg = info >> 15 & 7;
	uint64_t offset = v->exit.hw_info, linear;

	*o = (struct operand){ .is_reg = info >> 10 & 1, .reg = info >> 3 & 0xf, .reg2 = (uint8_t)(info >> 28) };
	if (o->is_reg)
		return true;
	if (!(info & 1u << 27))
		offset += gpr_of(v, info >> 23 & 0xf, addr_size);
	if (!(info & 1u << 22))
		offset += gpr_of(v, info >> 18 & 0xf, addr_size) << (info & 3);
	offset = addr_size == 2 ? offset : addr_size == 1 ? offset & 0xffffffff : offset & 0xffff;
	vcpu_need(v, VST_CS | VST_SEG);
	linear = offset + (vcpu_long64(v) && seg < SEG_FS ? 0 : v->st.seg[seg].base);
	if (!vcpu_long64(v))
		linear &= 0xffffffff;
	if (!segment_ok(v, seg, offset, linear, size)) {
		vcpu_raise(v, seg == SEG_SS ? VEC_SS : VEC_GP, true, 0);
		return false;
	}
	o->at.v = linear;
	return true;
}

/* Memory that is not there reads as all ones, and what is written to it is lost. */
static bool read_operand(struct vcpu *v, const struct operand *o, void *dst, unsigned size)
{
	enum gva_status s = gva_read(v, o->at, dst, size);

	if (s == GVA_NO_MEMORY)
		memset(dst, 0xff, size);
	return s != GVA_FAULT;
}

/* The operand of VMXON, VMCLEAR and VMPTRLD. */
static bool read_pointer(struct vcpu *v, uint64_t *pa)
{
	struct operand o;

	return operand(v, 8, &o) && read_operand(v, &o, pa, 8);
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
	*n->image = (struct n12_region){ .revision = NVMX_REVISION, .launched = n->launched };
	memcpy(n->image->f, n->f, sizeof(n->f));
	gmem_write(v->vm, (struct gpa){ n->current }, n->image, sizeof(*n->image));
	n->current = NO_VMCS;
}

static uint64_t width_mask(unsigned width)
{
	return width == 16 ? 0xffff : width == 32 ? 0xffffffff : ~0ull;
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
	if (revision != NVMX_REVISION || !gmem_ptr(v->vm, (struct gpa){ pa }, sizeof(*image))) {
		nvmx_vmfail(v, n, VMFAIL_PTRLD_REVISION);
		return;
	}
	flush_current(v, n);
	gmem_read(v->vm, (struct gpa){ pa }, image, sizeof(*image)); /* one copy; its fields are cut to their widths and checked at an entry */
	for (unsigned i = 0; i < N12_NR; i++)
		n->f[i] = image->f[i] & width_mask(n12_fields[i].width);
	n->launched = image->launched != 0;
	n->current = pa;
	n->all_dirty = true;
	nvmx_shadow_out(v, n);
	nvmx_vmsucceed(v);
}

static void vmptrst12(struct vcpu *v, struct nvmx *n)
{
	struct operand o;

	if (operand(v, 8, &o) && gva_write(v, o.at, &n->current, 8) != GVA_FAULT)
		nvmx_vmsucceed(v);
}

/* ---- VMREAD, VMWRITE ---- */

/* An encoding is width (bits 14:13), type (11:10), index (9:1; no field has one above 63) and access type (0). A guest hypervisor makes dozens of these
 * accesses per exit: no search. */
#define SLOT(encoding) ((((encoding) >> 13 & 3) << 2 | ((encoding) >> 10 & 3)) << 6 | ((encoding) >> 1 & 0x3f))
#define SLOT_BITS 0x6c7full
static const uint8_t index_of[1024] = {
#define VMCS(name, encoding, width, kind, nested) [SLOT(encoding)] = N12_##name + 1,
#include "arch/x86/def/vmcs.def"
#undef VMCS
};
_Static_assert(N12_NR < 255, "index_of");

/* The index of an encoding, or -1. Bit 0: the upper half of a 64-bit field. */
static int find_field(uint64_t encoding, bool *high)
{
	unsigned i = encoding & ~SLOT_BITS ? 0 : index_of[SLOT(encoding)];

	*high = encoding & 1;
	if (i == 0 || n12_fields[i - 1].kind == N12_NONE || (*high && n12_fields[i - 1].width != 64))
		return -1;
	return (int)i - 1;
}

static void vmread12(struct vcpu *v, struct nvmx *n)
{
	unsigned size = vcpu_long64(v) ? 8 : 4;
	struct operand o;
	uint64_t val, encoding;
	bool high;
	int i;

	if (n->current == NO_VMCS) {
		nvmx_vmfail_invalid(v);
		return;
	}
	if (!operand(v, size, &o))
		return;
	encoding = size == 8 ? v->r[o.reg2] : v->r[o.reg2] & 0xffffffff;
	i = find_field(encoding, &high);
	if (i < 0) {
		nvmx_vmfail(v, n, VMFAIL_FIELD);
		return;
	}
	val = high ? n->f[i] >> 32 : n->f[i];
	if (size == 4)
		val &= 0xffffffff;
	if (o.is_reg)
		v->r[o.reg] = val;
	else if (gva_write(v, o.at, &val, size) == GVA_FAULT)
		return;
	nvmx_vmsucceed(v);
}

static void vmwrite12(struct vcpu *v, struct nvmx *n)
{
	unsigned size = vcpu_long64(v) ? 8 : 4;
	uint64_t val = 0, encoding;
	struct operand o;
	bool high;
	int i;

	if (n->current == NO_VMCS) {
		nvmx_vmfail_invalid(v);
		return;
	}
	if (!operand(v, size, &o) || (!o.is_reg && !read_operand(v, &o, &val, size)))
		return;
	if (o.is_reg)
		val = size == 8 ? v->r[o.reg] : v->r[o.reg] & 0xffffffff;
	encoding = size == 8 ? v->r[o.reg2] : v->r[o.reg2] & 0xffffffff;
	i = find_field(encoding, &high);
	if (i < 0 || n12_fields[i].kind == N12_INFO) {
		nvmx_vmfail(v, n, i < 0 ? VMFAIL_FIELD : VMFAIL_READ_ONLY);
		return;
	}
	if (high)
		n->f[i] = (n->f[i] & 0xffffffff) | val << 32;
	else
		n->f[i] = val & width_mask(n12_fields[i].width);
	n->dirty[i] = true;
	nvmx_vmsucceed(v);
}

/* ---- INVEPT, INVVPID ---- */

struct inv_descriptor {
	uint64_t id, linear;
};

static bool read_inv(struct vcpu *v, uint64_t *type, struct inv_descriptor *d)
{
	struct operand o;

	if (!operand(v, sizeof(*d), &o) || !read_operand(v, &o, d, sizeof(*d)))
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
	if (type > 3 || d.id >> 16 || (type != INV_ALL && !d.id) || (type == 0 && !nvmx_canonical(d.linear))) {
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

	if (n->current == NO_VMCS) {
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
	case I_VMREAD: vmread12(v, n); return;
	case I_VMRESUME: launch12(v, n, true); return;
	case I_VMWRITE: vmwrite12(v, n); return;
	case I_VMXOFF: vmxoff12(v, n); return;
	case I_VMXON: vmxon12(v, n); return;
	case I_INVEPT: invept12(v, n); return;
	case I_INVVPID: invvpid12(v, n); return;
	default: vcpu_raise(v, VEC_UD, false, 0); return; /* VMFUNC */
	}
}
