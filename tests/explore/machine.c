/* SPDX-License-Identifier: MIT */
/* The CPU behind the shadow of dbg_hw.h: MOV DR, WRMSR, and what an NMI's handler may do to them before and after each. */
#include "explore.h"

#include "arch/x86/dbg_switch.h"
#include "arch/x86/def/cpuid.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/insn.h"

struct world w;
struct vcpu vcpus[2];
struct cpu cpu;
struct params par;
struct witness seen;

struct now now;

/* ---- NMIs ---- */

bool host_hit(uint32_t bits)
{
	uint64_t dr6;

	if (bits && !(w.dr7 & DR7_ENABLE_ALL))
		return false;
	if (bits) /* ICEBP and its like leave DR6 alone */
		w.dr6 = merge(w.dr6, bits);
	dr6 = dbg_host_db(&cpu.dbg);
	if (bits && dr6 != (DR6_INIT | bits))
		fail(2, "the host's #DB handler sees DR6=%lx", dr6);
	return true;
}

bool set_host_bp(bool on)
{
	if (w.host_bp == on)
		return false;
	w.host_bp = on;
	if (on)
		dbg_host_set_bp(&cpu.dbg, 0, ADDR_HOST, RW_LEN_HOST);
	else
		dbg_host_clear_bps(&cpu.dbg);
	return true;
}

bool set_host_ctl(bool on)
{
	if (w.host_ctl == on)
		return false;
	w.host_ctl = on;
	dbg_host_set_debugctl(&cpu.dbg, host_debugctl(on));
	return true;
}

static bool take_nmi(enum nmi nmi)
{
	switch (nmi) {
	case NMI_BP_ON: return set_host_bp(true);
	case NMI_BP_OFF: return set_host_bp(false);
	case NMI_CTL_ON: return set_host_ctl(true);
	case NMI_CTL_OFF: return set_host_ctl(false);
	case NMI_HIT: return host_hit(1);
	case NMI_BP_ON_HIT: return set_host_bp(true) && host_hit(1);
	case NMI_STRAY: return host_hit(0);
	default: return false;
	}
}

/* A place where an NMI can come, in the host: before and after each register access, and between the steps. */
void point(void)
{
	if (now.gif_off || now.in_nmi)
		return;
	check_point();
	if (!now.in_run)
		return;
	if (now.step.nmi != NMI_NONE && now.points == now.step.at && (par.where >> now.window & 1)) {
		now.in_nmi = true;
		now.nmi_taken = take_nmi(now.step.nmi);
		now.in_nmi = false;
	}
	now.points++;
}

/* ---- What dbg_hw.h's shadow calls ---- */

uint64_t *reg(unsigned n)
{
	static uint64_t none;

	none = 0;
	return n < 2 ? &w.dr[n] : n == 6 ? &w.dr6 : n == 7 ? &w.dr7 : &none;
}

uint64_t sw_mov_from_dr(unsigned n);
void sw_mov_to_dr(unsigned n, uint64_t v);

uint64_t sw_mov_from_dr(unsigned n)
{
	uint64_t v;

	point();
	acct.dr_read[n]++;
	v = *reg(n);
	point();
	return v;
}

void sw_mov_to_dr(unsigned n, uint64_t v)
{
	point();
	acct.dr_write[n]++;
	acct.same[n] += *reg(n) == v;
	if ((n == 2 || n == 3) && v)
		fail(3, "DR%u = %lx", n, v);
	*reg(n) = v;
	point();
}

void wrmsr(uint32_t msr, uint64_t v)
{
	point();
	if (msr == MSR_DEBUGCTL) {
		acct.ctl_write++;
		w.debugctl = v;
	} else if (msr == MSR_DR0_ADDR_MASK) {
		acct.mask_write++;
		w.mask = (uint32_t)v;
	} else if (v) {
		fail(3, "mask %x = %lx", msr, v);
	}
	point();
}

bool wrmsr_safe(uint32_t msr, uint64_t v)
{
	wrmsr(msr, v);
	return true;
}

uint64_t rdmsr(uint32_t msr)
{
	point();
	acct.ctl_read++;
	return msr == MSR_DEBUGCTL ? w.debugctl : 0;
}

bool rdmsr_safe(uint32_t msr, uint64_t *v)
{
	*v = rdmsr(msr);
	return true;
}

struct cpuid_regs cpuid(uint32_t leaf, uint32_t subleaf)
{
	(void)subleaf;
	return (struct cpuid_regs){ .eax = leaf == 0x80000000 ? 0x80000001 : 0, .ecx = svm() ? CPUID_81_ECX_DBEXT : 0 };
}
