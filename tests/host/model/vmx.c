/* SPDX-License-Identifier: MIT */
/* VMX on the software CPU: VMCS storage, VMREAD and VMWRITE, and the world switch in the place of switch.S (SDM "VM Entries", "VM Exits"). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/vmx/internal.h"
#include "model/cpu.h"
#include "model/tlb.h"

#define NR_VMCS 8
#define NR_FIELDS 0x6c18
static struct vmcs {
	uint64_t pa;
	bool launched;
	uint64_t f[NR_FIELDS];
} vmcss[NR_VMCS];
static struct vmcs *current;
static bool on;

enum width { NONE, RW, RO };
static enum width width_of(uint64_t field)
{
	static uint8_t known[NR_FIELDS];

	if (!known[0]) {
#define VMCS(name, encoding, width, kind, nested) known[encoding] = VMCS_KIND_##kind == VMCS_KIND_INFO ? RO : RW;
#include "arch/x86/def/vmcs.def"
#undef VMCS
	}
	return field < NR_FIELDS ? known[field] : NONE;
}

bool vmxon(uint64_t pa)
{
	(void)pa;
	return on = true;
}

void vmxoff(void)
{
	on = false;
	current = NULL;
	memset(vmcss, 0, sizeof(vmcss));
}

static struct vmcs *vmcs_at(uint64_t pa)
{
	struct vmcs *free_one = NULL;

	for (unsigned i = 0; i < NR_VMCS; i++) {
		if (vmcss[i].pa == pa)
			return &vmcss[i];
		if (!vmcss[i].pa && !free_one)
			free_one = &vmcss[i];
	}
	if (!free_one)
		abort();
	free_one->pa = pa;
	return free_one;
}

bool vmclear(uint64_t pa)
{
	struct vmcs *m = vmcs_at(pa);

	m->launched = false;
	if (current == m)
		current = NULL;
	return on;
}

bool vmptrld(uint64_t pa)
{
	current = vmcs_at(pa);
	return on;
}

bool vmread(uint64_t field, uint64_t *v)
{
	if (!current || width_of(field) == NONE)
		return false;
	*v = current->f[field];
	return true;
}

bool vmwrite(uint64_t field, uint64_t v)
{
	if (!current || width_of(field) != RW)
		return false;
	current->f[field] = v;
	return true;
}

bool invept(uint64_t type, uint64_t eptp)
{
	return tlb_invept(type, eptp);
}

bool invvpid(uint64_t type, uint16_t vpid)
{
	return tlb_invvpid(type, vpid);
}

void vmx_exit_entry(void)
{
}

/* ---- Entry ---- */

/* Checks on the debug state and what it interacts with (SDM "Checks on the Guest State Area"). NULL: all right. */
static const char *refused(const uint64_t *f)
{
	uint64_t pend = f[VMCS_GUEST_PENDING_DBG];
	bool shadow = f[VMCS_GUEST_INTERRUPTIBILITY] & (INTR_STI | INTR_MOV_SS);
	bool step = (f[VMCS_GUEST_RFLAGS] & 0x100) && !(f[VMCS_GUEST_DEBUGCTL] & SW_BTF);

	if (f[VMCS_GUEST_DR7] >> 32)
		return "DR7[63:32]";
	if (!(f[VMCS_ENTRY_CTL] & ENTRY_LOAD_DEBUG) || !(f[VMCS_EXIT_CTL] & EXIT_SAVE_DEBUG))
		return "debug controls off";
	if ((pend & ~(0xfull | (sw.phys.bld ? 0x800u : 0) | 0x1000u | PEND_BS)) || ((pend & 0xf) && !(pend & PEND_ENABLED))) {
		sw_broken(RULE_V08, "pending debug exceptions 0x%llx", (unsigned long long)pend);
		return "reserved bits of the pending debug exceptions";
	}
	if (shadow && !!(pend & PEND_BS) != step) {
		sw_broken(RULE_V09, "pending BS with RFLAGS=0x%llx DEBUGCTL=0x%llx under a shadow", (unsigned long long)f[VMCS_GUEST_RFLAGS],
			  (unsigned long long)f[VMCS_GUEST_DEBUGCTL]);
		return "pending BS and TF disagree under a shadow";
	}
	return NULL;
}

static void failed_late(uint64_t *f)
{
	f[VMCS_EXIT_REASON] = EXIT_REASON_ENTRY_FAIL | 33;
	f[VMCS_EXIT_QUALIFICATION] = 0;
	sw.dr7 = 0x400; /* host state is loaded as by an exit */
	sw.debugctl = 0;
	sw_log(OP_EXIT, 1, 33);
}

static struct sw_ctl control(const uint64_t *f)
{
	uint32_t exc = (uint32_t)f[VMCS_EXCEPTION_BITMAP], info = (uint32_t)f[VMCS_ENTRY_INTR_INFO];
	const uint8_t *bitmap = (const uint8_t *)(uintptr_t)f[VMCS_MSR_BITMAP];
	struct sw_ctl ctl = { .dr_first = true, .icebp = true, .keeps_held = true };

	ctl.db = exc & 2;
	if (!(exc & 2))
		sw_broken(RULE_H01, "exception bitmap 0x%x", exc);
	if (!(exc & 0x20000))
		sw_broken(RULE_H02, "exception bitmap 0x%x", exc);
	ctl.dr = f[VMCS_PROC_CTL] & PROC_MOV_DR;
	ctl.inject = info & INFO_VALID;
	ctl.inject_vector = (uint8_t)info;
	ctl.pending = f[VMCS_GUEST_PENDING_DBG];
	ctl.mov_ss = f[VMCS_GUEST_INTERRUPTIBILITY] & INTR_MOV_SS;
	ctl.intr_window = f[VMCS_PROC_CTL] & PROC_INTR_WINDOW;
	ctl.nmi_window = f[VMCS_PROC_CTL] & PROC_NMI_WINDOW;
	ctl.bus_lock_exit = (f[VMCS_PROC_CTL] & PROC_SECONDARY) && (f[VMCS_PROC2_CTL] & PROC2_BUS_LOCK);
	ctl.slat = f[VMCS_EPTP];
	ctl.ept = true;
	ctl.debugctl_open = !(bitmap[0x1d9 / 8] >> 0x1d9 % 8 & 1);
	return ctl;
}

static void decode_to(uint64_t *f, const struct sw_exit *x)
{
	f[VMCS_EXIT_INTR_INFO] = 0;
	f[VMCS_IDT_VECTORING_INFO] = 0;
	f[VMCS_EXIT_QUALIFICATION] = 0;
	f[VMCS_EXIT_INSN_LEN] = x->len;
	switch ((enum sw_exit_kind)x->kind) {
	case X_INTR: f[VMCS_EXIT_REASON] = 1; return;
	case X_INTR_WINDOW: f[VMCS_EXIT_REASON] = 7; return;
	case X_NMI_WINDOW: f[VMCS_EXIT_REASON] = 8; return;
	case X_BUS_LOCK: f[VMCS_EXIT_REASON] = 74; return;
	case X_DB:
		f[VMCS_EXIT_REASON] = 0;
		f[VMCS_EXIT_INTR_INFO] = INFO_VALID | VMX_TYPE_EXC << 8 | 1;
		/* Bit 12 and BT are not defined in the qualification: garbage there must not matter (V04). */
		f[VMCS_EXIT_QUALIFICATION] = x->cause | 1u << 12 | 1u << 15;
		return;
	case X_ICEBP:
		f[VMCS_EXIT_REASON] = 0;
		f[VMCS_EXIT_INTR_INFO] = INFO_VALID | VMX_TYPE_PRIV_SOFT << 8 | 1;
		return;
	case X_DR:
		f[VMCS_EXIT_REASON] = 29;
		f[VMCS_EXIT_QUALIFICATION] = x->dr | (x->write ? 0 : 1u << 4);
		return;
	case X_CPUID: f[VMCS_EXIT_REASON] = 10; return;
	case X_HLT: f[VMCS_EXIT_REASON] = 12; return;
	case X_HC: f[VMCS_EXIT_REASON] = 18; return;
	case X_CR: f[VMCS_EXIT_REASON] = 28; f[VMCS_EXIT_QUALIFICATION] = x->dr; return; /* MOV to, EAX */
	case X_INVLPG: f[VMCS_EXIT_REASON] = 14; return;
	case X_FETCH:
		f[VMCS_EXIT_REASON] = 48;
		f[VMCS_EXIT_QUALIFICATION] = 1u << 2 | 3u << 3 | 3u << 7; /* a fetch, of what may be read and written; the linear address is told, and was translated */
		f[VMCS_GUEST_PA] = x->cr2;
		f[VMCS_GUEST_LINEAR] = x->cr2;
		f[VMCS_GUEST_RFLAGS] |= 0x10000; /* SDM "Saving RIP, RSP, RFLAGS, and SSP" */
		return;
	case X_MSR: f[VMCS_EXIT_REASON] = x->write ? 32 : 31; return;
	case X_IO:
		f[VMCS_EXIT_REASON] = 30;
		f[VMCS_EXIT_QUALIFICATION] = (uint64_t)x->port << 16 | 1u << 6 | (x->port_in ? 8u : 0) | (x->string ? 1u << 4 : 0) | (x->rep ? 1u << 5 : 0);
		return;
	case X_PF: case X_IRET: case X_MOV_SS: case X_INT3: case X_SYSCALL: case X_SYSRET: case X_HANDLED:
	case X_END: case X_DEAD: f[VMCS_EXIT_REASON] = 2; return;
	}
}

/* SDM "Saving Non-Register State": under MOV SS blocking the field keeps what is held back, and BS as TF and BTF are; not of a #DB, which is in
 * the qualification. */
static void save_shadow(uint64_t *f, const struct sw_guest *g, const struct sw_exit *x)
{
	uint64_t pend = g->held | (g->held & 0xf ? PEND_ENABLED : 0);

	if ((g->rflags & 0x100) && !(sw.debugctl & SW_BTF))
		pend |= PEND_BS;
	f[VMCS_GUEST_PENDING_DBG] = g->shadow && x->kind != X_DB ? pend : 0;
	f[VMCS_GUEST_INTERRUPTIBILITY] = g->shadow ? INTR_MOV_SS : 0;
}

unsigned vmx_enter(struct vcpu *v, struct vmx_vcpu *hw)
{
	struct sw_guest *g = sw_guest_of(v);
	uint64_t *f = current ? current->f : NULL;
	struct sw_ctl ctl;
	struct sw_exit x;
	const char *why;

	if (!f)
		return 1;
	if (current->launched != hw->launched) {
		f[VMCS_INSN_ERROR] = hw->launched ? 5 : 4;
		return 2;
	}
	why = refused(f);
	if (why)
		sw_broken(RULE_V07, "%s", why);
	if (why || sw.fail_next_entry) {
		sw.fail_next_entry = false;
		failed_late(f);
		return 0;
	}
	current->launched = true;
	sw.dr7 = f[VMCS_GUEST_DR7];
	sw.debugctl = f[VMCS_GUEST_DEBUGCTL];
	ctl = control(f);
	memcpy(g->r, v->r, sizeof(g->r));
	g->rip = f[VMCS_GUEST_RIP];
	g->rflags = f[VMCS_GUEST_RFLAGS];
	g->r[GPR_RSP] = f[VMCS_GUEST_RSP];
	tlb_vmx_enter(f);
	sw_entered(g, &ctl);
	sw_guest_run(g, &ctl, &x);

	f[VMCS_GUEST_DR7] = sw.dr7;
	f[VMCS_GUEST_DEBUGCTL] = sw.debugctl;
	save_shadow(f, g, &x);
	sw.dr7 = 0x400;
	sw.debugctl = 0;
	f[VMCS_ENTRY_INTR_INFO] &= ~(uint64_t)INFO_VALID;
	f[VMCS_GUEST_RIP] = g->rip;
	f[VMCS_GUEST_RFLAGS] = g->rflags;
	f[VMCS_GUEST_RSP] = g->r[GPR_RSP];
	memcpy(v->r, g->r, sizeof(g->r));
	decode_to(f, &x);
	if (x.bus_lock && x.kind != X_BUS_LOCK)
		f[VMCS_EXIT_REASON] |= EXIT_REASON_BUS_LOCK;
	tlb_vmx_leave(f);
	sw.guest = false;
	sw_log(OP_EXIT, 0, f[VMCS_EXIT_REASON]);
	return 0;
}
