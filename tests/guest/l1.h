/* SPDX-License-Identifier: MIT */
/* A hypervisor inside a scenario, as small as can be: it runs a fragment of this image as a nested guest, in the same address space with the same
 * descriptor tables and trap handlers, and tells how that ended. Nothing of the vendor's is in this file.
 *
 *	struct l1 r = { .code = n99_code, .want = L1_DR };
 *
 *	l1_start();                     // ends the scenario with SKIP where the CPU cannot
 *	l1_run(&r);                     // enters; r.exit, r.rip and so on afterwards
 *	check_eq("N99.x", "...", r.exit, L1X_DR);
 *	r.rip += r.len;
 *	l1_resume(&r);                  // goes on from r.rip
 *	l1_stop();
 */
#ifndef TESTS_GUEST_L1_H
#define TESTS_GUEST_L1_H

#include "tests/guest/guest.h"

#define L2_END " hlt;" /* end of a nested fragment: HLT always exits. At CPL 3: L2_END_USER */
#define L2_END_USER " cpuid;" /* VMX: CPUID always exits */

enum l1_want { /* intercepts besides those that are always on (HLT) */
	L1_DR = 1,    /* MOV DR */
	L1_INTR = 2,  /* external interrupts, acknowledged by the exit */
	L1_NMI = 4,
	L1_IO = 8,    /* all of it */
	L1_MSR = 16,  /* all of it; else none */
};

enum l1_exit { L1X_OTHER, L1X_EXC, L1X_INTR, L1X_NMI, L1X_CPUID, L1X_HLT, L1X_DR, L1X_IO, L1X_MSR, L1X_MEM, L1X_TIMER, L1X_SHUTDOWN,
	       L1X_INVALID /* the entry was refused */ };

enum l1_event { L1E_NONE, L1E_INTR, L1E_NMI, L1E_EXC, L1E_SOFT_INT, L1E_ICEBP, L1E_SOFT_EXC };

struct l1 {
	/* in */
	const void *code;
	unsigned cpl;        /* 0 or 3 */
	unsigned want;       /* enum l1_want, ORed */
	uint32_t exceptions; /* intercepted vectors, a bit each */
	bool own_tables;     /* second-level tables of its own: identity, see l1_protect() */
	uint8_t event;       /* enum l1_event: injected at the entry */
	uint8_t event_vector, event_len;
	bool event_has_error;
	uint32_t event_error;
	void (*tune)(struct l1 *r); /* called before the entry, when all else has been set */
	/* in and out; out: as the exit left them in the control block */
	struct regs regs;
	uint64_t rip, rsp, rflags; /* l1_run() sets rip and rsp itself */
	uint64_t dr7, debugctl;    /* dr7 0: DR7_INIT */
	/* out */
	unsigned exit;       /* enum l1_exit */
	uint64_t reason;     /* as the CPU says it */
	unsigned vector;     /* EXC, INTR */
	unsigned type;       /* EXC: enum l1_event */
	uint64_t payload;    /* #DB: new causes, positive; #PF: address; MOV DR: its qualification */
	uint64_t error, gpa;
	unsigned len;        /* of the instruction that exited; 0: not told */
};

/* Virtualization on, a fresh control block. */
void l1_start(void);
void l1_stop(void);
/* A fresh nested guest. */
void l1_run(struct l1 *r);
/* The same one, from r->rip on; regs, rip, rsp, rflags and event are taken, nothing else. */
void l1_resume(struct l1 *r);
/* Second-level rights of the 4 KiB page at addr (below 2 MiB above the image's start): bits 0-2 read, write, execute. All else is allowed. */
void l1_protect(const volatile void *addr, unsigned rights);

#endif
