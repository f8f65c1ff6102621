/* SPDX-License-Identifier: MIT */
/* gdb's `monitor` command: what drover knows and gdb has no words for. */
#ifndef VMM_GDB_MONITOR_H
#define VMM_GDB_MONITOR_H

#include "vmm/vcpu.h"

/* Carries out one line. What it says goes to out, in pieces; the log has it as well where the machine model's own dumps are asked for. */
void monitor_command(struct vcpu *v, const char *line, void (*out)(const char *s, size_t n));

#endif
