/* SPDX-License-Identifier: MIT */
/* The debug-state policy: pure functions from (host state, vcpu state, hardware's help) to values and plans. Touches no hardware. */
#ifndef ARCH_X86_DBG_H
#define ARCH_X86_DBG_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86/def/dr.h"

/* What this backend's hardware switches by itself on a world switch. */
#define DBG_CAP_VM_DR6 (1u << 0)      /* guest DR6 is in the VM control block; the host's is NOT put back on exit (SVM) */
#define DBG_CAP_VM_DR7 (1u << 1)      /* guest DR7 is in the VM control block (VMX with debug controls, SVM) */
#define DBG_CAP_VM_DEBUGCTL (1u << 2) /* DEBUGCTL is switched, always (VMX) */
#define DBG_CAP_EXIT_ZEROES_DEBUGCTL (1u << 3) /* every exit, failed entries included, leaves DEBUGCTL 0 (VMX) */
#define DBG_CAP_DB_APPLIED (1u << 4)  /* an intercepted #DB has already changed guest DR6 and DR7.GD (SVM, rule S05) */
#define DBG_CAP_LBRV (1u << 5)        /* DEBUGCTL is switched while vm_lbrv asks for it, where the CPU can (SVM, rule S07) */
#define DBG_CAP_PENDING (1u << 6)     /* traps can be raised through a pending-debug field (VMX, rule V13) */
#define DBG_CAP_RING3 (1u << 7)       /* nothing is switched: the guest's kernel is in ring 3, in one linear address space with a part of the host (docs/pvm.md) */

/* With DBG_CAP_RING3: linear addresses from here on are the host's in each address space. */
#define DBG_RING3_HOST_BASE 0xffffff8000000000ull

/* Which optional debug features the vcpu's CPU model has. RTM and BLD follow the hardware's registers, AMD the
 * vendor, the others what the backend can give. */
#define DBG_FEAT_RTM (1u << 0)
#define DBG_FEAT_BLD (1u << 1)      /* DR6.BLD can be 0 */
#define DBG_FEAT_AMD (1u << 2)
#define DBG_FEAT_LBR (1u << 3)      /* DEBUGCTL.LBR is virtualized */
#define DBG_FEAT_BTF (1u << 4)      /* DEBUGCTL.BTF is */
#define DBG_FEAT_BUS_LOCK (1u << 5) /* DEBUGCTL's bus-lock trap is: the guest's CPUID announces it (S11) */
#define DBG_FEAT_MASKS (1u << 6)    /* AMD's address masks, 12 bits (DBEXT) */
#define DBG_FEAT_MASKS32 (1u << 7)  /* 32 bits of them */
#define DBG_FEAT_GIVEN (DBG_FEAT_LBR | DBG_FEAT_BTF | DBG_FEAT_BUS_LOCK | DBG_FEAT_MASKS | DBG_FEAT_MASKS32)

/* When a vcpu owns the registers. No guest sees a difference; the cost differs (docs/debug-state.md, `dbg=`). */
enum dbg_policy {
	DBG_LAZY,    /* the first MOV DR makes it LIVE, the next slow exit ends that */
	DBG_EAGER,   /* always LIVE: everything is written at each outer entry, and again when leaving */
	DBG_CACHED,  /* always LIVE: what the registers hold already is not written */
	DBG_TRAPPED, /* never LIVE: each MOV DR exits and is emulated */
	DBG_NR_POLICIES
};

/* Who asked for a #DB, and how it behaves; derived once, in the backend's exit decoding, and carried (rules N13, N15). */
enum dbg_class { DBG_FAULT, DBG_TRAP, DBG_ICEBP, DBG_TASK };

/* Every bit that a payload can have: DR6's event bits in positive polarity. Bit 12 lives in VMX's fields only and never reaches DR6 (V04). */
#define DBG_PAYLOAD_BITS ((uint32_t)(DR6_B_ALL | DR6_BLD | DR6_BD | DR6_BS | DR6_BT | DR6_RTM))

/* A debug exception on its way to a guest. payload: debug bits in positive polarity (rules section 0),
 * bit 12 never set; of a LIVE guest on SVM also what was sticky in its DR6 before (S04). */
struct dbg_record {
	uint32_t payload;
	uint8_t cls;   /* enum dbg_class */
	uint8_t level; /* 0: the guest itself; 1: its guest */
	bool emulated; /* a trap of an instruction that software carried out: may go through the pending-debug field (V13) */
};

/* Rule H09. */
enum dbg_state {
	DBG_IDLE,  /* the guest has nothing enabled: hardware holds none of its DR0-3; MOV DR exits */
	DBG_ARMED, /* breakpoints enabled: DR0-3 are loaded for it, DR6 is not; MOV DR exits */
	DBG_LIVE,  /* DR0-3, DR6 and DR7 in hardware are the guest's; MOV DR does not exit */
};

/* The debug state of a vcpu as the guest sees it. In DBG_LIVE, between dbg_do_enter and dbg_do_leave, hardware is ahead of dr[], dr6, dr7. */
struct dbg_vcpu {
	uint64_t dr[4];
	uint64_t dr6;
	uint64_t dr7;
	uint64_t debugctl; /* what RDMSR shows the guest */
	uint32_t mask[4];  /* AMD's address masks; with DBG_FEAT_MASKS. Their MSRs exit always: memory is never behind hardware */
	uint8_t state;     /* enum dbg_state */
	uint8_t feat;      /* DBG_FEAT_* */
	uint8_t policy;    /* enum dbg_policy */
	bool soft;         /* DEBUGCTL's effects are software's (vmm/step.c): hardware runs with 0, and must not change what the guest has */
	/* A debugger outside of the guest holds slots of its own (Z01): bit i set, slot i in hardware is its, whatever the guest writes to its own. */
	uint8_t held;
	uint64_t held_dr[4];
	uint64_t held_dr7; /* enables and types of the held slots only */
	bool deaf;         /* SVM's GIF is 0: what its own breakpoints match is discarded, so hardware has none of them */
	bool watched;      /* it steps the guest, or has breakpoints without a slot: not LIVE, as with slots (Z02) */
	/* What the VM control block holds or must hold. The plan writes them, the backend commits them when vm_dirty. */
	bool vm_dirty;
	bool vm_intercept; /* MOV DR exits */
	bool vm_lbrv;      /* with DBG_CAP_LBRV: hardware switches DEBUGCTL for this guest */
	uint64_t vm_dr6;   /* with DBG_CAP_VM_DR6 */
	uint64_t vm_dr7;
	uint64_t vm_debugctl; /* with DBG_CAP_VM_DEBUGCTL or vm_lbrv */
};

enum dbg_count { DBG_COUNT_DR_READ, DBG_COUNT_DR_WRITE, DBG_COUNT_DEBUGCTL_READ, DBG_COUNT_DEBUGCTL_WRITE, DBG_COUNT_MASK_WRITE, DBG_NR_COUNTS };

/* On whose behalf the host makes an access, and which register it is: for a trace. 0-7: DR0-7. */
enum dbg_asker { DBG_BY_HOST, DBG_BY_ENTER, DBG_BY_LEAVE, DBG_BY_DB };
enum dbg_reg { DBG_REG_DEBUGCTL = 8, DBG_REG_MASK0, DBG_NR_REGS = DBG_REG_MASK0 + 4 };

/* The host's own debug state on one CPU. */
struct dbg_cpu {
	uint64_t dr[4];      /* host breakpoint addresses */
	uint64_t dr7;        /* DR7_INIT when the host has none */
	uint64_t debugctl;   /* the shadow of DEBUGCTL, with one setter (rule H16) */
	bool has_debugctl;   /* the MSR exists here */
	uint64_t owned_debugctl; /* bits of debugctl that stay in force while a guest runs: FREEZE_IN_SMM (V18) */
	uint8_t can;         /* DBG_FEAT_LBR, DBG_FEAT_BTF: what this CPU's DEBUGCTL was seen to do (dbg_probe.c) */
	bool has_masks;      /* the address-mask MSRs exist here */
	void (*lbr_wanted)(void); /* the backend's, or NULL: the host is about to record its own branches (V23) */
	uint64_t hw_dr[4];   /* what DR0-3 hold, while nobody else writes them: the cached policy's memory */
	uint32_t hw_mask[4]; /* what the mask MSRs hold */
	bool guest_dr_loaded; /* between dbg_do_enter and dbg_do_leave: DR0-3 in hardware are a guest's; host DR7 must stay off */
	uint64_t count[DBG_NR_COUNTS];
	/* trace=on (vmm/dbgtrace.c): hears of each access, behind a read and before a write, but for a DEBUGCTL that may
	 * fault: behind it. reg by enum dbg_reg. Not told: what is tried at boot. NULL: nobody listens. */
	void (*listen)(struct dbg_cpu *c, unsigned reg, bool write, uint64_t value);
	void *trace;         /* the listener's own */
	uint8_t asker;       /* enum dbg_asker: what dbg_switch.c is at */
	/* The host's own #DBs, for the lab. */
	uint64_t host_db;      /* how many were taken in host context */
	uint64_t host_db_dr6;  /* DR6 as the last one saw it */
};

/* ---- Register values (rules A01, A02, section 0) ---- */

uint64_t dbg_dr6_fix(uint64_t v, unsigned feat); /* v: low 32 bits; upper bits are the caller's #GP */
uint64_t dbg_dr7_fix(uint64_t v, unsigned feat);
/* DR6 after a #DB with this payload: B0-3 replaced, BD/BS/BT sticky, RTM set unless in payload, BLD only ever cleared (A12-A14). */
uint64_t dbg_dr6_merge(uint64_t old, uint32_t payload, unsigned feat);
/* Payload from a DR6 value that hardware wrote on top of DR6_INIT (rules S02, P12). */
uint32_t dbg_payload_from_dr6(uint64_t dr6);
/* Payload from VMX's exit qualification of a #DB (rule V04). */
uint32_t dbg_payload_from_qual(uint64_t qual);
/* Between a payload and VMX's field of pending debug exceptions, where bit 12 says that an enabled breakpoint matched (V08, V11, V13). */
uint32_t dbg_payload_from_pending(uint64_t field);
uint64_t dbg_pending_from_payload(uint32_t payload);

static inline bool dbg_armed(uint64_t dr7)
{
	return (dr7 & DR7_ENABLE_ALL) != 0;
}

/* ---- Breakpoint match for accesses that software makes for the guest (A16, A17, E08, E09) ---- */

enum dbg_access { DBG_ACCESS_EXEC, DBG_ACCESS_READ, DBG_ACCESS_WRITE, DBG_ACCESS_IO };
/* Does slot i hit? addr: linear address (IO: port); len: bytes, 1..64. cr4: the guest's. Enabled or not is not looked at, nor a mask. */
bool dbg_slot_matches(uint64_t dr, uint64_t dr7, unsigned i, enum dbg_access access, uint64_t addr, unsigned len, uint64_t cr4);
/* The same under an address mask: its bits of the address are not compared (APM "Debug Breakpoint Address Masks", H17). */
bool dbg_slot_matches_masked(uint64_t dr, uint64_t dr7, unsigned i, uint32_t mask, enum dbg_access access, uint64_t addr, unsigned len, uint64_t cr4);
/* B0-3 of the enabled slots that hit, with B bits of matching disabled slots left out; of the effective registers (E14). */
uint32_t dbg_bp_hit(const struct dbg_vcpu *v, enum dbg_access access, uint64_t addr, unsigned len, uint64_t cr4);

/* ---- The class of a #DB that hardware reported (backend decode) ---- */

/* payload: as in the record. dr_of_hit[i] need be valid only for slots in payload whose DR7.RW is exec; rip: linear.
 * BD: fault; BT: task; an enabled exec slot in payload whose address is rip: fault; else trap. ICEBP is told by its own exit. */
enum dbg_class dbg_classify(uint32_t payload, const uint64_t dr[4], uint64_t dr7, uint64_t rip);
/* Which DR0-3 dbg_classify needs, as a mask: lets a LIVE vcpu's decode read only those. */
unsigned dbg_classify_needs(uint32_t payload, uint64_t dr7);
/* The class when dbg_classify_needs says none: no address is compared. */
static inline enum dbg_class dbg_class_without_exec(uint32_t payload)
{
	return payload & DR6_BD ? DBG_FAULT : payload & DR6_BT ? DBG_TASK : DBG_TRAP;
}

/* ---- Delivery and retirement ---- */

/* The #DB is being delivered now: DR6 merged, DR7.GD, DEBUGCTL.LBR and .BTF cleared (rules V02, A11, section 0 point 4). Works on the guest's
 * view; the vcpu must not be LIVE in hardware (after dbg_do_leave). Where hardware has merged already (S05, LIVE) merging again changes
 * nothing: B0-3 are the same, the rest is sticky (S04). */
void dbg_deliver(struct dbg_vcpu *v, const struct dbg_record *r);

/* An instruction that software emulated or skipped has retired. rflags: at its start. io_or_data: B0-3 from dbg_bp_hit, and what was held back. None of these instructions
 * is a branch, so BTF turns the step off (E05); the value after the instruction counts, WRMSR's included (V20).
 * Returns the payload of the one trap #DB to raise (0: none): BS if TF (E01), plus the hits (A34, E10). */
uint32_t dbg_retire(const struct dbg_vcpu *v, uint64_t rflags, uint32_t io_or_data);

/* ---- MOV DR by software (A01-A10, V01) ---- */

enum dbg_fault { DBG_OK, DBG_UD, DBG_GP, DBG_DB }; /* DBG_DB: general detect; the caller raises {BD, fault} */

/* Where the instruction runs. */
struct dbg_ctx {
	uint8_t cpl;     /* 3 in V86 mode */
	bool real;       /* real mode: no CPL check */
	bool long64;     /* 64-bit mode: 64-bit operand */
	uint64_t cr4;
};

/* One fixed order on every path: #UD (DR8+, or DR4/5 with CR4.DE), #GP for CPL, #DB for GD. n: 0-15. */
enum dbg_fault dbg_check_access(const struct dbg_vcpu *v, unsigned n, const struct dbg_ctx *ctx);
/* Then the value (writes): #GP for upper halves of DR6/DR7. On DBG_OK *value is filled, or the guest's view is updated, from which the next plan follows. */
enum dbg_fault dbg_mov_from_dr(const struct dbg_vcpu *v, unsigned n, const struct dbg_ctx *ctx, uint64_t *value);
enum dbg_fault dbg_mov_to_dr(struct dbg_vcpu *v, unsigned n, const struct dbg_ctx *ctx, uint64_t value);

/* ---- DEBUGCTL as the guest sees it (S10, H20, V17) ---- */

/* WRMSR DEBUGCTL. False: #GP(0), nothing changed. Features that v->feat lacks are dropped: LBR, BTF, and on AMD bits 5:2. */
bool dbg_wrmsr_debugctl(struct dbg_vcpu *v, uint64_t value);

/* ---- AMD's address masks (H17) ---- */

/* WRMSR of slot's mask, 0-3. False: #GP(0): no such MSR in this model, or bits beyond the mask's width. */
bool dbg_wrmsr_mask(struct dbg_vcpu *v, unsigned slot, uint64_t value);

/* ---- A debugger outside of the guest (Z01, Z02, E14) ---- */

/* Takes a slot for the debugger. addr: linear; rw_len: DR7's nibble. False: no such slot, or the guest has it enabled. Not while in hardware. */
bool dbg_hold(struct dbg_vcpu *v, unsigned slot, uint64_t addr, unsigned rw_len);
void dbg_release(struct dbg_vcpu *v, unsigned slot);
void dbg_release_all(struct dbg_vcpu *v);
/* Keeps the vcpu from owning the registers, slots held or not. Not while in hardware. */
void dbg_watch(struct dbg_vcpu *v, bool on);
/* What hardware has to hold: the guest's registers, but for the held slots. */
uint64_t dbg_eff_dr(const struct dbg_vcpu *v, unsigned slot);
uint64_t dbg_eff_dr7(const struct dbg_vcpu *v);
uint32_t dbg_eff_mask(const struct dbg_vcpu *v, unsigned slot);
/* What DR7 may hold while a guest's kernel runs in ring 3: without GD, since MOV DR traps there anyway and a #DB of the host's own MOV DR must not be (P02);
 * without the I/O slots, which are matched in emulation (P08); and without each slot that could hit outside of the guest's addresses. Of such a one nothing
 * stays, not even its type (P03, P21). Hardware aligns the start down and watches up to 8 bytes, so that [addr & ~7, addr + 7] has to be the guest's whole, whatever LEN
 * says (P03-P05). Pure; dr: as in hardware. */
uint64_t dbg_ring3_dr7(const uint64_t dr[4], uint64_t dr7);
/* The DR7 that hardware has to hold while this guest runs: the effective one, with DBG_CAP_RING3 what that leaves of it. */
uint64_t dbg_hw_dr7(unsigned caps, const struct dbg_vcpu *v);
/* Takes the debugger's part out of a payload and returns it: B bits of held slots. The rest is the guest's; 0: it gets no #DB. */
uint32_t dbg_route(const struct dbg_vcpu *v, uint32_t *payload);

/* ---- Reset (Z08, H07) ---- */
void dbg_vcpu_reset(struct dbg_vcpu *v);
void dbg_cpu_reset(struct dbg_cpu *c); /* the host's own state: nothing armed, DEBUGCTL shadow 0 */

/* The first MOV DR of a non-LIVE vcpu exited and passed dbg_check_access: the vcpu becomes LIVE (rule H10); the instruction is
 * re-executed. The caller sets RFLAGS.RF for it (rule V15). */
void dbg_go_live(struct dbg_vcpu *v);
/* May it? Else the access is emulated: trapped policy, or a debugger holds slots or steps (Z02), or its breakpoints are not to hit. */
static inline bool dbg_may_go_live(const struct dbg_vcpu *v)
{
	return v->policy != DBG_TRAPPED && !(v->held | v->watched | v->deaf);
}
/* The state that the registers' values ask for, while no guest's are in hardware. After each change of dr7, policy, held or deaf. */
void dbg_settle(struct dbg_vcpu *v);

/* ---- The world switch: plans. dbg_switch.c executes them in this order; bits are also what the trace records ---- */

enum {
	/* outer entry; below 1 << 7 */
	DBG_OP_HOST_OFF = 1u << 0,   /* DR7 = DR7_INIT: before DR0-3 change (H04), or because DR7 is not switched by hardware */
	DBG_OP_LOAD_MASKS = 1u << 1, /* the guest's address masks (H17) */
	DBG_OP_TAKE = 1u << 2,       /* from here on DR0-3 are the guest's, even if nothing is written */
	DBG_OP_LOAD_DR03 = 1u << 3,  /* guest DR0-3 into hardware */
	DBG_OP_LOAD_DR6 = 1u << 4,   /* guest DR6 into hardware; once per outer entry (H11); not with DBG_CAP_VM_DR6 */
	DBG_OP_VM_FIELDS = 1u << 5,  /* vm_* computed, vm_dirty set */
	/* leaving to the slow path */
	DBG_OP_VM_FETCH = 1u << 8,   /* backend->fetch of vm_dr6 (with DBG_CAP_VM_DR6), vm_dr7, vm_debugctl first: the guest may have written them */
	DBG_OP_SAVE_DR03 = 1u << 9,  /* hardware DR0-3 into dr[] */
	DBG_OP_SAVE_DR6 = 1u << 10,  /* hardware DR6 into dr6 (without DBG_CAP_VM_DR6) */
	DBG_OP_HOST_MASKS = 1u << 11, /* address masks 0, before the host's breakpoints come back (H17) */
	DBG_OP_HOST_DR03 = 1u << 12, /* host DR0-3 back */
	DBG_OP_RESET_DR6 = 1u << 13, /* hardware DR6 = DR6_INIT: only if the guest's was live there and differs (H06) */
	DBG_OP_RELEASE = 1u << 14,   /* DR0-3 are the guest's no longer, even if nothing is written: the host may arm its own at once (H12) */
	DBG_OP_HOST_DR7 = 1u << 15,  /* host DR7 back, last (H05) */
};

/* What to do before the first entry of the inner loop. Pure. */
unsigned dbg_plan_enter(unsigned caps, const struct dbg_cpu *c, const struct dbg_vcpu *v);
/* What to do after the last exit. exit_dr6: with DBG_CAP_VM_DR6 the guest DR6 that the exit left in the live register, else ignored
 * (a LIVE vcpu's DR6 is then known only when SAVE_DR6 has read it: the executor resets it iff dbg_dr6_needs_reset). */
unsigned dbg_plan_leave(unsigned caps, const struct dbg_cpu *c, const struct dbg_vcpu *v, uint64_t exit_dr6);

/* Both plans are empty: nobody uses a debug register or DEBUGCTL (whose bits hardware may clear), and the control block says so. The run loop's
 * short cut for the common case; the plan to leave has two more conditions, which are looked at behind the exit: its DR6, and breakpoints that the
 * host has armed meanwhile (H21). */
static inline bool dbg_idle(const struct dbg_cpu *c, const struct dbg_vcpu *v)
{
	/* one branch: this is in the way of each exit */
	return !((c->dr7 & DR7_ENABLE_ALL) | (v->vm_dr7 ^ v->dr7) | (v->vm_dr6 ^ DR6_INIT) | (v->vm_debugctl ^ c->owned_debugctl) | v->debugctl |
		 (uint64_t)(v->state ^ DBG_IDLE) | (uint64_t)!v->vm_intercept);
}

/* Policy steps of the executor (dbg_switch.c): the values for the control block; the guest's view taken from the fetched values;
 * and "hardware changed the control block behind us" (an intercepted #DB, S05), which forces VM_FIELDS at the next entry. */
void dbg_vm_fields(unsigned caps, const struct dbg_cpu *c, struct dbg_vcpu *v);
void dbg_vm_fields_taken(unsigned caps, struct dbg_vcpu *v);
void dbg_vm_fields_unknown(struct dbg_vcpu *v);

static inline bool dbg_dr6_needs_reset(uint64_t live_dr6)
{
	return live_dr6 != DR6_INIT;
}

/* Must DEBUGCTL be zeroed before, and restored after, the world switch? The bracket lies inside backend->run (S07, S08, V06). */
static inline bool dbg_debugctl_zero_before(unsigned caps, const struct dbg_cpu *c, const struct dbg_vcpu *v)
{
	return !(caps & DBG_CAP_VM_DEBUGCTL) && !v->vm_lbrv && c->debugctl != 0;
}

/* Zeroed by us (SVM) or by the exit (VMX): either way only a non-zero host value needs a write. With LBR virtualization on, hardware has put it back. */
static inline bool dbg_debugctl_restore_after(const struct dbg_cpu *c, const struct dbg_vcpu *v)
{
	return !v->vm_lbrv && c->debugctl != 0;
}

#endif
