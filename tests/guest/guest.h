/* SPDX-License-Identifier: MIT */
/* What a scenario may use: registry, checks, the trap log, running code at any privilege and width, exits on demand.
 *
 * A scenario is one file tests/guest/NAME.c. Its head comment tells the bug first (symptom, cause, who had it), then the
 * rule IDs. Minimal example:
 *
 *	#include "tests/guest/guest.h"
 *
 *	// Ends with DONE. Labels must be unique in the image. Runs at the address of the symbol `z99_step`.
 *	CODE64(z99_step, "cpuid; z99_step_next: nop;" DONE)
 *
 *	SCENARIO(z99_step, "a step over CPUID stops right behind it", 0)
 *	{
 *		struct run r = { .code = z99_step, .cpl = 3, .rflags = FL_TF };
 *
 *		run_code(&r);
 *		check_trace("E01.user", "one #DB per instruction", z99_step, "DB+2/ffff4ff0;DB+3/ffff4ff0");
 *	}
 *
 * Between scenarios the runtime puts DR0-3=0, DR6, DR7, CR4.DE and hooks back to their reset values. An exception that no
 * run, no fixup and no hook expected ends the scenario with an ERROR check `run` that names vector and RIP; the next one runs.
 * Expected values come from the rule, never from a run: a wrong emulator stays `not ok` and is listed in tests/run/expect. */
#ifndef TESTS_GUEST_GUEST_H
#define TESTS_GUEST_GUEST_H

#include "arch/x86/def/exitcode.h"
#include "arch/x86/def/hypercall.h"
#include "tests/guest/x86.h"

/* ---- Registry ---- */

#define SCN_BY_NAME 1u /* not part of `scenario=all`: storms, triple faults, bench, peers. Runs only when named */
#define SCN_LAB 2u     /* needs the lab hypercalls: skipped as a whole where they are absent */
#define SCN_DROVER 4u  /* needs drover below: skipped as a whole on bare */
#define SCN_NESTED 16u /* a hypervisor of its own (l1_vmx.h); `scenario=nested` picks these */
#define SCN_NO_PLAN 8u /* prints no KTAP of its own frame (list-like output, storms that never end): the body prints all */

struct scenario {
	const char *name, *title;
	uint64_t flags;
	void (*fn)(void);
};

/* SCENARIO(name, "title", flags) { body }: name is the file's name; it is what scenario= takes. */
#define SCENARIO(id, ttl, fl)                                                                                            \
	static void scn_fn_##id(void);                                                                                   \
	static const struct scenario scn_##id __attribute__((section(".scenarios"), used, aligned(8))) = {               \
		.name = #id, .title = (ttl), .flags = (fl), .fn = scn_fn_##id                                            \
	};                                                                                                               \
	static void scn_fn_##id(void)

/* ---- Checks. `id`: rule ID first, unique in the scenario, stable (expectation lists key on scenario/id), no spaces ---- */

bool check(const char *id, const char *desc, bool ok); /* all return whether it was ok */
bool check_eq(const char *id, const char *desc, uint64_t actual, uint64_t expected);
bool check_str(const char *id, const char *desc, const char *actual, const char *expected);
bool check_le(const char *id, const char *desc, uint64_t actual, uint64_t bound);
/* Compare the whole trap log with a text: entries joined by ';', each NAME+OFF where NAME is the vector (DB, BP, UD, GP, PF,
 * AC, I80, or Vxx) and OFF the hex offset of the pushed RIP from `base` ("-OFF" below, "@" + hex when over 64 KiB away).
 * DB has "/DR6" in hex as the handler read it; vectors with an error code have "(code)". Empty log: "none".
 * "@handlerNN": at the first instruction of the handler of vector NN (a second #DB there ends the run: end = VEC_DB).
 * Eight or more equal entries in a row are one with "*COUNT" (a storm). */
bool check_trace(const char *id, const char *desc, const void *base, const char *expected);
void check_skip(const char *id, const char *desc, const char *reason);
void check_error(const char *id, const char *desc, const char *reason);
/* End the scenario now: the rest of it cannot run here. Both do not return. */
__attribute__((noreturn)) void scenario_skip(const char *reason);
__attribute__((noreturn, format(printf, 1, 2))) void scenario_error(const char *fmt, ...);
/* A formatted string good until the 16th later call: ids of loops, e.g. check_eq(fmt("A01.zero.%s", mode), ...). */
__attribute__((format(printf, 1, 2))) const char *fmt(const char *f, ...);
/* Console. print() takes %s %c %d %u %x with l and ll, 0-padding and width. note() prints one "# ..." KTAP comment line. */
__attribute__((format(printf, 1, 2))) void print(const char *f, ...);
__attribute__((format(printf, 1, 2))) void note(const char *f, ...);
void console_drain(void); /* until the last byte has left the UART: before something that ends or hangs the machine */
__attribute__((noreturn)) void guest_exit(uint32_t code); /* end the VM or the machine with an enum exit_code, UART drained */
bool streq(const char *a, const char *b);

/* ---- Where we are ---- */

/* When drover gives this guest the debug registers (its option dbg=): what a guest sees is the same, what it costs is not. */
enum env_policy { POLICY_LAZY, POLICY_EAGER, POLICY_CACHED, POLICY_TRAPPED, NR_POLICIES };

struct env {
	bool drover;      /* drover is below (CPUID 0x40000000) */
	bool lab;         /* lab hypercalls available */
	bool svm, vmx, pvm; /* drover's backend; all false on bare. pvm: this kernel runs in ring 3 */
	bool amd, intel;  /* vendor string (AMD includes Hygon) */
	unsigned level;   /* drovers below; 0: none */
	bool nested;      /* drover lets this guest be a hypervisor: CPUID has SVM or VMX */
	bool rtm, bld;    /* CPUID 7.0: EBX[11], ECX[24]: gate DR6.RTM, DR6.BLD */
	bool dbext;       /* CPUID 80000001 ECX[26]: DR address masks C0011027, C0011019-1B */
	bool xsave, avx, rdtscp, sysenter;
	unsigned policy;  /* enum env_policy; lazy without the lab */
	uint64_t run_debugctl; /* `debugctl=N`: DEBUGCTL during run_code(); with drover's debugctl=emulate each instruction of theirs is stepped */
	bool debugctl;    /* RDMSR of DEBUGCTL does not fault */
	uint64_t mem_bytes; /* end of RAM from address 0, by the multiboot info (mem_upper) */
	const char *cmdline;
	bool fragile; /* said on the command line: the machine itself ends at the shutdown of a guest's guest (docs/emulators.md) */
	uint64_t seed, count; /* seed=, count= of the command line, for scenarios of random input; 0: the scenario's own */
};
extern struct env env;

/* Registers as the first instruction of the image found them (rule Z08): captured before anything writes one. */
struct boot_capture {
	uint64_t dr[4], dr6, dr7;
	uint64_t debugctl; /* read later, but nothing before it writes it; valid iff env.debugctl */
};
extern struct boot_capture boot_capture;

/* ---- Trap log ---- */

#define TRAP_LOG_MAX 128
struct trap_rec {
	uint8_t vec;
	uint16_t cs, ss;
	uint64_t rip, rflags, rsp, err; /* as pushed; err 0 where the vector has none */
	uint64_t dr6, dr7;  /* #DB only: as the handler read them, before it wrote any */
	uint64_t debugctl;  /* #DB only, and only with db.read_debugctl */
	uint64_t cr2;       /* #PF only */
};
struct trap_log {
	unsigned n;         /* records; never more than TRAP_LOG_MAX */
	struct trap_rec rec[TRAP_LOG_MAX];
};
extern struct trap_log trap_log;
void trap_clear(void);
unsigned trap_count(unsigned vec);
/* The i-th (from 0) record of that vector. When there is none: a zero record with vec NO_FAULT, so that checks fail, not crash. */
const struct trap_rec *trap_nth(unsigned vec, unsigned i);

/* What the #DB handler does; reset before every scenario to the values in brackets. */
struct db_cfg {
	unsigned clear_tf_after; /* clear TF in the frame of the N-th #DB; 0 = never [0]. VEC_DONE ends stepping anyway */
	bool keep_dr6;           /* leave DR6 as it is; else the handler writes DR6_INIT after reading it [false] */
	bool no_dr_access;       /* touch no debug register in the handler; then dr6 = dr7 = 0 in the log, RF is not set [false] */
	bool read_debugctl;      /* also RDMSR DEBUGCTL: an extra exit under a hypervisor [false] */
	bool no_auto_rf;         /* do not set RF when an enabled exec breakpoint matches RIP [false] */
	bool anywhere;           /* #DBs are expected outside run_code() as well: C code steps or hits watchpoints itself [false] */
	unsigned storm;          /* more #DBs than this end the run (end = VEC_DB), outside a run the scenario with ERROR [TRAP_LOG_MAX] */
};
extern struct db_cfg db;

struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vec, err, rip, cs, rflags, rsp, ss;
};
/* Called after logging, in place of (return true: handled, IRET with the frame as it is now) or before (false) the default
 * treatment of that vector. Runs on the trap's stack with IF=0. NULL removes. */
typedef bool (*trap_hook)(struct trap_frame *f, struct trap_rec *rec);
void trap_set_hook(unsigned vec, trap_hook fn);
/* Raw gate for benches and storms: handler entered by the CPU with nothing saved. ist 0 = current or RSP0 stack; dpl 0 or 3.
 * trap_restore_gate puts the runtime's own stub back (also done after each scenario). Ring-0 exceptions use no IST except #DB (IST1), NMI (2), #DF (3), #MC (4). */
void trap_set_gate(unsigned vec, const void *handler, unsigned ist, unsigned dpl);
void trap_restore_gate(unsigned vec);
uint64_t trap_gate(unsigned vec); /* where the CPU goes by this vector now: the first instruction of its handler */
void trap_close_gate(unsigned vec); /* not present: #NP in the delivery */

/* ---- Running code ---- */

/* A snippet of assembler in its own section, entered by run_code(); its symbol has type `const char[]`. */
#define CODE64(sym, text)                                                                                                \
	extern const char sym[];                                                                                         \
	__asm__(".pushsection .text.snippet,\"ax\"; .balign 16; .code64; .globl " #sym "; " #sym ": " text               \
		"\n.code64; .popsection");
#define CODE32(sym, text)                                                                                                \
	extern const char sym[];                                                                                         \
	__asm__(".pushsection .text.snippet,\"ax\"; .balign 16; .code32; .globl " #sym "; " #sym ": " text               \
		"\n.code64; .popsection");
#define LABEL(sym) extern const char sym[] /* make a label inside a snippet visible to C; write `.globl sym; sym:` there */
#define DONE " int $0x81;" /* end of a snippet, in any mode and ring. INT clears TF: is not itself stepped */

/* Build a snippet at run time: the bytes, then NOP, then DONE. One buffer: the next call overwrites it. n <= 32. */
const void *code_make(const uint8_t *bytes, unsigned n);

struct regs {
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
};
struct run {
	const void *code;   /* CODE64/CODE32 symbol (or a label inside) */
	unsigned cpl;       /* 0 or 3 */
	bool compat;        /* 32-bit compatibility mode (CODE32) */
	unsigned iopl;      /* 0-3: for IN/OUT at CPL 3 */
	uint64_t rflags;    /* ORed to the fixed bit: TF traps after the FIRST instruction, RF suppresses an exec bp on it */
	uint64_t allow;     /* 1ull << vec of exceptions (other than #DB) that may END the run; others end the scenario with ERROR */
	uint64_t resume;    /* 1ull << vec: resume at `resume_at` (if set) or at the pushed RIP: for #BP and #OF, which are traps */
	const void *resume_at;
	bool keep_log;      /* do not clear the trap log at the start */
	struct regs regs;   /* in and out; RSP is the runtime's own stack (8 KiB, user-accessible, zero below it is not promised) */
	unsigned end;       /* out: VEC_DONE, or the exception of `allow` that ended it */
	uint64_t end_rip, end_rflags; /* out: pushed by that. After DONE: end_rflags has the TF that INT saved */
};
/* Enters r->code by IRETQ (interrupts off unless r->rflags has IF; the 8259s are masked, so nothing comes). #DB is always
 * logged and resumed. Returns when the code executes DONE or raises a vector of `allow`. */
void run_code(struct run *r);

/* ---- Instructions that may fault: return the vector, or NO_FAULT. The fault is in the log too (with its error code) ---- */

unsigned try_mov_to_dr(unsigned n, uint64_t v);   /* n = 0-15; a GD #DB returns VEC_DB and does not execute the MOV */
unsigned try_mov_from_dr(unsigned n, uint64_t *v); /* *v unchanged on a fault */
unsigned try_rdmsr(uint32_t msr, uint64_t *v);
unsigned try_wrmsr(uint32_t msr, uint64_t v);
unsigned try_write_cr4(uint64_t v);
unsigned try_xgetbv(uint32_t n, uint64_t *v);
unsigned try_xsetbv(uint32_t n, uint64_t v);
unsigned try_read8(uint64_t va, uint8_t *v);
/* For others: asm volatile("1: insn\n2:" EXTABLE("1b", "2b") ...) between try_begin() and try_end(). */
#define EXTABLE(at, to) ".pushsection __ex_table,\"a\"; .quad " at ", " to "; .popsection\n"
void try_begin(void);
unsigned try_end(void);

/* ---- Exits on demand ---- */

/* VMMCALL or VMCALL by vendor. Only under drover (bare: #UD, which ends the scenario with ERROR). */
uint64_t hypercall(uint64_t nr, uint64_t rbx, uint64_t rcx, uint64_t rdx);
enum force_exit {
	FX_NONE,  /* nothing: the native path */
	FX_CPUID, /* CPUID: exits on Intel always, on AMD because drover intercepts it; harmless on bare */
	FX_NOP,   /* HC_NOP */
	FX_FAST,  /* HC_LAB_FAST: inner loop only */
	FX_SLOW,  /* HC_LAB_SLOW: outer loop */
	FX_NR
};
bool fx_available(enum force_exit k);
void fx(enum force_exit k);              /* nothing when not available */
/* Loop over what this place has: for each k, do the thing, fx(k), look. */
#define FOR_FX(k) for (enum force_exit k = FX_NONE; k < FX_NR; k++) if (fx_available(k))
const char *fx_name(enum force_exit k);  /* "native", "cpuid", "nop", "fast", "slow": suffix of check ids */

/* ---- Machine ---- */

void gdt_set(unsigned sel, uint64_t descriptor); /* 8-byte entry */
/* 2 MiB page va -> pa, user, writable, executable, for any canonical va (multiples of 2 MiB). 0-4 GiB is identity-mapped already. */
void map_2m(uint64_t va, uint64_t pa);
/* Leave long mode for flat 32-bit protected mode, paging off, CPL 0, IF=0, IDT limit 0, ESP valid; jumps to code32 with EAX = arg.
 * The GDT (selectors above; TSS at SEL_TSS is a 64-bit one, so not loaded) stays. There is no way back: end by port 0xf4. */
__attribute__((noreturn)) void legacy32_enter(const void *code32, uint32_t arg);
/* Does DEBUGCTL do what it says? By BTF: the first #DB of a step is at a jump's target. An MSR that only stores is no such thing. */
bool debugctl_acts(void);
/* All debug state to reset values: DR7 first, then DR0-3, DR6. What runs between scenarios. */
void debug_state_reset(void);
/* The 8-byte aligned, 64-byte buffer that watchpoint scenarios may use; the page is user-accessible. */
extern volatile uint8_t watch_buf[64];

#endif
