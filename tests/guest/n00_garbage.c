/* SPDX-License-Identifier: MIT */
/* Symptom: a guest that writes nonsense into its VMCS stops its host, or runs with something that its host did not mean to give.
 * Cause: L0 believes a field, or a region in guest memory, that it has not checked.
 * Rules: NV; HP = what a hostile guest probes. Whatever an entry says here, the hypervisor below lives, and this one gets its state back. */
#include "tests/guest/l1_vmx.h"

CODE64(n00_garbage_code, "nop;" VMX_END)

#define ROUNDS 3000u /* every seventh finds a field that exists */

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint64_t next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1d >> 3; /* the low bits of a xorshift alone follow each other */
}

/* Where the exit goes must stay right, or it is this scenario that ends. */
static bool is_way_back(uint64_t field)
{
	return (field & 0xc00) == 0xc00 || field == VF_EXIT || field == VF_MSR_EXIT_LOAD_COUNT || field == VF_MSR_STORE_COUNT;
}

static uint64_t value(void)
{
	switch (next() >> 20 & 3) {
	case 0: return 0;
	case 1: return 1ul << (next() >> 20) % 64;
	case 2: return ~0ul;
	default: return next() << 3 ^ next();
	}
}

static void one_field(uint64_t field, unsigned *entered, unsigned *refused)
{
	struct vmx_l2 r = { .code = n00_garbage_code, .want = VW_DR, .exceptions = ~0u };
	unsigned said;
	uint64_t v;

	vmx_prepare(&r);
	vf_change(VF_PIN, 0, VC_PIN_TIMER);
	vf_set(VF_TIMER, 1000);
	if (vmx_read(field, &v) != VMX_OK)
		return;
	vmx_write(field, value());
	said = vmx_launch();
	if (said == VMX_OK)
		(*entered)++;
	else
		(*refused)++;
}

static void fields(void)
{
	static const uint16_t top[] = { 0x14, 0x30, 0x30, 0x28 };
	unsigned entered = 0, refused = 0;

	for (unsigned i = 0; i < (env.level > 1 ? ROUNDS / 5 : ROUNDS); i++) { /* with two drovers below an access costs fifty exits */
		uint64_t width = next() >> 20 & 3, type = next() >> 20 & 3, field;

		field = width << 13 | type << 10 | ((next() >> 20) % top[type]) << 1;
		if (!is_way_back(field) && type != 1)
			one_field(field, &entered, &refused);
		debug_state_reset();
	}
	check("NV.fields.entered", "one field of nonsense: some entries succeed", entered > 10);
	check("NV.fields.refused", "some are refused", refused > 2);
}

static void regions(void)
{
	uint32_t *p = vmx_spare(), revision = *p;
	unsigned refused = 0;

	for (unsigned i = 0; i < 20; i++) {
		for (unsigned k = 0; k < 1024; k++)
			p[k] = i & 1 ? (uint32_t)next() : ~0u;
		p[0] = revision;
		if (vmx_ptrld((uint64_t)p) == VMX_OK)
			refused += vmx_launch() != VMX_OK;
		vmx_clear((uint64_t)p);
	}
	check_eq("NV.regions", "a VMCS region of nonsense: no entry by it", refused, 20);
}

SCENARIO(n00_garbage, "a VMCS of nonsense harms nobody else", SCN_NESTED | SCN_DROVER)
{
	struct vmx_l2 r = { .code = n00_garbage_code };

	vmx_start();
	fields();
	regions();
	vmx_run(&r);
	check_eq("NV.lives", "and a good one runs after all that", r.exit, VX_HLT);
	vmx_stop();
}
