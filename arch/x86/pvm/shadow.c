/* SPDX-License-Identifier: MIT */
/* The shadows of STI and MOV SS in virtual kernel mode. Both are emulated, and hardware knows of neither. They end behind the next instruction, which runs by
 * itself: only a step with a hidden TF tells when. It is made only if something waits for it: an interrupt, or a #DB that MOV SS holds back. */
#include "arch/x86/pvm/emul.h"

#include "arch/x86/def/cr.h"
#include "vmm/cpuid.h"
#include "vmm/fetch.h"
#include "vmm/step.h"

static unsigned next_kind(struct vcpu *v)
{
	struct flow f;
	unsigned n;
	const uint8_t *p = fetch_window(v, &n);

	return p && decode_flow(p, n, fetch_decode_mode(v), &f) ? f.kind : FLOW_NEXT;
}

uint64_t pvm_shadow_enter(struct vcpu *v)
{
	struct pvm_vcpu *hw = pvm_hw(v);
	uint64_t bits = 0;

	hw->hidden_tf = false;
	/* Intel holds exec breakpoints too, AMD does not (A23). */
	if (v->st.shadow == SHADOW_MOV_SS && !cpuid_amd())
		bits = RFLAGS_RF;
	if ((v->rflags & RFLAGS_TF) || !(v->want_intr_window || v->want_nmi_window || v->st.pending_dbg))
		return bits; /* its own TF ends it as well, or nobody asks when */
	hw->hidden_kind = (uint8_t)next_kind(v);
	hw->hidden_tf = true;
	return bits | RFLAGS_TF;
}

/* The instruction in the shadow has run, and its trap is here. */
static void stepped(struct vcpu *v)
{
	struct pvm_vcpu *hw = pvm_hw(v);
	struct dbg_record *r = &v->exit.u.exc.db;

	if (hw->hidden_tf) {
		if (hw->hidden_kind == FLOW_PUSHF)
			step_clear_pushed_tf(v);
		r->payload = step_data_hits(v, r->payload);
	}
	r->payload |= v->st.pending_dbg; /* what was held, together with what is due (A34) */
	vcpu_clear_shadow(v);
	v->event_pending = true;
	if (!r->payload)
		v->exit.kind = EXITK_INTR_WINDOW;
}

void pvm_shadow_leave(struct vcpu *v)
{
	struct pvm_vcpu *hw = pvm_hw(v);
	const struct exit *e = &v->exit;
	bool db = e->kind == EXITK_EXCEPTION && e->u.exc.vector == VEC_DB && e->u.exc.db.cls == DBG_TRAP, loads_tf;

	loads_tf = db && (hw->hidden_kind == FLOW_POPF || hw->hidden_kind == FLOW_IRET);
	if (hw->hidden_tf && !loads_tf)
		v->rflags &= ~RFLAGS_TF;
	if (db)
		stepped(v);
	else if (v->rip != hw->entry_rip && hw->trap_vector < PVM_TRAP_SYSCALL) /* several have run, and nothing waited for the first of them */
		vcpu_clear_shadow(v); /* not for SYSCALL, which takes along what is held (A25) */
	hw->hidden_tf = false;
}
