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
#define DBG_CAP_VM_DEBUGCTL (1u << 2) /* DEBUGCTL is switched (VMX; SVM only with LBR virtualization on) */
#define DBG_CAP_EXIT_ZEROES_DEBUGCTL (1u << 3) /* every exit, failed entries included, leaves DEBUGCTL 0 (VMX) */
#define DBG_CAP_DB_APPLIED (1u << 4)  /* an intercepted #DB has already changed guest DR6 and DR7.GD (SVM, rule S05) */

/* Which optional debug features the vcpu's CPU model has. */
#define DBG_FEAT_RTM (1u << 0)
#define DBG_FEAT_BLD (1u << 1)
#define DBG_FEAT_AMD (1u << 2)

/* Who asked for a #DB, and how it behaves; derived once, in the backend's exit decoding, and carried (rules N13, N15). */
enum dbg_class { DBG_FAULT, DBG_TRAP, DBG_ICEBP, DBG_TASK };

/* A debug exception on its way to a guest. payload: new debug bits in positive polarity (rules section 0), bit 12 never set. */
struct dbg_record {
	uint32_t payload;
	uint8_t cls;   /* enum dbg_class */
	uint8_t level; /* 0: the guest itself; 1: its guest */
};

/* Rule H09. */
enum dbg_state {
	DBG_IDLE,  /* the guest has nothing enabled: hardware holds nothing of it; MOV DR exits */
	DBG_ARMED, /* breakpoints enabled: DR0-3 are loaded for it, DR6 is not; MOV DR exits */
	DBG_LIVE,  /* DR0-3, DR6 and DR7 in hardware are the guest's; MOV DR does not exit */
};

/* The debug state of a vcpu as the guest sees it. In DBG_LIVE, between dbg_enter and dbg_leave, hardware is ahead of dr[], dr6, dr7. */
struct dbg_vcpu {
	uint64_t dr[4];
	uint64_t dr6;
	uint64_t dr7;
	uint64_t debugctl; /* what RDMSR shows the guest */
	uint8_t state;     /* enum dbg_state */
	uint8_t feat;      /* DBG_FEAT_* */
	/* What the VM control block holds or must hold. The plan writes them, the backend commits them when vm_dirty. */
	bool vm_dirty;
	bool vm_intercept; /* MOV DR exits */
	uint64_t vm_dr6;   /* with DBG_CAP_VM_DR6 */
	uint64_t vm_dr7;
};

enum dbg_count { DBG_COUNT_DR_READ, DBG_COUNT_DR_WRITE, DBG_COUNT_DEBUGCTL_READ, DBG_COUNT_DEBUGCTL_WRITE, DBG_NR_COUNTS };

/* The host's own debug state on one CPU. */
struct dbg_cpu {
	uint64_t dr[4];      /* host breakpoint addresses */
	uint64_t dr7;        /* DR7_INIT when the host has none */
	uint64_t debugctl;   /* the shadow of DEBUGCTL, with one setter (rule H16) */
	bool has_debugctl;   /* the MSR exists here */
	bool guest_dr_loaded; /* between dbg_do_enter and dbg_do_leave: DR0-3 in hardware are a guest's; host DR7 must stay off */
	uint64_t count[DBG_NR_COUNTS];
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

static inline bool dbg_armed(uint64_t dr7)
{
	return (dr7 & DR7_ENABLE_ALL) != 0;
}

/* ---- Breakpoint match for accesses that software makes for the guest (A16, A17, E08, E09) ---- */

enum dbg_access { DBG_ACCESS_EXEC, DBG_ACCESS_READ, DBG_ACCESS_WRITE, DBG_ACCESS_IO };
/* Does slot i hit? addr: linear address (IO: port); len: bytes, 1..64. cr4: the guest's. Enabled or not is not looked at. */
bool dbg_slot_matches(uint64_t dr, uint64_t dr7, unsigned i, enum dbg_access access, uint64_t addr, unsigned len, uint64_t cr4);
/* B0-3 of the enabled slots that hit, with B bits of matching disabled slots left out. */
uint32_t dbg_bp_hit(const struct dbg_vcpu *v, enum dbg_access access, uint64_t addr, unsigned len, uint64_t cr4);

/* ---- The class of a #DB that hardware reported (backend decode) ---- */

/* payload: new bits. dr_of_hit[i] need be valid only for slots in payload whose DR7.RW is exec; rip: linear.
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

/* An instruction that software emulated or skipped has retired. rflags: at its start. io_or_data: B0-3 from dbg_bp_hit.
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

/* WRMSR DEBUGCTL. False: #GP(0), nothing changed. No feature of it is virtualized yet: LBR, BTF (and on AMD bits 5:2) are dropped. */
bool dbg_wrmsr_debugctl(struct dbg_vcpu *v, uint64_t value);

/* ---- Reset (Z08, H07) ---- */
void dbg_vcpu_reset(struct dbg_vcpu *v);
void dbg_cpu_reset(struct dbg_cpu *c); /* the host's own state: nothing armed, DEBUGCTL shadow 0 */

/* The first MOV DR of a non-LIVE vcpu exited and passed dbg_check_access: the vcpu becomes LIVE (rule H10); the instruction is
 * re-executed. The caller sets RFLAGS.RF for it (rule V15). */
void dbg_go_live(struct dbg_vcpu *v);

/* ---- The world switch: plans. dbg_switch.c executes them in this order; bits are also what the trace records ---- */

enum {
	/* outer entry */
	DBG_OP_HOST_OFF = 1u << 0,   /* DR7 = DR7_INIT: before DR0-3 change (H04), or because DR7 is not switched by hardware */
	DBG_OP_LOAD_DR03 = 1u << 1,  /* guest DR0-3 into hardware */
	DBG_OP_LOAD_DR6 = 1u << 2,   /* guest DR6 into hardware; once per outer entry (H11); not with DBG_CAP_VM_DR6 */
	DBG_OP_VM_FIELDS = 1u << 3,  /* vm_dr6, vm_dr7, vm_intercept computed, vm_dirty set */
	/* leaving to the slow path */
	DBG_OP_VM_FETCH = 1u << 4,   /* backend->fetch of vm_dr6 (with DBG_CAP_VM_DR6) and vm_dr7 first: the guest may have written them */
	DBG_OP_SAVE_DR03 = 1u << 5,  /* hardware DR0-3 into dr[] */
	DBG_OP_SAVE_DR6 = 1u << 6,   /* hardware DR6 into dr6 (without DBG_CAP_VM_DR6) */
	DBG_OP_RESET_DR6 = 1u << 7,  /* hardware DR6 = DR6_INIT: only if the guest's was live there and differs (H06) */
	DBG_OP_HOST_DR03 = 1u << 8,  /* host DR0-3 back */
	DBG_OP_HOST_DR7 = 1u << 9,   /* host DR7 back, last (H05) */
	DBG_OP_RELEASE = 1u << 10,   /* DR0-3 are the guest's no longer, even if nothing is written: the host may arm its own at once (H12) */
};

/* What to do before the first entry of the inner loop. Pure. */
unsigned dbg_plan_enter(unsigned caps, const struct dbg_cpu *c, const struct dbg_vcpu *v);
/* What to do after the last exit. exit_dr6: with DBG_CAP_VM_DR6 the guest DR6 that the exit left in the live register, else ignored
 * (a LIVE vcpu's DR6 is then known only when SAVE_DR6 has read it: the executor resets it iff dbg_dr6_needs_reset). */
unsigned dbg_plan_leave(unsigned caps, const struct dbg_cpu *c, const struct dbg_vcpu *v, uint64_t exit_dr6);

/* Policy steps of the executor (dbg_switch.c): the values for the control block; the guest's view taken from the fetched values; the end of
 * LIVE; and "hardware changed the control block behind us" (an intercepted #DB, S05), which forces VM_FIELDS at the next entry. */
void dbg_vm_fields(unsigned caps, struct dbg_vcpu *v);
void dbg_vm_fields_taken(unsigned caps, struct dbg_vcpu *v);
void dbg_end_live(struct dbg_vcpu *v);
void dbg_vm_fields_unknown(struct dbg_vcpu *v);

static inline bool dbg_dr6_needs_reset(uint64_t live_dr6)
{
	return live_dr6 != DR6_INIT;
}

/* Must DEBUGCTL be zeroed before, and restored after, the world switch? The bracket lies inside backend->run (S07, S08, V06).
 * guest: the value the guest is to run with (0 unless virtualized). */
static inline bool dbg_debugctl_zero_before(unsigned caps, const struct dbg_cpu *c)
{
	return !(caps & DBG_CAP_VM_DEBUGCTL) && c->debugctl != 0;
}

static inline bool dbg_debugctl_restore_after(unsigned caps, const struct dbg_cpu *c)
{
	(void)caps; /* zeroed by us (SVM) or by the exit (VMX): either way only a non-zero host value needs a write */
	return c->debugctl != 0;
}

#endif
