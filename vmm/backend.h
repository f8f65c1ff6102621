/* SPDX-License-Identifier: MIT */
/* The one interface between the machine model and the hardware backends. vmm/ owns it; backends implement it and never see each other. */
#ifndef VMM_BACKEND_H
#define VMM_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86/percpu.h"
#include "vmm/nested.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* Second-level page-table format (EPT or NPT), as data: vmm/slat.c builds the tables. 4 levels, 4 KiB / 2 MiB leaves, write-back. */
struct slat_format {
	uint64_t table;      /* bits of a non-leaf entry besides the address */
	uint64_t leaf;       /* bits of every leaf: memory type, present/read */
	uint64_t write;      /* added when writable */
	uint64_t exec;       /* added when executable */
	uint64_t noexec;     /* added when not */
	uint64_t large;      /* added to a 2 MiB leaf */
};

/* What the control block holds, for what it has (DBG_CAP_VM_*, vm_lbrv); the rest is 0. */
struct dbg_now {
	uint64_t dr6, dr7, debugctl;
};

enum backend_verdict { BACKEND_OK, BACKEND_ABSENT, BACKEND_LOCKED, BACKEND_LACKS };

struct backend {
	const char *name;     /* "svm", "vmx", "pvm" */
	unsigned dbg_caps;    /* DBG_CAP_* */
	/* Which of DBG_FEAT_GIVEN a guest can have on this CPU. feat: DBG_FEAT_* of the hardware. */
	unsigned (*dbg_given)(const struct cpu *c, unsigned feat);
	/* The next three: NULL where no guest can have DBG_FEAT_LBR.
	 * A last-branch record MSR of this vcpu, which is loaded and has DBG_FEAT_LBR. False: #GP(0), no such MSR or value. */
	bool (*lbr)(struct vcpu *v, uint32_t msr, bool write, uint64_t *val);
	/* All of them, in an order of the backend's own: into (save) or from array[SNAPSHOT_LBR_MAX]. Returns how many there are. What the CPU refuses is left 0. */
	unsigned (*lbr_state)(struct vcpu *v, uint64_t *array, bool restore);
	/* A branch of this vcpu's, for DEBUGCTL by software: the newest record. event: the delivery of one, not an instruction. */
	void (*lbr_record)(struct vcpu *v, uint64_t from, uint64_t to, bool event);
	const struct nested_ops *nested; /* NULL: a guest cannot be a hypervisor */
	uint32_t guest_feature; /* HC_FEATURE_SVM, HC_FEATURE_VMX or HC_FEATURE_PVM */
	const struct slat_format *slat; /* NULL: no second-level tables */
	/* Made of DBG_CAP_RING3 in dbg_caps. The guest's kernel runs in ring 3: 64-bit guests only, which start so, by the image's note; less CPUID. */
	bool ring3;

	/* Can this CPU run it? On a refusal the reason names the missing thing ("VMX: CPU lacks unrestricted guest"). Changes nothing.
	 * fault: the `fault=` option or NULL (test doubles at the MSR level). */
	enum backend_verdict (*probe)(char *reason, size_t reason_size, const char *fault);
	/* Turn virtualization on/off on this CPU. on: false and a logged reason when it fails. */
	bool (*cpu_on)(struct cpu *c);
	void (*cpu_off)(struct cpu *c);
	/* Per-VM data: bitmaps, ASID. slat_root is set already. false: out of memory. */
	bool (*vm_init)(struct vm *vm);
	void (*vm_destroy)(struct vm *vm);
	/* Control block with intercepts and host state; guest state comes by v->st with all groups dirty. false: out of memory or a control bit that
	 * must be available is not (logged by name). */
	bool (*vcpu_init)(struct vcpu *v);
	void (*vcpu_destroy)(struct vcpu *v);
	/* This vcpu becomes / stops being the one whose state is on the CPU: what hardware does not switch per entry and the host does not use
	 * (SYSCALL MSRs and KernelGSBase on VMX, TSC_AUX, CR2 on VMX...). x87/SSE/AVX/XCR0 are switched by vmm/, not here. */
	void (*vcpu_load)(struct vcpu *v, struct cpu *c);
	void (*vcpu_put)(struct vcpu *v, struct cpu *c);
	/* One entry and exit: commits st_dirty and dbg.vm_dirty, injects v->inject, brackets DEBUGCTL, enters, decodes into v->exit, keeps r[], rip, rflags
	 * in step, invalidates st_valid (writes back nothing else). Interrupts are off; a pending host interrupt makes the guest exit with
	 * EXITK_INTR and is taken when the caller opens interrupts. Must be cheap: an idle CPUID round trip through everything is <= 300 instructions
	 * (PVM: 1000, `make bench`). */
	void (*run)(struct vcpu *v, struct cpu *c);
	/* Carries out the instruction of an EXITK_RING exit. NULL: the backend has no such exits. */
	void (*emulate)(struct vcpu *v);
	/* Fill groups of v->st (and dbg.vm_dr6/vm_dr7 for VST_DBG) from the control block. */
	void (*fetch)(struct vcpu *v, uint32_t groups);
	/* The same without changing v: what the last exit left there, or the last commit. For the trace. Never NULL; 0 for what the backend does not have. */
	void (*dbg_now)(const struct vcpu *v, struct dbg_now *now);
	/* Flush this VM's guest-physical translations before its next entry. */
	void (*flush)(struct vm *vm);
	/* Log the control block, field by field with names. */
	void (*dump)(struct vcpu *v);
	/* Check the control block against the manual's entry checks; logs each broken rule by name and returns how many. */
	unsigned (*audit)(struct vcpu *v);
};

#endif
