/* SPDX-License-Identifier: MIT */
/* A hypervisor of a few lines for scenarios: the scenario is L1 and runs a fragment of code as its own guest, L2. Same for SVM and VMX.
 *
 *	CODE64(n99_code, "nop;" L2_END)
 *
 *	SCENARIO(n99_example, "CPUID of L2 exits", 0)
 *	{
 *		struct l2 g = { .code = n99_code };
 *
 *		l1_begin();
 *		l1_run(&g);
 *		check_eq("N99.kind", "...", g.exit.kind, L1_CPUID);
 *	}
 *
 * L2 has L1's page tables, GDT, IDT and TSS, CPL 0, a stack of its own. Exceptions exit unless `own` names them: those go through the IDT to the runtime's
 * handlers, inside L2, and into its trap log. CPUID and the hypercall instruction exit always, and are not skipped. */
#ifndef TESTS_GUEST_L1_H
#define TESTS_GUEST_L1_H

#include "tests/guest/guest.h"

#define L2_END " cpuid;" /* the last instruction of a fragment */

enum l1_kind {
	L1_NONE, L1_EXCEPTION, L1_CPUID, L1_HYPERCALL, L1_MOVDR, L1_INTR, L1_NMI, L1_HLT, L1_IO, L1_MSR, L1_MEM, L1_WINDOW, L1_INVALID, L1_OTHER
};
enum { L1_EV_NONE, L1_EV_INTR, L1_EV_NMI, L1_EV_EXCEPTION, L1_EV_SOFT };

struct l1_event {
	unsigned type, vector; /* L1_EV_* */
	bool has_error;
	uint32_t error;
};

struct l2 {
	/* The guest, in; what of it changes is its state at the exit, out. rip 0: code. dr6, dr7 0: reset values. */
	const void *code;
	uint64_t rip, rflags, dr6, dr7, cr2;
	struct regs regs;
	bool shadow;         /* interrupt shadow */
	unsigned block;      /* which of two control blocks: SVM only */
	bool lab;            /* L2's hypercall instruction is drover's, a lab's: no exit to L1. SVM only */
	/* What L1 asks for. */
	uint32_t own;        /* exceptions that L2 handles itself, 1 << vector */
	uint32_t movdr;      /* MOV from DR in 15:0, to DR in 31:16; VMX has one bit for all */
	bool intr, nmi, hlt, io, msr;
	bool paging;         /* nested paging by l1_map */
	bool read_only;      /* with it: L2 may write nowhere */
	bool flush;          /* of L2's translations, at this entry */
	uint64_t l1_rflags;  /* RFLAGS of L1 at the instruction that enters: FL_TF, FL_IF */
	uint64_t tsc_offset;
	struct l1_event inject;
	void (*tweak)(uint8_t *block); /* last changes to the raw control block, or NULL: of one vendor */
	/* The exit, out. */
	struct {
		enum l1_kind kind;
		uint64_t code, info1, info2; /* raw: exit code and its information; VMX: reason, qualification, 0 */
		uint64_t payload;            /* VMX: causes of a #DB; DR6 does not have them (N10) */
		unsigned vector, dr;         /* exception; MOV DR */
		bool write;                  /* MOV DR, MSR, memory */
		uint64_t gpa;                /* memory */
		struct l1_event vectoring;   /* what the exit cut short */
		uint64_t l1_dr6, l1_dr7;     /* as L1 reads them behind the exit */
		uint64_t l1_cr2;
	} exit;
};

/* What VMX does in another way: DR6 is no part of the control block: L1 writes it before the entry and reads it behind the exit. An interrupt exit does not
 * acknowledge. L1's RFLAGS are not restored by an exit. There is no tweak, no second block, and no lab for L2, whose VMCALL always exits: asking for one of these
 * is an ERROR. L1_INVALID is an entry that is an exit (the guest's state); one that the instruction refuses ends the scenario with ERROR. */

/* Ends the scenario as skipped where the CPU cannot. Else virtualization is on until l1_end(). */
void l1_begin(void);
void l1_end(void);
void l1_run(struct l2 *g);

/* Nested paging: L2's memory is L1's up to 1 GiB; behind that is a window of 512 pages of 4 KiB. rights 0: absent. */
#define L1_WINDOW_GPA 0x40000000ul
enum { L1_READ = 1, L1_WRITE = 2, L1_EXEC = 4, L1_RIGHTS = 7, L1_RESERVED = 8 };
void l1_map(unsigned slot, const volatile void *page, unsigned rights);

uint8_t *l1_block(unsigned i); /* a control block, raw: SVM only */

/* One of SVM's instructions, by its ModRM byte as text, with its operand: the vector that it raises, or NO_FAULT. */
#define SVM_INSN(modrm, rax)                                                                                             \
	(try_begin(), ({                                                                                                 \
		 uint64_t a_ = (rax);                                                                                    \
		 __asm__ volatile("1: .byte 0x0f, 0x01, " modrm "\n2:\n" EXTABLE("1b", "2b") : "+a"(a_)::"memory");      \
	 }),                                                                                                             \
	 try_end())

extern const char *l1_enter_insn, *l1_exit_insn; /* the instruction that enters L2, and where L1 goes on; from l1_begin() on */

/* One per vendor: l1.c chooses. */
struct l1_ops {
	void (*begin)(void);
	void (*end)(void);
	void (*run)(struct l2 *g);
	void (*map)(unsigned slot, const volatile void *page, unsigned rights);
	const char *enter_insn, *exit_insn;
};
extern const struct l1_ops l1_svm, l1_vmx;

#endif
