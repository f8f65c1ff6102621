/* SPDX-License-Identifier: MIT */
/* The virtual APIC in a vcpu: events, the page, HLT. */
#include <string.h>

#include "arch/x86/def/apic.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/insn.h"
#include "both.h"
#include "vmm/apic.h"
#include "vmm/run.h"

#define X2(reg) (MSR_X2APIC_BASE + (reg) / 16)

BOTH(lapic_events)
{
	struct tap_set s = { .id = id(amd, "lapic.event") };
	struct machine m;
	struct vcpu *v;

	if (!machine_start(&m, amd, plain) || !(v = machine_add(&m, NULL, 0, NULL, 0)))
		return;
	vlapic_wrmsr(&v->apic, MSR_APIC_BASE, v->apic.base | APIC_BASE_X2APIC, 0);
	vlapic_wrmsr(&v->apic, X2(APIC_SVR), 0x1ff, 0);
	vlapic_wrmsr(&v->apic, X2(APIC_SELF_IPI), 0x51, 0);
	apic_changed(v);
	event_select_slow(v);
	tap_case(&s, v->inject.type, EVENT_NONE, "IF=0: nothing yet");
	tap_case(&s, v->want_intr_window, true, "but a window is asked for");
	v->rflags |= 0x200;
	vcpu_raise_db(v, &(struct dbg_record){ .payload = 0x4000, .cls = DBG_TRAP });
	event_select_slow(v);
	tap_case(&s, v->inject.vector, 1, "a trap #DB comes first (A35)");
	tap_case(&s, v->want_intr_window, true, "and the interrupt waits");
	v->inject.type = EVENT_NONE;
	event_select_slow(v);
	tap_case(&s, v->inject.type << 8 | v->inject.vector, EVENT_INTR << 8 | 0x51, "then it comes");
	tap_case(&s, v->want_intr_window, false, "and no other waits");
	v->inject.type = EVENT_NONE;
	event_select_slow(v);
	tap_case(&s, v->inject.type, EVENT_NONE, "once");
	vlapic_wrmsr(&v->apic, X2(APIC_SELF_IPI), 0x42, 0);
	event_select_slow(v);
	tap_case(&s, v->inject.type, EVENT_NONE, "a lower class waits for EOI");
	tap_case(&s, v->want_intr_window, false, "for which no window helps");
	v->irq_pending[0x33 / 64] |= 1ull << 0x33 % 64;
	event_select_slow(v);
	tap_case(&s, v->inject.vector, 0x33, "the lab's interrupts come past the APIC");
	v->inject.type = EVENT_NONE;
	vlapic_wrmsr(&v->apic, X2(APIC_EOI), 0, 0);
	event_select_slow(v);
	tap_case(&s, v->inject.vector, 0x42, "behind EOI it comes");
	tap_end(&s, "what the APIC brings, on the ladder of events");
	machine_stop(&m);
}

/* 32-bit code without paging, as a vcpu starts. */
static void touch(struct vcpu *v, const uint8_t *code, unsigned n, bool write, uint64_t at)
{
	memcpy(v->vm->ram + 0x1000, code, n);
	v->rip = 0x1000;
	v->r[GPR_RDI] = at;
	v->rflags = 2;
	v->exception.type = v->exit.vectoring.type = EVENT_NONE;
	v->exit.kind = EXITK_MEM;
	v->exit.u.mem.gpa = at;
	v->exit.u.mem.write = write;
	v->exit.u.mem.exec = false;
	exit_handle(v);
}

BOTH(lapic_page)
{
	static const struct {
		uint8_t code[8], n;
		bool write, stops;
		uint16_t off;
		uint64_t rax; /* behind it; 0x1122334455667788 before. For a store, TPR */
	} t[] = {
		{ { 0x8b, 0x07 }, 2, false, false, 0x80, 0x57 }, { { 0x66, 0x8b, 0x07 }, 3, false, false, 0x80, 0x1122334455660057 },
		{ { 0x8a, 0x27 }, 2, false, false, 0x80, 0x1122334455665788 }, { { 0x8a, 0x07 }, 2, false, false, 0x80, 0x1122334455667757 },
		{ { 0xa1, 0x80, 0x00, 0xe0, 0xfe }, 5, false, false, 0x80, 0x57 }, { { 0x8b, 0x07 }, 2, false, false, 0x84, 0 },
		{ { 0x89, 0x07 }, 2, true, false, 0x80, 0x88 }, { { 0xc7, 0x07, 0x21, 0, 0, 0 }, 6, true, false, 0x80, 0x21 },
		{ { 0x88, 0x07 }, 2, true, false, 0x80, 0x57 }, { { 0x89, 0x07 }, 2, true, false, 0x84, 0x57 },
		{ { 0x8b, 0x07 }, 2, false, true, 0xffe, 0 }, { { 0x09, 0x07 }, 2, true, true, 0x80, 0 }, { { 0x8b, 0x07 }, 2, true, true, 0x80, 0 },
	};
	struct tap_set s = { .id = id(amd, "lapic.page") }, hit = { .id = id(amd, "E08.lapic") };
	struct machine m;
	struct vcpu *v;

	if (!machine_start(&m, amd, plain) || !(v = machine_add(&m, NULL, 0, NULL, 0)))
		return;
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		v->stopped = false;
		v->apic.tpr = 0x57;
		v->r[GPR_RAX] = 0x1122334455667788;
		touch(v, t[i].code, t[i].n, t[i].write, VLAPIC_PA + t[i].off);
		tap_case(&s, v->stopped, t[i].stops, "case %u stops the VM", i);
		tap_case(&s, v->rip, 0x1000u + (t[i].stops ? 0 : t[i].n), "case %u: RIP", i);
		if (!t[i].stops)
			tap_case(&s, t[i].write ? v->apic.tpr : v->r[GPR_RAX], t[i].rax, "case %u: the value", i);
	}
	v->stopped = false;
	v->apic.base = 0xfee00100;
	touch(v, t[0].code, 2, false, VLAPIC_PA + 0x80);
	tap_case(&s, v->stopped, true, "switched off, there is no page");
	tap_end(&s, "MOV to and from the page, all else stops");

	v->stopped = false;
	v->apic.base = 0xfee00900;
	for (unsigned rw = 1; rw <= 3; rw += 2)
		for (unsigned i = 0; i < 7; i += 6) {
			v->dbg.dr[1] = VLAPIC_PA + 0x80;
			v->dbg.dr7 = 0x400 | 8 | (0xcull | rw) << 20;
			v->dbg.state = DBG_ARMED;
			touch(v, t[i].code, t[i].n, t[i].write, VLAPIC_PA + 0x80);
			tap_case(&hit, v->exception.type != EVENT_NONE ? v->exception.db.payload : 0, rw == 3 || t[i].write ? 2 : 0, "R/W %u, case %u", rw, i);
		}
	tap_end(&hit, "data breakpoints on the page");
	v->dbg.dr7 = 0x400;
	v->dbg.state = DBG_IDLE;
	machine_stop(&m);
}

BOTH(lapic_halt)
{
	struct tap_set s = { .id = id(amd, "lapic.halt") };
	struct machine m;
	struct vcpu *v, *p;

	if (!machine_start(&m, amd, plain) || !(v = machine_add(&m, NULL, 0, NULL, 0)) || !(p = machine_add(&m, NULL, 0, NULL, 0)))
		return;
	v->peer = p;
	p->peer = v;
	p->apic.svr = 0x1ff;
	p->apic.lvt[VLVT_TIMER] = 0x40;
	p->apic.expiry = rdtsc() + 100000;
	p->rflags |= 0x200;
	p->halted = true;
	tap_case(&s, run_timer_wakes(p), true, "a timer that will come");
	tap_case(&s, run_peer(v) == NULL, true, "until then the halted one cannot run");
	sw.tsc += 100000;
	tap_case(&s, run_peer(v) == p && !p->halted, true, "then it can");
	vlapic_ack(&p->apic, 0x40);
	p->halted = true;
	tap_case(&s, run_timer_wakes(p), false, "nothing is left to wait for");
	p->apic.expiry = rdtsc() + 5000;
	tap_case(&s, run_timer_wakes(p), false, "its class is in service: it would not be taken");
	vlapic_set_tpr(&p->apic, 0);
	p->apic.isr[1] = 0;
	p->rflags &= ~0x200ull;
	tap_case(&s, run_timer_wakes(p), false, "nor with IF=0");
	m.cpu->slice_end_tsc = 1000;
	v->apic.expiry = 900;
	run_timer(v);
	tap_case(&s, m.cpu->slice_end_tsc, 900, "the loop looks at the deadline");
	tap_case(&s, sw.alarm, 900, "and the host's timer comes for it");
	v->apic.expiry = 5000;
	run_timer(v);
	tap_case(&s, m.cpu->slice_end_tsc, 900, "never later than it would");
	tap_end(&s, "HLT and the slice wait for the timer");
	p->halted = false;
	machine_stop(&m);
}
