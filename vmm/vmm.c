/* SPDX-License-Identifier: MIT */
/* The machine model's main: modules into VMs, groups run one after the other, each VM's end reported, the worst exit code returned. */
#include "vmm/vmm.h"

#include "arch/lib/fmt.h"
#include "arch/lib/log.h"
#include "arch/lib/string.h"
#include "arch/x86/percpu.h"
#include "arch/x86/pmem.h"
#include "arch/x86/tsc.h"
#include "vmm/backend.h"
#include "vmm/cpuid.h"
#include "vmm/dbgtrace.h"
#include "vmm/gdb/gdb.h"
#include "vmm/run.h"
#include "vmm/trace.h"
#include "vmm/vmopts.h"

#define DEFAULT_MEM_MIB 32u

static struct vm_config configs[VMM_MAX_MODULES];
static unsigned nr_configs;

static struct vm_config *find(const char *name)
{
	for (unsigned i = 0; i < nr_configs; i++)
		if (str_eq(configs[i].name, name))
			return &configs[i];
	return NULL;
}

static struct vm_module file_of(const struct vmm_module *m, const char *cmdline)
{
	return (struct vm_module){ phys_to_virt(m->pa), m->len, cmdline };
}

static bool add_vm(const struct vmm_config *cfg, const struct vmm_module *m, const struct vmopts *o)
{
	struct vm_config *c = &configs[nr_configs];

	*c = (struct vm_config){ .id = nr_configs, .level = cfg->level + 1, .group = o->group, .mem_mib = o->mem_mib, .budget_ms = o->budget_ms, .lab = o->lab,
				 .bus_lock_exit = o->bus_lock_exit, .debugctl_emulate = o->debugctl_emulate, .nested = o->nested, .dbg_policy = cfg->dbg_policy,
				 .image = file_of(m, o->cmdline), .cmdline = o->cmdline };
	if (o->name[0])
		str_copy(c->name, sizeof(c->name), o->name);
	else
		fmt_snprintf(c->name, sizeof(c->name), "vm%u", nr_configs);
	if (find(c->name)) {
		log_printf("drover: two VMs have the name vm=%s\n", c->name);
		return false;
	}
	nr_configs++;
	return true;
}

static bool add_module(const struct vmm_module *m, const struct vmopts *o)
{
	struct vm_config *c = find(o->module_of);

	if (!c) {
		log_printf("drover: module-of=%s: no VM of that name\n", o->module_of);
		return false;
	}
	if (c->nr_modules == VM_MAX_MODULES) {
		log_printf("drover: module-of=%s: more than %u modules\n", o->module_of, VM_MAX_MODULES);
		return false;
	}
	c->module[c->nr_modules++] = file_of(m, o->cmdline);
	return true;
}

/* All strings before any VM runs. Two passes, since a module may come before its VM. */
static bool parse_modules(const struct vmm_config *cfg)
{
	char bad[64];

	for (unsigned pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < cfg->nr_modules; i++) {
			struct vmopts o = { .mem_mib = DEFAULT_MEM_MIB, .budget_ms = cfg->budget_ms };

			if (!vmopts_parse(cfg->module[i].cmdline, &o, bad, sizeof(bad))) {
				log_printf("drover: module %zu: unknown option or value '%s'\n", i + 1, bad);
				return false;
			}
			if (pass == 0 ? !o.module_of[0] && !add_vm(cfg, &cfg->module[i], &o) : o.module_of[0] && !add_module(&cfg->module[i], &o))
				return false;
		}
	}
	return true;
}

static void worst(enum exit_code *code, unsigned c)
{
	if (c > (unsigned)*code)
		*code = (enum exit_code)c;
}

/* The VMs that run together with configs[i]: itself, or all of its group. Those that cannot be created are left out, and count. */
static unsigned create_group(const struct backend *be, unsigned i, struct vm *out[], enum exit_code *code)
{
	unsigned n = 0;

	for (unsigned k = i; k < nr_configs; k++) {
		unsigned why;

		if (k != i && (configs[i].group == 0 || configs[k].group != configs[i].group))
			continue;
		out[n] = vm_create(&configs[k], be, &why);
		if (out[n])
			n++;
		else
			worst(code, why);
	}
	for (unsigned k = 0; k < n; k++)
		out[k]->vcpu->peer = out[(k + 1) % n]->vcpu;
	return n;
}

static void report(const struct vm *vm)
{
	const struct vcpu *v = vm->vcpu;

	log_printf("drover: vm %s: %lu exits, %lu fast, %lu ms\n", vm->name, v->exits, v->fast_exits, tsc_to_us(v->run_tsc) / 1000);
}

static bool first_of_group(unsigned i)
{
	for (unsigned k = 0; k < i; k++)
		if (configs[k].group && configs[k].group == configs[i].group)
			return false;
	return true;
}

enum exit_code vmm_main(const struct vmm_config *cfg)
{
	static struct vm *vms[VMM_MAX_MODULES];
	struct cpu *c = this_cpu();
	const struct backend *be = cfg->backend;
	enum exit_code code = EXIT_PASS;

	if (!parse_modules(cfg))
		return EXIT_BADOPT;
	if (nr_configs == 0) {
		log_printf("drover: no module is a VM: nothing to run\n");
		return EXIT_NOMODULE;
	}
	cpuid_init(cfg->backend->ring3);
	trace_init();
	if (!cfg->backend->cpu_on(c))
		return EXIT_NOVIRT;
	if (cfg->trace != DBGTRACE_OFF)
		be = dbgtrace_start(be, c, (enum dbgtrace_mode)cfg->trace);
	for (unsigned i = 0; i < nr_configs; i++) {
		unsigned n;

		if (!first_of_group(i))
			continue;
		n = create_group(be, i, vms, &code);
		if (n > 0 && cfg->bad_entry && i == 0)
			vms[0]->vcpu->dbg.dr7 |= 1ull << 32; /* no guest can: its own write of it is #GP (A03) */
		if (n > 0)
			run_group(vms[0]->vcpu, c);
		for (unsigned k = 0; k < n; k++) {
			report(vms[k]);
			gdb_vm_gone(vms[k]);
			worst(&code, vms[k]->vcpu->exit_code);
			vm_destroy(vms[k]);
		}
	}
	cfg->backend->cpu_off(c);
	if (cfg->trace != DBGTRACE_OFF)
		dbgtrace_print(c, ~0u);
	gdb_end((unsigned)code);
	return code;
}
