/* SPDX-License-Identifier: MIT */
/* A minimal software CPU: debug registers and DEBUGCTL, what VMX and SVM switch of them, guests as scripts, and a log of every operation. */
#ifndef MODEL_CPU_H
#define MODEL_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include "model/ref.h"

/* ---- Guest programs ---- */

enum gop_kind {
	G_NOP,
	G_HLT,         /* on a bare machine with TF only: nothing else would end it */
	G_MOV_TO_DR,   /* n, a = value */
	G_MOV_FROM_DR, /* n; recorded */
	G_STORE,       /* a = address, n = bytes */
	G_LOAD,
	G_OUT,         /* a = port */
	G_IN,
	G_POPF,        /* a = bit 0: TF, bit 1: IF */
	G_PUSHF,       /* recorded: the image */
	G_JMP,         /* to the next instruction: a taken branch */
	G_MOV_SS,      /* from a register, or with a = address from memory */
	G_REP_STOS,    /* n bytes from address a on */
	G_OUTS,        /* n elements of one byte from address b to port a; n > 1: with REP */
	G_ICEBP,
	G_CPUID,       /* leaf a */
	G_HC,          /* hypercall a, arguments b (RBX), c (RCX), d (RDX); nothing on a bare machine */
	G_WRMSR,       /* MSR b (0: DEBUGCTL) = a */
	G_RDMSR,       /* MSR b; recorded */
	G_SPLIT_LOCK,  /* a bus lock made at CPL 3 */
	G_MOV_TO_CR,   /* n = 0, 3, 4, a = value; with a TLB only (tlb.h) */
	G_INVLPG,      /* a = address; with a TLB only */
	G_WREFER,      /* EFER = a */
	G_INT3,        /* in ring 3 only, as the next */
	G_SYSCALL,
	G_IRET,        /* end of the #DB handler; sets RF in the image, as a handler of code breakpoints does */
	G_END,         /* OUT to the debug-exit port */
};

#define GOP_IRQ 1u  /* flags: a host interrupt arrives just before this instruction */
#define GOP_SHOW 2u /* record RAX after it (hypercall), or the bit for bus-lock detection (CPUID leaf 7) */
#define GOP_TLB 4u  /* G_LOAD, G_STORE (value b): 4 bytes through the TLB; c = 1: a load checks as a fetch; recorded */

struct gop {
	uint8_t kind, n, flags;
	uint64_t a, b, c, d;
};

enum rec_kind { R_DR, R_DB, R_EXC, R_MSR, R_HC, R_FLAGS, R_MEM };
struct rec {
	uint8_t kind, n;
	uint64_t a, b; /* DR: value. DB: return address, TF and RF of the image. EXC: vector, address. MSR: value, number. HC, FLAGS: value. MEM: tlb.c */
};

#define G_MAX 96
#define G_RECS 512
#define G_MAIN 0x1000u
#define G_HANDLER 0x3000u

struct sw_guest {
	uint8_t *ram;
	bool user;          /* the script, but for the handler */
	bool amd, de, dead; /* de: CR4.DE; dead: wrong RIP or too many steps */
	struct gop op[G_MAX];
	uint32_t at[G_MAX];
	uint8_t len[G_MAX];
	bool irq_done[G_MAX];
	unsigned nr;
	/* While it runs. */
	uint64_t r[16], rip, rflags;
	uint64_t saved_rip, saved_rflags;
	bool shadow;     /* the instruction before was MOV SS */
	bool handled;    /* a handler was entered whose end the script does not have */
	uint32_t held;   /* breakpoints that it hit, not told yet */
	int in_rep;      /* 1 + the string instruction that is under way, 0: none */
	unsigned rep_left;
	unsigned steps;
	int exited_at; /* 1 + the instruction that exited last, 0: none */
	uint64_t last_addr; /* of the last access, for the B bits of disabled slots */
	uint8_t last_len, last_kind;
	uint32_t more_hits; /* of another access of the same instruction */
	struct rec rec[G_RECS];
	unsigned nr_rec;
	/* What bare hardware would hold: follows each architectural change, whoever makes it. */
	uint64_t true_dr[4], true_dr6, true_dr7, true_debugctl;
	uint32_t true_mask[4];
	bool true_dr6_known;
	/* A debugger's slots, which hardware has in the place of the guest's own. Set by the test that takes them. */
	uint8_t held_slots;
	uint64_t held_dr[4], held_dr7;
	uint32_t raised; /* causes of the #DB that was intercepted last, or SW_KEEPS_DR6 */
};

/* AMD's ICEBP: a #DB that leaves DR6 alone (A27). */
#define SW_KEEPS_DR6 (1u << 31)
static inline uint64_t sw_dr6_after(uint64_t old, uint32_t raised, struct ref_cpu c)
{
	return raised == SW_KEEPS_DR6 ? old : ref_dr6_after(old, raised, c);
}

/* Assembles main program and handler into ram (at G_MAIN and G_HANDLER). Both end by themselves: G_END and G_IRET are appended. */
void sw_assemble(struct sw_guest *g, uint8_t *ram, bool amd, const struct gop *main_ops, unsigned nr_main, const struct gop *handler, unsigned nr_handler);
/* Runs a program on a machine of its own without a hypervisor: its record is what the guest has to see. */
void sw_run_bare(struct sw_guest *g, struct ref_cpu phys);

/* ---- One entry ---- */

struct sw_ctl {
	bool bare, db, dr, icebp, db_applied, dr_first, debugctl_open, keeps_held;
	bool ring3, user; /* no hardware help (ring3.h); the guest is in user mode */
	bool inject, mov_ss, intr_window, nmi_window, bus_lock_exit;
	uint8_t inject_vector;
	uint64_t pending; /* pending debug exceptions */
	uint64_t slat;    /* the root of second-level tables, which fetches go through; 0: there are none */
	bool ept;         /* of which format */
};

enum sw_exit_kind {
	X_INTR, X_DB, X_ICEBP, X_DR, X_CPUID, X_HLT, X_HC, X_IO, X_MSR, X_CR, X_INVLPG, X_END, X_DEAD, X_INTR_WINDOW, X_NMI_WINDOW, X_BUS_LOCK,
	X_FETCH /* cr2: guest-physical */, X_PF, X_IRET, X_MOV_SS, X_INT3, X_SYSCALL, X_SYSRET, X_HANDLED /* ring3.h only */
};
struct sw_exit {
	uint8_t kind, len, dr, port_in;
	bool write, string, rep;
	bool bus_lock; /* the instruction before the exit made one */
	uint16_t port;
	uint32_t cause; /* X_DB */
	uint64_t cr2;   /* X_PF */
	uint32_t error;
};

/* The guest is behind an instruction that was emulated: what that left in registers is recorded, and what it changed is the truth now. */
void sw_note_emulated(struct sw_guest *g);
/* What the machine model is to raise when it has carried the instruction out: DEBUGCTL as it is after it, and what MOV SS before it held back, where
 * the control block keeps that. */
void sw_due_after_emulation(struct sw_guest *g, const struct gop *o, const struct sw_ctl *ctl, bool tf);
void sw_record(struct sw_guest *g, enum rec_kind kind, unsigned n, uint64_t a, uint64_t b);
uint32_t sw_msr_number(const struct gop *o);
/* Guest mode until something exits. Registers and RIP are in g; live debug state is the guest's already. */
void sw_guest_run(struct sw_guest *g, const struct sw_ctl *ctl, struct sw_exit *x);
/* In guest mode before instruction i: the second-level tables do not let it be fetched. True: it exits (fetch.c). */
bool sw_fetch_exits(const struct sw_guest *g, const struct sw_ctl *ctl, struct sw_exit *x, int i);

/* ---- DEBUGCTL, branch records, address masks (debugctl.c) ---- */

#define SW_LBR 1ull
#define SW_BTF 2ull
#define SW_BUS_LOCK 4ull
#define SW_FREEZE 0x4000ull

struct sw_lbr {
	uint64_t amd[4];                         /* 1db and up */
	uint64_t select, tos, from[32], to[32];
};

/* The bits of DEBUGCTL that a CPU of this model has. */
uint64_t sw_debugctl_bits(struct ref_cpu c);
/* WRMSR of DEBUGCTL in a guest's CPU: false, #GP; else *now is what it holds then. */
bool sw_debugctl_write(uint64_t v, uint64_t *now);
/* A branch, in guest or host: recorded while DEBUGCTL says so. */
void sw_branch(uint64_t from, uint64_t to);
/* The host takes one of its own. */
void sw_host_branch(void);
/* An MSR of records or masks. -1: another MSR; 0: #GP; 1: done. */
int sw_debug_msr(uint32_t msr, bool write, uint64_t *v);
/* The slot whose address mask this MSR is, or -1. */
int sw_mask_slot(uint32_t msr);
/* As ref_match, under a mask: its bits of the address are not compared. */
bool sw_match(uint64_t dr, uint64_t dr7, unsigned i, uint32_t mask, enum ref_access a, uint64_t addr, unsigned len, bool de);
/* B0-3 of the enabled slots of the live registers that are hit. */
uint32_t sw_live_hits(enum ref_access a, uint64_t addr, unsigned len, bool de);
/* The same of the guest's own registers, where they differ from the live ones or not. */
uint32_t sw_true_hits(const struct sw_guest *g, enum ref_access a, uint64_t addr, unsigned len);
/* What hardware has to hold: the guest's DR7 and addresses, but for a debugger's slots. */
uint64_t sw_want_dr7(const struct sw_guest *g);
uint64_t sw_want_dr(const struct sw_guest *g, unsigned i);

/* ---- The CPU ---- */

enum sw_op { OP_RD_DR, OP_WR_DR, OP_RD_DEBUGCTL, OP_WR_DEBUGCTL, OP_ENTER, OP_EXIT, OP_CLGI, OP_STGI, OP_IRQ_ON, OP_IRQ_OFF };
struct sw_logged {
	uint8_t op, n;
	uint64_t v;
};
#define SW_LOG 8192

/* Invariants that are checked at each operation. */
enum sw_rule { RULE_H01, RULE_H02, RULE_H04, RULE_H05, RULE_H06, RULE_H07, RULE_H08, RULE_H11, RULE_H12, RULE_H14, RULE_H15, RULE_H17, RULE_S02, RULE_S07, RULE_V05, RULE_V07,
	       RULE_V08, RULE_V09, RULE_P01, RULE_P02, RULE_P03, RULE_P04, RULE_P06, RULE_P08, RULE_P11, RULE_P15, RULE_P18, RULE_P21, RULE_NR };

struct sw_cpu {
	bool amd;
	struct ref_cpu phys;
	bool shows_disabled; /* sets B bits of disabled slots that match (rule A15) */
	bool lacks_debugctl;
	bool ring3;          /* guests run without hardware help */
	uint64_t ring3_cr0;  /* of the last entry there */
	unsigned host_steps; /* instructions of SYSCALL's entry that TF steps */
	bool close_memory;   /* their memory is closed while DR7 is theirs (P06): slow */
	unsigned host_traps[256]; /* handled by the host, by vector */
	bool swallows_debugctl; /* writes are accepted and lost: an emulator's */
	void (*nmi)(void);      /* runs once, behind the next write of DEBUGCTL */
	bool clears_debugctl; /* SVM: an intercepted #DB has cleared LBR and BTF already */
	bool fail_next_entry;
	uint64_t alarm; /* the last that was set */
	bool kicked; /* an interrupt of the host's to itself is pending */
	/* live */
	uint64_t dr[4], dr6, dr7, debugctl;
	uint32_t mask[4];
	struct sw_lbr lbr;
	uint64_t host_branches;
	void (*interrupt)(void); /* runs once, where interrupts open, as soon as there have been so many entries: */
	unsigned interrupt_after;
	bool guest, gif, irqs;
	uint64_t tsc, tsc_step; /* step: more ticks per RDTSC, to end time slices soon */
	/* What the host wants on this CPU, set by the tests. */
	uint64_t want_dr[4], want_dr7, want_debugctl;
	bool strict; /* check invariants: from the end of bring-up on */
	uint64_t windows, entries, host_db;
	struct sw_logged log[SW_LOG];
	unsigned nr_log;
	unsigned broken[RULE_NR];
	char first[RULE_NR][120];
};
extern struct sw_cpu sw;
#define SW_LOW_SIZE 0x4000u
extern uint8_t sw_low[SW_LOW_SIZE]; /* physical memory from 0 */

void sw_reset(bool amd, struct ref_cpu phys);
void sw_log(enum sw_op op, unsigned n, uint64_t v);
void sw_broken(enum sw_rule r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* One line when all held, `ok rules.<what>`, else one for each that is broken, `not ok H08.<what>`. */
void sw_report(const char *what);
/* Checks at an entry; the live state is the guest's. */
void sw_entered(struct sw_guest *g, const struct sw_ctl *ctl);
/* The host itself reads or writes memory, with its breakpoints as they are; a hit runs the host's #DB handler. Returns the DR6 it saw, or 0. */
uint64_t sw_host_access(enum ref_access a, uint64_t addr, unsigned len);

/* Which guest script a vcpu runs. */
struct vcpu;
void sw_bind(struct vcpu *v, struct sw_guest *g);
struct sw_guest *sw_guest_of(const struct vcpu *v);

#endif
