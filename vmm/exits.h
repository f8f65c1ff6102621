/* SPDX-License-Identifier: MIT */
/* The handlers that exit.c dispatches to; one file each. Each does the instruction's work, then skips it or queues a fault. */
#ifndef VMM_EXITS_H
#define VMM_EXITS_H

#include "vmm/vcpu.h"

void exit_io(struct vcpu *v);        /* exit_io.c: IN, OUT, INS, OUTS */
void exit_cr(struct vcpu *v);        /* exit_cr.c: MOV CR, CLTS, LMSW */
void exit_xsetbv(struct vcpu *v);    /* exit_cr.c */
void exit_dr(struct vcpu *v);        /* exit_dr.c: MOV DR */
void exit_exception(struct vcpu *v); /* exit_dr.c: #DB, #AC */
void exit_msr(struct vcpu *v);       /* msr.c */
/* RDMSR and WRMSR without the instruction; false: #GP(0), nothing changed. */
bool msr_read(struct vcpu *v, uint32_t msr, uint64_t *val);
bool msr_write(struct vcpu *v, uint32_t msr, uint64_t val);
void exit_hypercall(struct vcpu *v); /* lab.c */
void lab_migrate_l2(struct vcpu *v); /* lab.c: with v->migrate_l2, behind an exit of the nested guest */

#endif
