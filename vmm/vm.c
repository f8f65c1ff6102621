/* SPDX-License-Identifier: MIT */
/* Making and destroying a virtual machine. */
#include "vmm/vm.h"

#include "arch/lib/fmt.h"
#include "arch/lib/log.h"
#include "arch/lib/string.h"
#include "arch/x86/def/exitcode.h"
#include "arch/x86/percpu.h"
#include "arch/x86/pmem.h"
#include "arch/x86/tsc.h"
#include "vmm/acpitab.h"
#include "vmm/backend.h"
#include "vmm/boot64.h"
#include "vmm/bus.h"
#include "vmm/fpu.h"
#include "vmm/loader.h"
#include "vmm/mbinfo.h"
#include "vmm/slat.h"
#include "vmm/trace.h"

#define MIB 0x100000ul
#define RAM_ALIGN (2 * MIB) /* so that the second-level tables are of large pages */

/* Everything of a VM but its RAM and what the backend has. */
struct vm_parts {
	struct vm vm;
	struct vcpu vcpu;
	struct vm_bus bus;
};

#define TAG_MAX (VM_NAME_MAX + 5) /* L999: */

static bool load_image(struct vm *vm, const struct vm_config *cfg)
{
	struct loader_image im;
	char why[160];
	uint64_t need;
	uint32_t info;

	if (!loader_check(cfg->image.data, cfg->image.len, vm->ram_size, &im, why, sizeof(why))) {
		log_printf("drover: vm %s: cannot load its module: %s\n", vm->name, why);
		return false;
	}
	loader_place(cfg->image.data, &im, vm->ram);
	acpitab_build(vm->ram);
	info = mbinfo_build(vm->ram, vm->ram_size, im.end, cfg, &need);
	if (!info) {
		log_printf("drover: vm %s: cannot load its module: needs %lu MiB of memory with its own modules, but the VM has %lu MiB\n", vm->name,
			   (need + MIB - 1) / MIB, vm->ram_size / MIB);
		return false;
	}
	vcpu_reset(vm->vcpu, im.entry);
	if (vm->be->ring3) {
		if (!im.entry64) {
			log_printf("drover: vm %s: cannot load its module: no note names a 64-bit entry, and the %s backend has no other\n", vm->name,
				   vm->be->name);
			return false;
		}
		boot64_build(vm->vcpu, vm->ram);
		vm->vcpu->rip = im.entry64;
	}
	vm->vcpu->r[GPR_RAX] = MBINFO_MAGIC;
	vm->vcpu->r[GPR_RBX] = info;
	return true;
}

/* For backends without vcpu_live: so that they are asked. */
static const uint64_t unknown_shadow = 1;
static const uint8_t unknown_cpl = 0xff;

static void left_out(const struct vm_config *cfg, const struct backend *be, const char *option)
{
	log_printf("drover: vm %s: %s is left out: the %s backend has no such thing\n", cfg->name, option, be->name);
}

/* What this backend cannot give: the VM runs all the same, on a plainer CPU. lazy: the default, which nobody need have asked for. */
static void tell_left_out(const struct vm_config *cfg, const struct backend *be)
{
	if (cfg->nested != NESTED_OFF && !be->nested)
		left_out(cfg, be, "nested=");
	if (be->ring3 && cfg->debugctl_emulate)
		left_out(cfg, be, "debugctl=emulate");
	if (be->ring3 && cfg->dbg_policy != DBG_LAZY && cfg->dbg_policy != DBG_TRAPPED)
		left_out(cfg, be, "dbg=");
}

static struct vm *alloc_parts(const struct vm_config *cfg, const struct backend *be)
{
	struct vm_parts *p = pmem_alloc(sizeof(*p), 64);
	char tag[TAG_MAX];
	struct vm *vm;

	if (!p)
		return NULL;
	vm = &p->vm;
	str_copy(vm->name, sizeof(vm->name), cfg->name);
	vm->id = cfg->id;
	vm->group = cfg->group;
	vm->level = cfg->level;
	vm->lab = cfg->lab;
	vm->bus_lock_exit = cfg->bus_lock_exit;
	vm->nested = be->nested ? (uint8_t)cfg->nested : NESTED_OFF;
	vm->budget_ms = cfg->budget_ms;
	vm->cmdline = cfg->cmdline;
	vm->be = be;
	vm->bus = &p->bus;
	vm->vcpu = &p->vcpu;
	fmt_snprintf(tag, sizeof(tag), "L%u:%s", vm->level, vm->name);
	bus_init(&p->bus, tag);
	p->vcpu.be = be;
	/* DR6.BLD can be 0 in such a VM, which the register may not hold: the guest never has it (P01). */
	vm->debugctl_emulate = p->vcpu.dbg.soft = cfg->debugctl_emulate && !be->ring3;
	p->vcpu.dbg.policy = (uint8_t)(vm->debugctl_emulate || be->ring3 ? DBG_TRAPPED : cfg->dbg_policy);
	p->vcpu.vm = vm;
	p->vcpu.apic.min_period = tsc_from_us(VLAPIC_MIN_PERIOD_US);
	p->vcpu.peer = &p->vcpu;
	p->vcpu.live.shadow = &unknown_shadow;
	p->vcpu.live.cpl = &unknown_cpl;
	p->vcpu.trace = trace_ring(this_cpu());
	p->vcpu.budget_tsc = tsc_from_us((uint64_t)cfg->budget_ms * 1000);
	return vm;
}

static bool alloc_memory(struct vm *vm, uint64_t size)
{
	if (size <= pmem_free_bytes())
		vm->ram = pmem_alloc(size, RAM_ALIGN);
	if (!vm->ram) {
		log_printf("drover: vm %s: needs %lu MiB of memory, but the host has %lu MiB free (in one piece perhaps less)\n", vm->name, size / MIB,
			   pmem_free_bytes() / MIB);
		return false;
	}
	vm->ram_size = size;
	vm->ram_hpa = virt_to_phys(vm->ram);
	if (vm->be->slat)
		vm->slat_root = slat_build(vm->be->slat, vm->ram_hpa, size);
	if ((vm->be->slat && !vm->slat_root) || !fpu_init(vm->vcpu)) {
		log_printf("drover: vm %s: the host is out of memory\n", vm->name);
		return false;
	}
	return true;
}

struct vm *vm_create(const struct vm_config *cfg, const struct backend *be, unsigned *code)
{
	struct vm *vm = alloc_parts(cfg, be);

	*code = EXIT_NOMEM;
	if (!vm) {
		log_printf("drover: vm %s: the host is out of memory\n", cfg->name);
		return NULL;
	}
	tell_left_out(cfg, be);
	if (!alloc_memory(vm, (uint64_t)cfg->mem_mib * MIB)) {
		vm_destroy(vm);
		return NULL;
	}
	if (!load_image(vm, cfg)) {
		*code = EXIT_BADMODULE;
		vm_destroy(vm);
		return NULL;
	}
	if (!be->vm_init(vm) || !be->vcpu_init(vm->vcpu) || (vm->nested != NESTED_OFF && !be->nested->init(vm->vcpu))) {
		log_printf("drover: vm %s: the %s backend cannot set it up\n", vm->name, be->name);
		vm_destroy(vm);
		return NULL;
	}
	log_printf("drover: vm %s: %lu MiB, %s%sbudget %u ms, entry 0x%lx, command line '%s'\n", vm->name, vm->ram_size / MIB, vm->lab ? "lab, " : "",
		   vm->group ? "in a group, " : "", vm->budget_ms, vm->vcpu->rip, vm->cmdline);
	return vm;
}

void vm_destroy(struct vm *vm)
{
	struct vm_parts *p = (struct vm_parts *)(void *)vm;

	_Static_assert(offsetof(struct vm_parts, vm) == 0, "vm_destroy");
	if (vm->vcpu->nested)
		vm->be->nested->destroy(vm->vcpu);
	if (vm->vcpu->hw)
		vm->be->vcpu_destroy(vm->vcpu);
	if (vm->hw)
		vm->be->vm_destroy(vm);
	fpu_destroy(vm->vcpu);
	if (vm->be->slat)
		slat_free(vm->be->slat, vm->slat_root);
	if (vm->ram)
		pmem_free(vm->ram, vm->ram_size);
	pmem_free(p, sizeof(*p));
}
