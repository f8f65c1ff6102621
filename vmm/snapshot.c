/* SPDX-License-Identifier: MIT */
/* A snapshot comes from outside: nothing in it is believed before it has been checked. */
#include "vmm/snapshot.h"

#include "arch/lib/string.h"
#include "vmm/backend.h"

void snapshot_save(struct vcpu *v, struct dbg_snapshot *s)
{
	const struct dbg_vcpu *d = &v->dbg;
	const struct event *e = &v->exception;

	vcpu_need(v, VST_SHADOW);
	memset(s, 0, sizeof(*s)); /* what is not set below must not be what the host had there (Z10) */
	s->magic = SNAPSHOT_MAGIC;
	s->version = SNAPSHOT_VERSION;
	s->size = sizeof(*s);
	memcpy(s->dr, d->dr, sizeof(s->dr));
	s->dr6 = d->dr6; /* without the waiting #DB's bits: they are merged when it is delivered, once (E13, Z11) */
	s->dr7 = d->dr7;
	s->debugctl = d->debugctl;
	memcpy(s->mask, d->mask, sizeof(s->mask));
	if (e->type != EVENT_NONE && e->vector == 1) {
		s->flags |= SNAPSHOT_DB | (e->db.emulated ? SNAPSHOT_EMULATED : 0);
		s->payload = e->db.payload;
		s->cls = e->db.cls;
	}
	s->flags |= (v->nmi_pending ? SNAPSHOT_NMI : 0) | (v->st.nmi_blocked ? SNAPSHOT_NMI_BLOCKED : 0);
	s->shadow = v->st.shadow;
	s->pending_dbg = v->st.pending_dbg;
	memcpy(s->irq_pending, v->irq_pending, sizeof(s->irq_pending));
	if (d->feat & DBG_FEAT_LBR)
		s->nr_lbr = v->be->lbr_state(v, s->lbr, false);
}

static const char *check_registers(const struct vcpu *v, const struct dbg_snapshot *s)
{
	struct dbg_vcpu d = v->dbg; /* the guest's own writes decide what it may have */

	if (s->dr6 >> 32)
		return "dr6";
	if (s->dr7 >> 32)
		return "dr7";
	if (!dbg_wrmsr_debugctl(&d, s->debugctl) || d.debugctl != s->debugctl)
		return "debugctl";
	for (unsigned i = 0; i < 4; i++)
		if (s->mask[i] && !dbg_wrmsr_mask(&d, i, s->mask[i]))
			return "mask";
	return NULL;
}

static const char *check_events(const struct dbg_snapshot *s)
{
	if (s->flags & ~SNAPSHOT_FLAGS)
		return "flags";
	if (!(s->flags & SNAPSHOT_DB) && (s->payload || s->cls || s->flags & SNAPSHOT_EMULATED))
		return "payload";
	if (s->payload & ~DBG_PAYLOAD_BITS)
		return "payload";
	if (s->cls > DBG_TASK)
		return "cls";
	if (s->shadow > SHADOW_MOV_SS)
		return "shadow";
	if (s->pending_dbg != dbg_payload_from_pending(s->pending_dbg) || (s->pending_dbg && s->shadow != SHADOW_MOV_SS))
		return "pending_dbg";
	if (s->irq_pending[0] & 0xffffffff)
		return "irq_pending"; /* 0-31 are exceptions */
	return NULL;
}

const char *snapshot_check_head(const void *s, uint32_t magic, uint16_t version, size_t size)
{
	const struct snapshot_head *head = s;

	if (head->magic != magic)
		return "magic";
	if (head->version != version)
		return "version";
	return head->size != size ? "size" : NULL;
}

const char *snapshot_check(const struct vcpu *v, const struct dbg_snapshot *s)
{
	const char *bad = snapshot_check_head(s, SNAPSHOT_MAGIC, SNAPSHOT_VERSION, sizeof(*s));
	uint64_t mine[SNAPSHOT_LBR_MAX];

	if (bad)
		return bad;
	if (s->reserved[0] || s->reserved[1] || s->reserved2)
		return "reserved";
	bad = check_events(s);
	if (!bad)
		bad = check_registers(v, s);
	if (bad)
		return bad;
	if (s->nr_lbr > SNAPSHOT_LBR_MAX || (s->nr_lbr && !(v->dbg.feat & DBG_FEAT_LBR)))
		return "nr_lbr";
	if (s->nr_lbr && s->nr_lbr != v->be->lbr_state((struct vcpu *)(uintptr_t)v, mine, false))
		return "nr_lbr"; /* records of another CPU's shape: they would land in the wrong registers */
	for (unsigned i = s->nr_lbr; i < SNAPSHOT_LBR_MAX; i++)
		if (s->lbr[i])
			return "lbr";
	return NULL;
}

void snapshot_wipe(struct vcpu *v)
{
	dbg_vcpu_reset(&v->dbg);
	v->exception.type = EVENT_NONE;
	v->nmi_pending = false;
	memset(v->irq_pending, 0, sizeof(v->irq_pending));
	vcpu_need(v, VST_SHADOW);
	v->st.shadow = SHADOW_NONE;
	v->st.nmi_blocked = false;
	v->st.pending_dbg = 0;
	vcpu_dirty(v, VST_SHADOW);
}

void snapshot_restore(struct vcpu *v, const struct dbg_snapshot *s)
{
	struct dbg_vcpu *d = &v->dbg;
	uint64_t lbr[SNAPSHOT_LBR_MAX];

	snapshot_wipe(v);
	memcpy(d->dr, s->dr, sizeof(d->dr));
	d->dr6 = dbg_dr6_fix(s->dr6, d->feat);
	d->dr7 = dbg_dr7_fix(s->dr7, d->feat);
	d->debugctl = s->debugctl;
	memcpy(d->mask, s->mask, sizeof(d->mask));
	dbg_settle(d);
	if (s->flags & SNAPSHOT_DB)
		vcpu_raise_db(v, &(struct dbg_record){ .payload = s->payload, .cls = s->cls, .level = (uint8_t)v->level,
						       .emulated = s->flags & SNAPSHOT_EMULATED });
	v->nmi_pending = s->flags & SNAPSHOT_NMI;
	memcpy(v->irq_pending, s->irq_pending, sizeof(v->irq_pending));
	v->event_pending = true; /* event_select looks what there is */
	v->st.nmi_blocked = s->flags & SNAPSHOT_NMI_BLOCKED;
	v->st.shadow = s->shadow;
	v->st.pending_dbg = s->pending_dbg;
	memcpy(lbr, s->lbr, sizeof(lbr));
	if (s->nr_lbr)
		v->be->lbr_state(v, lbr, true);
}
