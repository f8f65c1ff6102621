/* SPDX-License-Identifier: MIT */
/* A fault of QEMU's TCG. db-twice: the step and the watchpoint of one instruction come as two #DBs, the second at the first instruction of the first one's
 * handler. In the switcher that would overwrite the first one's frame, if both came on an IST stack. */
#include "arch/lib/log.h"
#include "arch/x86/dbg_hw.h"
#include "arch/x86/dbg_switch.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/insn.h"
#include "arch/x86/pvm/pvm.h"
#include "arch/x86/quirks.h"
#include "arch/x86/traps.h"

bool pvm_quirk_db_twice;

static struct dbg_cpu *trying;
static unsigned taken;

static bool count(struct trapframe *tf)
{
	taken++;
	tf->rflags &= ~RFLAGS_TF;
	hw_write_dr(trying, 6, DR6_INIT);
	return true;
}

void pvm_quirk_init(struct cpu *c)
{
	static volatile uint8_t watched;

	trying = &c->dbg;
	taken = 0;
	irq_disable();
	trap_set_db_filter(count); /* without IST: two nest well */
	dbg_host_set_bp(&c->dbg, 0, (uint64_t)(uintptr_t)&watched, DR_RW_WRITE);
	step_over_store(&watched);
	dbg_host_clear_bps(&c->dbg);
	trap_set_db_filter(NULL);
	irq_enable();
	pvm_quirk_db_twice = quirks_auto && taken > 1;
	if (pvm_quirk_db_twice)
		log_printf("drover: quirk db-twice: a step and a watchpoint of one instruction are two #DBs\n");
}
