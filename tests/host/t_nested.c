/* SPDX-License-Identifier: MIT */
/* Nested VMX by hand: whose an exit of the nested guest is, where no emulator makes one. The software CPU has no nested guests: a vcpu is put at level 1. */
#include <string.h>

#include "arch/x86/vmx/nested.h"
#include "both.h"
#include "vmm/nested.h"

#define R_CPUID 10u
#define R_BUS_LOCK 74u
#define BUS_LOCK_BEFORE (1u << 26)

/* At level 1, with a hypervisor that has asked for every exit that there is a control for. */
static void at_level1(struct vcpu *v, struct nvmx *n)
{
	memset(n, 0, sizeof(*n));
	n->hw1 = n->hw2 = v->hw;
	n->vm2 = n->hw1->vm;
	n->vmxon = true;
	n->proc2 = ~0u;
	V12(n, PIN_CTL) = ~(uint64_t)PIN_TIMER & 0xffffffff;
	V12(n, PROC_CTL) = ~(uint64_t)PROC_MTF & 0xffffffff;
	V12(n, PROC2_CTL) = 0xffffffff;
	V12(n, EXCEPTION_BITMAP) = 0xffffffff;
	V12(n, EXIT_REASON) = 0xdead;
	v->nested = n;
	v->level = 1;
	v->exit = (struct exit){ .dr6 = DR6_INIT };
}

TEST(N23_bus_lock_exits)
{
	static const struct gop ops[] = { { G_CPUID } };
	static struct nvmx n;
	struct ref_cpu cpu = full(false);
	struct machine m;
	struct vcpu *v;
	uint32_t must, may;

	cpu.bus_lock_exit = true;
	if (tap_instead || !machine_start(&m, false, cpu))
		return;
	m.bus_lock_exit = true;
	v = machine_add(&m, OPS(ops), OPS(show_all));
	if (!v)
		return;
	sw.strict = false;
	nvmx_allowed(CTL_PROC2, &must, &may);
	tap_eq(may & PROC2_BUS_LOCK, 0, "N23.offered", "the control is not offered to a guest hypervisor");
	at_level1(v, &n);
	v->exit.kind = EXITK_BUS_LOCK;
	v->exit.hw_reason = R_BUS_LOCK;
	tap_ok(!vmx_nested.exit(v) && v->level == 1, "N23.own", "an exit for a bus lock alone is drover's, whatever the guest hypervisor's controls are");
	tap_eq(V12(&n, EXIT_REASON), 0xdead, "N23.silent", "and it is told nothing");
	at_level1(v, &n);
	v->exit.kind = EXITK_CPUID;
	v->exit.hw_reason = R_CPUID | BUS_LOCK_BEFORE;
	tap_ok(vmx_nested.exit(v) && v->level == 0, "N23.other", "another exit with a bus lock before it is the guest hypervisor's");
	tap_eq(V12(&n, EXIT_REASON), R_CPUID, "N23.bit", "and says nothing of the lock");
	v->nested = NULL;
	machine_stop(&m);
}
