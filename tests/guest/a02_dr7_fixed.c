/* SPDX-License-Identifier: MIT */
/* Symptom: wrong read-back of DR7; or the hypervisor hands a DR7 to hardware that the entry checks refuse.
 * Cause: reserved bits 12, 14, 15 kept, bit 10 lost, bit 11 kept without RTM.
 * Who had it: Xen before x86_adj_dr7_rsvd; Linux KVM keeps bit 11 always.
 * Rule: A02. */
#include "tests/guest/guest.h"

SCENARIO(a02_dr7_fixed, "DR7 reads back with its fixed bits", 0)
{
	uint64_t ones = env.rtm ? 0xffff0fff : 0xffff07ff;

	/* Everything gets enabled: put the four where nothing reads, writes or runs. */
	write_dr0(0x700);
	write_dr1(0x700);
	write_dr2(0x700);
	write_dr3(0x700);
	FOR_FX(k)
	{
		fx(k);
		write_dr7(0xffffdfff);
		fx(k);
		check_eq(fmt("A02.ones.%s", fx_name(k)), "all but GD written", read_dr7(), ones);
		fx(k);
		write_dr7(0);
		fx(k);
		check_eq(fmt("A02.zero.%s", fx_name(k)), "0 written reads bit 10", read_dr7(), DR7_INIT);
		write_dr7(0xd000 & ~(uint64_t)DR7_GD);
		fx(k);
		check_eq(fmt("A02.reserved.%s", fx_name(k)), "bits 12, 14, 15 stay 0", read_dr7(), DR7_INIT);
	}
}
