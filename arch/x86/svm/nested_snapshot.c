/* SPDX-License-Identifier: MIT */
/* What nested SVM keeps of the levels, saved, checked and restored (M13): which level runs, its vmcb12 and what L1 asked for in it, GIF, the MSRs, L1's own
 * state while L2 runs. The debug registers and a #DB that waits are the other part of a snapshot (vmm/snapshot.c). */
#include "arch/lib/string.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/def/snapshot.h"
#include "arch/x86/pmem.h"
#include "arch/x86/svm/nested.h"
#include "vmm/cpuid.h"
#include "vmm/fetch.h"
#include "vmm/gmem.h"
#include "vmm/snapshot.h"

_Static_assert(sizeof(struct svm_nested_snapshot) == SVM_SNAPSHOT_SIZE, "no hidden padding: what is saved holds nothing of the host");
_Static_assert(sizeof(struct vmcb) == sizeof(((struct svm_nested_snapshot *)0)->l1), "a block is a page");

/* What EFER.SVME is for L1, and what L2 shares with it, lie elsewhere than in vmcb01 while L2 runs. */
static void save_l1(const struct vcpu *v, const struct svm_nested *n, struct vmcb *l1)
{
	const struct svm_vcpu *hw = svm_hw(v);
	bool own_pat = !v->level || (n->in.np_control & VMCB_NP_ENABLE);

	svm_nested_state(l1, n->b01);
	svm_nested_shared(l1, v->level ? n->b02 : n->b01, true);
	if (n->own_debugctl) {
		svm_nested_records(l1, n->b01);
		l1->dbgctl = n->host.debugctl;
	}
	l1->cr2 = v->level ? n->b02->cr2 : n->b01->cr2;
	l1->g_pat = own_pat ? n->b01->g_pat : n->b02->g_pat;
	l1->efer = (l1->efer & ~EFER_SVME) | (v->level ? EFER_SVME : hw->svme);
}

void svm_nested_save(struct vcpu *v, void *to)
{
	struct svm_nested *n = svm_nested_of(v);
	struct svm_nested_snapshot *s = to;
	struct vmcb *block = (struct vmcb *)(void *)s->block;

	svm_commit(v);
	memset(s, 0, sizeof(*s));
	s->magic = SVM_SNAPSHOT_MAGIC;
	s->version = SVM_SNAPSHOT_VERSION;
	s->size = sizeof(*s);
	s->level = v->level;
	s->gif = n->gif;
	s->vm_cr = n->vm_cr;
	s->hsave = n->hsave;
	s->rip = v->rip;
	s->rsp = v->r[GPR_RSP];
	s->rax = v->r[GPR_RAX];
	s->rflags = v->rflags;
	save_l1(v, n, (struct vmcb *)(void *)s->l1);
	if (!v->level)
		return;
	s->vmcb12 = n->vmcb12;
	s->host_rip = n->host.rip;
	s->host_rsp = n->host.rsp;
	s->host_rax = n->host.rax;
	s->host_rflags = n->host.rflags;
	memcpy(block, &n->in, sizeof(*block)); /* the controls of its VMRUN, the state of now */
	svm_nested_store(n, block);
	svm_nested_store_vintr(v, n, block);
	block->efer = (block->efer & ~EFER_SVME) | svm_hw(v)->svme;
	if (block->np_control & VMCB_NP_ENABLE)
		block->g_pat = n->b02->g_pat;
	block->dr6 = v->dbg.dr6;
	block->dr7 = v->dbg.dr7;
	block->event_inj = 0;
	s->own_debugctl = n->own_debugctl;
	if (n->own_debugctl) { /* M08; what L2 has of DEBUGCTL is in the vcpu's own snapshot */
		svm_nested_records(block, n->b02);
		block->dbgctl = v->dbg.debugctl;
	}
}

static bool zero(const uint8_t *p, size_t n)
{
	while (n--)
		if (*p++)
			return false;
	return true;
}

static const char *check_l2(const struct vcpu *v, const struct svm_nested_snapshot *s)
{
	const struct vmcb *block = (const struct vmcb *)(const void *)s->block;

	if (!s->level)
		return s->vmcb12 | s->host_rip | s->host_rsp | s->host_rax | s->host_rflags || !zero(s->block, sizeof(s->block)) ? "level" : NULL;
	if ((s->vmcb12 & (PAGE_SIZE - 1)) || !gmem_ptr(v->vm, (struct gpa){ s->vmcb12 }, PAGE_SIZE))
		return "vmcb12";
	return (block->event_inj & VMCB_EV_VALID) || svm_nested_broken(block) ? "block" : NULL;
}

/* What a guest cannot have set by itself is refused; what hardware refuses besides costs this VM its life and nobody else anything. */
const char *svm_nested_check(struct vcpu *v, const void *from)
{
	const struct svm_nested_snapshot *s = from;
	const struct vmcb *l1 = (const struct vmcb *)(const void *)s->l1;
	uint64_t svme = l1->efer & EFER_SVME;
	const char *bad = snapshot_check_head(s, SVM_SNAPSHOT_MAGIC, SVM_SNAPSHOT_VERSION, sizeof(*s));

	if (bad)
		return bad;
	if (s->level > 1)
		return "level";
	if (s->gif > 1)
		return "gif";
	if (s->own_debugctl > s->level || (s->own_debugctl && (!v->dbg.soft || (l1->dbgctl & ~(uint64_t)(DEBUGCTL_LBR | DEBUGCTL_BTF | DEBUGCTL_BUS_LOCK)))))
		return "debugctl";
	if (!zero(s->reserved, sizeof(s->reserved)))
		return "reserved";
	if ((s->vm_cr & ~SVM_VM_CR_KNOWN) || ((s->vm_cr ^ svm_nested_of(v)->vm_cr) & VM_CR_LOCK) || (svme && (s->vm_cr & VM_CR_SVMDIS)))
		return "vm_cr";
	if (s->hsave & ((PAGE_SIZE - 1) | ~cpuid_pa_mask()))
		return "hsave";
	if (svm_nested_state_broken(l1, 0) || svm_pat_illegal(l1->g_pat) || (s->level && !svme))
		return "l1";
	return check_l2(v, s);
}

/* As on a machine where the vcpu has not been yet. */
static void wipe(struct vcpu *v, struct svm_nested *n)
{
	struct svm_vcpu *hw = svm_hw(v);

	svm_commit(v);
	svm_use_vmcb(v, n->b01);
	v->level = 0;
	v->tsc_offset = 0;
	memset(n->b02, 0, sizeof(*n->b02));
	memset(&n->in, 0, sizeof(n->in));
	memset(&n->host, 0, sizeof(n->host));
	memset(hw->floor, 0, sizeof(hw->floor));
	hw->vintr = 0;
	hw->own_tpr = hw->window = false;
	n->vmcb12 = 0;
	n->own_debugctl = false;
	fetch_cache_init(&v->fetch);
	fetch_cache_init(&n->fetch01);
	svm_nested_state(n->b01, n->b02); /* zeroes */
	svm_nested_shared(n->b01, n->b02, true);
	svm_npt_flush(v, n);
	n->todo02 = hw->todo = SVM_TODO_FLUSH;
}

void svm_nested_restore(struct vcpu *v, const void *from)
{
	const struct svm_nested_snapshot *s = from;
	const struct vmcb *l1 = (const struct vmcb *)(const void *)s->l1;
	struct svm_nested *n = svm_nested_of(v);

	wipe(v, n);
	n->gif = s->gif;
	n->vm_cr = s->vm_cr;
	n->hsave = s->hsave;
	svm_nested_state(n->b01, l1);
	svm_nested_shared(n->b01, l1, true);
	n->b01->g_pat = l1->g_pat;
	n->b01->efer |= EFER_SVME;
	svm_hw(v)->svme = l1->efer & EFER_SVME;
	svm_nested_regs(v, s->rip, s->rsp, s->rax, s->rflags);
	if (s->level) {
		n->vmcb12 = s->vmcb12;
		n->host.rip = s->host_rip;
		n->host.rsp = s->host_rsp;
		n->host.rax = s->host_rax;
		n->host.rflags = s->host_rflags;
		memcpy(&n->in, s->block, sizeof(n->in));
		n->own_debugctl = s->own_debugctl;
		n->host.debugctl = s->own_debugctl ? l1->dbgctl : 0;
		svm_nested_merge(v, n);
		if (n->own_debugctl)
			svm_nested_records(n->b02, &n->in);
		svm_hw(v)->svme = n->in.efer & EFER_SVME;
	}
	svm_nested_switch(v, n, s->level);
}
