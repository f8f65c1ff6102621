/* SPDX-License-Identifier: MIT */
/* Second-level tables on the software CPU, as far as fetches need them: a page that may not be executed exits before its instruction. */
#include "arch/x86/def/pte.h"
#include "model/cpu.h"
#include "model/tlb.h"

/* NPT: NX in no level (APM "Nested Paging"); EPT: X, bit 2, in each (SDM "EPT Translation Mechanism"). Bit 7: a large leaf, in either. */
static bool executable(const struct sw_ctl *ctl, uint64_t gpa)
{
	uint64_t all = ~0ull, any = 0, e = ctl->slat;

	for (int shift = 39; shift >= 12; shift -= 9) {
		e = ((const uint64_t *)(uintptr_t)(e & PTE_ADDR))[gpa >> shift & 511];
		all &= e;
		any |= e;
		if (shift < 39 && shift > 12 && (e & 0x80))
			break;
	}
	return ctl->ept ? all & 4 : !(any & PTE_NX);
}

/* Scripts lie where they say, without paging; with a TLB they are not fetched through it. An instruction is fetched whole before it does anything. */
bool sw_fetch_exits(const struct sw_guest *g, const struct sw_ctl *ctl, struct sw_exit *x, int i)
{
	uint64_t last = g->rip + g->len[i] - 1u;

	if (!ctl->slat || tlb.on || (executable(ctl, g->rip) && executable(ctl, last)))
		return false;
	x->kind = X_FETCH;
	x->cr2 = executable(ctl, g->rip) ? last & ~0xfffull : g->rip;
	return true;
}
