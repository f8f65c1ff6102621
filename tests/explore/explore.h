/* SPDX-License-Identifier: MIT */
/* The explorer's world: one CPU's debug registers, two guests with their control blocks, and what bare hardware would show each guest. */
#ifndef TESTS_EXPLORE_EXPLORE_H
#define TESTS_EXPLORE_EXPLORE_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/backend.h"
#include "vmm/run.h"
#include "vmm/vcpu.h"

/* Token values. */
#define ADDR_A 0xa000ull
#define ADDR_B 0xb000ull
#define ADDR_HOST 0x8000ull
#define ADDR_HELD 0xd000ull
#define POISON 0xbadbadull /* what nobody may use: somebody else's, or older than what hardware has */
#define MASK_A 0x7u
#define RW_LEN_GUEST 0x1u /* write, 1 byte; the host's: */
#define RW_LEN_HOST 0x3u
#define RW_LEN_HELD 0xdu
#define ARM_GUEST (DR7_INIT | DR7_G(0) | (uint64_t)RW_LEN_GUEST << 16)
#define ARM_HOST (DR7_INIT | DR7_G(0) | (uint64_t)RW_LEN_HOST << 16)
#define GUEST_DEBUGCTL DEBUGCTL_BTF

/* The registers of a bare machine, as a guest would see them. */
struct truth {
	uint64_t dr0, dr6, dr7, debugctl;
	uint32_t mask;
};

/* VMCS or VMCB. */
struct control_block {
	uint64_t dr6, dr7, debugctl;
	uint64_t seen_debugctl; /* VMX: the backend's memory of what the VMCS has */
	bool intercept, lbr;
};

struct world {
	/* hardware */
	uint64_t dr[2], dr6, dr7, debugctl, host_debugctl; /* the last: what VMRUN has put away, with LBR virtualization */
	uint32_t mask;
	struct control_block vm[2];
	struct truth truth[2];
	/* where run_once() is, and its locals */
	bool guest, idle;
	uint8_t ops, cur;
	/* what the host wants */
	bool host_bp, host_ctl;
};

extern struct world w;
extern struct vcpu vcpus[2];
extern struct cpu cpu;

/* One set of parameters. */
enum nmi { NMI_NONE, NMI_BP_ON, NMI_BP_OFF, NMI_CTL_ON, NMI_CTL_OFF, NMI_HIT, NMI_BP_ON_HIT, NMI_STRAY, NR_NMIS };
enum window { IN_RUN, IN_PLAN }; /* around the guest, between the executed plans; or from the making of a plan to its end */
struct params {
	char name[64];
	struct backend be;
	uint8_t policy, feat;
	bool db_clears;  /* SVM: an intercepted #DB has cleared DEBUGCTL.LBR and .BTF in the VMCB */
	bool debugger;
	uint8_t held;    /* the debugger's slot */
	bool owned;      /* VMX: the host's DEBUGCTL has a bit that stays in force in the guest (V18) */
	unsigned nmis;   /* bit per enum nmi: what may come while interrupts are off */
	unsigned where;  /* bit per enum window: and when */
};
extern struct params par;

enum event_kind {
	/* the host, interrupts on */
	EV_ENTER, EV_SWITCH, EV_HOST_BP_ON, EV_HOST_BP_OFF, EV_HOST_CTL_ON, EV_HOST_CTL_OFF, EV_HOST_DB, EV_ATTACH, EV_DETACH, EV_RESET,
	/* the guest */
	EV_SLOW, EV_FAST, EV_READ_DR0, EV_READ_DR6, EV_READ_DR7, EV_DR0_ZERO, EV_DR0_ADDR, EV_DR6_INIT, EV_DR6_MARK, EV_DR7_OFF, EV_DR7_ARM, EV_DR7_GD,
	EV_RDMSR, EV_CTL_ZERO, EV_CTL_SET, EV_MASK_ZERO, EV_MASK_SET, EV_HIT_FAST, EV_HIT_SLOW, EV_STEP_FAST, EV_STEP_SLOW, EV_GD_FAST, EV_GD_SLOW,
	EV_HELD_HIT, NR_EVENTS
};
extern const char *const event_names[NR_EVENTS];
extern const char *const nmi_names[NR_NMIS];

/* A step: the event, what comes in between, and before which of its points. */
struct step {
	uint8_t event, nmi, at;
};

/* Where the step that is being carried out is. */
struct now {
	struct step step;
	unsigned points; /* so far */
	enum window window;
	bool gif_off, in_nmi, in_run, nmi_taken;
};
extern struct now now;

static inline bool svm(void)
{
	return (par.be.dbg_caps & DBG_CAP_VM_DR6) != 0;
}

/* DR6 after a #DB, section 0 of the rules, written again: none of these CPUs has RTM or BLD. */
static inline uint64_t merge(uint64_t dr6, uint32_t payload)
{
	return (dr6 & ~DR6_B_ALL) | (payload & (DR6_B_ALL | DR6_STICKY));
}

/* machine.c */
void point(void); /* an NMI may come here */
uint64_t *reg(unsigned n);
bool host_hit(uint32_t bits); /* 0: a stray #DB, without a cause. False here and below: cannot happen, or changes nothing */
bool set_host_bp(bool on);
bool set_host_ctl(bool on);

/* events.c. False: cannot happen here. Sets bad when an invariant breaks; points: how many places for an NMI it had. */
bool world_step(struct step s, unsigned *points);
void world_init(void);
void world_print(void);

/* check.c */
extern char bad[160];
extern unsigned bad_invariant; /* 1-4 */
extern unsigned wanted_invariants; /* bits: the others are not looked at */
void invariant_rules(void); /* prints them */
void fail(unsigned invariant, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void check_host_registers(void);
void check_host(void);  /* interrupts are on */
void check_point(void); /* interrupts are off: an NMI could come */
void check_guest(void);
uint64_t host_debugctl(bool on);
void account_begin(void);
void account_enter(uint8_t state, uint64_t dr6);
void account_fast(bool reflected);
void account_leave(uint8_t state, bool host_armed, uint64_t exit_dr6);
struct account {
	unsigned dr_read[8], dr_write[8], same[8], ctl_read, ctl_write, mask_write;
};
extern struct account acct;

/* What has been seen at least once. */
struct witness {
	uint64_t events, nmis;
	uint8_t states[DBG_NR_POLICIES];
	unsigned enter_ops, leave_ops;
};
extern struct witness seen;

/* search.c. False: an invariant broke; the way there has been printed. */
struct result {
	uint64_t states, transitions;
	unsigned length, last;
	bool blown; /* too many states */
};
bool search(struct result *r);

#endif
