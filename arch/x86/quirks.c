/* SPDX-License-Identifier: MIT */
/* May known faults of an emulator be worked around? */
#include "arch/x86/quirks.h"

bool quirks_auto = true;
