/* SPDX-License-Identifier: MIT */
/* Nested VMX: VMCS shadowing, where the CPU has it. What a guest hypervisor reads and writes at each exit of its guest's is in a VMCS that hardware lets it
 * at, so that these VMREADs and VMWRITEs do not exit. vmcs12 in struct nvmx is behind for the writable ones, between nvmx_shadow_out() and
 * nvmx_shadow_in(). Source: SDM "Shadow-VMCS Access", "Virtual-Machine Control Structures". */
#include "arch/lib/panic.h"
#include "arch/lib/string.h"
#include "arch/x86/pmem.h"
#include "arch/x86/vmx/nested.h"

#define BIT(field) ((field) & 0x7fff)

static const uint8_t writable[] = {
	N12_GUEST_RIP, N12_GUEST_RSP, N12_GUEST_RFLAGS, N12_GUEST_INTERRUPTIBILITY, N12_GUEST_PENDING_DBG, N12_GUEST_DR7, N12_ENTRY_INTR_INFO,
	N12_ENTRY_ERROR_CODE, N12_ENTRY_INSN_LEN,
};
/* drover has to write them there: only where VMWRITE may do that. A guest hypervisor writes them in a shadow VMCS of its own alone. */
static const uint8_t read_only[] = {
	N12_EXIT_REASON, N12_EXIT_QUALIFICATION, N12_EXIT_INTR_INFO, N12_EXIT_ERROR_CODE, N12_IDT_VECTORING_INFO, N12_EXIT_INSN_LEN, N12_EXIT_INSN_INFO,
	N12_GUEST_LINEAR, N12_GUEST_PA,
};

static void open(uint8_t *bitmap, unsigned i)
{
	uint32_t bit = BIT(n12_fields[i].field);

	bitmap[bit / 8] &= (uint8_t)~(1u << bit % 8);
}

bool nvmx_shadow_init(struct nvmx *n)
{
	uint32_t *p;

	if (!(vmx_caps.allowed1[CTL_PROC2] & PROC2_SHADOW) || !(vmx_caps.misc & MISC_VMWRITE_ANY))
		return true;
	n->shadow = pmem_alloc(PAGE_SIZE, PAGE_SIZE);
	n->shadow_read = pmem_alloc(PAGE_SIZE, PAGE_SIZE);
	n->shadow_write = pmem_alloc(PAGE_SIZE, PAGE_SIZE);
	n->shadow_write_all = pmem_alloc(PAGE_SIZE, PAGE_SIZE);
	if (!n->shadow || !n->shadow_read || !n->shadow_write || !n->shadow_write_all)
		return false;
	p = n->shadow;
	*p = (uint32_t)(vmx_caps.basic & BASIC_REVISION) | REVISION_SHADOW;
	memset(n->shadow_read, 0xff, PAGE_SIZE);
	memset(n->shadow_write, 0xff, PAGE_SIZE);
	for (unsigned i = 0; i < sizeof(writable); i++) {
		open(n->shadow_read, writable[i]);
		open(n->shadow_write, writable[i]);
	}
	for (unsigned i = 0; i < sizeof(read_only); i++)
		open(n->shadow_read, read_only[i]);
	memcpy(n->shadow_write_all, n->shadow_read, PAGE_SIZE);
	return vmclear(virt_to_phys(n->shadow));
}

void nvmx_shadow_destroy(struct nvmx *n)
{
	if (n->shadow)
		vmclear(virt_to_phys(n->shadow));
	pmem_free(n->shadow, PAGE_SIZE);
	pmem_free(n->shadow_read, PAGE_SIZE);
	pmem_free(n->shadow_write, PAGE_SIZE);
	pmem_free(n->shadow_write_all, PAGE_SIZE);
}

/* The shadow as the CPU's current VMCS, and what was current again. It is cleared in between: the link pointer's accesses go by memory. */
static void begin(const struct nvmx *n)
{
	if (!vmptrld(virt_to_phys(n->shadow)))
		panic("VMPTRLD of a shadow VMCS failed");
}

static void end(struct vcpu *v, const struct nvmx *n)
{
	if (!vmclear(virt_to_phys(n->shadow)) || !vmptrld(vmx_hw(v)->vmcs_pa))
		panic("VMCLEAR of a shadow VMCS failed");
}

void nvmx_shadow_off(struct vcpu *v, struct nvmx *n)
{
	if (!n->shadow_on)
		return;
	n->shadow_on = false;
	vmx_make_current(n->hw1, this_cpu());
	vmcs_write(VMCS_PROC2_CTL, vmcs_read(VMCS_PROC2_CTL) & ~(uint64_t)PROC2_SHADOW);
	vmcs_write(VMCS_LINK_POINTER, ~0ull);
	vmx_make_current(vmx_hw(v), this_cpu());
}

void nvmx_shadow_out(struct vcpu *v, struct nvmx *n)
{
	if (!n->shadow || n->current == NO_VMCS)
		return;
	vmx_make_current(vmx_hw(v), this_cpu());
	begin(n);
	for (unsigned i = 0; i < sizeof(writable); i++)
		vmcs_write(n12_fields[writable[i]].field, n->f[writable[i]]);
	for (unsigned i = 0; i < sizeof(read_only); i++)
		vmcs_write(n12_fields[read_only[i]].field, n->f[read_only[i]]);
	end(v, n);
	if (n->shadow_on)
		return;
	n->shadow_on = true;
	vmcs_write(VMCS_VMREAD_BITMAP, virt_to_phys(n->shadow_read));
	vmcs_write(VMCS_VMWRITE_BITMAP, virt_to_phys(n->is_shadow ? n->shadow_write_all : n->shadow_write));
	vmcs_write(VMCS_LINK_POINTER, virt_to_phys(n->shadow));
	vmcs_write(VMCS_PROC2_CTL, vmcs_read(VMCS_PROC2_CTL) | PROC2_SHADOW);
}

void nvmx_shadow_in(struct vcpu *v, struct nvmx *n)
{
	if (!n->shadow_on)
		return;
	vmx_make_current(vmx_hw(v), this_cpu());
	begin(n);
	for (unsigned i = 0; i < sizeof(writable); i++) {
		uint64_t val = vmcs_read(n12_fields[writable[i]].field);

		n->dirty[writable[i]] = n->dirty[writable[i]] || val != n->f[writable[i]];
		n->f[writable[i]] = val;
	}
	for (unsigned i = 0; n->is_shadow && i < sizeof(read_only); i++)
		n->f[read_only[i]] = vmcs_read(n12_fields[read_only[i]].field);
	end(v, n);
}
