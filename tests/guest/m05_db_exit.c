/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor inside a guest that intercepts #DB reads a DR6 from before, or one with causes that its guest never had, or finds GD still set; and
 * its guest's handler, once the #DB is injected, sees causes twice.
 * Cause: on SVM an intercepted #DB has changed DR6 and DR7.GD already (on VMX nothing): L0 must do that before it exits to L1, and for #DBs that it raises
 * itself while emulating; what L1 injects changes nothing.
 * Who had it: Linux KVM until f10c729ff965 (2018), for each #DB that was queued.
 * Rules: M05, N10, S05, S02, E13, N11, A10, A12, E01. */
#include "tests/guest/l1.h"

CODE64(m05_step, "nop; nop;" L2_END)
CODE64(m05_store, "movb %al, (%rbx); nop;" L2_END)
CODE64(m05_gd, "mov %dr0, %rax; nop;" L2_END)
CODE64(m05_out, "outb %al, $0x80; nop;" L2_END)
CODE64(m05_rdmsr, "rdmsr; nop;" L2_END)

/* VMX: the exit has the causes, and DR6 and GD are as they were (N10). */
static void nothing_changed(const char *what, const struct l2 *g, const struct l2 *before, uint64_t dr6)
{
	uint64_t old = before->dr6 ? before->dr6 : DR6_INIT;

	check_eq(fmt("N10.dr6.%s", what), "DR6 is as it was", g->dr6, old);
	check_eq(fmt("N10.payload.%s", what), "the exit has the new causes", g->exit.payload,
		 (dr6 & (DR6_B0 | DR6_B1 | DR6_B2 | DR6_B3)) | (dr6 & ~old & (DR6_BD | DR6_BS)));
	check_eq(fmt("N10.dr7.%s", what), "DR7 is as it was, with GD", g->dr7, before->dr7 ? before->dr7 : DR7_INIT);
	write_dr6(DR6_INIT);
	write_dr7(DR7_INIT);
}

static void exits(const char *what, struct l2 g, uint64_t rip, uint64_t dr6, uint64_t dr7)
{
	const struct l2 before = g;

	l1_run(&g);
	check_eq(fmt("M05.%s", what), "#DB exits to L1", g.exit.kind == L1_EXCEPTION ? g.exit.vector : 100 + g.exit.kind, VEC_DB);
	check_eq(fmt("M05.rip.%s", what), "where it stands", g.rip - (uint64_t)g.code, rip);
	if (!env.amd) {
		nothing_changed(what, &g, &before, dr6);
		return;
	}
	check_eq(fmt("M05.dr6.%s", what), "DR6 has the cause, and what was sticky", g.dr6, dr6);
	check_eq(fmt("M05.dr7.%s", what), "DR7 without GD", g.dr7, dr7);
	check_eq(fmt("M05.live.%s", what), "L1's DR6 is the same", g.exit.l1_dr6, dr6);
	write_dr6(DR6_INIT);
	write_dr7(DR7_INIT);
}

static void causes(void)
{
	const uint64_t wp = DR7_INIT | DR7_BP(1, RW_WRITE, LEN_1);

	write_dr0(0);
	write_dr1((uint64_t)watch_buf);
	exits("step", (struct l2){ .code = m05_step, .rflags = FL_TF }, 1, 0xffff4ff0, DR7_INIT);
	exits("step.sticky", (struct l2){ .code = m05_step, .rflags = FL_TF, .dr6 = 0xffff2ff9 }, 1, 0xffff6ff0, DR7_INIT);
	exits("watch", (struct l2){ .code = m05_store, .dr7 = wp, .regs = { .rbx = (uint64_t)watch_buf } }, 2, 0xffff0ff2, wp);
	exits("watch.gd", (struct l2){ .code = m05_store, .dr7 = wp | DR7_GD, .regs = { .rbx = (uint64_t)watch_buf } }, 2, 0xffff0ff2, wp);
	exits("gd", (struct l2){ .code = m05_gd, .dr7 = DR7_INIT | DR7_GD }, 0, 0xffff2ff0, DR7_INIT);
	/* Instructions that drover carries out for L2: the step is raised by software. */
	exits("step.out", (struct l2){ .code = m05_out, .rflags = FL_TF, .dr6 = 0xffff0ff8 }, 2, 0xffff4ff0, DR7_INIT);
	exits("step.rdmsr", (struct l2){ .code = m05_rdmsr, .rflags = FL_TF, .regs = { .rcx = MSR_EFER } }, 2, 0xffff4ff0, DR7_INIT);
}

/* #DB is L2's own: its handler finds the registers as on a bare machine. */
static void own(void)
{
	struct l2 g = { .code = m05_step, .rflags = FL_TF, .own = 1u << VEC_DB };

	db.anywhere = true;
	db.clear_tf_after = 2;
	trap_clear();
	l1_run(&g);
	check_trace("M05.own", "without the intercept L2's handler has it", m05_step, "DB+1/ffff4ff0;DB+2/ffff4ff0");
	check_eq("M05.own.exit", "and L2 goes on", g.exit.kind, L1_CPUID);
}

static bool keep(struct trap_frame *f, struct trap_rec *rec)
{
	(void)f;
	(void)rec;
	return true;
}

/* Injected by L1, who intercepts #DB: delivered, not intercepted again, DR6 and GD as L1 left them. */
static void injected(void)
{
	struct l2 g = { .code = m05_step, .dr6 = 0xffff4ff2, .dr7 = DR7_INIT | DR7_L(2), .inject = { L1_EV_EXCEPTION, VEC_DB, false, 0 } };

	db.keep_dr6 = true;
	trap_set_hook(VEC_DB, keep);
	trap_clear();
	l1_run(&g);
	check_trace("N11.injected", "an injected #DB is delivered with DR6 as L1 has it", m05_step, "DB+0/ffff4ff2");
	check_eq("N11.injected.exit", "and not intercepted", g.exit.kind, L1_CPUID);
	check_eq("N11.injected.dr7", "DR7 stays", g.dr7, DR7_INIT | DR7_L(2));
}

SCENARIO(m05_db_exit, "#DB of L2 that L1 intercepts: DR6 and GD change before the exit", SCN_NESTED)
{
	l1_begin();
	causes();
	own();
	injected();
	l1_end();
}
