/* SPDX-License-Identifier: MIT */
/* Symptom: a guest that runs ICEBP (F1) loops on it, or its handler sees BS.
 * Cause: the exit comes on the instruction, and the hypervisor injects without stepping over it, or with a length of one
 * when there are prefixes.
 * Who had it: Linux KVM until 32d43cd391ba; Jailhouse. QEMU before 10 raises #UD.
 * Rules: A26, V14 (prefixes), V02-V04 (DR6 has no cause at all). */
#include "tests/guest/guest.h"

CODE64(a26_plain, ".byte 0xf1; nop;" DONE)
CODE64(a26_prefixed, ".byte 0x2e, 0x66, 0xf1; nop;" DONE)
CODE64(a26_rex, ".byte 0x48, 0xf1; nop;" DONE)
CODE32(a26_compat, ".byte 0xf1; nop;" DONE)
CODE32(a26_compat_prefixed, ".byte 0x26, 0x66, 0xf1; nop;" DONE)

SCENARIO(a26_icebp, "ICEBP: one #DB behind it, no cause in DR6, any ring", 0)
{
	static const struct {
		const char *name, *code, *want;
		bool compat;
		uint64_t rflags;
	} c[] = {
		{ "plain", a26_plain, "DB+1/ffff0ff0", false, 0 },
		{ "prefix2", a26_prefixed, "DB+3/ffff0ff0", false, 0 },
		{ "rex", a26_rex, "DB+2/ffff0ff0", false, 0 },
		{ "compat", a26_compat, "DB+1/ffff0ff0", true, 0 },
		{ "compat.prefix2", a26_compat_prefixed, "DB+3/ffff0ff0", true, 0 },
		{ "tf", a26_plain, "DB+1/ffff0ff0;DB+2/ffff4ff0", false, FL_TF },
	};

	for (unsigned cpl = 0; cpl < 4; cpl += 3)
		FOR_FX(k)
			for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
				struct run r = { .code = c[i].code, .cpl = cpl, .compat = c[i].compat, .rflags = c[i].rflags };

				write_dr6(DR6_INIT);
				fx(k);
				run_code(&r);
				check_trace(fmt("A26.%s.%u.%s", c[i].name, cpl, fx_name(k)), "the #DBs", r.code, c[i].want);
			}
}
