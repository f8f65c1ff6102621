/* SPDX-License-Identifier: MIT */
/* The virtual CPU: reset state, state groups, the exception queue, retirement of skipped instructions. */
#include "vmm/vcpu.h"

#include <stdarg.h>

#include "arch/lib/fmt.h"
#include "arch/lib/log.h"
#include "arch/lib/string.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/exitcode.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/def/seg.h"
#include "vmm/backend.h"
#include "vmm/bus.h"
#include "vmm/cpuid.h"
#include "vmm/debugger.h"
#include "vmm/fetch.h"

void vcpu_need_slow(struct vcpu *v, uint32_t groups)
{
	v->be->fetch(v, groups & ~v->st_valid);
	v->st_valid |= groups;
}

static void set_seg(struct vcpu *v, enum seg_index i, uint16_t sel, uint32_t ar, uint32_t limit)
{
	v->st.seg[i] = (struct seg){ .sel = sel, .ar = ar, .limit = limit, .base = 0 };
}

/* Multiboot specification, "Machine state": flat segments whose selectors mean nothing, paging off, A20 on, interrupts off. The rest as RESET. */
void vcpu_reset(struct vcpu *v, uint64_t rip)
{
	memset(v->r, 0, sizeof(v->r));
	memset(&v->st, 0, sizeof(v->st));
	v->rip = rip;
	v->rflags = RFLAGS_BIT1;
	v->level = v->exit.level = v->held = 0;
	v->tsc_offset = 0;
	if (v->nested)
		v->be->nested->reset(v);
	v->st.cr0 = CR0_PE | CR0_ET;
	v->st.pat = MSR_PAT_RESET;
	for (enum seg_index i = SEG_ES; i <= SEG_GS; i++)
		set_seg(v, i, 0x10, SEG_AR_DATA32, 0xffffffff);
	set_seg(v, SEG_CS, 0x08, SEG_AR_CODE32, 0xffffffff);
	set_seg(v, SEG_LDTR, 0, SEG_AR_LDT | SEG_AR_UNUSABLE, 0xffff);
	set_seg(v, SEG_TR, 0, SEG_AR_TSS32_BUSY, 0x67);
	v->st.idtr.limit = v->st.gdtr.limit = 0xffff;
	v->inject.type = v->exception.type = v->exit.vectoring.type = EVENT_NONE;
	v->nmi_pending = v->event_pending = v->halted = false;
	memset(v->irq_pending, 0, sizeof(v->irq_pending));
	v->want_intr_window = v->want_nmi_window = v->debugctl_open = v->migrate_l2 = false;
	vlapic_reset(&v->apic);
	v->dbg.feat = cpuid_dbg_feat();
	v->dbg.feat |= (uint8_t)v->be->dbg_given(this_cpu(), v->dbg.feat);
	if (v->dbg.soft)
		v->dbg.feat |= DBG_FEAT_LBR | DBG_FEAT_BTF | DBG_FEAT_BUS_LOCK | DBG_FEAT_BLD;
	v->step = (struct vcpu_step){ 0 };
	dbg_vcpu_reset(&v->dbg);
	dbg_vm_fields_unknown(&v->dbg);
	if (!(v->be->dbg_caps & DBG_CAP_VM_DR6))
		v->dbg.vm_dr6 = DR6_INIT; /* not used, and run.c's short cut compares it */
	fetch_cache_init(&v->fetch);
	vcpu_dirty(v, VST_ALL);
}

/* SDM "Processor State After Power-up, Reset, or INIT". */
void vcpu_init(struct vcpu *v)
{
	struct vcpu_state was;
	uint64_t base = v->apic.base;

	vcpu_need(v, VST_MSR);
	was = v->st;
	vcpu_reset(v, 0xfff0);
	v->apic.base = base;
	v->st.cr0 = CR0_CD | CR0_NW | CR0_ET;
	for (enum seg_index i = SEG_ES; i <= SEG_GS; i++)
		set_seg(v, i, 0, SEG_AR_DATA16, 0xffff);
	set_seg(v, SEG_CS, 0xf000, SEG_AR_CODE16, 0xffff);
	v->st.seg[SEG_CS].base = 0xffff0000;
	v->st.star = was.star;
	v->st.lstar = was.lstar;
	v->st.cstar = was.cstar;
	v->st.sfmask = was.sfmask;
	v->st.kernel_gs_base = was.kernel_gs_base;
	v->st.sysenter_cs = was.sysenter_cs;
	v->st.sysenter_esp = was.sysenter_esp;
	v->st.sysenter_eip = was.sysenter_eip;
	v->st.pat = was.pat;
	v->st.tsc_aux = was.tsc_aux;
}

void vcpu_stop(struct vcpu *v, unsigned code, const char *fmt, ...)
{
	char why[200];
	va_list ap;

	if (v->stopped)
		return;
	va_start(ap, fmt);
	fmt_vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	v->stopped = true;
	vcpu_leave(v);
	v->exit_code = code;
	bus_flush(v->vm->bus);
	log_printf("drover: vm %s: stopped: %s\n", v->vm->name, why);
}

/* ---- Exceptions ---- */

enum severity { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE };

static enum severity severity(const struct event *e)
{
	if (e->type != EVENT_FAULT)
		return BENIGN; /* interrupts, INT n, NMI */
	switch (e->vector) {
	case VEC_DE: case VEC_TS: case VEC_NP: case VEC_SS: case VEC_GP:
		return CONTRIBUTORY;
	case VEC_PF:
		return PAGE_FAULT;
	case VEC_DF:
		return DOUBLE;
	default:
		return BENIGN;
	}
}

/* SDM "Interrupt 8 - Double Fault Exception", APM "#DF": contributory on contributory, and either on a page fault, make a double fault; any of
 * them on a double fault is a shutdown. Else the second one is delivered, and the first comes again when its instruction runs again. */
static bool combine(struct vcpu *v, const struct event *first, struct event *second)
{
	enum severity a = severity(first), b = severity(second);

	if (a == DOUBLE && b != BENIGN && v->level) {
		*second = (struct event){ .type = EVENT_TRIPLE };
		return true;
	}
	if (a == DOUBLE && b != BENIGN) {
		vcpu_stop(v, EXIT_TRIPLE, "triple fault: vector %u on a double fault, rip=0x%lx", second->vector, v->rip);
		return false;
	}
	if ((a == CONTRIBUTORY && b == CONTRIBUTORY) || (a == PAGE_FAULT && (b == CONTRIBUTORY || b == PAGE_FAULT)))
		*second = (struct event){ .type = EVENT_FAULT, .vector = VEC_DF, .has_error = true };
	return true;
}

static void queue(struct vcpu *v, struct event e)
{
	if (v->exit.vectoring.type != EVENT_NONE) {
		if (!combine(v, &v->exit.vectoring, &e))
			return;
		v->exit.vectoring.type = EVENT_NONE;
	}
	/* A pending #DB trap is of an instruction before this one and comes first: what faulted here runs again. */
	if (event_is_db(&v->exception))
		return;
	if (v->exception.type != EVENT_NONE && !combine(v, &v->exception, &e))
		return;
	v->exception = e;
	v->event_pending = true;
}

void vcpu_raise(struct vcpu *v, uint8_t vec, bool has_error, uint32_t error)
{
	queue(v, (struct event){ .type = EVENT_FAULT, .vector = vec, .has_error = has_error, .error = error });
}

void vcpu_raise_pf(struct vcpu *v, uint64_t cr2, uint32_t error)
{
	queue(v, (struct event){ .type = EVENT_FAULT, .vector = VEC_PF, .has_error = true, .error = error, .cr2 = cr2 });
}

void vcpu_raise_db(struct vcpu *v, const struct dbg_record *r)
{
	struct event *e = &v->exception;

	v->event_pending = true;
	if (e->type != EVENT_NONE && !event_is_db(e))
		return;
	if (e->type != EVENT_NONE) {
		e->db.payload |= r->payload; /* causes of one boundary are one #DB (A34) */
		e->db.emulated &= r->emulated;
		return;
	}
	*e = (struct event){ .type = EVENT_FAULT, .vector = VEC_DB, .db = *r };
}

void vcpu_debugger_hit(struct vcpu *v, uint32_t hits)
{
	hits = debugger_hit(v, hits);
	if (!hits)
		return;
	v->debugger_hits++;
	v->debugger_dr6 = dbg_dr6_merge(DR6_INIT, hits, v->dbg.feat);
}

void vcpu_clear_shadow(struct vcpu *v)
{
	vcpu_need(v, VST_SHADOW);
	if (v->st.shadow | v->st.pending_dbg) {
		v->st.shadow = SHADOW_NONE;
		v->st.pending_dbg = 0;
		vcpu_dirty(v, VST_SHADOW);
	}
}

void vcpu_retired(struct vcpu *v, uint32_t hits)
{
	uint64_t rflags = v->rflags;
	uint32_t payload, theirs;

	vcpu_need(v, VST_SHADOW);
	payload = dbg_retire(&v->dbg, rflags, hits | v->st.pending_dbg);
	theirs = dbg_route(&v->dbg, &payload);
	v->rflags = rflags & ~RFLAGS_RF;
	vcpu_clear_shadow(v);
	if (theirs)
		vcpu_debugger_hit(v, theirs);
	if (payload)
		vcpu_raise_db(v, &(struct dbg_record){ .payload = payload, .cls = DBG_TRAP, .level = (uint8_t)v->level, .emulated = true });
}

void vcpu_skip_slow(struct vcpu *v, unsigned len, uint32_t hits)
{
	uint64_t rip = v->rip + len;

	v->rip = vcpu_long64(v) ? rip : rip & 0xffffffff;
	vcpu_retired(v, hits);
}
