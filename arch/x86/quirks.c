/* SPDX-License-Identifier: MIT */
/* Which emulator is this, and may its faults be worked around. */
#include "arch/x86/quirks.h"

#include "arch/x86/def/cpuid.h"
#include "arch/x86/insn.h"

bool quirks_auto = true;

bool quirk_is_bochs(void)
{
	return !(cpuid(1, 0).ecx & CPUID_1_ECX_HYPERVISOR) && inb(0xe9) == 0xe9;
}
