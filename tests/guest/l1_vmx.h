/* SPDX-License-Identifier: MIT */
/* A hypervisor inside a scenario, on VMX, for what is VMX's own: it runs a fragment of this image as a nested guest, in the same address space with the same
 * descriptor tables and trap handlers, tells how that ended, and lets the scenario at the fields of its VMCS.
 *
 *	struct vmx_l2 r = { .code = n99_code, .want = VW_DR };
 *
 *	vmx_start();                     // ends the scenario with SKIP where the CPU cannot
 *	vmx_run(&r);                     // enters; r.exit, r.rip and so on afterwards
 *	check_eq("N99.x", "...", r.exit, VX_DR);
 *	r.rip += r.len;
 *	vmx_resume(&r);                  // goes on from r.rip
 *	vmx_stop(); */
#ifndef TESTS_GUEST_L1_VMX_H
#define TESTS_GUEST_L1_VMX_H

#include "tests/guest/guest.h"

#define VMX_END " hlt;" /* end of a nested fragment: HLT always exits. At CPL 3: VMX_END_USER */
#define VMX_END_USER " cpuid;" /* VMX: CPUID always exits */

enum vmx_want { /* intercepts besides those that are always on (HLT) */
	VW_DR = 1,    /* MOV DR */
	VW_INTR = 2,  /* external interrupts, acknowledged by the exit */
	VW_NMI = 4,
	VW_IO = 8,    /* all of it */
	VW_MSR = 16,  /* all of it; else none */
};

enum vmx_exit { VX_OTHER, VX_EXC, VX_INTR, VX_NMI, VX_CPUID, VX_HLT, VX_DR, VX_IO, VX_MSR, VX_MEM, VX_TIMER, VX_SHUTDOWN,
	       VX_INVALID /* the entry was refused */ };

enum vmx_event { VE_NONE, VE_INTR, VE_NMI, VE_EXC, VE_SOFT_INT, VE_ICEBP, VE_SOFT_EXC, VE_PENDING_MTF };

struct vmx_l2 {
	/* in */
	const void *code;
	unsigned cpl;        /* 0 or 3 */
	unsigned want;       /* enum vmx_want, ORed */
	uint32_t exceptions; /* intercepted vectors, a bit each */
	bool own_tables;     /* second-level tables of its own: identity, see vmx_protect() */
	uint8_t event;       /* enum vmx_event: injected at the entry */
	uint8_t event_vector, event_len;
	bool event_has_error;
	uint32_t event_error;
	void (*tune)(struct vmx_l2 *r); /* called before the entry, when all else has been set */
	/* in and out; out: as the exit left them in the control block */
	struct regs regs;
	uint64_t rip, rsp, rflags; /* vmx_run() sets rip and rsp itself */
	uint64_t dr7, debugctl;    /* dr7 0: DR7_INIT */
	/* out */
	unsigned exit;       /* enum vmx_exit */
	uint64_t reason;     /* as the CPU says it */
	unsigned vector;     /* EXC, INTR */
	unsigned type;       /* EXC: enum vmx_event */
	uint64_t payload;    /* #DB: new causes, positive; #PF: address; MOV DR: its qualification */
	uint64_t error, gpa;
	unsigned len;        /* of the instruction that exited; 0: not told */
};

/* Virtualization on, a fresh control block. */
void vmx_start(void);
void vmx_stop(void);
/* A fresh nested guest. */
void vmx_run(struct vmx_l2 *r);
/* The same one, from r->rip on; regs, rip, rsp, rflags and event are taken, nothing else. */
void vmx_resume(struct vmx_l2 *r);
/* Second-level rights of the 4 KiB page at addr (below 2 MiB above the image's start): bits 0-2 read, write, execute. All else is allowed. */
void vmx_protect(const volatile void *addr, unsigned rights);

/* ---- The VMCS ---- */

/* Encodings, by the manual's names. */
enum vmx_field {
	VF_ES_SEL = 0x800, VF_CS_SEL = 0x802, VF_SS_SEL = 0x804, VF_TR_SEL = 0x80e, VF_HOST_ES = 0xc00, VF_HOST_CS = 0xc02,
	VF_HOST_TR = 0xc0c, VF_IO_A = 0x2000, VF_IO_B = 0x2002, VF_MSR_BITMAP = 0x2004, VF_MSR_LOAD = 0x200a, VF_EPTP = 0x201a,
	VF_VMREAD_MAP = 0x2026, VF_VMWRITE_MAP = 0x2028, VF_GPA = 0x2400, VF_LINK = 0x2800, VF_DEBUGCTL = 0x2802, VF_EFER = 0x2806,
	VF_HOST_EFER = 0x2c02, VF_PIN = 0x4000, VF_PROC = 0x4002, VF_EXCEPTIONS = 0x4004, VF_CR3_COUNT = 0x400a, VF_EXIT = 0x400c,
	VF_MSR_STORE_COUNT = 0x400e, VF_MSR_EXIT_LOAD_COUNT = 0x4010, VF_ENTRY = 0x4012, VF_MSR_LOAD_COUNT = 0x4014, VF_EVENT = 0x4016,
	VF_EVENT_ERROR = 0x4018, VF_EVENT_LEN = 0x401a, VF_PROC2 = 0x401e, VF_ERROR = 0x4400, VF_REASON = 0x4402, VF_INTR_INFO = 0x4404,
	VF_INTR_ERROR = 0x4406, VF_INSN_LEN = 0x440c, VF_ES_LIMIT = 0x4800, VF_GDTR_LIMIT = 0x4810, VF_IDTR_LIMIT = 0x4812,
	VF_ES_AR = 0x4814, VF_SHADOW = 0x4824, VF_ACTIVITY = 0x4826, VF_TIMER = 0x482e, VF_CR0_MASK = 0x6000, VF_CR4_SHADOW = 0x6006,
	VF_QUALIFICATION = 0x6400, VF_CR0 = 0x6800, VF_CR3 = 0x6802, VF_CR4 = 0x6804, VF_ES_BASE = 0x6806, VF_TR_BASE = 0x6814,
	VF_GDTR_BASE = 0x6816, VF_IDTR_BASE = 0x6818, VF_DR7 = 0x681a, VF_RSP = 0x681c, VF_RIP = 0x681e, VF_RFLAGS = 0x6820,
	VF_PENDING = 0x6822, VF_HOST_CR0 = 0x6c00, VF_HOST_CR3 = 0x6c02, VF_HOST_CR4 = 0x6c04, VF_HOST_FS_BASE = 0x6c06,
	VF_HOST_TR_BASE = 0x6c0a, VF_HOST_GDTR = 0x6c0c, VF_HOST_IDTR = 0x6c0e
};

#define VC_PIN_INTR (1u << 0)
#define VC_PIN_NMI (1u << 3)
#define VC_PIN_TIMER (1u << 6)
#define VC_PROC_HLT (1u << 7)
#define VC_PROC_MOV_DR (1u << 23)
#define VC_PROC_IO (1u << 24)
#define VC_PROC_MSR_BITMAPS (1u << 28)
#define VC_PROC_SECONDARY (1u << 31)
#define VC_PROC2_EPT (1u << 1)
#define VC_EXIT_SAVE_DEBUG (1u << 2)
#define VC_EXIT_HOST64 (1u << 9)
#define VC_EXIT_ACK (1u << 15)
#define VC_EXIT_LOAD_EFER (1u << 21)
#define VC_ENTRY_LOAD_DEBUG (1u << 2)
#define VC_ENTRY_IA32E (1u << 9)
#define VC_ENTRY_LOAD_EFER (1u << 15)

/* What a VMX instruction says: 0 success, or VMfailInvalid, or 0x100 + the VM-instruction error. */
#define VMX_OK 0u
#define VMX_INVALID 1u
#define VMX_ERROR(n) (0x100u + (n))

unsigned vmx_on(uint64_t pa);
unsigned vmx_clear(uint64_t pa);
unsigned vmx_ptrld(uint64_t pa);
unsigned vmx_read(uint64_t field, uint64_t *v);
unsigned vmx_write(uint64_t field, uint64_t v);
unsigned vmx_launch(void); /* with the guest's registers all 0; for entries that are to fail */
unsigned vmx_relaunch(void); /* VMRESUME likewise */
unsigned vmx_invept(uint64_t type, uint64_t eptp);
unsigned vmx_invvpid(uint64_t type, uint64_t vpid);
/* On the vmx_start()ed VMCS; a failure ends the scenario with ERROR. */
uint64_t vf(uint64_t field);
void vf_set(uint64_t field, uint64_t v);
void vf_change(uint64_t field, uint64_t clear, uint64_t set);

/* Pages with the right revision: a VMCS that is not used yet, the VMXON region. */
uint32_t *vmx_spare(void);
uint64_t vmx_region_on(void);
uint64_t vmx_region(void);
/* The out part of r, from the VMCS. */
void vmx_read_exit(struct vmx_l2 *r);
/* All fields of r, without the entry: for entries that are to fail. */
void vmx_prepare(struct vmx_l2 *r);

#endif
