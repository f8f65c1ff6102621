/* SPDX-License-Identifier: MIT */
/* What a trap from ring 3 means: struct exit. A #GP of the virtual kernel is decoded into the kinds that other hardware tells by itself; what has no kind
 * of its own is EXITK_RING, for insn.c. */
#include "arch/x86/pvm/exit.h"

#include "arch/x86/def/cr.h"
#include "arch/x86/def/dr.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/insn.h"
#include "arch/x86/pvm/area.h"
#include "arch/x86/pvm/emul.h"
#include "arch/x86/traps.h"
#include "vmm/cpuid.h"
#include "vmm/fetch.h"

static void insn_exit(struct exit *e, const struct decoded *d, enum insn_kind kind)
{
	e->kind = EXITK_INSN;
	e->len = d->len;
	e->u.insn.insn = (uint8_t)kind;
}

static void cr_exit(struct vcpu *v, const struct decoded *d)
{
	struct exit *e = &v->exit;

	if (d->kind == DEC_LMSW && d->mem)
		return; /* insn.c reads it */
	e->kind = EXITK_CR;
	e->len = d->len;
	e->u.cr.cr = d->kind == DEC_MOV_CR ? d->reg : 0;
	e->u.cr.access = d->kind == DEC_CLTS ? CR_CLTS : d->kind == DEC_LMSW ? CR_LMSW : d->write ? CR_WRITE : CR_READ;
	e->u.cr.gpr = d->kind == DEC_CLTS ? 0 : d->gpr;
	e->u.cr.lmsw = d->kind == DEC_LMSW ? (uint16_t)v->r[d->gpr] : 0;
}

static void dr_exit(struct exit *e, const struct decoded *d)
{
	e->kind = EXITK_DR;
	e->len = d->len;
	e->u.dr.dr = d->reg;
	e->u.dr.low = false;
	e->u.dr.write = d->write;
	e->u.dr.gpr = d->gpr;
}

static void io_exit(struct vcpu *v, const struct decoded *d)
{
	struct exit *e = &v->exit;
	bool string = d->kind == DEC_INS || d->kind == DEC_OUTS;

	if (v->st.cpl > vcpu_iopl(v))
		return; /* the I/O map of the guest's TSS decides: insn.c */
	e->kind = EXITK_IO;
	e->len = d->len;
	e->u.io.port = d->has_imm ? (uint16_t)d->imm : (uint16_t)v->r[GPR_RDX];
	e->u.io.size = d->op_size;
	e->u.io.in = d->kind == DEC_IN || d->kind == DEC_INS;
	e->u.io.string = string;
	e->u.io.rep = d->rep;
}

/* Where a hypervisor below takes VMCALL and VMMCALL of ring 3 for its own, INVLPG of HC_PVM_PAIR with either behind it is the hypercall. Else it is an
 * instruction of pvm_emulate()'s. */
static void pair(struct vcpu *v, const struct decoded *d)
{
	struct decoded next;
	unsigned n;
	const uint8_t *p = pvm_code(v, &n);

	if (!pvm_is_pair(d) || !decode(p + d->len, n - d->len, DECODE_64, &next) || (next.kind != DEC_VMMCALL && next.kind != DEC_VMCALL))
		return;
	v->exit.kind = EXITK_HYPERCALL;
	v->exit.len = (uint8_t)(d->len + next.len); /* one instruction */
}

/* What only the kernel may do. */
static void kernel_exit(struct vcpu *v, const struct decoded *d)
{
	struct exit *e = &v->exit;

	switch ((enum decode_kind)d->kind) {
	case DEC_RDMSR: case DEC_WRMSR:
		e->kind = EXITK_MSR;
		e->len = d->len;
		e->u.msr.write = d->kind == DEC_WRMSR;
		return;
	case DEC_HLT:
		e->kind = EXITK_HLT;
		e->len = d->len;
		return;
	case DEC_MOV_CR: case DEC_CLTS: case DEC_LMSW:
		cr_exit(v, d);
		return;
	case DEC_INVLPG: pair(v, d); return;
	case DEC_INVD: insn_exit(e, d, INSN_INVD); return;
	case DEC_WBINVD: insn_exit(e, d, INSN_WBINVD); return;
	default: return;
	}
}

/* #GP: the instruction there now, if it is one that the machine model knows. */
static void decode_gp(struct vcpu *v)
{
	struct exit *e = &v->exit;
	struct decoded d;
	unsigned n;
	const uint8_t *p = pvm_code(v, &n);

	if (!p || !decode(p, n, fetch_decode_mode(v), &d))
		return;
	switch ((enum decode_kind)d.kind) {
	case DEC_MOV_DR: /* always (P01); the order of its faults is exit_dr's */
		dr_exit(e, &d);
		return;
	case DEC_IN: case DEC_OUT: case DEC_INS: case DEC_OUTS:
		io_exit(v, &d);
		return;
	case DEC_CPUID: /* CPUID faulting */
		e->kind = EXITK_CPUID;
		e->len = d.len;
		return;
	case DEC_XSETBV:
		e->kind = EXITK_XSETBV;
		e->len = d.len;
		return;
	case DEC_RDPMC: insn_exit(e, &d, INSN_RDPMC); return;
	default:
		if (v->st.cpl == 0)
			kernel_exit(v, &d);
	}
}

static void exception(struct vcpu *v, uint8_t vector)
{
	static const uint32_t with_error = 1u << VEC_DF | 1u << VEC_TS | 1u << VEC_NP | 1u << VEC_SS | 1u << VEC_GP | 1u << VEC_PF | 1u << VEC_AC;
	struct exit *e = &v->exit;

	e->kind = EXITK_EXCEPTION;
	e->u.exc.vector = vector;
	e->u.exc.has_error = with_error >> vector & 1;
	e->u.exc.error = (uint32_t)pvm_hw(v)->trap_error;
	e->u.exc.cr2 = pvm_hw(v)->trap_cr2;
}

/* VMCALL or VMMCALL, the one of this vendor, is #UD where nobody virtualizes, SYSCALL where EFER has not got it. */
static void decode_ud(struct vcpu *v)
{
	struct decoded d;
	unsigned n;
	const uint8_t *p = pvm_code(v, &n);

	exception(v, VEC_UD);
	if (!p || !decode(p, n, fetch_decode_mode(v), &d))
		return;
	if (d.kind == (cpuid_amd() ? DEC_VMMCALL : DEC_VMCALL)) {
		v->exit.kind = EXITK_HYPERCALL;
		v->exit.len = d.len;
	} else if (d.kind == DEC_SYSCALL && (v->st.efer & EFER_SCE)) { /* pvm.c has turned it off */
		v->exit.kind = EXITK_RING;
		pvm_hw(v)->trap_vector = vcpu_long64(v) ? PVM_TRAP_SYSCALL : PVM_TRAP_SYSCALL32;
		v->exit.len = d.len;
		v->rip += d.len;
	}
}

#define PF_FETCH (1u << 4) /* of the error code; the host has EFER.NXE */

static void decode_pf(struct vcpu *v)
{
	struct pvm_vcpu *hw = pvm_hw(v);
	struct exit *e = &v->exit;
	uint32_t error = 0;
	uint64_t gpa = 0;

	switch (pvm_mmu_fault(v, hw->trap_cr2, (uint32_t)hw->trap_error, &error, &gpa)) {
	case PVM_FILLED:
		e->kind = EXITK_NONE;
		/* Nobody has seen that fault: the instruction's breakpoint has hit already, if it has one. Not so if it was being fetched: the breakpoint comes
		 * first, says the manual, but QEMU looks for it behind the fetch. */
		hw->again = !(hw->trap_error & PF_FETCH);
		return;
	case PVM_FAULT:
		exception(v, VEC_PF);
		e->u.exc.error = error;
		return;
	case PVM_NO_RAM: case PVM_GUARD:
		e->kind = EXITK_MEM;
		e->u.mem.gpa = gpa;
		e->u.mem.write = hw->trap_error & 2;
		e->u.mem.exec = hw->trap_error & 16;
		e->u.mem.linear_valid = true;
		e->u.mem.gla = hw->trap_cr2;
		return;
	}
}

/* Traps: RIP is behind the instruction of `len` bytes, the last of which is this one. Back to it, as hardware that intercepts them tells it. */
static bool behind(struct vcpu *v, uint8_t last, unsigned len)
{
	uint64_t rip = v->rip;
	unsigned n;
	const uint8_t *p;

	v->rip = rip - len;
	p = pvm_code(v, &n);
	if (p && n >= len && p[len - 1] == last && (len == 1 || p[0] == 0xcd))
		return true;
	v->rip = rip;
	return false;
}

static void decode_soft(struct vcpu *v, uint8_t vector)
{
	if (behind(v, vector == VEC_BP ? 0xcc : 0xce, 1)) {
		if (vector == VEC_BP && v->debugger.catch_int3)
			exception(v, VEC_BP); /* perhaps a debugger's (Z07); else emulated all the same */
	} else if (!behind(v, vector, 2)) { /* CD 03, CD 04: through the gate as well */
		/* The guest has unmapped the page, and not flushed it: its CPU runs on there. */
		pvm_hw(v)->trap_vector = PVM_TRAP_SOFT;
		pvm_hw(v)->trap_error = vector;
	}
}

/* Hardware's DR6 had DR6_INIT, so what differs is the payload (P12). */
static void decode_db(struct vcpu *v, uint64_t dr6)
{
	struct pvm_vcpu *hw = pvm_hw(v);
	struct exit *e = &v->exit;
	uint32_t payload = dbg_payload_from_dr6(dr6) | hw->host_db; /* the other half of it: quirk db-twice */
	uint64_t dr[4];

	if (payload == 0 && behind(v, 0xf1, 1)) { /* ICEBP leaves DR6 alone; nothing else does */
		exception(v, VEC_DB);
		e->len = 1;
		e->u.exc.db = (struct dbg_record){ .cls = DBG_ICEBP };
		return;
	}
	for (unsigned i = 0; i < 4; i++)
		dr[i] = dbg_eff_dr(&v->dbg, i);
	exception(v, VEC_DB);
	e->u.exc.db = (struct dbg_record){ .payload = payload };
	e->u.exc.db.cls = (uint8_t)dbg_classify(payload, dr, v->dbg.vm_dr7, vcpu_linear_rip(v));
}

/* The CPU has taken it, and its handler has to run once: here, as if it had come a moment later. */
static void host_interrupt(uint8_t vector)
{
	struct trapframe tf = { .vector = vector, .cs = read_cs(), .ss = read_ss() };

	trap_handle(&tf);
}

/* A #DB that came inside the switcher is of a MOV SS before the guest's INT3 or SYSCALL: held back by it still, as far as the guest can tell (P15, A25). */
static void hold(struct vcpu *v)
{
	uint32_t held = pvm_hw(v)->host_db & (uint32_t)~DR6_BS; /* both clear TF: a step is the guest's only by its own RFLAGS behind them (A21, A22) */

	if (!held)
		return;
	v->st.shadow = SHADOW_MOV_SS;
	v->st.pending_dbg |= held;
}

void pvm_decode(struct vcpu *v, uint64_t dr6)
{
	struct pvm_vcpu *hw = pvm_hw(v);
	struct exit *e = &v->exit;

	e->kind = EXITK_RING;
	e->len = 0;
	e->hw_reason = (uint32_t)hw->trap_vector;
	e->hw_info = hw->trap_error;
	e->dr6 = DR6_INIT;
	e->vectoring.type = EVENT_NONE;
	switch (hw->trap_vector) {
	case VEC_DB: decode_db(v, dr6); break;
	case VEC_NMI: e->kind = EXITK_NMI; break;
	case VEC_BP: case VEC_OF: hold(v); decode_soft(v, (uint8_t)hw->trap_vector); break;
	case VEC_UD: decode_ud(v); break;
	case VEC_GP: decode_gp(v); break;
	case PVM_TRAP_SYSCALL: case PVM_TRAP_SYSCALL32: hold(v); break;
	case VEC_NP: case VEC_SS: break;
	case VEC_PF: decode_pf(v); break;
	case VEC_DE: case VEC_BR: case VEC_NM: case VEC_MF: case VEC_AC: case VEC_XM: exception(v, (uint8_t)hw->trap_vector); break;
	case PVM_TRAP_LOST: e->kind = EXITK_UNKNOWN; break;
	case VEC_MC:
		raise_machine_check();
		e->kind = EXITK_INTR;
		break;
	case VEC_DF:
		host_interrupt(VEC_DF); /* of the host itself: it panics */
		break;
	default:
		e->kind = EXITK_UNKNOWN; /* an exception that ring 3 has no way to: the VM ends */
		if (hw->trap_vector < 32)
			break;
		host_interrupt((uint8_t)hw->trap_vector);
		e->kind = EXITK_INTR;
	}
}
