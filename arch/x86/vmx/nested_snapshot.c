/* SPDX-License-Identifier: MIT */
/* What nested VMX keeps of the levels, saved, checked and restored: the current vmcs12, in it the nested guest's state as it is now, and what the guest
 * hypervisor had before its entry. Its own state needs no more: an exit loads all of it from vmcs12. The debug registers and a #DB that waits are the other
 * part of a snapshot (vmm/snapshot.c), so that neither vmcs12's nor the hypervisor's present ones are taken for the nested guest's (N04). */
#include "arch/lib/string.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/snapshot.h"
#include "arch/x86/pmem.h"
#include "arch/x86/vmx/nested.h"
#include "vmm/cpuid.h"
#include "vmm/gmem.h"
#include "vmm/snapshot.h"

_Static_assert(sizeof(struct vmx_nested_snapshot) == VMX_SNAPSHOT_SIZE, "no hidden padding: what is saved holds nothing of the host");
_Static_assert(N12_NR <= VMX_SNAPSHOT_FIELDS, "vmcs12 has its place");

#define FLAGS (VMX_SNAPSHOT_VMXON | VMX_SNAPSHOT_LAUNCHED | VMX_SNAPSHOT_INIT | VMX_SNAPSHOT_MTF | VMX_SNAPSHOT_NMI_BLOCKED)

/* vmcs12's guest state as of now. The nested guest's own copy of it is newer than what the guest hypervisor can read before an exit. */
static void live_state(struct vcpu *v, struct nvmx *n)
{
	if (v->st_dirty)
		vmx_commit(v);
	vcpu_need(v, VST_CR | VST_MSR);
	nvmx_save_copied(n);
	V12(n, GUEST_CR0) = v->st.cr0;
	V12(n, GUEST_CR3) = v->st.cr3;
	V12(n, GUEST_CR4) = v->st.cr4;
	V12(n, GUEST_RIP) = v->rip;
	V12(n, GUEST_RSP) = v->r[GPR_RSP];
	V12(n, GUEST_RFLAGS) = v->rflags;
}

void nvmx_save(struct vcpu *v, void *to)
{
	struct vmx_nested_snapshot *s = to;
	struct nvmx *n = nvmx_of(v);

	memset(s, 0, sizeof(*s));
	s->magic = VMX_SNAPSHOT_MAGIC;
	s->version = VMX_SNAPSHOT_VERSION;
	s->size = sizeof(*s);
	s->level = v->level;
	if (v->level)
		live_state(v, n);
	else
		nvmx_shadow_in(v, n);
	s->flags = (n->vmxon ? VMX_SNAPSHOT_VMXON : 0) | (n->launched ? VMX_SNAPSHOT_LAUNCHED : 0) | (n->init ? VMX_SNAPSHOT_INIT : 0) |
		   (n->l1.nmi_blocked ? VMX_SNAPSHOT_NMI_BLOCKED : 0);
	if (v->level && nvmx_mtf_due(v, n))
		s->flags |= VMX_SNAPSHOT_MTF; /* B69 */
	s->vmxon_pa = n->vmxon_pa;
	s->current = n->current;
	s->rip = v->rip;
	s->rsp = v->r[GPR_RSP];
	s->rflags = v->rflags;
	memcpy(s->f, n->f, sizeof(n->f));
	if (!v->level)
		return;
	s->efer = v->st.efer;
	s->pat = v->st.pat;
	s->timer_left = n->timer_left;
	s->l1_efer = n->l1.efer;
	s->l1_pat = n->l1.pat;
}

static bool page_ok(const struct vcpu *v, uint64_t pa)
{
	return pa == NO_VMCS || (!(pa & (PAGE_SIZE - 1)) && gmem_ptr(v->vm, (struct gpa){ pa }, PAGE_SIZE));
}

static bool fields_ok(const struct vmx_nested_snapshot *s)
{
	for (unsigned i = 0; i < VMX_SNAPSHOT_FIELDS; i++)
		if (s->f[i] & ~(i < N12_NR ? n12_mask(i) : 0))
			return false;
	return true;
}

/* Which kind of VMCS it is stays in its region's memory, of which nobody else has a copy. */
static bool is_shadow(const struct vcpu *v, uint64_t pa)
{
	uint32_t revision = 0;

	return pa != NO_VMCS && gmem_read(v->vm, (struct gpa){ pa }, &revision, sizeof(revision)) && (revision & REVISION_SHADOW);
}

/* By the checks of an entry, on a copy: the guest state has to be one that could be entered. */
static const char *check_l2(struct vcpu *v, const struct vmx_nested_snapshot *s)
{
	static struct nvmx probe;
	uint64_t qual;

	if (!(s->flags & VMX_SNAPSHOT_VMXON) || s->current == NO_VMCS || !(s->flags & VMX_SNAPSHOT_LAUNCHED) || is_shadow(v, s->current))
		return "level";
	probe = *nvmx_of(v);
	memcpy(probe.f, s->f, sizeof(probe.f));
	probe.current = s->current;
	V12(&probe, ENTRY_INTR_INFO) &= ~(uint64_t)INFO_VALID; /* of an entry that is over */
	if (!nvmx_check_controls(v, &probe))
		return "controls";
	if (!nvmx_check_host(v, &probe))
		return "host";
	V12(&probe, ENTRY_CTL) = s->efer & EFER_LMA ? V12(&probe, ENTRY_CTL) | ENTRY_IA32E : V12(&probe, ENTRY_CTL) & ~(uint64_t)ENTRY_IA32E;
	V12(&probe, GUEST_EFER) = s->efer;
	V12(&probe, GUEST_PAT) = s->pat;
	return nvmx_check_guest(v, &probe, &qual) ? NULL : "guest";
}

const char *nvmx_check(struct vcpu *v, const void *from)
{
	const struct vmx_nested_snapshot *s = from;
	const char *bad = snapshot_check_head(s, VMX_SNAPSHOT_MAGIC, VMX_SNAPSHOT_VERSION, sizeof(*s));

	if (bad)
		return bad;
	if (s->level > 1)
		return "level";
	if (s->flags & ~FLAGS)
		return "flags";
	if (s->reserved[0] || s->reserved[1] || s->reserved[2] || s->reserved2)
		return "reserved";
	if (!page_ok(v, s->vmxon_pa) || ((s->flags & VMX_SNAPSHOT_VMXON) != 0) != (s->vmxon_pa != NO_VMCS))
		return "vmxon";
	if (!page_ok(v, s->current) || (s->current != NO_VMCS && s->current == s->vmxon_pa))
		return "current";
	if (!fields_ok(s))
		return "fields";
	return s->level ? check_l2(v, s) : NULL;
}

/* As on a machine where the vcpu has not been yet. */
static void wipe(struct vcpu *v, struct nvmx *n)
{
	if (v->st_dirty)
		vmx_commit(v);
	nvmx_use_hw(v, n->hw1);
	nvmx_shadow_off(v, n);
	v->level = 0;
	v->step.asleep = false;
	v->st_valid = v->st_dirty = 0;
	v->exit.vectoring.type = v->inject.type = EVENT_NONE;
	nvmx_ept_zap(n);
	memset(n->f, 0, sizeof(n->f));
	memset(&n->mtf, 0, sizeof(n->mtf));
	memset(&n->l1, 0, sizeof(n->l1));
	n->run_pending = n->kick = false;
	n->all_dirty = true;
	n->vpid = 0;
}

static void restore_l2(struct vcpu *v, struct nvmx *n, const struct vmx_nested_snapshot *s)
{
	n->proc2 = V12_32(n, PROC_CTL) & PROC_SECONDARY ? V12_32(n, PROC2_CTL) : 0;
	n->l1.efer = s->l1_efer;
	n->l1.pat = s->l1_pat;
	n->l1.nmi_blocked = s->flags & VMX_SNAPSHOT_NMI_BLOCKED;
	nvmx_to_level1(v, n);
	vcpu_need(v, VST_MSR);
	v->st.cr0 = V12(n, GUEST_CR0);
	v->st.cr3 = V12(n, GUEST_CR3);
	v->st.cr4 = V12(n, GUEST_CR4);
	v->st.efer = s->efer;
	v->st.pat = s->pat;
	vcpu_dirty(v, VST_CR | VST_MSR | VST_CTL);
	v->step.asleep = V12(n, GUEST_ACTIVITY) == 1;
	n->timer_left = s->timer_left;
	n->mtf.due = s->flags & VMX_SNAPSHOT_MTF;
	nvmx_timer_arm(v, n);
}

void nvmx_restore(struct vcpu *v, const void *from)
{
	const struct vmx_nested_snapshot *s = from;
	struct nvmx *n = nvmx_of(v);

	wipe(v, n);
	n->vmxon = s->flags & VMX_SNAPSHOT_VMXON;
	n->launched = s->flags & VMX_SNAPSHOT_LAUNCHED;
	n->init = s->flags & VMX_SNAPSHOT_INIT;
	n->vmxon_pa = s->vmxon_pa;
	n->current = s->current;
	n->is_shadow = is_shadow(v, s->current);
	memcpy(n->f, s->f, sizeof(n->f));
	v->rip = s->rip;
	v->r[GPR_RSP] = s->rsp;
	v->rflags = s->rflags;
	if (s->level)
		restore_l2(v, n, s);
	else
		nvmx_shadow_out(v, n);
	v->event_pending = true;
}
