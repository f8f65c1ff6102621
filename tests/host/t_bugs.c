/* SPDX-License-Identifier: MIT */
/* What bugs of rules.md, section 10, break and no other test looks at: exits made up for a vcpu that has never run, and single functions. */
#include <string.h>

#include "arch/x86/def/cr.h"
#include "arch/x86/def/dr.h"
#include "arch/x86/def/hypercall.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/svm/svm.h"
#include "arch/x86/vmx/internal.h"
#include "both.h"
#include "vmm/exits.h"
#include "vmm/run.h"

#define STEPPED (RFLAGS_BIT1 | RFLAGS_TF)

/* A vcpu whose whole state is in memory, at code in 32-bit mode without paging. NULL: a line has said why. */
static struct vcpu *poke(struct machine *m, bool amd, const uint8_t *code, unsigned n)
{
	static const struct gop none[] = { { G_NOP } };
	struct vcpu *v = machine_start(m, amd, plain) ? machine_add(m, OPS(none), OPS(none)) : NULL;

	if (v && code)
		memcpy(m->vm[0]->ram + G_MAIN, code, n);
	return v;
}

/* The payload of the #DB that is queued; ~0: none is. */
static uint32_t queued(const struct vcpu *v)
{
	return v->exception.type == EVENT_FAULT && v->exception.vector == VEC_DB ? v->exception.db.payload : ~0u;
}

static void handle_again(struct vcpu *v, struct exit e)
{
	v->exception.type = EVENT_NONE;
	v->exit = e;
	dbg_settle(&v->dbg); /* the tests write DR7 behind its back */
	exit_handle(v);
}

static const struct dbg_record step = { .payload = (uint32_t)DR6_BS, .cls = DBG_TRAP };

/* ---- REP, data and I/O breakpoints of emulated string instructions (B43) ---- */

static const uint8_t rep_outsb[] = { 0xf3, 0x6e };
static const struct exit outs_exit = { .kind = EXITK_IO, .u.io = { .port = 0x80, .size = 1, .string = true, .rep = true } };

BOTH(E04_rep)
{
	struct machine m;
	struct vcpu *v = poke(&m, amd, rep_outsb, sizeof(rep_outsb));
	unsigned dbs = 0;

	if (!v)
		return;
	v->rflags = STEPPED;
	v->r[GPR_RCX] = 4;
	v->r[GPR_RSI] = 0x5000;
	handle_again(v, outs_exit);
	tap_eq(queued(v), DR6_BS, id(amd, "E04.step"), "the first iteration of a stepped REP OUTSB is a step");
	tap_eq(v->rip, G_MAIN, id(amd, "E04.rip"), "RIP stays at it");
	tap_eq(v->r[GPR_RCX], 3, id(amd, "E04.rcx"), "with one element less to go");
	tap_eq(v->rflags & RFLAGS_RF, RFLAGS_RF, id(amd, "A29.rf"), "RF is set between iterations");
	dbs = queued(v) == DR6_BS;
	for (unsigned i = 0; i < 8 && v->rip == G_MAIN; i++) {
		handle_again(v, outs_exit);
		dbs += queued(v) == DR6_BS;
	}
	tap_eq(dbs, 4, id(amd, "E04.count"), "four elements are four steps");
	tap_eq(v->rip, G_MAIN + 2, id(amd, "E04.end"), "after the last RIP is behind it");
	tap_eq(v->rflags & RFLAGS_RF, 0, id(amd, "A29.end"), "and RF is clear");
	machine_stop(&m);
}

BOTH(E08_outs_hits)
{
	struct machine m;
	struct vcpu *v = poke(&m, amd, rep_outsb, sizeof(rep_outsb));

	if (!v)
		return;
	v->rflags = STEPPED;
	v->st.cr4 |= CR4_DE;
	v->r[GPR_RCX] = 2;
	v->r[GPR_RSI] = 0x5000;
	v->dbg.dr[0] = 0x5000;
	v->dbg.dr[1] = 0x80;
	v->dbg.dr7 = DR7_INIT | DR7_L(0) | 3ull << 16;
	handle_again(v, outs_exit);
	tap_eq(queued(v), DR6_BS | 1, id(amd, "E08.outs"), "OUTS reads memory that the guest watches: B0 with the step");
	v->dbg.dr[0] = 0x5001;
	v->dbg.dr7 |= DR7_L(1) | 2ull << 20;
	handle_again(v, outs_exit);
	tap_eq(queued(v), DR6_BS | 3, id(amd, "E10.outs"), "step, data and I/O hit are one #DB");
	machine_stop(&m);
}

/* ---- Retirement: BTF, MOV SS, code breakpoints (B17, B18, B43) ---- */

TEST(E05_btf)
{
	struct dbg_vcpu v = { .dr7 = DR7_INIT, .debugctl = DEBUGCTL_BTF, .feat = DBG_FEAT_BTF };

	tap_eq(dbg_retire(&v, STEPPED, 0), 0, "E05.btf", "with BTF an emulated instruction, which is no branch, is not stepped");
	tap_eq(dbg_retire(&v, STEPPED, 4), 4, "E05.hit", "its breakpoints hit as ever");
}

static const struct exit cpuid_exit = { .kind = EXITK_CPUID, .len = 2 };

BOTH(V12_fold)
{
	static const uint8_t code[] = { 0x0f, 0xa2 };
	struct machine m;
	struct vcpu *v = poke(&m, amd, code, sizeof(code));

	if (!v)
		return;
	v->rflags = STEPPED;
	v->st.shadow = SHADOW_MOV_SS;
	v->st.pending_dbg = 2;
	v->dbg.dr[1] = 0x5000;
	v->dbg.dr[2] = G_MAIN;
	v->dbg.dr7 = DR7_INIT | DR7_L(1) | 1ull << 20 | DR7_L(2);
	handle_again(v, cpuid_exit);
	tap_eq(queued(v) & ~4u, DR6_BS | 2, id(amd, "V12.fold"), "what MOV SS held back comes with the step of the emulated instruction behind it");
	tap_eq(queued(v) & 4, 0, id(amd, "E06.movss"), "a code breakpoint in the shadow of MOV SS is not looked for again");
	tap_eq(v->st.shadow | v->st.pending_dbg, 0, id(amd, "E11.shadow"), "the shadow and what it held are gone");
	machine_stop(&m);
}

/* The handler sets RF and comes back: the emulation of the instruction must not look again (hardware has). */
BOTH(E06_code_bp_out)
{
	static const struct gop ops[] = { WR(1, G_MAIN + 6), WR(7, 0x404), { G_OUT, .a = 0x80 }, { G_NOP } };
	static const struct gop none[] = { { G_NOP } };
	struct machine m;

	if (!machine_start(&m, amd, plain) || !machine_add(&m, OPS(ops), OPS(none)))
		return;
	machine_run(&m);
	tap_eq(machine_recs(&m, 0, R_DB), 1, id(amd, "E06.once"), "a code breakpoint on an OUT that is emulated after it fires once");
	machine_same_as_bare(&m, 0, id(amd, "A18.out"));
	machine_stop(&m);
}

/* ---- Order: registers first, then the #DB (B44), which stays apart from DR6 until it is delivered (B50) ---- */

BOTH(A19_completed)
{
	static const uint8_t code[] = { 0xe4, 0x80 };
	static const struct exit in_exit = { .kind = EXITK_IO, .len = 2, .u.io = { .port = 0x80, .size = 1, .in = true } };
	struct machine m;
	struct vcpu *v = poke(&m, amd, code, sizeof(code));

	if (!v)
		return;
	v->st.cr4 |= CR4_DE;
	v->dbg.dr[0] = 0x80;
	v->dbg.dr7 = DR7_INIT | DR7_L(0) | 2ull << 16;
	v->r[GPR_RAX] = 0x1234500;
	handle_again(v, in_exit);
	tap_eq(queued(v), 1, id(amd, "E09.in"), "an IN from a watched port hits");
	tap_eq(v->r[GPR_RAX], 0x12345ff, id(amd, "A19.done"), "with the value in its register");
	tap_eq(v->rip, G_MAIN + 2, id(amd, "A19.rip"), "and RIP behind it");
	machine_stop(&m);
}

BOTH(E13_apart)
{
	struct machine m;
	struct vcpu *v = poke(&m, amd, NULL, 0);

	if (!v)
		return;
	v->dbg.dr7 = 0x2400;
	vcpu_raise_db(v, &step);
	tap_eq(v->dbg.dr6, DR6_INIT, id(amd, "E13.dr6"), "a queued #DB has not changed DR6");
	tap_eq(v->dbg.dr7, 0x2400, id(amd, "E13.gd"), "nor GD");
	event_select(v);
	tap_eq(v->dbg.dr6, DR6_INIT | DR6_BS, id(amd, "E13.delivered"), "its delivery does");
	tap_eq(v->inject.has_error, 0, id(amd, "A10.no_error"), "a #DB has no error code");
	machine_stop(&m);
}

/* A #DB that comes while another exception is being delivered neither replaces it nor makes it a double fault (B58). */
BOTH(E17_benign)
{
	struct machine m;
	struct vcpu *v = poke(&m, amd, NULL, 0);

	if (!v)
		return;
	v->exit.vectoring = (struct event){ .type = EVENT_FAULT, .vector = VEC_PF, .has_error = true, .cr2 = 0x7000 };
	vcpu_raise_db(v, &step);
	event_select(v);
	tap_eq(v->inject.vector, VEC_PF, id(amd, "E17.first"), "the exception that an exit cut short is injected again first");
	v->inject.type = EVENT_NONE;
	event_select(v);
	tap_ok(v->inject.type == EVENT_FAULT && v->inject.vector == VEC_DB, id(amd, "E17.then"), "then the #DB");
	machine_stop(&m);
}

/* ---- Injection: error code, instruction length, the pending step under a shadow (B19, B20, B24, B64) ---- */

TEST(A10_stack)
{
	static const struct gop ops[] = { WR(0, 0x5000), WR(7, 0x10401), { G_STORE, .a = 0x5000, .n = 1 }, { G_NOP } };
	struct machine m;

	if (!machine_start(&m, false, plain) || !machine_add(&m, OPS(ops), OPS(show_dr67)))
		return;
	machine_run(&m);
	tap_eq(vmcs_read32(VMCS_ENTRY_INTR_INFO) & (INFO_ERROR | INFO_VECTOR), VEC_DB, "A10.stack", "a #DB reflected in the inner loop pushes no error code");
	machine_stop(&m);
}

/* On its CPU, with everything in the VMCS. */
static struct vcpu *vmx_ready(struct machine *m)
{
	struct vcpu *v = poke(m, false, NULL, 0);

	if (!v)
		return NULL;
	v->dbg.vm_dirty = true;
	dbg_vm_fields(v->be->dbg_caps, &m->cpu->dbg, &v->dbg);
	v->be->vcpu_load(v, m->cpu);
	vmx_commit(v);
	return v;
}

TEST(V14_length)
{
	struct machine m;
	struct vcpu *v = vmx_ready(&m);

	if (!v)
		return;
	v->inject = (struct event){ .type = EVENT_PRIV_SOFT, .vector = VEC_DB, .len = 3 };
	v->be->run(v, m.cpu);
	tap_eq(vmcs_read(VMCS_ENTRY_INSN_LEN), 3, "V14.length", "an ICEBP that is injected again has its length");
	v->be->vcpu_put(v, m.cpu);
	machine_stop(&m);
}

TEST(V09_entry)
{
	struct machine m;
	struct vcpu *v = vmx_ready(&m);

	if (!v)
		return;
	v->st.shadow = SHADOW_MOV_SS;
	vcpu_dirty(v, VST_SHADOW);
	v->rflags = STEPPED;
	v->be->run(v, m.cpu);
	tap_eq(sw.broken[RULE_V07], 0, "V09.entry", "TF in a shadow: the entry is made, with BS pending");
	v->be->vcpu_put(v, m.cpu);
	machine_stop(&m);
}

/* The exit was a #DB whose BS is in the qualification: the field has none, TF and the shadow have not changed since. */
TEST(V10_injected)
{
	struct machine m;
	struct vcpu *v = vmx_ready(&m);

	if (!v)
		return;
	vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, INTR_MOV_SS);
	vmcs_write(VMCS_GUEST_PENDING_DBG, 0);
	vmcs_write(VMCS_GUEST_RFLAGS, STEPPED);
	v->rflags = vmx_hw(v)->rflags = STEPPED;
	v->inject = (struct event){ .type = EVENT_FAULT, .vector = VEC_DB };
	v->be->run(v, m.cpu);
	tap_eq(sw.broken[RULE_V07], 0, "V10.entry", "each injected #DB with TF in a shadow has BS pending, reflected or not");
	v->be->vcpu_put(v, m.cpu);
	machine_stop(&m);
}

/* Bytes that are no ICEBP (another CPU changed them): the guest runs them; nothing is raised (B61). */
BOTH(S14_retry)
{
	static const uint8_t nop[] = { 0x90 };
	static const struct exit icebp = { .kind = EXITK_EXCEPTION, .u.exc = { .vector = VEC_DB, .db = { .cls = DBG_ICEBP } } };
	struct machine m;
	struct vcpu *v = poke(&m, amd, nop, sizeof(nop));

	if (!v)
		return;
	handle_again(v, icebp);
	tap_eq(queued(v), ~0u, id(amd, "S14.retry"), "an ICEBP whose length cannot be found raises nothing");
	tap_eq(v->rip, G_MAIN, id(amd, "S14.rip"), "and is tried again");
	machine_stop(&m);
}

/* ---- What belongs to the host and what the vcpu before left (B11, B38, B39, B67, B70) ---- */

TEST(V18_freeze)
{
	struct dbg_cpu c = { .dr7 = DR7_INIT, .owned_debugctl = DEBUGCTL_FREEZE_IN_SMM };
	struct dbg_vcpu v = { .dr6 = DR6_INIT, .dr7 = DR7_INIT };

	dbg_vm_fields(DBG_CAP_VM_DR7 | DBG_CAP_VM_DEBUGCTL, &c, &v);
	tap_eq(v.vm_debugctl, DEBUGCTL_FREEZE_IN_SMM, "V18.kept", "FREEZE_IN_SMM of the host stays in force in the guest");
	tap_eq(v.debugctl, 0, "V18.hidden", "which does not see it");
	tap_eq(dbg_plan_enter(DBG_CAP_VM_DR7 | DBG_CAP_VM_DEBUGCTL, &c, &v) & DBG_OP_VM_FIELDS, 0, "V19.same", "unchanged: nothing to do");
	c.owned_debugctl = 0;
	tap_ok(!dbg_idle(&c, &v), "V19.seen", "the loop's short cut sees that the host has changed it");
	tap_eq(dbg_plan_enter(DBG_CAP_VM_DR7 | DBG_CAP_VM_DEBUGCTL, &c, &v) & DBG_OP_VM_FIELDS, DBG_OP_VM_FIELDS, "V19.reload",
	       "changed by the host: the field is written before the next entry");
}

TEST(H17_masks)
{
	struct dbg_cpu c = { .dr7 = DR7_INIT, .has_masks = true, .hw_mask = { 0xfff } };
	struct dbg_vcpu v = { .dr6 = DR6_INIT, .dr7 = 0x10401, .state = DBG_ARMED };

	tap_eq(dbg_plan_enter(DBG_CAP_VM_DR7, &c, &v) & DBG_OP_LOAD_MASKS, DBG_OP_LOAD_MASKS, "H17.key",
	       "a mask of the vcpu before goes, though this one's CPUID has none");
	tap_ok(!dbg_wrmsr_mask(&v, 0, 0), "H17.none", "without the feature there is no such MSR");
	v.feat = DBG_FEAT_MASKS;
	tap_ok(dbg_wrmsr_mask(&v, 0, 0xfff) && !dbg_wrmsr_mask(&v, 0, 0x1000) && v.mask[0] == 0xfff, "H17.width", "12 bits, if that is what CPUID says");
	v.feat |= DBG_FEAT_MASKS32;
	tap_ok(dbg_wrmsr_mask(&v, 0, 0xffffffff) && !dbg_wrmsr_mask(&v, 0, 1ull << 32), "H17.width32", "or 32 bits");
	c.dr7 = 0x10402;
	tap_eq(dbg_plan_leave(DBG_CAP_VM_DR7, &c, &v, DR6_INIT) & DBG_OP_HOST_MASKS, DBG_OP_HOST_MASKS, "H17.host",
	       "the host's breakpoints come back without the guest's masks");
}

TEST(S12_lbrv)
{
	struct dbg_cpu c = { .dr7 = DR7_INIT };
	struct dbg_vcpu v = { .dr6 = DR6_INIT, .dr7 = DR7_INIT, .debugctl = DEBUGCTL_LBR };

	dbg_vm_fields(DBG_CAP_VM_DR6 | DBG_CAP_VM_DR7 | DBG_CAP_LBRV, &c, &v);
	tap_ok(v.vm_lbrv, "S12.on", "LBR virtualization is on for a guest that has set LBR");
	v.debugctl = 0;
	dbg_vm_fields(DBG_CAP_VM_DR6 | DBG_CAP_VM_DR7 | DBG_CAP_LBRV, &c, &v);
	tap_ok(!v.vm_lbrv, "S12.off", "and off again when it has cleared it");
}

TEST(S01_lbr_clean)
{
	struct machine m;
	struct vcpu *v = poke(&m, true, NULL, 0);

	if (!v)
		return;
	svm_feat.edx |= 1u << 1; /* LBR virtualization */
	svm_prepare(v);
	svm_hw(v)->vmcb->clean = VMCB_CLEAN_ALL;
	v->dbg.vm_debugctl = DEBUGCTL_LBR;
	v->dbg.vm_lbrv = v->dbg.vm_dirty = true;
	svm_prepare(v);
	tap_eq(svm_hw(v)->vmcb->dbgctl, DEBUGCTL_LBR, "S12.dbgctl", "the guest's DEBUGCTL is in the control block");
	tap_eq(svm_hw(v)->vmcb->clean & VMCB_CLEAN_LBR, 0, "S01.lbr", "and its clean bit is off: hardware takes it");
	machine_stop(&m);
}

/* ---- A debugger's slots (B52, B59) ---- */

TEST(Z08_held)
{
	struct dbg_vcpu v = { .dr6 = DR6_INIT, .dr7 = DR7_INIT };

	dbg_hold(&v, 1, 0x5000, 1);
	dbg_vcpu_reset(&v);
	tap_eq(dbg_eff_dr7(&v), DR7_INIT | DR7_G(1) | 1ull << 20, "Z08.held", "a reset leaves the debugger's breakpoints on");
	tap_eq(v.state, DBG_ARMED, "Z08.armed", "and the vcpu armed for them");
	v.dr[1] = 0x6000;
	v.dr7 = DR7_INIT | DR7_L(1) | 1ull << 20;
	tap_eq(dbg_bp_hit(&v, DBG_ACCESS_WRITE, 0x6000, 1, 0), 0, "E14.guest", "the guest's own breakpoint in a held slot is not what is matched");
	tap_eq(dbg_bp_hit(&v, DBG_ACCESS_WRITE, 0x5000, 1, 0), 2, "E14.held", "the debugger's is");
}
