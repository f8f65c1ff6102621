/* SPDX-License-Identifier: MIT */
/* Symptom: a #DB that cannot be delivered becomes a double fault, or is reported with a DR6 that it has not written yet; a fault is lost
 * because a #DB came with it.
 * Cause: #DB is benign, so that a fault in its delivery is delivered by itself and never makes #DF. DR6 is written when the #DB is
 * delivered: not earlier (MOV SS holds it), and not only when the handler runs.
 * Who had it: Linux KVM wrote DR6 when it queued the #DB, until f10c729ff965; e907b4e72488 (2026) made a #DF of it.
 * Rules: E17, E13, S02. */
#include "tests/guest/guest.h"

CODE64(e17_nop, "nop; nop;" DONE)
CODE64(e17_cpuid, "cpuid; nop;" DONE)
CODE64(e17_out, "outb %al, %dx; nop;" DONE)
CODE64(e17_store, "movb %al, (%rbx); nop;" DONE)
CODE64(e13_held, "movw (%rbx), %ss; mov %dr6, %rax; nop;" DONE)
CODE64(e13_step, "mov %dr6, %rax; nop;" DONE)

#define VEC_NP 11
static uint64_t seen_dr6;

static bool open_gate(struct trap_frame *f, struct trap_rec *rec)
{
	(void)f;
	(void)rec;
	seen_dr6 = read_dr6();
	trap_restore_gate(VEC_DB);
	return true;
}

/* The present bit of the #DB gate goes: #NP in the delivery, whose handler puts it back. What was to be reported is in DR6 by then. */
static void close_gate(void)
{
	trap_close_gate(VEC_DB);
}

static void closed(const char *name, const char *code, uint64_t rflags, uint32_t dr7, unsigned len, uint32_t cause)
{
	for (unsigned cpl = 0; cpl < 4; cpl += 3)
		FOR_FX(k)
		{
			struct run r = { .code = code, .cpl = cpl, .iopl = cpl, .rflags = rflags };
			const char *id = fmt("%s.%u.%s", name, cpl, fx_name(k));

			r.regs = (struct regs){ .rbx = (uint64_t)watch_buf, .rdx = 0x3ff };
			seen_dr6 = 0;
			write_dr0(dr7 & DR7_RWLEN(0, RW_IO, 0) && !(dr7 & DR7_RWLEN(0, RW_WRITE, 0)) ? 0x3ff : (uint64_t)watch_buf);
			write_dr6(DR6_INIT | DR6_B3);
			write_dr7(DR7_INIT | dr7);
			fx(k);
			close_gate();
			run_code(&r);
			trap_restore_gate(VEC_DB);
			write_dr7(DR7_INIT);
			check_trace(fmt("E17.%s", id), "#NP alone; then the next instruction's step", code,
				    rflags & FL_TF ? fmt("V0b+%x(b);DB+%x/ffff4ff0", len, len + 1) : fmt("V0b+%x(b)", len));
			check_eq(fmt("E17.dr6.%s", id), "DR6 was written by the #DB that did not arrive", seen_dr6, DR6_INIT | cause);
		}
}

/* DR6 is read while MOV SS holds a #DB back: what it was. */
static void held(void)
{
	FOR_FX(k)
		for (unsigned tf = 0; tf < 2; tf++) {
			struct run r = { .code = e13_held, .rflags = tf ? FL_TF : 0, .regs = { .rbx = (uint64_t)watch_buf } };
			const char *id = fmt("%s.%s", tf ? "tf" : "data", fx_name(k));

			*(volatile uint32_t *)watch_buf = SEL_KDATA;
			write_dr0((uint64_t)watch_buf);
			write_dr7(DR7_INIT | DR7_BP(0, RW_RDWR, LEN_2));
			write_dr6(DR6_INIT | DR6_B3);
			fx(k);
			run_code(&r);
			write_dr7(DR7_INIT);
			check_eq(fmt("E13.held.%s", id), "DR6 in the shadow is the old one", r.regs.rax, DR6_INIT | DR6_B3);
			check_trace(fmt("E13.held.db.%s", id), "then the #DB", r.code, tf ? "DB+5/ffff4ff1;DB+6/ffff4ff0" : "DB+5/ffff0ff1");
			r = (struct run){ .code = e13_step, .rflags = FL_TF };
			write_dr6(DR6_INIT | DR6_B3);
			fx(k);
			run_code(&r);
			check_eq(fmt("E13.step.%s", id), "a stepped MOV from DR6 does not see its own step", r.regs.rax, DR6_INIT | DR6_B3);
		}
}

SCENARIO(e17_db_delivery, "#DBs that cannot be delivered, or not yet", 0)
{
	write_cr4(read_cr4() | CR4_DE);
	trap_set_hook(VEC_NP, open_gate);
	closed("step", e17_nop, FL_TF, 0, 1, DR6_BS);
	closed("step.cpuid", e17_cpuid, FL_TF, 0, 2, DR6_BS);
	closed("step.out", e17_out, FL_TF, 0, 1, DR6_BS);
	closed("data", e17_store, 0, DR7_BP(0, RW_WRITE, LEN_1), 2, DR6_B0);
	closed("data.tf", e17_store, FL_TF, DR7_BP(0, RW_WRITE, LEN_1), 2, DR6_BS | DR6_B0);
	closed("io", e17_out, 0, DR7_BP(0, RW_IO, LEN_1), 1, DR6_B0);
	closed("io.tf", e17_out, FL_TF, DR7_BP(0, RW_IO, LEN_1), 1, DR6_BS | DR6_B0);
	held();
}
