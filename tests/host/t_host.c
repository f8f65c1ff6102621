/* SPDX-License-Identifier: MIT */
/* The host's own debug state where no guest runs: DEBUGCTL's one setter (H16), the #DB handler in the middle of a plan (H19). */
#include "arch/x86/dbg_switch.h"
#include "arch/x86/percpu.h"
#include "tests/host/model/cpu.h"
#include "tests/host/tap.h"

static const struct ref_cpu plain;

static struct dbg_cpu *start(void)
{
	struct dbg_cpu *c = &this_cpu()->dbg;

	sw_reset(true, plain);
	dbg_host_init(c);
	return c;
}

TEST(H16_debugctl_setter)
{
	struct dbg_cpu *c = start();
	bool set;

	tap_ok(dbg_host_set_debugctl(c, 0x41), "H16.set", "the host's DEBUGCTL is set");
	tap_eq(c->debugctl, 0x41, "H16.shadow", "and its shadow");
	tap_ok(!dbg_host_set_debugctl(c, 1ull << 40), "H16.refused", "a value that the CPU refuses is refused");
	tap_eq(c->debugctl, 0x41, "H16.refused_shadow", "and the shadow stays");
	sw.swallows_debugctl = true;
	tap_ok(!dbg_host_set_debugctl(c, 2), "H16.swallowed", "a value that does not stick is refused");
	tap_eq(c->debugctl, 0x41, "H16.swallowed_shadow", "and the shadow stays");
	sw_reset(true, plain);
	sw.debugctl = 0x43;
	dbg_host_init(c);
	tap_eq(sw.debugctl, 0, "H16.firmware", "what firmware left on is off");
	sw_reset(true, plain);
	sw.lacks_debugctl = true;
	dbg_host_init(c);
	sw.nr_log = 0;
	set = dbg_host_set_debugctl(c, 0);
	tap_ok(!c->has_debugctl && !set, "H16.none", "a CPU without DEBUGCTL is seen");
	tap_eq(sw.nr_log, 0, "H16.untouched", "and not asked again");
}

static void nmi_sets_zero(void)
{
	dbg_host_set_debugctl(&this_cpu()->dbg, 0);
}

TEST(H16_debugctl_and_nmi)
{
	struct dbg_cpu *c = start();

	dbg_host_set_debugctl(c, 0x41);
	sw.debugctl = 0; /* a VMX exit */
	sw.nmi = nmi_sets_zero;
	dbg_debugctl_after(c);
	tap_eq(sw.debugctl, 0, "H16.nmi", "DEBUGCTL comes back as an NMI has set it");
	dbg_host_set_debugctl(c, 0x41);
	sw.debugctl = 0;
	sw.nr_log = 0;
	dbg_debugctl_after(c);
	tap_eq(sw.debugctl, 0x41, "V06.restored", "and as it was, without one");
	tap_eq(sw.nr_log, 1, "V06.once", "by one write");
}

/* An NMI's handler takes a #DB without a cause, of an ICEBP say. */
TEST(H19_stray_db)
{
	struct dbg_cpu *c = start();

	sw.nr_log = 0;
	tap_eq(dbg_host_db(c), 0xffff0ff0, "H19.stray", "nothing armed, nothing hit: DR6 says so");
	tap_eq(sw.nr_log, 2, "H19.reads", "DR7 and DR6 are read, nothing is written");
	dbg_host_set_bp(c, 1, 0x9000, 1);
	sw.dr6 = 0xffff0ff2;
	tap_eq(dbg_host_db(c), 0xffff0ff2, "H19.hit", "a breakpoint's bit is reported");
	tap_eq(sw.dr6, 0xffff0ff0, "H19.hit_reset", "and gone from the register");
	tap_eq(sw.dr7, c->dr7, "H19.hit_armed", "and the breakpoint is on");
	sw.dr7 = 0x400; /* a plan has switched it off: DBG_OP_HOST_OFF */
	dbg_host_db(c);
	tap_eq(sw.dr7, 0x400, "H19.stays_off", "what a plan has switched off stays off");
	c->guest_dr_loaded = true;
	sw.dr6 = 0xffff4ff1;
	tap_eq(dbg_host_db(c), 0xffff0ff0, "H19.not_the_guests", "of a guest's DR6 the host sees nothing");
	tap_eq(sw.dr6, 0xffff4ff1, "H12.kept", "and the guest will find it again");
	c->guest_dr_loaded = false;
	dbg_host_init(c);
}

/* A backend whose hardware switches nothing, PVM's: an idle guest must not run with the host's breakpoints. */
TEST(H08_no_help)
{
	struct dbg_cpu *c = start();
	struct dbg_vcpu v = { .dr7 = DR7_INIT };

	dbg_vcpu_reset(&v);
	dbg_vm_fields(0, c, &v);
	tap_eq(dbg_plan_enter(0, c, &v), 0, "H08.no_help_idle", "nothing armed: nothing to do");
	dbg_host_set_bp(c, 0, 0x9000, 1);
	tap_eq(dbg_plan_enter(0, c, &v), DBG_OP_HOST_OFF, "H08.no_help", "the host's breakpoints go off before an idle guest runs");
	tap_eq(dbg_plan_enter(DBG_CAP_VM_DR7, c, &v), 0, "H08.help", "where hardware switches DR7 they stay");
	dbg_host_init(c);
}

TEST(Z01_hold_again)
{
	struct dbg_vcpu v = { .dr7 = DR7_INIT };

	dbg_vcpu_reset(&v);
	tap_ok(dbg_hold(&v, 2, 0x5000, 1) && dbg_hold(&v, 2, 0x6000, 3), "Z01.again", "a slot that is held can be given another address");
	tap_eq(dbg_eff_dr(&v, 2), 0x6000, "Z01.moved", "which is in force");
	tap_eq(dbg_eff_dr7(&v), DR7_INIT | DR7_G(2) | 3ull << 24, "Z01.type", "with its type alone");
	v.dr7 |= DR7_G(2); /* the guest arms the slot later */
	tap_ok(dbg_hold(&v, 2, 0x7000, 1), "Z01.later", "also when the guest has armed it since");
}
