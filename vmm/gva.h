/* SPDX-License-Identifier: MIT */
/* Guest-linear memory: translation with the guest's own tables and rights, and checked copies that raise the guest's #PF. */
#ifndef VMM_GVA_H
#define VMM_GVA_H

#include "vmm/gmem.h"
#include "vmm/walk.h"

/* Where does the guest's code or data at a linear address lie? access: WALK_W, WALK_U, WALK_I. False: r->error is the #PF code; of a page that is not there for
 * what is the host's under a backend with be->ring3. Whether an address is canonical the caller has asked: that is another fault. */
bool gva_walk(struct vcpu *v, struct gva a, uint32_t access, struct walk_result *r);
/* The accessed and dirty bits that an access through the entries of that walk sets. */
void gva_set_ad(struct vcpu *v, const struct walk_result *r, bool write);

/* Host pointer to n bytes at a physical address as what runs sees it, which a nested guest need not see where the guest does. All in one page. NULL: no
 * memory there. */
uint8_t *gva_phys(struct vcpu *v, uint64_t pa, size_t n);

enum gva_status { GVA_OK, GVA_FAULT, GVA_NO_MEMORY };

/* Copies n <= 4096 bytes, of two pages at the most, with the rights of the guest's CPL; a write is all or nothing. GVA_FAULT: a #PF has been queued. GVA_NO_MEMORY: the
 * address translates to memory that the VM does not have, or a nested guest's hypervisor does not give it: v->miss. Sets accessed and dirty bits as the access itself would. */
enum gva_status gva_read(struct vcpu *v, struct gva a, void *dst, size_t n);
enum gva_status gva_write(struct vcpu *v, struct gva a, const void *src, size_t n);
/* One byte there, with the rights of the guest's CPL: its guest-physical address, RAM or not. False: a #PF has been queued. Accessed and dirty bits. */
bool gva_touch(struct vcpu *v, struct gva a, bool write, uint64_t *pa);
/* Host pointer to n bytes that lie in one page, with the rights of the guest's CPL; accessed and dirty bits. NULL: as *st says. */
uint8_t *gva_span(struct vcpu *v, struct gva a, size_t n, bool write, enum gva_status *st);
/* May the guest write there? As gva_write without the copy. */
enum gva_status gva_probe_write(struct vcpu *v, struct gva a, size_t n);

#endif
