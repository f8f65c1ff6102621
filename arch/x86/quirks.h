/* SPDX-License-Identifier: MIT */
/* The `quirks=` option: may known faults of an emulator be worked around? Each user names its quirk in the log. */
#ifndef ARCH_X86_QUIRKS_H
#define ARCH_X86_QUIRKS_H

#include <stdbool.h>

/* quirks=auto: true. quirks=none: false, the machine's faults then show. Set by boot before a backend is turned on. */
extern bool quirks_auto;

#endif
