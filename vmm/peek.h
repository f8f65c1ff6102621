/* SPDX-License-Identifier: MIT */
/* A guest's memory as an observer sees it: by the guest's own tables, whatever their rights, without a fault or an accessed bit. */
#ifndef VMM_PEEK_H
#define VMM_PEEK_H

#include "vmm/vcpu.h"

/* Host pointer to what lies at a linear address, all n bytes in one page; NULL: not mapped, or no RAM. */
uint8_t *peek_ptr(struct vcpu *v, uint64_t lin, size_t n);
/* Copies n bytes out; false: not all are there, and some may have been copied. */
bool peek(struct vcpu *v, uint64_t lin, void *dst, size_t n);

#endif
