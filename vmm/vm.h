/* SPDX-License-Identifier: MIT */
/* A virtual machine: memory, second-level page table, devices, options. One vcpu each for now. */
#ifndef VMM_VM_H
#define VMM_VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/vcpu.h"

#define VM_NAME_MAX 16

struct vm_bus; /* vmm/bus.h */

#define GUARD_MAX 32

/* Pages that exit when instructions are fetched from them (vmm/guard.h). */
struct guard {
	uint64_t page[GUARD_MAX]; /* guest-physical */
	unsigned nr;
	bool open;                /* they may be executed for now, by steps */
};

struct vm {
	char name[VM_NAME_MAX];
	unsigned id;
	unsigned level;      /* what runs in it: 1 in a VM of the first drover, 2 in one of a drover that runs in that */
	unsigned group;      /* VMs of one group > 0 alternate on a CPU */
	bool lab;
	uint8_t nested;      /* enum nested_option */
	bool debugctl_emulate; /* DEBUGCTL's LBR, BTF and bus-lock trap by software (vmm/step.c) */
	bool bus_lock_exit;  /* the host is told of each bus lock, where the CPU can (V21) */
	unsigned budget_ms;
	uint8_t *ram;        /* host pointer to guest-physical 0 */
	uint64_t ram_size;   /* bytes; RAM is one range from 0 */
	uint64_t ram_hpa;
	uint64_t slat_root;  /* host-physical address of the second-level table's root */
	struct guard guard;
	const char *cmdline; /* the guest's own */
	const struct backend *be;
	struct vm_bus *bus;
	void *hw;            /* the backend's per-VM data: bitmaps, ASID/VPID */
	struct vcpu *vcpu;
};

/* A host-physical range and the string of a multiboot module. */
struct vm_module {
	const uint8_t *data;
	uint64_t len;
	const char *cmdline;
};

#define VM_MAX_MODULES 8

struct vm_config {
	char name[VM_NAME_MAX];
	unsigned id, level, group, mem_mib, budget_ms;
	bool lab, bus_lock_exit, debugctl_emulate;
	unsigned dbg_policy; /* enum dbg_policy */
	unsigned nested;     /* enum nested_option */
	struct vm_module image;
	const char *cmdline;
	unsigned nr_modules;
	struct vm_module module[VM_MAX_MODULES];
};

/* Allocates, builds, loads. On a refusal: NULL, logged with VM and reason, *code says why (EXIT_NOMEM, EXIT_BADMODULE). */
struct vm *vm_create(const struct vm_config *cfg, const struct backend *be, unsigned *code);
/* Frees all of it, its RAM too. The vcpu has been put (run_group does that). */
void vm_destroy(struct vm *vm);

#endif
