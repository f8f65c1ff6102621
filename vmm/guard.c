/* SPDX-License-Identifier: MIT */
/* Guards in the VM's own second-level tables; in tables that faults fill (nested guests, PVM) whoever fills them asks guard.h. */
#include "vmm/guard.h"

#include "vmm/slat.h"

/* What hardware or a shadow may have kept of the old rights. Fewer rights: leaves with more of them must go. More: the next fetch finds out,
 * and fills anew; but a table of the VM's own has no such second look. */
static void flush(struct vcpu *v, bool fewer)
{
	if (fewer || v->be->slat)
		v->be->flush(v->vm);
	if (v->nested && fewer)
		v->be->nested->flush(v);
}

static bool set_exec(struct vcpu *v, bool exec)
{
	const struct guard *g = &v->vm->guard;
	bool ok = true;

	for (unsigned i = 0; i < g->nr && v->be->slat; i++)
		ok = slat_set_exec(v->be->slat, v->vm->slat_root, g->page[i], exec) && ok;
	return ok;
}

bool guard_set(struct vcpu *v, const uint64_t *gpa, unsigned nr)
{
	struct guard *g = &v->vm->guard;
	bool ok;

	if (!g->nr && !nr)
		return true;
	set_exec(v, true);
	g->nr = nr;
	g->open = false;
	for (unsigned i = 0; i < nr; i++)
		g->page[i] = gpa[i] & ~4095ull;
	ok = set_exec(v, false);
	if (!ok) {
		set_exec(v, true);
		g->nr = 0;
	}
	flush(v, true);
	return ok;
}

void guard_open(struct vcpu *v, bool open)
{
	struct guard *g = &v->vm->guard;

	if (g->open == open)
		return;
	g->open = open;
	set_exec(v, open); /* their tables are there since guard_set() */
	flush(v, !open);
}
