/* SPDX-License-Identifier: MIT */
/* The VMX backend, for whoever chooses backends. Everything else about VMX is private to this folder. */
#ifndef ARCH_X86_VMX_VMX_H
#define ARCH_X86_VMX_VMX_H

#include "vmm/backend.h"

extern const struct backend vmx_backend;

#endif
