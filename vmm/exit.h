/* SPDX-License-Identifier: MIT */
/* What a backend makes of a hardware exit: one tagged struct, vendor-free. */
#ifndef VMM_EXIT_H
#define VMM_EXIT_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/event.h"

enum exit_kind {
	EXITK_NONE,
	EXITK_INTR,        /* a host interrupt is pending; it is taken when the host opens interrupts */
	EXITK_NMI,         /* a host NMI (VMX, PVM: taken by the exit; SVM: still pending) */
	EXITK_INTR_WINDOW, /* the guest can take an interrupt now */
	EXITK_NMI_WINDOW,
	EXITK_EXCEPTION,   /* u.exc */
	EXITK_CPUID,
	EXITK_HLT,
	EXITK_HYPERCALL,   /* VMCALL or VMMCALL, the right one for this CPU */
	EXITK_MSR,         /* u.msr */
	EXITK_IO,          /* u.io */
	EXITK_CR,          /* u.cr */
	EXITK_DR,          /* u.dr */
	EXITK_XSETBV,
	EXITK_INSN,        /* u.insn: another intercepted instruction */
	EXITK_MEM,         /* u.mem: EPT violation or nested page fault */
	EXITK_TASK_SWITCH,
	EXITK_TRIPLE,      /* shutdown */
	EXITK_TIMER,       /* VMX preemption timer */
	EXITK_BUS_LOCK,    /* a bus lock has been made (VMX); counted already */
	EXITK_RING,        /* PVM: an instruction that ring 3 cannot do, of no kind above: be->emulate */
	EXITK_ENTRY_FAIL,  /* hardware refused the entry; u.fail */
	EXITK_UNKNOWN,     /* hw_reason is not one that drover asked for */
	EXITK_NR
};

enum insn_kind { INSN_INVD, INSN_WBINVD, INSN_RDPMC, INSN_MONITOR, INSN_MWAIT, INSN_PAUSE, INSN_VMX, INSN_SVM, INSN_INVLPG, INSN_RSM, INSN_GETSEC,
		 INSN_DESC, INSN_OTHER };

/* u.cr.access: MOV to CR, MOV from CR, CLTS, LMSW */
enum cr_access { CR_WRITE, CR_READ, CR_CLTS, CR_LMSW };

struct exit {
	uint8_t kind;  /* enum exit_kind */
	uint8_t level; /* whose exit: 0 the guest's, 1 its guest's */
	uint8_t len;   /* instruction length in bytes; 0: hardware does not tell (decode it) */
	uint32_t hw_reason; /* VMX exit reason, SVM exit code, or PVM's trap vector, raw */
	uint64_t hw_info;   /* VMX exit qualification, SVM EXITINFO1, or PVM's error code, raw: for the trace */
	uint64_t tsc;
	uint64_t dr6;  /* DR6 that the exit left in the live register, if hardware switches DR6; else DR6_INIT (rule H06) */
	struct event vectoring; /* type != EVENT_NONE: this event was being delivered when the exit happened */
	union {
		struct {
			uint8_t vector;
			bool has_error;
			uint32_t error;
			uint64_t cr2;         /* #PF only */
			struct dbg_record db; /* #DB only. On ICEBP (VMX, PVM) rip is at the instruction and len is its length (rule V14) */
		} exc;
		struct { bool write; } msr; /* number in RCX, value in EDX:EAX */
		struct {
			uint16_t port;
			uint8_t size; /* bytes: 1, 2, 4 */
			bool in, string, rep;
		} io;
		struct {
			uint8_t cr, access, gpr; /* gpr 0xff: hardware does not tell (decode it) */
			uint16_t lmsw;
		} cr;
		struct {
			uint8_t dr; /* 0-15 */
			bool low;   /* hardware tells the low three bits of it only */
			bool write;
			uint8_t gpr; /* 0xff: hardware does not tell */
		} dr;
		struct { uint8_t insn; } insn;
		struct {
			uint64_t gpa;
			bool write, exec, linear_valid;
			uint64_t gla;
		} mem;
		struct { uint64_t code; } fail; /* VM-instruction error or exit code */
	} u;
};

/* Names for logs: "cpuid", "exception"... */
const char *exit_name(enum exit_kind k);

#endif
