/* SPDX-License-Identifier: MIT */
/* Decodes an SVM exit into struct exit, by the table of svmexit.def. */
#include "arch/x86/dbg_hw.h"
#include "arch/x86/def/cpuid.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/dr.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/svm/svm.h"

enum how {
	HOW_PLAIN, HOW_INSN, HOW_IO, HOW_MSR, HOW_DR_READ, HOW_DR_WRITE, HOW_CR_READ, HOW_CR_WRITE, HOW_CR0_SEL, HOW_EXC, HOW_DB, HOW_ICEBP, HOW_VINTR, HOW_IRET, HOW_SWINT,
	HOW_NPF, HOW_INVALID, HOW_NONE
};

#define INSN_NONE INSN_OTHER /* for svmexit.def */
#define NR_CODES 0x100
#define CODE_NPF 0x400u
#define CODE_INVALID 0xffffffffu /* the low half: emulators disagree on the upper one */

struct exit_desc {
	uint8_t kind, how, arg;
};

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init" /* #DB's own entry in the run of exceptions */
#ifdef __clang__
#pragma clang diagnostic ignored "-Winitializer-overrides"
#endif
static const struct exit_desc descs[NR_CODES] = {
	[0 ... NR_CODES - 1] = { EXITK_UNKNOWN, HOW_PLAIN, INSN_OTHER },
#define S(code, name, kind, how, arg) [code] = { EXITK_##kind, HOW_##how, INSN_##arg },
#define R(first, last, name, kind, how, arg) [first ... last] = { EXITK_##kind, HOW_##how, INSN_##arg },
#include "arch/x86/def/svmexit.def"
#undef S
#undef R
};

static const char *const names[NR_CODES] = {
#define S(code, name, kind, how, arg) [code] = name,
#define R(first, last, name, kind, how, arg) [first ... last] = name,
#include "arch/x86/def/svmexit.def"
#undef S
#undef R
};
#pragma GCC diagnostic pop

const char *svm_exit_name(uint64_t code)
{
	const char *n = code < NR_CODES ? names[code] : NULL;

	if ((uint32_t)code == CODE_NPF)
		n = "nested page fault";
	if ((uint32_t)code == CODE_INVALID)
		n = "invalid guest state";
	return n ? n : "?";
}

/* nRIP holds the next instruction for instruction intercepts only. A CPU without it leaves the zero that drover wrote. */
static uint8_t insn_len(const struct vmcb *b)
{
	return b->nrip ? (uint8_t)(b->nrip - b->rip) : 0;
}

static uint64_t linear_rip(const struct vmcb *b)
{
	if ((b->efer & EFER_LMA) && (b->cs.attr & SEG_AR_L >> 4))
		return b->rip;
	return (uint32_t)(b->cs.base + b->rip);
}

/* Hardware has put the cause into VMCB.DR6 and cleared DR7.GD (S05). While the guest does not own its registers DR6 was DR6_INIT at entry, so what
 * differs is the payload (S02). While it does, sticky bits of an older #DB are in it too: merging them again changes nothing (S04), but an old BD
 * makes a trap look like a fault. That is harmless here: RIP is right already, and injection is the same for both. */
static void decode_db(struct vcpu *v, struct cpu *c, struct vmcb *b)
{
	struct dbg_record *r = &v->exit.u.exc.db;
	uint64_t dr[4];
	unsigned need;

	v->exit.u.exc.vector = VEC_DB;
	v->exit.u.exc.has_error = false;
	if (__builtin_expect(svm_quirk_no_cause, 0))
		svm_quirk_db_cause(v, c, b, linear_rip(b));
	r->payload = dbg_payload_from_dr6(b->dr6);
	r->level = (uint8_t)v->level;
	r->emulated = false; /* the union still has the last exit's */
	r->cls = (uint8_t)dbg_class_without_exec(r->payload);
	need = dbg_classify_needs(r->payload, b->dr7);
	if (need) {
		for (unsigned i = 0; i < 4; i++)
			dr[i] = (need & (1u << i)) && v->dbg.state == DBG_LIVE ? hw_read_dr(&c->dbg, i) : dbg_eff_dr(&v->dbg, i);
		r->cls = (uint8_t)dbg_classify(r->payload, dr, b->dr7, linear_rip(b));
	}
	/* The #DB is going to be delivered, and hardware has cleared GD for that (S05). An L0 that emulates SVM may have left it set; the guest's
	 * handler would then fault on its first MOV DR, for ever (A11). */
	if (b->dr7 & DR7_GD) {
		b->dr7 &= ~DR7_GD;
		b->clean &= ~VMCB_CLEAN_DR;
	}
}

static void decode_exc(struct vcpu *v, const struct vmcb *b, uint32_t code)
{
	static const uint32_t with_error = 1u << VEC_DF | 1u << VEC_TS | 1u << VEC_NP | 1u << VEC_SS | 1u << VEC_GP | 1u << VEC_PF | 1u << VEC_AC;
	struct exit *e = &v->exit;

	e->u.exc.vector = (uint8_t)(code & 0x1f);
	if (e->u.exc.vector == VEC_MC) {
		raise_machine_check(); /* the host's, whoever was running, and the exit has taken it: its handler decides, the guest never sees it */
		e->kind = EXITK_INTR;
		return;
	}
	e->u.exc.has_error = (with_error >> e->u.exc.vector) & 1;
	e->u.exc.error = e->u.exc.has_error ? (uint32_t)b->exit_info1 : 0;
	e->u.exc.cr2 = e->u.exc.vector == VEC_PF ? b->exit_info2 : 0;
}

static void decode_cr(struct exit *e, const struct vmcb *b, uint32_t code, enum cr_access access)
{
	bool assists = (svm_feat.edx & CPUID_SVM_EDX_DECODE_ASSISTS) && (b->exit_info1 & VMCB_CR_IS_MOV);

	e->len = insn_len(b);
	e->u.cr.cr = (uint8_t)(code & 0xf);
	e->u.cr.access = (uint8_t)access;
	e->u.cr.gpr = assists ? (uint8_t)(b->exit_info1 & 0xf) : 0xff;
	e->u.cr.lmsw = 0;
}

/* Fault-like: RIP is at it, and nothing of a #DB has happened yet (S14). */
static void decode_icebp(struct exit *e, const struct vmcb *b)
{
	e->len = insn_len(b);
	e->u.exc.vector = VEC_DB;
	e->u.exc.has_error = false;
	e->u.exc.db = (struct dbg_record){ .cls = DBG_ICEBP };
}

/* svm-int3: INT3 among them. It is told as #BP, which it may be; who handles that looks at the instruction. */
static void decode_swint(struct exit *e, const struct vmcb *b)
{
	e->len = insn_len(b);
	e->u.exc.vector = VEC_BP;
	e->u.exc.has_error = false;
}

static void decode_dr(struct vcpu *v, const struct vmcb *b, uint32_t code, bool write)
{
	struct exit *e = &v->exit;

	e->len = insn_len(b);
	e->u.dr.dr = (uint8_t)(code & 0xf);
	e->u.dr.low = false;
	e->u.dr.write = write;
	e->u.dr.gpr = svm_feat.edx & CPUID_SVM_EDX_DECODE_ASSISTS ? (uint8_t)(b->exit_info1 & 0xf) : 0xff;
}

static void decode_io(struct exit *e, const struct vmcb *b)
{
	uint64_t info = b->exit_info1;

	e->len = (uint8_t)(b->exit_info2 - b->rip); /* EXITINFO2: the next instruction, on every CPU */
	e->u.io.port = VMCB_IO_PORT(info);
	e->u.io.size = (uint8_t)VMCB_IO_SIZE(info);
	e->u.io.in = info & VMCB_IO_IN;
	e->u.io.string = info & VMCB_IO_STR;
	e->u.io.rep = info & VMCB_IO_REP;
}

static void decode_npf(struct vcpu *v, const struct vmcb *b)
{
	struct exit *e = &v->exit;

	e->u.mem.gpa = b->exit_info2;
	e->u.mem.write = b->exit_info1 & VMCB_NPF_WRITE;
	e->u.mem.exec = b->exit_info1 & VMCB_NPF_FETCH;
	e->u.mem.linear_valid = false;
	e->u.mem.gla = 0;
	if (e->u.mem.exec && svm_quirk_no_cause) /* Bochs, which looks for code breakpoints before it fetches: there is none, or RF is 1. It saves 0 (M11) */
		v->rflags |= RFLAGS_RF;
}

/* The event that an exit cut short. Emulators leave a stale vector when there was none: VALID decides. INT n, INT3 and INTO are dropped, since RIP
 * still is at the instruction: it is executed again. Where the entry injected it there is none: nested_exit.c. */
static __attribute__((noinline)) void decode_vectoring(struct vcpu *v, struct vmcb *b)
{
	static const uint8_t type_of[8] = { [VMCB_EV_INTR] = EVENT_INTR, [VMCB_EV_NMI] = EVENT_NMI, [VMCB_EV_EXCEPTION] = EVENT_FAULT };
	struct event *ev = &v->exit.vectoring;
	uint8_t vector = (uint8_t)(b->exit_int_info & VMCB_EV_VECTOR);
	uint64_t info;

	/* No exception has such a vector: QEMU tells an interrupt that it took by itself (V_IRQ) with an exception's type, which is refused when injected, and
	 * leaves it pending besides. */
	if (VMCB_EV_TYPE(b->exit_int_info) == VMCB_EV_EXCEPTION && vector > 31) {
		b->exit_int_info &= ~VMCB_EV_TYPE_BITS;
		b->vintr &= ~VMCB_V_IRQ;
		b->clean &= ~VMCB_CLEAN_TPR;
	}
	info = b->exit_int_info;
	*ev = (struct event){ .type = type_of[VMCB_EV_TYPE(info)], .vector = vector, .reinjected = true };
	if (ev->type == EVENT_FAULT && (vector == VEC_BP || vector == VEC_OF))
		ev->type = EVENT_NONE;
	ev->has_error = info & VMCB_EV_ERROR_VALID;
	ev->error = (uint32_t)(info >> 32);
	ev->cr2 = b->cr2;
}

/* The window is open: the virtual interrupt that asked for it must not come again. Without a window it is the guest hypervisor's (nested_exit.c). */
static void window_open(struct vcpu *v, struct vmcb *b)
{
	if (!v->want_intr_window) {
		v->exit.kind = EXITK_NONE;
		return;
	}
	v->want_intr_window = false;
	v->st_dirty |= VST_CTL;
	b->vintr &= ~VMCB_V_IRQ;
}

/* An NMI handler is about to return; the IRET runs at the next entry, unintercepted. See state.c:nmi_fetch. */
static void iret_met(struct vcpu *v, struct svm_vcpu *hw)
{
	hw->iret_seen = true;
	hw->iret_rip = v->rip;
	svm_set_intercept(hw, VMCB_I_MISC1, VMCB_I1_IRET, false);
}

static __attribute__((noinline)) void decode_rare(struct vcpu *v, struct cpu *c, uint32_t code, uint8_t how)
{
	struct svm_vcpu *hw = svm_hw(v);
	struct vmcb *b = hw->vmcb;

	switch ((enum how)how) {
	case HOW_DB: decode_db(v, c, b); break;
	case HOW_ICEBP: decode_icebp(&v->exit, b); break;
	case HOW_EXC: decode_exc(v, b, code); break;
	case HOW_DR_READ: decode_dr(v, b, code, false); break;
	case HOW_DR_WRITE: decode_dr(v, b, code, true); break;
	case HOW_CR_READ: decode_cr(&v->exit, b, code, CR_READ); break;
	case HOW_CR_WRITE: decode_cr(&v->exit, b, code, CR_WRITE); break;
	case HOW_CR0_SEL: decode_cr(&v->exit, b, 0, CR_WRITE); break;
	case HOW_VINTR: window_open(v, b); break;
	case HOW_IRET: iret_met(v, hw); break;
	case HOW_SWINT: decode_swint(&v->exit, b); break;
	case HOW_NPF: decode_npf(v, b); break;
	case HOW_INVALID:
		b->clean = 0;
		v->exit.u.fail.code = b->exit_code;
		svm_entry_refused(v);
		break;
	case HOW_PLAIN: case HOW_INSN: case HOW_IO: case HOW_MSR: case HOW_NONE: break;
	}
}

void svm_decode(struct vcpu *v, struct cpu *c)
{
	struct svm_vcpu *hw = svm_hw(v);
	struct vmcb *b = hw->vmcb;
	struct exit *e = &v->exit;
	uint32_t code = (uint32_t)b->exit_code;
	struct exit_desc d = { EXITK_UNKNOWN, HOW_PLAIN, INSN_OTHER };

	if (code < NR_CODES)
		d = descs[code];
	else if (code == CODE_NPF)
		d = (struct exit_desc){ EXITK_MEM, HOW_NPF, 0 };
	else if (code == CODE_INVALID)
		d = (struct exit_desc){ EXITK_ENTRY_FAIL, HOW_INVALID, 0 };
	e->kind = d.kind;
	e->len = 0;
	e->hw_reason = code;
	e->hw_info = b->exit_info1;
	e->dr6 = b->dr6;
	e->vectoring.type = EVENT_NONE;
	if (b->exit_int_info & VMCB_EV_VALID)
		decode_vectoring(v, b);

	if (d.how == HOW_INSN) {
		e->len = insn_len(b);
		e->u.insn.insn = d.arg;
	} else if (d.how == HOW_MSR) {
		e->len = insn_len(b);
		e->u.msr.write = b->exit_info1 & 1;
	} else if (d.how == HOW_IO) {
		decode_io(e, b);
	} else if (d.how != HOW_PLAIN) {
		decode_rare(v, c, code, d.how);
	}
}
