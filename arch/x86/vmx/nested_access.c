/* SPDX-License-Identifier: MIT */
/* Nested VMX: operands of the VMX instructions; VMREAD and VMWRITE of a guest hypervisor, and with VMCS shadowing of its guest. The latter exit always, and are
 * carried out here on the shadow VMCS in the guest hypervisor's memory: hardware would need a shadow VMCS of its own, filled at each entry.
 * Source: SDM "VMREAD", "VMWRITE", "VMCS Shadowing Bitmap Addresses", "Shadow VMCS". */
#include "arch/lib/string.h"
#include "arch/x86/def/pte.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/vmx/nested.h"
#include "vmm/gmem.h"

/* ---- Operands: SDM tables "Format of the VM-Exit Instruction-Information Field" ---- */

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
		return is_canonical(linear) && is_canonical(linear + size - 1);
	return !(s->ar & SEG_AR_UNUSABLE) && offset + size - 1 <= s->limit;
}

bool nvmx_operand(struct vcpu *v, unsigned size, struct nvmx_operand *o)
{
	uint32_t info = vmcs_read32(VMCS_EXIT_INSN_INFO);
	unsigned addr_size = info >> 7 & 7, seg = info >> 15 & 7;
	uint64_t offset = v->exit.hw_info, linear;

	*o = (struct nvmx_operand){ .is_reg = info >> 10 & 1, .reg = info >> 3 & 0xf, .reg2 = (uint8_t)(info >> 28) };
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

/* Memory that is not there: the guest hypervisor's reads as all ones, and what is written to it is lost; its guest's is an exit to it, or a hole in the shadow
 * EPT that has just been filled. */
static bool there(struct vcpu *v, enum gva_status s)
{
	if (s == GVA_NO_MEMORY && v->level) {
		nvmx_miss(v);
		return false;
	}
	return s != GVA_FAULT;
}

bool nvmx_read_operand(struct vcpu *v, const struct nvmx_operand *o, void *dst, unsigned size)
{
	enum gva_status s = gva_read(v, o->at, dst, size);

	if (s == GVA_NO_MEMORY)
		memset(dst, 0xff, size);
	return there(v, s);
}

/* ---- Fields ---- */

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

/* Where a field of the nested guest's shadow VMCS lies. */
static struct gpa shadow_field(const struct nvmx *n, unsigned i)
{
	return (struct gpa){ V12(n, LINK_POINTER) + offsetof(struct n12_region, f) + i * sizeof(uint64_t) };
}

static uint64_t get(const struct vcpu *v, const struct nvmx *n, unsigned i)
{
	uint64_t val = ~0ull;

	if (!v->level)
		return n->f[i];
	gmem_read(v->vm, shadow_field(n, i), &val, sizeof(val));
	return val & n12_mask(i);
}

static void put(struct vcpu *v, struct nvmx *n, unsigned i, uint64_t val)
{
	bool hardware_has_it = n->shadow_on && n12_fields[i].kind == N12_INFO;

	if (v->level) {
		gmem_write(v->vm, shadow_field(n, i), &val, sizeof(val));
		return;
	}
	if (hardware_has_it)
		nvmx_shadow_in(v, n);
	n->f[i] = val;
	n->dirty[i] = true;
	if (hardware_has_it)
		nvmx_shadow_out(v, n);
}

/* ---- VMREAD, VMWRITE ---- */

static uint64_t reg_of(struct vcpu *v, unsigned i)
{
	return vcpu_long64(v) ? v->r[i] : v->r[i] & 0xffffffff;
}

struct access {
	struct nvmx_operand o;
	unsigned size, i;
	bool high;
};

/* What both do first, in the SDM's order but for the field, which an operand that faults outranks. False: it is over. */
static bool begin(struct vcpu *v, struct nvmx *n, struct access *a, bool write, uint64_t *val)
{
	int i;

	if (vcpu_cpl(v) != 0) { /* the nested guest's: the exit has come first */
		vcpu_raise(v, VEC_GP, true, 0);
		return false;
	}
	a->size = vcpu_long64(v) ? 8 : 4;
	if ((v->level ? V12(n, LINK_POINTER) : n->current) == NO_VMCS) {
		nvmx_vmfail_invalid(v);
		return false;
	}
	if (!nvmx_operand(v, a->size, &a->o) || (write && !a->o.is_reg && !nvmx_read_operand(v, &a->o, val, a->size)))
		return false;
	if (a->o.is_reg)
		*val = reg_of(v, a->o.reg);
	i = find_field(reg_of(v, a->o.reg2), &a->high);
	if (i < 0) {
		nvmx_vmfail(v, n, VMFAIL_FIELD);
		return false;
	}
	a->i = (unsigned)i;
	return true;
}

void nvmx_vmread(struct vcpu *v, struct nvmx *n)
{
	struct access a;
	uint64_t val;

	if (!begin(v, n, &a, false, &val))
		return;
	val = get(v, n, a.i);
	if (a.high)
		val >>= 32;
	if (a.size == 4)
		val &= 0xffffffff;
	if (a.o.is_reg)
		v->r[a.o.reg] = val;
	else if (!there(v, gva_write(v, a.o.at, &val, a.size)))
		return;
	nvmx_vmsucceed(v);
}

/* Every field can be written: nested_caps.c announces that. */
void nvmx_vmwrite(struct vcpu *v, struct nvmx *n)
{
	struct access a;
	uint64_t val = 0;

	if (!begin(v, n, &a, true, &val))
		return;
	if (a.high)
		put(v, n, a.i, (get(v, n, a.i) & 0xffffffff) | val << 32);
	else
		put(v, n, a.i, val & n12_mask(a.i));
	nvmx_vmsucceed(v);
}

/* A bitmap that is not memory reads as ones. */
bool nvmx_wants_access(struct vcpu *v, const struct nvmx *n, bool write)
{
	uint64_t map = write ? V12(n, VMWRITE_BITMAP) : V12(n, VMREAD_BITMAP), field;
	uint8_t bits = 0xff;

	if (!(n->proc2 & PROC2_SHADOW))
		return true;
	vcpu_need(v, VST_CR | VST_CS);
	field = reg_of(v, vmcs_read32(VMCS_EXIT_INSN_INFO) >> 28);
	if (field >> 15)
		return true;
	gmem_read(v->vm, (struct gpa){ map + field / 8 }, &bits, 1);
	return bits >> field % 8 & 1;
}
