/* SPDX-License-Identifier: MIT */
/* From VMX's exit information to struct exit: a table by reason, and a few decoders for what the qualification says. */
#include "arch/lib/log.h"
#include "arch/x86/dbg_hw.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/quirks.h"
#include "arch/x86/vmx/internal.h"

enum { LEN = 1, QUAL = 2, VEC = 4, FAULT = 8 };

struct reason {
	uint8_t kind, insn, flags;
	const char *text;
};

#define NR_REASONS 80
static const struct reason reasons[NR_REASONS] = {
#define VMEXIT(n, text, kind, insn, flags) [n] = { EXITK_##kind, insn, flags, text },
#include "arch/x86/def/vmexit.def"
#undef VMEXIT
};
static const struct reason unlisted = { EXITK_UNKNOWN, 0, 0, "unlisted reason" };

static const struct reason *lookup(uint32_t reason)
{
	uint32_t basic = reason & 0xffff;

	return basic < NR_REASONS && reasons[basic].text ? &reasons[basic] : &unlisted;
}

const char *vmx_exit_text(uint32_t reason)
{
	return reason == HW_REASON_VMFAIL ? "VMfail" : lookup(reason)->text;
}

/* SDM "VM-Instruction Error Numbers". */
const char *vmx_insn_error_text(uint64_t code)
{
	switch (code) {
	case 4: return "VMLAUNCH with non-clear VMCS";
	case 5: return "VMRESUME with non-launched VMCS";
	case 6: return "VMRESUME after VMXOFF";
	case 7: return "invalid control field";
	case 8: return "invalid host-state field";
	case 26: return "events blocked by MOV SS";
	default: return "see the manual";
	}
}

/* ---- Events ---- */

static uint8_t event_type(uint32_t info)
{
	switch (INFO_TYPE(info)) {
	case VMX_TYPE_INTR: return EVENT_INTR;
	case VMX_TYPE_NMI: return EVENT_NMI;
	case VMX_TYPE_SOFT_INT: return EVENT_SOFT_INT;
	case VMX_TYPE_PRIV_SOFT: return EVENT_PRIV_SOFT;
	case VMX_TYPE_SOFT_EXC: return EVENT_SOFT_EXC;
	default: return EVENT_FAULT;
	}
}

/* The event whose delivery this exit cut short; it was not delivered and has to be injected again. */
static void decode_vectoring(struct exit *e)
{
	uint32_t info = vmcs_read32(VMCS_IDT_VECTORING_INFO);

	if (!(info & INFO_VALID))
		return;
	e->vectoring = (struct event){ .type = event_type(info), .vector = (uint8_t)info, .reinjected = true };
	if (info & INFO_ERROR) {
		e->vectoring.has_error = true;
		e->vectoring.error = vmcs_read32(VMCS_IDT_VECTORING_ERROR);
	}
	if (e->vectoring.type >= EVENT_SOFT_INT)
		e->vectoring.len = (uint8_t)vmcs_read32(VMCS_EXIT_INSN_LEN);
	if (e->vectoring.type == EVENT_FAULT && e->vectoring.vector == VEC_PF)
		e->vectoring.cr2 = read_cr2();
}

/* An IRET that faults has lifted NMI blocking already; it will be executed again, so the blocking comes back. info: interruption info, or the
 * qualification of an EPT violation, which has the same bit 12. SDM "Information for VM Exits Due to Vectored Events". */
static void restore_nmi_blocking(const struct exit *e, uint64_t info)
{
	if ((info & INFO_NMI_UNBLOCK) && e->vectoring.type == EVENT_NONE)
		vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, vmcs_read(VMCS_GUEST_INTERRUPTIBILITY) | INTR_NMI);
}

/* ---- The quirks ---- */

/* A fault-like exit saves no pending single step for the instruction that did not execute (SDM "Saving Non-Register State": the field is
 * cleared unless MOV SS blocks). Bochs 2.7 saves BS with TF=1 (its issue #132). Kept, it would step the guest even if the emulation of the
 * instruction forgot to (rule E01), and so hide that bug. */
static void quirk_pend_bs(void)
{
	static bool told;
	uint64_t pend = vmcs_read(VMCS_GUEST_PENDING_DBG);

	if (!(pend & PEND_BS) || (vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & INTR_MOV_SS))
		return;
	vmcs_write(VMCS_GUEST_PENDING_DBG, pend & ~PEND_BS);
	if (!told)
		log_printf("drover: quirk vmx-pend-bs: an exit on an instruction saved a pending single step; dropped\n");
	told = true;
}

/* The same fault, seen from ICEBP: its exit reports BS with TF=1, although ICEBP is not stepped (rule V14) and the same emulator does not
 * set BS where nothing intercepts it. A step held back by MOV SS is another matter and is kept. */
static void quirk_icebp_bs(struct dbg_record *db)
{
	static bool told;

	if (!(db->payload & DR6_BS) || (vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & INTR_MOV_SS))
		return;
	db->payload &= ~(uint32_t)DR6_BS;
	if (!told)
		log_printf("drover: quirk vmx-icebp-bs: an ICEBP exit claimed a single step; dropped\n");
	told = true;
}

/* SDM "Saving RIP, RSP, RFLAGS, and SSP": an EPT violation outside of the delivery of an event saves RF as 1, since the instruction goes on behind its own
 * breakpoint. Bochs 2.7 saves what RF was, and BS as above. A hypervisor in a guest meets both where drover's shadow of its tables has a hole. */
static void quirk_ept_rf(struct vcpu *v)
{
	if (v->exit.vectoring.type != EVENT_NONE)
		return;
	v->rflags |= RFLAGS_RF;
	if (v->rflags & RFLAGS_TF)
		quirk_pend_bs();
}

/* See vmcs.c: the preemption timer did what a host interrupt should have done long ago. */
static void quirk_if0_intr(const struct vcpu *v)
{
	static bool told;

	if (told || v->level || v->step.kicked || (v->rflags & RFLAGS_IF))
		return;
	log_printf("drover: quirk vmx-if0-intr: no host interrupt ended %u ms of a guest with IF=0; the preemption timer did\n",
		   VMX_TIMER_US / 1000);
	told = true;
}

/* ---- #DB ---- */

/* The intercepted #DB has changed nothing (rule V02): its cause is in the qualification only. */
static void decode_db(struct vcpu *v, struct cpu *c, struct dbg_record *db, uint64_t qual)
{
	bool live = v->dbg.state == DBG_LIVE;
	uint64_t dr7 = live ? vmcs_read(VMCS_GUEST_DR7) : v->dbg.vm_dr7;
	uint64_t dr[4] = { 0 };
	uint64_t rip = v->rip;
	unsigned need;

	db->payload = dbg_payload_from_qual(qual);
	need = dbg_classify_needs(db->payload, dr7);
	for (unsigned i = 0; i < 4; i++)
		if (need & (1u << i))
			dr[i] = live ? hw_read_dr(&c->dbg, i) : dbg_eff_dr(&v->dbg, i);
	if (need && !(vmcs_read32(VMCS_GUEST_CS_AR) & SEG_AR_L)) /* 64-bit mode ignores the base, whatever it is */
		rip = (uint32_t)(rip + vmcs_read(VMCS_GUEST_CS_BASE));
	db->cls = (uint8_t)dbg_classify(db->payload, dr, dr7, rip);
	db->level = v->exit.level;
	db->emulated = false; /* the union still has the last exit's */
}

static void decode_exception(struct vcpu *v, struct cpu *c, uint64_t qual)
{
	struct exit *e = &v->exit;
	uint32_t info = vmcs_read32(VMCS_EXIT_INTR_INFO);

	if (INFO_TYPE(info) == VMX_TYPE_NMI) {
		/* The exit has acknowledged it, and NMIs stay blocked on this CPU until an IRET: the run loop calls the host's handler (int $2). */
		e->kind = EXITK_NMI;
		return;
	}
	if ((info & INFO_VECTOR) == VEC_MC) {
		raise_machine_check(); /* the host's, whoever was running: its handler decides, the guest never sees it */
		e->kind = EXITK_INTR;
		return;
	}
	e->u.exc.vector = (uint8_t)info;
	e->u.exc.has_error = (info & INFO_ERROR) != 0;
	e->u.exc.error = e->u.exc.has_error ? vmcs_read32(VMCS_EXIT_ERROR_CODE) : 0;
	e->u.exc.cr2 = e->u.exc.vector == VEC_PF ? qual : 0;
	if (e->u.exc.vector == VEC_DB)
		decode_db(v, c, &e->u.exc.db, qual);
	if (INFO_TYPE(info) == VMX_TYPE_PRIV_SOFT) {
		e->u.exc.db.cls = DBG_ICEBP; /* rule V14: exits on the instruction itself */
		if (quirks_auto)
			quirk_icebp_bs(&e->u.exc.db);
		e->len = (uint8_t)vmcs_read32(VMCS_EXIT_INSN_LEN);
	} else if (INFO_TYPE(info) == VMX_TYPE_SOFT_EXC) {
		e->len = (uint8_t)vmcs_read32(VMCS_EXIT_INSN_LEN);
	}
	if (e->u.exc.vector != VEC_DF)
		restore_nmi_blocking(e, info);
}

/* ---- Qualifications ---- */

static void decode_cr(struct exit *e, uint64_t q)
{
	e->u.cr.cr = q & 0xf;
	e->u.cr.access = q >> 4 & 3; /* enum cr_access has the manual's order */
	e->u.cr.gpr = q >> 8 & 0xf;
	e->u.cr.lmsw = (uint16_t)(q >> 16);
	if (e->u.cr.access == CR_CLTS || e->u.cr.access == CR_LMSW)
		e->u.cr.cr = 0;
}

static void decode_io(struct exit *e, uint64_t q)
{
	e->u.io.size = (uint8_t)((q & 7) + 1);
	e->u.io.in = q >> 3 & 1;
	e->u.io.string = q >> 4 & 1;
	e->u.io.rep = q >> 5 & 1;
	e->u.io.port = (uint16_t)(q >> 16);
}

static void decode_ept(struct exit *e, uint64_t q)
{
	e->u.mem.gpa = vmcs_read(VMCS_GUEST_PA);
	e->u.mem.write = q >> 1 & 1;
	e->u.mem.exec = q >> 2 & 1;
	e->u.mem.linear_valid = q >> 7 & 1;
	e->u.mem.gla = e->u.mem.linear_valid ? vmcs_read(VMCS_GUEST_LINEAR) : 0;
	restore_nmi_blocking(e, q);
}

static void decode_fail(struct vcpu *v, unsigned fail)
{
	struct exit *e = &v->exit;

	e->kind = EXITK_ENTRY_FAIL;
	e->len = 0;
	e->hw_reason = HW_REASON_VMFAIL;
	e->hw_info = e->u.fail.code = fail == 2 ? vmcs_peek(VMCS_INSN_ERROR) : 0;
	log_printf("drover: VMX: entry failed: VM%sfail, error %llu (%s)\n", fail == 2 ? "" : "invalid ", (unsigned long long)e->u.fail.code,
		   fail == 2 ? vmx_insn_error_text(e->u.fail.code) : "no current VMCS");
}

void vmx_decode(struct vcpu *v, struct cpu *c, unsigned fail)
{
	struct vmx_vcpu *hw = vmx_hw(v);
	struct exit *e = &v->exit;
	const struct reason *r;
	uint64_t qual;

	e->tsc = rdtsc();
	e->level = (uint8_t)v->level;
	e->dr6 = DR6_INIT;
	e->vectoring.type = EVENT_NONE;
	if (__builtin_expect(fail != 0, 0)) {
		decode_fail(v, fail);
		return;
	}
	e->hw_reason = vmcs_read32(VMCS_EXIT_REASON);
	r = lookup(e->hw_reason);
	e->kind = r->kind;
	v->rip = hw->rip = vmcs_read(VMCS_GUEST_RIP);
	v->r[GPR_RSP] = hw->rsp = vmcs_read(VMCS_GUEST_RSP);
	v->rflags = hw->rflags = vmcs_read(VMCS_GUEST_RFLAGS);
	e->len = r->flags & LEN ? (uint8_t)vmcs_read32(VMCS_EXIT_INSN_LEN) : 0;
	e->hw_info = qual = r->flags & QUAL ? vmcs_read(VMCS_EXIT_QUALIFICATION) : 0;
	if (r->flags & VEC)
		decode_vectoring(e);
	if (r->kind == EXITK_BUS_LOCK || (e->hw_reason & EXIT_REASON_BUS_LOCK))
		v->bus_locks++; /* V21: once, whatever ended the guest; the instruction is over, and nothing is injected */
	if ((r->flags & FAULT) && (v->rflags & RFLAGS_TF) && quirks_auto)
		quirk_pend_bs();

	switch ((enum exit_kind)r->kind) {
	case EXITK_EXCEPTION: decode_exception(v, c, qual); break;
	case EXITK_MSR: e->u.msr.write = (e->hw_reason & 0xffff) == 32; break;
	case EXITK_IO: decode_io(e, qual); break;
	case EXITK_CR: decode_cr(e, qual); break;
	case EXITK_DR:
		e->u.dr.dr = qual & 7;
		e->u.dr.low = true; /* DR8-15 are #UD, but some exit first */
		e->u.dr.write = !(qual >> 4 & 1);
		e->u.dr.gpr = qual >> 8 & 0xf;
		break;
	case EXITK_INSN: e->u.insn.insn = r->insn; break;
	case EXITK_TIMER: quirk_if0_intr(v); break;
	case EXITK_MEM:
		decode_ept(e, qual);
		if (quirks_auto)
			quirk_ept_rf(v);
		break;
	case EXITK_ENTRY_FAIL: e->u.fail.code = e->hw_reason; break;
	case EXITK_NONE: case EXITK_INTR: case EXITK_NMI: case EXITK_INTR_WINDOW: case EXITK_NMI_WINDOW: case EXITK_CPUID: case EXITK_HLT:
	case EXITK_HYPERCALL: case EXITK_XSETBV: case EXITK_TASK_SWITCH: case EXITK_TRIPLE: case EXITK_UNKNOWN: case EXITK_BUS_LOCK:
	case EXITK_RING: case EXITK_NR:
		break;
	}
}
