/* SPDX-License-Identifier: MIT */
/* The world switch of SVM on the software CPU, in the place of switch.S: what VMRUN and #VMEXIT do with the debug state (APM "VMRUN", "#VMEXIT"). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/svm/svm.h"
#include "arch/x86/traps.h"
#include "model/cpu.h"
#include "model/tlb.h"

/* What the CPU may keep of a control block while its clean bit is set. */
static struct cached {
	const struct vmcb *of;
	uint64_t dr6, dr7;
	uint64_t dbgctl, records[4];
	uint32_t intercept[VMCB_I_NR];
	uint8_t msrpm;
} cache[8];

/* Names that the Bochs quirk compares with and registers at; it is off on this CPU. */
const uint8_t svm_switch_exited[1] = { 0 };
void trap_set_db_filter(bool (*fn)(struct trapframe *tf))
{
	(void)fn;
}

#define MSRPM_DEBUGCTL (0x1d9 / 4)

static struct cached *cached_of(const struct vmcb *b)
{
	unsigned i = 0;

	while (i < 7 && cache[i].of && cache[i].of != b)
		i++;
	if (cache[i].of != b) {
		memset(&cache[i], 0, sizeof(cache[i]));
		cache[i].of = b;
		return &cache[i];
	}
	return &cache[i];
}

void svm_model_reset(void);
void svm_model_reset(void)
{
	memset(cache, 0, sizeof(cache));
}

static struct cached *load(const struct vmcb *b)
{
	struct cached *k = cached_of(b);

	if (!(b->clean & VMCB_CLEAN_DR)) {
		k->dr6 = b->dr6;
		k->dr7 = b->dr7;
	}
	if (!(b->clean & VMCB_CLEAN_LBR)) {
		k->dbgctl = b->dbgctl;
		k->records[0] = b->br_from;
		k->records[1] = b->br_to;
		k->records[2] = b->last_excp_from;
		k->records[3] = b->last_excp_to;
	}
	if (!(b->clean & VMCB_CLEAN_I))
		memcpy(k->intercept, b->intercept, sizeof(k->intercept));
	if (!(b->clean & VMCB_CLEAN_IOPM))
		k->msrpm = ((const uint8_t *)(uintptr_t)b->msrpm_pa)[MSRPM_DEBUGCTL];
	return k;
}

/* LBR virtualization: DEBUGCTL and the four records change hands, both ways (APM "Last Branch Record Virtualization"). Without: nothing of them does. */
static void swap_in(const struct vmcb *b, const struct cached *k)
{
	if (!(b->lbr_control & VMCB_LBR_ENABLE))
		return;
	if (!sw.phys.lbrv)
		sw_broken(RULE_S07, "LBR virtualization on a CPU without");
	sw.debugctl = k->dbgctl;
	memcpy(sw.lbr.amd, k->records, sizeof(sw.lbr.amd));
}

static void swap_out(struct vmcb *b, struct cached *k, uint64_t host_debugctl, const struct sw_lbr *host)
{
	if (!(b->lbr_control & VMCB_LBR_ENABLE))
		return;
	b->dbgctl = k->dbgctl = sw.debugctl;
	memcpy(k->records, sw.lbr.amd, sizeof(k->records));
	b->br_from = k->records[0];
	b->br_to = k->records[1];
	b->last_excp_from = k->records[2];
	b->last_excp_to = k->records[3];
	sw.debugctl = host_debugctl;
	sw.lbr = *host;
}

static struct sw_ctl control(const struct vmcb *b, const struct cached *k)
{
	struct sw_ctl ctl = { .db_applied = true };

	ctl.db = k->intercept[VMCB_I_EXC] & 2;
	ctl.dr = k->intercept[VMCB_I_DR] != 0;
	if (ctl.dr && k->intercept[VMCB_I_DR] != 0xffffffff)
		sw_broken(RULE_H15, "MOV DR is intercepted in part: 0x%x", k->intercept[VMCB_I_DR]);
	if (!(k->intercept[VMCB_I_EXC] & 2))
		sw_broken(RULE_H01, "exception intercepts 0x%x", k->intercept[VMCB_I_EXC]);
	if (!(k->intercept[VMCB_I_EXC] & 0x20000))
		sw_broken(RULE_H02, "exception intercepts 0x%x", k->intercept[VMCB_I_EXC]);
	ctl.icebp = k->intercept[VMCB_I_MISC2] & VMCB_I2_ICEBP;
	ctl.debugctl_open = !(k->msrpm >> 0x1d9 % 4 * 2 & 1);
	ctl.inject = b->event_inj & VMCB_EV_VALID;
	ctl.inject_vector = (uint8_t)b->event_inj;
	ctl.mov_ss = b->int_state & VMCB_INT_SHADOW;
	ctl.intr_window = b->vintr & VMCB_V_IRQ;
	ctl.slat = b->n_cr3;
	return ctl;
}

static void decode_to(struct vmcb *b, const struct sw_guest *g, const struct sw_exit *x)
{
	b->exit_int_info = 0;
	b->exit_info1 = b->exit_info2 = 0;
	b->nrip = 0;
	switch ((enum sw_exit_kind)x->kind) {
	case X_INTR: b->exit_code = 0x60; return;
	case X_DB: b->exit_code = 0x41; return;
	case X_INTR_WINDOW: b->exit_code = 0x64; return;
	case X_DR: b->exit_code = (x->write ? 0x30u : 0x20u) + x->dr; break;
	case X_CPUID: b->exit_code = 0x72; break;
	case X_ICEBP: b->exit_code = 0x88; break;
	case X_HLT: b->exit_code = 0x78; break;
	case X_HC: b->exit_code = 0x81; break;
	case X_MSR: b->exit_code = 0x7c; b->exit_info1 = x->write; break;
	case X_CR: b->exit_code = 0x10u + x->dr; b->exit_info1 = 1ull << 63; break; /* EAX */
	case X_FETCH:
		b->exit_code = 0x400;
		b->exit_info1 = 1ull << 32 | 0x15; /* the final address; protection, user, fetch */
		b->exit_info2 = x->cr2;
		return;
	case X_INVLPG: b->exit_code = 0x79; b->exit_info1 = g->r[0]; break;
	case X_IO:
		b->exit_code = 0x7b;
		b->exit_info1 = (uint64_t)x->port << 16 | 1u << 4 | x->port_in | (x->string ? VMCB_IO_STR : 0) | (x->rep ? VMCB_IO_REP : 0);
		b->exit_info2 = g->rip + x->len;
		break;
	case X_PF: case X_IRET: case X_MOV_SS: case X_INT3: case X_SYSCALL: case X_SYSRET: case X_HANDLED:
	case X_DEAD: case X_END: case X_NMI_WINDOW: case X_BUS_LOCK: b->exit_code = 0x7f; return;
	}
	b->nrip = g->rip + x->len;
}

/* SVM's consistency checks on the debug fields (S18). */
static bool refused(const struct vmcb *b)
{
	if (b->dr6 >> 32 || b->dr7 >> 32 || !b->asid || !(b->intercept[VMCB_I_MISC2] & VMCB_I2_VMRUN)) {
		sw_broken(RULE_V07, "VMRUN with DR6=0x%llx DR7=0x%llx", (unsigned long long)b->dr6, (unsigned long long)b->dr7);
		return true;
	}
	return sw.fail_next_entry;
}

void svm_switch(struct vcpu *v, uint64_t vmcb_pa, uint64_t host_pa)
{
	struct vmcb *b = (struct vmcb *)(uintptr_t)vmcb_pa;
	struct sw_guest *g = sw_guest_of(v);
	struct cached *k;
	struct sw_ctl ctl;
	struct sw_exit x;
	uint64_t host_debugctl = sw.debugctl;
	struct sw_lbr host_lbr = sw.lbr;

	(void)host_pa;
	if (sw.gif)
		sw_broken(RULE_S07, "VMRUN with GIF set");
	if (refused(b)) {
		sw.fail_next_entry = false;
		b->exit_code = ~0ull;
		sw.dr7 = 0x400;
		sw_log(OP_EXIT, 1, 0);
		return;
	}
	k = load(b);
	sw.dr6 = k->dr6;
	sw.dr7 = k->dr7;
	swap_in(b, k);
	ctl = control(b, k);
	memcpy(g->r, v->r, sizeof(g->r));
	g->r[GPR_RAX] = b->rax;
	g->r[GPR_RSP] = b->rsp;
	g->rip = b->rip;
	g->rflags = b->rflags;
	tlb_svm_enter(b);
	sw_entered(g, &ctl);
	sw_guest_run(g, &ctl, &x);

	b->event_inj = 0;
	b->dr6 = k->dr6 = sw.dr6; /* stays in the live register too */
	b->dr7 = k->dr7 = sw.dr7;
	sw.dr7 = 0x400;
	swap_out(b, k, host_debugctl, &host_lbr);
	b->int_state = g->shadow ? VMCB_INT_SHADOW : 0;
	b->rip = g->rip;
	b->rflags = g->rflags;
	b->rax = g->r[GPR_RAX];
	b->rsp = g->r[GPR_RSP];
	memcpy(v->r, g->r, sizeof(g->r));
	decode_to(b, g, &x);
	tlb_svm_leave(b);
	sw.guest = false;
	sw_log(OP_EXIT, 0, b->exit_code);
}
