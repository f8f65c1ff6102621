/* SPDX-License-Identifier: MIT */
/* l1.h: by the CPU's vendor. */
#include "tests/guest/l1.h"

const char *l1_enter_insn, *l1_exit_insn;

static const struct l1_ops *ops(void)
{
	return env.amd ? &l1_svm : &l1_vmx;
}

void l1_begin(void)
{
	l1_enter_insn = ops()->enter_insn;
	l1_exit_insn = ops()->exit_insn;
	ops()->begin();
}

void l1_end(void)
{
	ops()->end();
}

void l1_run(struct l2 *g)
{
	ops()->run(g);
}

void l1_map(unsigned slot, const volatile void *page, unsigned rights)
{
	ops()->map(slot, page, rights);
}
