/* SPDX-License-Identifier: MIT */
/* A virtual CPU: registers, cached state groups, debug state, events. Backends hold the rest behind `hw`. */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86/dbg.h"
#include "vmm/event.h"
#include "vmm/exit.h"

struct vm;
struct backend;

/* General registers in encoding order; assembly uses the index * 8 as offset into struct vcpu. */
enum gpr { GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSP, GPR_RBP, GPR_RSI, GPR_RDI, GPR_R8, GPR_R15 = 15, GPR_NR };

struct seg {
	uint16_t sel;
	uint32_t ar; /* VMX format, see def/seg.h */
	uint32_t limit;
	uint64_t base;
};

enum seg_index { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_NR };

/* Groups of guest state that live in the VM control block. Common code calls vcpu_need() before it reads and vcpu_dirty() after it writes. */
enum {
	VST_CR = 1u << 0,     /* cr0, cr3, cr4, efer */
	VST_CS = 1u << 1,     /* seg[CS], seg[SS], cpl */
	VST_SEG = 1u << 2,    /* the other segments */
	VST_DESC = 1u << 3,   /* gdtr, idtr */
	VST_MSR = 1u << 4,    /* star .. sysenter_eip, pat, tsc_aux */
	VST_SHADOW = 1u << 5, /* shadow, nmi_blocked, halted */
	VST_DBG = 1u << 6,    /* dbg.vm_dr6, dbg.vm_dr7, dbg.vm_intercept (commit is on dbg.vm_dirty as well) */
	VST_CR2 = 1u << 7,
	VST_CTL = 1u << 8,    /* want_intr_window, want_nmi_window, debugctl_open (write only) */
};

enum { SHADOW_NONE = 0, SHADOW_STI = 1, SHADOW_MOV_SS = 2 }; /* SVM cannot tell the two: reports SHADOW_STI */

struct vcpu_state {
	uint64_t cr0, cr2, cr3, cr4, efer;
	struct seg seg[SEG_NR];
	uint8_t cpl;
	struct { uint64_t base; uint32_t limit; } gdtr, idtr;
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base, sysenter_cs, sysenter_esp, sysenter_eip, pat, tsc_aux;
	uint8_t shadow; /* SHADOW_* */
	bool nmi_blocked;
};

/* One always-on trace entry, stamped before the handler (at most 20 instructions). */
struct trace_entry {
	uint64_t tsc;
	uint64_t rip;
	uint32_t hw_reason;
	uint8_t kind, plan_enter, fast, level;
	uint64_t info; /* backend's qualification */
};
#define TRACE_ENTRIES 64

struct vcpu {
	/* Always in step with hardware between runs: the backend loads and stores these on every run(). Offsets are asserted for assembly. */
	uint64_t r[GPR_NR]; /* offset 0 */
	uint64_t rip;       /* offset 128 */
	uint64_t rflags;    /* offset 136 */

	struct exit exit;
	struct dbg_vcpu dbg;

	uint32_t st_valid; /* VST_*: fields of st that are in step with the control block */
	uint32_t st_dirty; /* VST_*: to be committed by the backend before the next entry */
	struct vcpu_state st;

	struct event inject;    /* to be injected by the next run(); the backend clears type once it has been handed to hardware */
	struct event exception; /* pending, not yet selected: EVENT_FAULT or EVENT_NONE */
	bool nmi_pending;
	uint64_t irq_pending[4]; /* by vector, from the lab */
	bool want_intr_window, want_nmi_window;
	bool debugctl_open;     /* lab: RDMSR of DEBUGCTL is not intercepted */
	bool halted;

	unsigned level;         /* 0 now; nesting keeps a context per level */
	const struct backend *be;
	struct vm *vm;
	void *hw;               /* the backend's own: control block(s), host-physical addresses */
	uint64_t exits, fast_exits;
	uint64_t run_tsc;       /* host time used, in TSC ticks */
	bool stopped;
	unsigned exit_code;     /* enum exit_code once stopped */
};

/* State groups: see backend.h for who fills them. */
void vcpu_need_slow(struct vcpu *v, uint32_t groups);

static inline void vcpu_need(struct vcpu *v, uint32_t groups)
{
	if ((v->st_valid & groups) != groups)
		vcpu_need_slow(v, groups);
}

static inline void vcpu_dirty(struct vcpu *v, uint32_t groups)
{
	v->st_valid |= groups;
	v->st_dirty |= groups;
}

#endif
