/* SPDX-License-Identifier: MIT */
/* Symptom: a guest's handler believes in a transactional or bus-lock #DB that never was.
 * Cause: DR6 read back from memory without its fixed ones (bits that are 1 unless the feature exists and it happened).
 * Who had it: Linux KVM, Xen (until 4d6b0c2ac7, x86_adj_dr6_rsvd).
 * Rules: A01, S11 (DR6.BLD writable exactly when CPUID says bus-lock detect). Once live, once through each forced exit. */
#include "tests/guest/guest.h"

SCENARIO(a01_dr6_fixed, "DR6 reads back with its fixed bits", 0)
{
	uint64_t zeros = DR6_INIT & ~(uint64_t)(env.rtm ? DR6_RTM : 0) & ~(uint64_t)(env.bld ? DR6_BLD : 0);

	FOR_FX(k)
	{
		fx(k);
		write_dr6(0);
		fx(k);
		check_eq(fmt("A01.zero.%s", fx_name(k)), "DR6 written 0 reads its fixed ones", read_dr6(), zeros);
		fx(k);
		write_dr6(0xffffffff);
		fx(k);
		check_eq(fmt("A01.ones.%s", fx_name(k)), "DR6 written ~0 reads bit 12 as 0", read_dr6(), 0xffffefff);
		write_dr6(DR6_BD | DR6_BS | DR6_BT | 0x5);
		fx(k);
		check_eq(fmt("A01.mixed.%s", fx_name(k)), "the causes are plain storage", read_dr6(), zeros | 0xe005);
	}
	write_dr6(0);
	check_eq("A01.init", "DR6 written its reset value", (write_dr6(DR6_INIT), read_dr6()), DR6_INIT);
	if (env.rtm)
		check_eq("A01.rtm", "RTM bit is writable", (write_dr6(0), read_dr6()) & DR6_RTM, 0);
	else
		check_skip("A01.rtm", "RTM bit is writable", "no RTM in CPUID");
	if (env.bld)
		check_eq("A01.bld", "BLD bit is writable", (write_dr6(0), read_dr6()) & DR6_BLD, 0);
	else
		check_skip("A01.bld", "BLD bit is writable", "no bus-lock detect in CPUID");
	check_eq("S11.agree", "BLD is writable exactly when CPUID has bus-lock detect", !((write_dr6(0), read_dr6()) & DR6_BLD), env.bld);
}
