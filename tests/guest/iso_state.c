/* SPDX-License-Identifier: MIT */
/* Patterns in all state that two VMs of one CPU must not share, and their comparison. See iso_state.h. */
#include "tests/guest/iso_state.h"

#define MSR_DR0_MASK 0xc0011027u
#define MSR_DR1_MASK 0xc0011019u /* to 1b: DR3 */
#define PAT_RESET 0x0007040600070406ull
#define XSAVE_SIZE 4096

static struct {
	const char *name, *desc;
	uint32_t msr; /* 0: not an MSR */
	bool absent, bad;
	uint64_t actual, expected;
} items[ISO_NR] = {
	[ISO_DR0] = { "dr0", "DR0", 0, false, false, 0, 0 },
	[ISO_DR1] = { "dr1", "DR1", 0, false, false, 0, 0 },
	[ISO_DR2] = { "dr2", "DR2", 0, false, false, 0, 0 },
	[ISO_DR3] = { "dr3", "DR3", 0, false, false, 0, 0 },
	[ISO_DR6] = { "dr6", "DR6", 0, false, false, 0, 0 },
	[ISO_DR7] = { "dr7", "DR7, one breakpoint enabled", 0, false, false, 0, 0 },
	[ISO_HITS] = { "hits", "own breakpoint hits, no other address does", 0, false, false, 0, 0 },
	[ISO_MASK0] = { "mask0", "address mask of DR0", MSR_DR0_MASK, false, false, 0, 0 },
	[ISO_MASK1] = { "mask1", "address mask of DR1", MSR_DR1_MASK, false, false, 0, 0 },
	[ISO_MASK2] = { "mask2", "address mask of DR2", MSR_DR1_MASK + 1, false, false, 0, 0 },
	[ISO_MASK3] = { "mask3", "address mask of DR3", MSR_DR1_MASK + 2, false, false, 0, 0 },
	[ISO_X87] = { "x87", "x87 registers and control word", 0, false, false, 0, 0 },
	[ISO_SSE] = { "sse", "XMM0-15", 0, false, false, 0, 0 },
	[ISO_MXCSR] = { "mxcsr", "MXCSR", 0, false, false, 0, 0 },
	[ISO_AVX] = { "avx", "upper halves of YMM0-15", 0, false, false, 0, 0 },
	[ISO_XCR0] = { "xcr0", "XCR0", 0, false, false, 0, 0 },
	[ISO_CR2] = { "cr2", "CR2", 0, false, false, 0, 0 },
	[ISO_STAR] = { "star", "STAR", MSR_STAR, false, false, 0, 0 },
	[ISO_LSTAR] = { "lstar", "LSTAR", MSR_LSTAR, false, false, 0, 0 },
	[ISO_CSTAR] = { "cstar", "CSTAR", MSR_CSTAR, false, false, 0, 0 },
	[ISO_SFMASK] = { "sfmask", "SFMASK", MSR_SFMASK, false, false, 0, 0 },
	[ISO_KERNEL_GS] = { "kernel_gs", "KernelGSBase", MSR_KERNEL_GS_BASE, false, false, 0, 0 },
	[ISO_SYSENTER_CS] = { "sysenter_cs", "SYSENTER_CS", MSR_SYSENTER_CS, false, false, 0, 0 },
	[ISO_SYSENTER_ESP] = { "sysenter_esp", "SYSENTER_ESP", MSR_SYSENTER_ESP, false, false, 0, 0 },
	[ISO_SYSENTER_EIP] = { "sysenter_eip", "SYSENTER_EIP", MSR_SYSENTER_EIP, false, false, 0, 0 },
	[ISO_PAT] = { "pat", "PAT", MSR_PAT, false, false, 0, 0 },
	[ISO_TSC_AUX] = { "tsc_aux", "TSC_AUX by RDMSR", MSR_TSC_AUX, false, false, 0, 0 },
	[ISO_RDTSCP] = { "rdtscp", "TSC_AUX by RDTSCP", 0, false, false, 0, 0 },
};

/* Standard-format XSAVE image: FXSAVE area, header at 512, AVX where CPUID says. */
static uint8_t img[XSAVE_SIZE] __attribute__((aligned(64)));
static uint8_t now[XSAVE_SIZE] __attribute__((aligned(64)));
static uint32_t avx_at;

CODE64(iso_touch, "movb $1, watch_buf(%rdi); movb $1, watch_buf(%rsi);" DONE)

static void differ(enum iso_item n, uint64_t actual, uint64_t expected)
{
	if (actual == expected || items[n].bad)
		return;
	items[n].bad = true;
	items[n].actual = actual;
	items[n].expected = expected;
}

/* ---- Patterns ---- */

static uint64_t mix(uint32_t seed, unsigned n)
{
	uint64_t x = ((uint64_t)seed << 32 | n) * 0x9e3779b97f4a7c15ull + 0x1234567;

	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9ull;
	return x ^ x >> 32;
}

static uint64_t low_canonical(uint64_t v)
{
	return v & 0x00007ffffffff000ull;
}

/* Two seeds differ, as their parity (VM) or their round does. */
static uint64_t xcr0_of(uint32_t seed)
{
	return avx_at && (seed & 3) != 0 ? 7 : 3;
}

static uint64_t dr6_of(uint32_t seed)
{
	return DR6_INIT | (seed & 0xf) | (seed & 0x10 ? DR6_BS : 0) | (seed & 0x20 ? DR6_BD : 0);
}

/* One slot at a time is enabled, on one of the 64 bytes; the slot's address is what DR0-3 check. */
static unsigned slot_of(uint32_t seed)
{
	return ((seed >> 1) + seed) & 3;
}

static unsigned byte_of(uint32_t seed)
{
	return (seed * 5 + 1) & 31;
}

static uint64_t dr_of(uint32_t seed, unsigned n)
{
	return n == slot_of(seed) ? (uint64_t)(uintptr_t)&watch_buf[byte_of(seed)] : mix(seed, n);
}

static uint64_t msr_of(uint32_t seed, enum iso_item n)
{
	static const uint64_t pa7[4] = { 1, 4, 5, 6 };
	uint64_t v = mix(seed, n);

	switch (n) {
	case ISO_STAR: return v & 0xfff8fff8ffffffffull;
	case ISO_SFMASK: return v & 0x3f7fd5;
	case ISO_SYSENTER_CS: return v & 0xfff8;
	case ISO_TSC_AUX: return v & 0xffffffff;
	case ISO_MASK0: case ISO_MASK1: case ISO_MASK2: case ISO_MASK3: return v & 0x7; /* small: own byte must not grow into the other's */
	case ISO_SYSENTER_ESP: case ISO_SYSENTER_EIP: return v & 0xfffffffc; /* AMD defines 32 bits */
	case ISO_PAT: return (PAT_RESET & ~(0xffull << 56)) | pa7[seed & 3] << 56; /* entry 7: no page uses it */
	default: return low_canonical(v);
	}
}

static bool avx_usable(uint32_t seed)
{
	return xcr0_of(seed) == 7;
}

static void make_image(uint32_t seed)
{
	for (unsigned i = 0; i < XSAVE_SIZE; i++)
		img[i] = 0;
	*(uint16_t *)&img[0] = seed & 1 ? 0x027f : 0x0f7f; /* FCW: precision and rounding; all masked */
	img[4] = 0xff;                                     /* all eight registers valid */
	*(uint32_t *)&img[24] = 0x1f80 | (seed & 3) << 13; /* MXCSR: rounding */
	for (unsigned i = 0; i < 8; i++) {
		*(uint64_t *)&img[32 + 16 * i] = mix(seed, 100 + i) | 1ull << 63;
		*(uint16_t *)&img[40 + 16 * i] = (uint16_t)(0x3fff + (seed & 0xff) + i);
	}
	for (unsigned i = 0; i < 32; i++)
		*(uint64_t *)&img[160 + 8 * i] = mix(seed, 200 + i);
	if (avx_at)
		for (unsigned i = 0; i < 32; i++)
			*(uint64_t *)&img[avx_at + 8 * i] = mix(seed, 300 + i);
	*(uint64_t *)&img[512] = avx_at ? 7 : 3; /* header: components present */
}

static void load_image(void)
{
	if (avx_at)
		__asm__ volatile("xrstor64 %0" ::"m"(img), "a"(7), "d"(0) : "memory");
	else
		__asm__ volatile("fxrstor64 %0" ::"m"(img) : "memory");
}

static void store_image(bool avx)
{
	for (unsigned i = 0; i < XSAVE_SIZE; i++)
		now[i] = 0;
	if (avx)
		__asm__ volatile("xsave64 %0" : "+m"(now) : "a"(7), "d"(0) : "memory");
	else
		__asm__ volatile("fxsave64 %0" : "+m"(now) : : "memory");
}

/* ---- Set-up ---- */

void iso_init(void)
{
	uint32_t r[4];
	uint64_t v;
	bool ok;

	write_cr0(read_cr0() & ~(CR0_EM | CR0_TS));
	write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT | (env.xsave ? CR4_OSXSAVE : 0));
	if (env.xsave && env.avx) {
		cpuid(0xd, 2, r);
		if (r[1] >= 576 && r[1] + 256 <= XSAVE_SIZE)
			avx_at = r[1];
	}
	items[ISO_XCR0].absent = !env.xsave;
	items[ISO_AVX].absent = !avx_at;
	for (unsigned n = ISO_MASK0; n <= ISO_MASK3; n++)
		items[n].absent = !env.dbext || try_rdmsr(items[n].msr, &v) != NO_FAULT; /* Bochs has the bit without the MSRs */
	ok = try_rdmsr(MSR_TSC_AUX, &v) == NO_FAULT && env.rdtscp;
	items[ISO_TSC_AUX].absent = items[ISO_RDTSCP].absent = !ok;
	for (unsigned n = ISO_SYSENTER_CS; n <= ISO_SYSENTER_EIP; n++)
		items[n].absent = !env.sysenter;
}

/* ---- Fresh ---- */

static void fresh_area(const char *id, const char *desc, const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n && !v; i += 8)
		v = *(const uint64_t *)(p + i);
	check_eq(id, desc, v, 0);
}

static void fresh_fpu(void)
{
	uint64_t xcr0 = 0;

	if (env.xsave && try_xgetbv(0, &xcr0) == NO_FAULT)
		check_eq("H15.fresh.xcr0", "XCR0 of a new VM", xcr0, 1);
	if (avx_at)
		try_xsetbv(0, 7);
	store_image(avx_at != 0);
	fresh_area("H15.fresh.x87", "x87 registers of a new VM are 0", now + 32, 128);
	fresh_area("H15.fresh.sse", "XMM registers of a new VM are 0", now + 160, 256);
	check_eq("H15.fresh.mxcsr", "MXCSR of a new VM", *(uint32_t *)&now[24], 0x1f80);
	if (avx_at)
		fresh_area("H15.fresh.avx", "upper halves of the YMM registers of a new VM are 0", now + avx_at, 256);
	else
		check_skip("H15.fresh.avx", "upper halves of the YMM registers of a new VM are 0", "no AVX");
}

void iso_check_fresh(void)
{
	uint64_t v;

	check_eq("H15.fresh.cr2", "CR2 of a new VM", read_cr2(), 0);
	fresh_fpu();
	for (unsigned n = 0; n < 4; n++)
		check_eq(fmt("H15.fresh.dr%u", n), "a new VM's first instruction reads 0", boot_capture.dr[n], 0);
	check_eq("H15.fresh.dr6", "a new VM's first instruction reads DR6's reset value", boot_capture.dr6, DR6_INIT);
	check_eq("H15.fresh.dr7", "a new VM's first instruction reads DR7's reset value", boot_capture.dr7, DR7_INIT);
	for (unsigned n = 0; n < ISO_NR; n++) {
		const char *id = fmt("H15.fresh.%s", items[n].name);

		if (!items[n].msr)
			continue;
		if (items[n].absent)
			check_skip(id, items[n].desc, "not on this CPU");
		else if (try_rdmsr(items[n].msr, &v) == NO_FAULT)
			check_eq(id, items[n].desc, v, n == ISO_PAT ? PAT_RESET : 0);
		else
			check_error(id, items[n].desc, "RDMSR faults");
	}
}

/* ---- Put and compare ---- */

void iso_put(uint32_t seed)
{
	make_image(seed);
	if (env.xsave)
		try_xsetbv(0, avx_at ? 7 : 3);
	load_image();
	if (env.xsave)
		try_xsetbv(0, xcr0_of(seed));
	write_cr2(low_canonical(mix(seed, ISO_CR2)));
	for (unsigned n = 0; n < ISO_NR; n++)
		if (items[n].msr && !items[n].absent)
			try_wrmsr(items[n].msr, msr_of(seed, (enum iso_item)n));
	write_dr7(DR7_INIT);
	write_dr0(dr_of(seed, 0));
	write_dr1(dr_of(seed, 1));
	write_dr2(dr_of(seed, 2));
	write_dr3(dr_of(seed, 3));
	write_dr6(dr6_of(seed));
	write_dr7(DR7_INIT | DR7_BP(slot_of(seed), RW_WRITE, LEN_1));
}

/* Before any register is read: what is armed? Byte 32 + i is never watched by any seed; byte i is, in this or in the other VM. */
static void compare_hits(uint32_t seed)
{
	unsigned own = byte_of(seed), hits = 0, mask = 0;

	if (!items[ISO_MASK0].absent)
		mask = (unsigned)msr_of(seed, (enum iso_item)(ISO_MASK0 + slot_of(seed)));

	db.keep_dr6 = true;
	for (unsigned i = 0; i < 64; i++) {
		struct run r = { .code = iso_touch, .cpl = 0, .regs = { .rdi = i, .rsi = i } };

		if (((i ^ own) & ~mask) == 0)
			continue;
		run_code(&r);
		hits += trap_count(VEC_DB);
	}
	differ(ISO_HITS, hits, 0);
}

static void compare_own_hit(uint32_t seed)
{
	struct run r = { .code = iso_touch, .cpl = 0, .regs = { .rdi = byte_of(seed), .rsi = 63 } };

	run_code(&r);
	differ(ISO_HITS, trap_count(VEC_DB), 1);
	db.keep_dr6 = false;
}

static void compare_fpu(uint32_t seed)
{
	bool avx = avx_usable(seed);
	uint64_t xcr0 = 0;

	if (env.xsave && try_xgetbv(0, &xcr0) == NO_FAULT)
		differ(ISO_XCR0, xcr0, xcr0_of(seed));
	make_image(seed);
	store_image(avx && xcr0 == 7);
	differ(ISO_X87, *(uint16_t *)&now[0], *(uint16_t *)&img[0]);
	for (unsigned i = 0; i < 8; i++) {
		differ(ISO_X87, *(uint64_t *)&now[32 + 16 * i], *(uint64_t *)&img[32 + 16 * i]);
		differ(ISO_X87, *(uint16_t *)&now[40 + 16 * i], *(uint16_t *)&img[40 + 16 * i]);
	}
	differ(ISO_MXCSR, *(uint32_t *)&now[24], *(uint32_t *)&img[24]);
	for (unsigned i = 0; i < 32; i++)
		differ(ISO_SSE, *(uint64_t *)&now[160 + 8 * i], *(uint64_t *)&img[160 + 8 * i]);
	for (unsigned i = 0; avx && i < 32; i++)
		differ(ISO_AVX, *(uint64_t *)&now[avx_at + 8 * i], *(uint64_t *)&img[avx_at + 8 * i]);
}

void iso_compare(uint32_t seed)
{
	uint64_t v;
	uint32_t aux;

	differ(ISO_CR2, read_cr2(), low_canonical(mix(seed, ISO_CR2)));
	compare_fpu(seed);
	compare_hits(seed);
	differ(ISO_DR0, read_dr0(), dr_of(seed, 0));
	differ(ISO_DR1, read_dr1(), dr_of(seed, 1));
	differ(ISO_DR2, read_dr2(), dr_of(seed, 2));
	differ(ISO_DR3, read_dr3(), dr_of(seed, 3));
	differ(ISO_DR6, read_dr6(), dr6_of(seed));
	differ(ISO_DR7, read_dr7(), DR7_INIT | DR7_BP(slot_of(seed), RW_WRITE, LEN_1));
	compare_own_hit(seed);
	for (unsigned n = 0; n < ISO_NR; n++) {
		if (!items[n].msr || items[n].absent)
			continue;
		v = ~0ull;
		try_rdmsr(items[n].msr, &v);
		differ((enum iso_item)n, v, msr_of(seed, (enum iso_item)n));
	}
	if (!items[ISO_RDTSCP].absent) {
		__asm__ volatile("rdtscp" : "=c"(aux)::"rax", "rdx", "memory");
		differ(ISO_RDTSCP, aux, msr_of(seed, ISO_TSC_AUX));
	}
}

void iso_report(void)
{
	for (unsigned n = 0; n < ISO_NR; n++) {
		const char *id = fmt("H15.%s", items[n].name);

		if (items[n].absent)
			check_skip(id, items[n].desc, "not on this CPU");
		else
			check_eq(id, items[n].desc, items[n].bad ? items[n].actual : 0, items[n].bad ? items[n].expected : 0);
	}
}
