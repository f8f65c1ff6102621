/* SPDX-License-Identifier: MIT */
/* Saving and restoring the debug state of a vcpu, its undelivered #DB included (rules Z10, Z11, Z13). */
#ifndef VMM_SNAPSHOT_H
#define VMM_SNAPSHOT_H

#include "arch/x86/def/snapshot.h"
#include "vmm/vcpu.h"

/* The vcpu is loaded and between two runs. Every byte of *s is written. */
void snapshot_save(struct vcpu *v, struct dbg_snapshot *s);
/* What all snapshots of def/snapshot.h begin with, a backend's of its levels too: the name of the first field that is not this one, or NULL. */
const char *snapshot_check_head(const void *s, uint32_t magic, uint16_t version, size_t size);
/* The name of the first field that cannot be restored on this vcpu, or NULL. */
const char *snapshot_check(const struct vcpu *v, const struct dbg_snapshot *s);
/* After snapshot_check(). Reserved bits of DR6 and DR7 take their fixed values. */
void snapshot_restore(struct vcpu *v, const struct dbg_snapshot *s);
/* Nothing is left of the debug state that snapshot_restore() brings back: as on a machine where the vcpu has not been yet. */
void snapshot_wipe(struct vcpu *v);

#endif
