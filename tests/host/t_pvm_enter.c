/* SPDX-License-Identifier: MIT */
/* PVM: what one entry loads besides the debug registers: the stack of a compatibility-mode guest, CR0. */
#include <string.h>

#include "arch/x86/def/cr.h"
#include "arch/x86/insn.h"
#include "arch/x86/pvm/area.h"
#include "arch/x86/pvm/emul.h"
#include "both.h"
#include "model/ring3.h"

/* A machine whose one guest has run its script, and may be entered again as the test wants. */
static struct vcpu *ended_script(struct machine *m, bool amd, const char *name)
{
	static const struct gop ops[] = { WR(0, 0x11111), RD(0) };
	struct ref_cpu phys = plain;
	struct vcpu *v = NULL;

	phys.no_debugctl = true;
	machine_ring3 = true;
	write_cr0(CR0_MP); /* as cpuinit.c leaves it */
	if (machine_start(m, amd, phys) && machine_add(m, OPS(ops), OPS(show_dr67))) {
		machine_run(m);
		machine_same_as_bare(m, 0, name);
		v = m->vm[0]->vcpu;
		this_cpu()->vcpu = v;
		v->be->vcpu_load(v, this_cpu());
	}
	machine_ring3 = false;
	return v;
}

/* In compatibility mode, in the kernel, on a stack whose segment has B as it says. */
static void enter_compat(struct vcpu *v, bool b, uint64_t rsp)
{
	static const uint64_t code = 0x00cf9b000000ffff, data = 0x008f93000000ffff;

	memcpy(v->vm->ram + R3_GDT + 8, &code, 8);
	memcpy(v->vm->ram + R3_GDT + 16, &(uint64_t){ data | (uint64_t)b << 54 }, 8);
	v->st.cpl = 0;
	v->st.seg[SEG_CS] = pvm_seg(8, code);
	v->st.seg[SEG_SS] = pvm_seg(16, data | (uint64_t)b << 54);
	pvm_gdt_rebuild(v);
	v->r[GPR_RSP] = rsp;
	v->be->run(v, this_cpu());
}

static void stack16(bool amd)
{
	static const uint64_t rsp[] = { 0xabcd1234, 0xffff8000, 0x00000ff8, 0xabce0000, 0x7fff0010 };
	struct tap_set s = { .id = amd ? "P21.stack16.pvm.amd" : "P21.stack16.pvm.intel" };
	struct machine m;
	struct vcpu *v = ended_script(&m, amd, amd ? "P21.stack16.script.pvm.amd" : "P21.stack16.script.pvm.intel");

	if (!v)
		return;
	for (unsigned i = 0; i < sizeof(rsp) / sizeof(rsp[0]); i++)
		for (unsigned b = 0; b < 2; b++) {
			enter_compat(v, b, rsp[i]);
			tap_case(&s, v->r[GPR_RSP], rsp[i], "ESP=0x%llx, B=%u", (unsigned long long)rsp[i], b);
		}
	tap_case(&s, sw.broken[RULE_P21], 0, "the frame is where the entry looks for it");
	tap_end(&s, "in compatibility mode ESP stays the guest's");
	machine_stop(&m);
}

TEST(P21_stack16_intel)
{
	stack16(false);
}

TEST(P21_stack16_amd)
{
	stack16(true);
}

/* SDM "WAIT/FWAIT": #NM with both MP and TS; all else that is x87's or SSE's goes by EM and TS. */
TEST(P19_cr0)
{
	struct tap_set s = { .id = "P19.cr0" };
	struct machine m;
	struct vcpu *v = ended_script(&m, false, "P19.cr0.script");

	if (!v)
		return;
	for (uint64_t bits = 0; bits < 16; bits += 2) {
		uint64_t want = bits & (CR0_TS | CR0_EM) ? bits : CR0_MP; /* without TS nothing asks for MP, and the host's stays */

		v->st.cr0 = (v->st.cr0 & ~(uint64_t)(CR0_MP | CR0_EM | CR0_TS)) | bits;
		v->be->run(v, this_cpu());
		tap_case(&s, sw.ring3_cr0 & (CR0_MP | CR0_EM | CR0_TS), want, "CR0=0x%llx in the guest", (unsigned long long)bits);
		tap_case(&s, read_cr0() & (CR0_MP | CR0_EM | CR0_TS), CR0_MP, "CR0=0x%llx: the host's behind the exit", (unsigned long long)bits);
	}
	tap_end(&s, "MP, EM and TS are the guest's while it runs");
	machine_stop(&m);
}
