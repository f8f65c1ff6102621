/* SPDX-License-Identifier: MIT */
/* Executes the plans of dbg.c around a world switch, in the one right order. Interrupts are off in all of it. */
#ifndef ARCH_X86_DBG_SWITCH_H
#define ARCH_X86_DBG_SWITCH_H

#include "arch/x86/dbg.h"

/* ops: from dbg_plan_enter. Leaves vm_dr6, vm_dr7, vm_debugctl, vm_lbrv, vm_intercept, vm_dirty for the backend to commit. */
void dbg_do_enter(unsigned ops, unsigned caps, struct dbg_cpu *c, struct dbg_vcpu *v);
/* ops: from dbg_plan_leave; with DBG_OP_VM_FETCH the caller has already had vm_dr6, vm_dr7 and vm_debugctl fetched. A LIVE vcpu becomes what
 * dbg_settle() says: ARMED or IDLE, or LIVE again under the eager and cached policies. */
void dbg_do_leave(unsigned ops, unsigned caps, struct dbg_cpu *c, struct dbg_vcpu *v);

/* An intercepted #DB of a LIVE vcpu is to be reflected inside the inner loop (H10). Without DBG_CAP_DB_APPLIED the payload is merged into the
 * live DR6 (read, merge, write: not a reload, H11) and GD cleared in vm_dr7 (the caller fetched vm_dr7; vm_dirty tells if it changed). */
void dbg_reflect_live(unsigned caps, struct dbg_cpu *c, struct dbg_vcpu *v, const struct dbg_record *r);

/* The two writes of backend->run's DEBUGCTL bracket, when dbg_debugctl_zero_before() and dbg_debugctl_restore_after() ask for them; with interrupts
 * (SVM: GIF) off; from the shadow, never by RDMSR (H16). */
void dbg_debugctl_before(struct dbg_cpu *c);
void dbg_debugctl_after(struct dbg_cpu *c);

/* ---- The host's own debug state ---- */

/* At bring-up of a CPU: DR7 = DR7_INIT, DR6 = DR6_INIT, DR0-3 = 0; finds out whether DEBUGCTL exists, and sets it to 0; address masks 0. */
void dbg_host_init(struct dbg_cpu *c);
/* Arms slot 0-3 of the host at a linear address; rw_len: DR7's nibble. False: slot out of range. Takes effect at once, or,
 * while a guest's addresses are loaded, when it leaves. */
bool dbg_host_set_bp(struct dbg_cpu *c, unsigned slot, uint64_t addr, unsigned rw_len);
void dbg_host_clear_bps(struct dbg_cpu *c);
/* The one setter of the host's DEBUGCTL. False: no such MSR, or the value faults; shadow unchanged. */
bool dbg_host_set_debugctl(struct dbg_cpu *c, uint64_t v);
/* From the host's #DB trap (own IST stack): DR7 off, DR6 read and reset at once, counted, DR7 as it was (H19). Returns DR6 as found; DR6_INIT while a
 * guest's registers are loaded: DR6 may be its own then, and is left alone. */
uint64_t dbg_host_db(struct dbg_cpu *c);

#endif
