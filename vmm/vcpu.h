/* SPDX-License-Identifier: MIT */
/* A virtual CPU: registers, cached state groups, debug state, events. Backends hold the rest behind `hw`. */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86/dbg.h"
#include "arch/x86/percpu.h"
#include "vmm/dev/lapic.h"
#include "vmm/event.h"
#include "vmm/exit.h"

struct vm;
struct backend;

/* General registers in encoding order; assembly uses the index * 8 as offset into struct vcpu. */
enum gpr { GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSP, GPR_RBP, GPR_RSI, GPR_RDI, GPR_R8, GPR_R11 = 11, GPR_R15 = 15, GPR_NR };

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
	VST_SHADOW = 1u << 5, /* shadow, nmi_blocked, pending_dbg */
	VST_DBG = 1u << 6,    /* dbg.vm_dr6, vm_dr7, vm_debugctl, vm_intercept (commit is on dbg.vm_dirty as well) */
	VST_CR2 = 1u << 7,
	VST_CTL = 1u << 8,    /* want_intr_window, want_nmi_window, debugctl_open, apic.tpr, step.catching, debugger.catch_int3, debugger.step (write only) */
};

#define VST_ALL 0x1ffu

enum { SHADOW_NONE = 0, SHADOW_STI = 1, SHADOW_MOV_SS = 2 }; /* SVM cannot tell the two: reports SHADOW_STI */

struct vcpu_state {
	uint64_t cr0, cr2, cr3, cr4, efer;
	struct seg seg[SEG_NR];
	uint8_t cpl;
	struct { uint64_t base; uint32_t limit; } gdtr, idtr;
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base, sysenter_cs, sysenter_esp, sysenter_eip, pat, tsc_aux;
	uint8_t shadow; /* SHADOW_* */
	bool nmi_blocked;
	uint32_t pending_dbg; /* VST_SHADOW: debug traps that hardware holds back, or is to raise at the next entry (V11, V13); with
			       * DBG_CAP_PENDING, and in PVM what MOV SS holds */
};

/* One always-on trace entry, stamped before the handler (at most 20 instructions). */
struct trace_entry {
	uint64_t tsc;
	uint64_t rip;
	uint64_t info;       /* backend's qualification */
	uint8_t kind, level; /* these and the next two: as the start of struct exit, copied in one go */
	uint8_t len;
	uint8_t plan_enter;  /* ops of the outer entry; TRACE_FAST: goes round the inner loop */
	uint32_t hw_reason;
};
#define TRACE_FAST 0x80u
#define TRACE_ENTRIES 64

struct trace_ring {
	struct trace_entry e[TRACE_ENTRIES];
	uint64_t head; /* entries ever written */
};

/* Where a backend whose control block is plain memory keeps what each skipped instruction needs: saves a fetch() on hardware that does not tell an
 * instruction's length. Set by vcpu_init, or left as vm.c makes it: no such place. The fields are in step from exit to entry unless st_dirty has
 * their group. */
struct vcpu_live {
	const uint64_t *cr3, *efer; /* NULL: none */
	const uint16_t *cs_attr;    /* any encoding: only compared */
	const uint8_t *cpl;         /* never NULL; above 3: not known here */
	const uint64_t *shadow;     /* never NULL; bit 0: STI or MOV SS shadow, perhaps */
};

/* The page that RIP was last fetched from in 64-bit mode, and the page-table entries that led there. A hit compares the entries again (fetch.h). */
struct fetch_cache {
	uint64_t page;            /* linear address of the page; odd: empty */
	const uint8_t *host;      /* the page in host memory */
	uint64_t cr3, efer;       /* as vcpu_live gives them */
	uint16_t cs_attr;
	const uint64_t *entry[4]; /* in guest memory; unused ones point to a constant */
	uint64_t value[4];
	uint8_t bytes[16];        /* an instruction that crosses pages is collected here */
};

/* A step under way (step.c). */
struct vcpu_step {
	bool on;       /* this entry is one */
	bool hidden;   /* RFLAGS.TF is drover's */
	bool catching; /* all exceptions exit. Committed with VST_CTL */
	bool kicked;   /* an event is delivered; ends at the handler's first instruction. quiet: there was none, nothing is to run */
	bool quiet;
	bool waiting;  /* a trap waits in the pending-debug field, or it is asleep: nothing runs */
	bool asleep;   /* hardware waits in HLT: the backend's. VMX does not enter that with TF */
	bool pair;     /* MOV SS and the instruction behind it */
	bool taken, lock;
	bool sti;      /* STI's shadow is kept aside: VMX enters with it and TF only to raise a trap */
	bool caught;   /* an exception has exited for a step's sake only */
	bool over;     /* the exit was the step's alone */
	uint8_t kind;  /* enum flow_kind */
	uint64_t from; /* RIP of the branch, if it is one */
};

/* A breakpoint of a debugger outside of the guest (debugger.h). */
struct debugger_bp {
	uint64_t addr;  /* linear */
	uint64_t value; /* of memory there before the step; without a slot only */
	uint8_t owner;  /* enum debugger_owner; DEBUGGER_NOBODY: free */
	uint8_t rw_len; /* DR7's nibble */
	int8_t slot;    /* 0-3; -1: none is left for it, so that it is looked for by stepping */
};

#define DEBUGGER_BPS 4 /* it gets free slots only, so more than four never are */

struct vcpu_debugger {
	struct debugger_bp bp[DEBUGGER_BPS];
	uint8_t nr, homeless;  /* in use; of those without a slot */
	bool stepping;         /* runs one instruction at a time: a stop is wanted behind the next, some are homeless, or it is inside */
	bool step;             /* the former: NMI and interrupts wait meanwhile (Z06) */
	bool over;             /* an instruction is over since the entry, or an event delivered */
	bool frozen;           /* not to run while its peers do */
	bool catch_int3;       /* INT3 exits: there are software breakpoints that are INT3s. Committed with VST_CTL */
	bool inside;           /* it is where hidden ones are (guard.h), and stepped until it has left */
	uint8_t stop;          /* enum debugger_stop: why it is to stop at this boundary */
	uint64_t stop_addr;    /* of a watchpoint */
	uint8_t from_level;    /* before the step, as the next two */
	uint64_t from_rip, from_rcx;
};

/* SVM's GIF is 0, or a guest's guest may not be interrupted. */
enum { VCPU_HELD_INTR = 1, VCPU_HELD_NMI = 2 };

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
	struct event exception; /* pending, not yet selected: EVENT_FAULT, EVENT_SOFT_* (step.c, PVM), EVENT_TRIPLE (of a nested guest), or EVENT_NONE */
	bool nmi_pending;
	uint64_t irq_pending[4]; /* by vector, from the lab: as from an 8259, past the APIC and its priorities */
	bool want_intr_window, want_nmi_window;
	uint8_t held;           /* VCPU_HELD_*: what waits whatever RFLAGS and the shadow say. Set by nested.h's backend, which then sets event_pending */
	bool debugctl_open;     /* lab: RDMSR of DEBUGCTL is not intercepted */
	bool halted;
	bool migrate_l2;        /* lab: the next exit of the nested guest that drover handles */

	uint8_t level;          /* 0: the guest itself runs; 1: its own guest does (nested.h) */
	void *nested;           /* the backend's, of the levels above; NULL: the guest has no such feature */
	uint64_t tsc_offset;    /* of what runs: TSC that it reads less the host's */
	const struct backend *be;
	struct vm *vm;
	void *hw;               /* the backend's own: control block(s), host-physical addresses */
	uint64_t exits, fast_exits;
	uint64_t debugger_hits; /* breakpoints of a debugger's own slots (Z04); gdb's are not among them */
	uint64_t debugger_dr6;  /* DR6 as the debugger has to see it at the last one */
	uint64_t bus_locks;     /* made by the guest, as far as the CPU tells (V21) */
	uint64_t run_tsc;       /* host time used, in TSC ticks */
	bool stopped;
	unsigned exit_code;     /* enum exit_code once stopped */

	/* vmm/'s own from here on. Backends set event_pending, live and step.asleep, read apic, step (catching, on, kicked, over) and miss, change fetch at a level
	 * switch; no more. */
	struct vcpu_debugger debugger; /* backends read catch_int3 and step */
	bool event_pending;     /* event_select() has something to look at: exception, NMI or IRQ */
	bool leave;             /* set by vcpu_leave(): stopped, or give way to the peer */
	bool started;           /* has been entered once */
	struct trace_ring *trace;
	uint64_t budget_tsc;    /* run_tsc beyond this: stopped */
	uint64_t since_tsc;     /* host TSC up to which run_tsc counts */
	uint64_t xcr0;
	void *fpu;              /* fpu.c */
	uint64_t count_base[2]; /* lab: exits, fast exits at the last reset of the counter */
	struct vcpu *peer;      /* next vcpu of the group, a ring; itself when alone */
	struct vcpu_live live;  /* set by vcpu_init of the backend; NULLs until then, and in a backend that has none */
	struct fetch_cache fetch;
	struct vlapic apic;
	struct vcpu_step step;
	/* Of gva.c, with level 1: where an access that drover makes for the nested guest has met no memory. table: one of its page tables. */
	struct { uint64_t pa, va; uint32_t access; bool table, valid; } miss;
	uint64_t slice_end;     /* host TSC; the loop may have to look earlier: cpu.slice_end_tsc */
	uint64_t moves;         /* lab: how often it was carried over */
};

/* To the state after RESET as multiboot leaves a machine: flat 32-bit protected mode, entry in RIP, all groups dirty. */
void vcpu_reset(struct vcpu *v, uint64_t rip);
/* To the state after INIT: real mode at the reset vector. Its MSRs, x87 and APIC_BASE stay. */
void vcpu_init(struct vcpu *v);

/* The guest's run is over: logs "stopped: ..." and leaves the run loop. The first call counts. code: enum exit_code. */
void vcpu_stop(struct vcpu *v, unsigned code, const char *fmt, ...) __attribute__((format(printf, 3, 4), cold));

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

/* ---- Exceptions: queued here, selected by event.c ---- */

/* Queues a fault; with another one pending or under way (exit.vectoring) the two combine as the manuals' table says. vec: not VEC_DB. */
void vcpu_raise(struct vcpu *v, uint8_t vec, bool has_error, uint32_t error);
void vcpu_raise_pf(struct vcpu *v, uint64_t cr2, uint32_t error);
/* Queues a #DB. Never overwrites another exception (rule E17): that one is a fault, so the guest comes back to the cause of the trap. */
void vcpu_raise_db(struct vcpu *v, const struct dbg_record *r);
/* A breakpoint of the debugger's was hit. hits: B0-3 of its slots. */
void vcpu_debugger_hit(struct vcpu *v, uint32_t hits);

/* ---- Where the guest is ---- */

static inline bool vcpu_long64(struct vcpu *v)
{
	vcpu_need(v, VST_CS | VST_CR);
	return (v->st.efer & 0x400) && (v->st.seg[SEG_CS].ar & 0x2000); /* EFER.LMA, CS.L */
}

/* Linear address of the next instruction: 32 bits of it outside 64-bit mode. */
static inline uint64_t vcpu_linear_rip(struct vcpu *v)
{
	return vcpu_long64(v) ? v->rip : (uint32_t)(v->rip + v->st.seg[SEG_CS].base);
}

static inline unsigned vcpu_iopl(const struct vcpu *v)
{
	return (unsigned)(v->rflags >> 12 & 3);
}

static inline unsigned vcpu_cpl(struct vcpu *v)
{
	if (*v->live.cpl <= 3 && !(v->st_dirty & VST_CS))
		return *v->live.cpl; /* 3 in V86 mode */
	vcpu_need(v, VST_CS);
	return v->rflags & 0x20000 ? 3 : v->st.cpl; /* V86 mode is CPL 3 */
}

/* ---- Retirement (rules E01, E10, E11) ---- */

/* An instruction has done its work; RIP stays (between REP iterations: the caller sets RF after this). Clears RF and the shadows, and queues the one
 * trap #DB that is due: the step, hits (B0-3 of its I/O and data breakpoints), and what MOV SS before it held back (V12). */
void vcpu_retired(struct vcpu *v, uint32_t hits);
/* Clears the STI and MOV SS shadows. */
void vcpu_clear_shadow(struct vcpu *v);
void vcpu_skip_slow(struct vcpu *v, unsigned len, uint32_t hits);

/* Skips the instruction at RIP, which software has carried out, and retires it. len > 0, in bytes. hits: as above. */
static inline void vcpu_skip_hits(struct vcpu *v, unsigned len, uint32_t hits)
{
	uint64_t rip = v->rip + len, rflags = v->rflags;

	/* RIP crosses 4 GiB (wraps outside 64-bit mode), a shadow, TF, a breakpoint: all rare */
	if (__builtin_expect((((rip ^ v->rip) >> 32) | (*v->live.shadow & 1) | (rflags & 0x100) | hits) != 0, 0)) {
		vcpu_skip_slow(v, len, hits);
		return;
	}
	v->rip = rip;
	v->rflags = rflags & ~0x10000ull; /* RF */
}

static inline void vcpu_skip(struct vcpu *v, unsigned len)
{
	vcpu_skip_hits(v, len, 0);
}

/* The run loop is to be left after this exit. */
static inline void vcpu_leave(struct vcpu *v)
{
	v->leave = true;
	this_cpu()->slice_end_tsc = 0; /* the loop looks at leave only when the slice is over: one comparison less */
}

#endif
