/* SPDX-License-Identifier: MIT */
/* The CPUID policy. Lists say what is given on, not what is hidden: a feature of a CPU that is not born yet stays out. */
#include "vmm/cpuid.h"

#include "arch/lib/string.h"
#include "arch/x86/def/apic.h"
#include "arch/x86/def/cpuid.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/hypercall.h"
#include "arch/x86/insn.h"
#include "arch/x86/tsc.h"
#include "vmm/backend.h"
#include "vmm/fetch.h"
#include "vmm/vm.h"

#define B(n) (1u << (n))

/* Leaf 1. No MONITOR (exits, then #UD), VMX, SMX, PCID, MTRR, MCE and MCA, perf and debug store. The APIC and what belongs to it are drover's own, whatever
 * the CPU has. */
#define L1_ECX (B(0) | B(1) | B(9) | B(12) | B(13) | B(19) | B(20) | B(22) | B(23) | B(25) | B(26) | B(28) | B(29) | B(30))
#define L1_EDX (B(0) | B(1) | B(2) | B(3) | B(4) | B(5) | B(6) | B(8) | B(11) | B(13) | B(15) | B(16) | B(17) | B(19) | B(23) | B(24) | B(25) | \
		B(26) | B(27))
#define L1_ECX_AVX (B(12) | B(28) | B(29)) /* FMA, AVX, F16C */
/* Leaf 7: FSGSBASE BMI1 HLE AVX2 FDP SMEP BMI2 ERMS RTM FCS RDSEED ADX SMAP CLFLUSHOPT CLWB SHA; UMIP GFNI VAES VPCLMULQDQ; FSRM.
 * HLE and RTM come with DR6.RTM and DR7.RTM, which dbg.c has. BLD with a virtualized DEBUGCTL[2] only (S11). */
#define L7_EBX (B(0) | B(3) | B(4) | B(5) | B(6) | B(7) | B(8) | B(9) | B(11) | B(13) | B(18) | B(19) | B(20) | B(23) | B(24) | B(29))
#define L7_EBX_AVX B(5)
#define L7_ECX (B(2) | B(8) | B(9) | B(10))
#define L7_ECX_AVX (B(9) | B(10))
#define L7_EDX B(4)
#define L7_ECX_UMIP B(2)
#define L7_EBX_FSGSBASE B(0)
/* 8000_0001: LAHF, CR8 by LOCK, ABM, SSE4A, misaligned SSE, 3DNow prefetch, XOP, FMA4, TBM. No SVM, SKINIT, IBS, LWP, counters.
 * DBEXT with virtualized masks only (H17). */
#define X1_ECX (B(0) | B(4) | B(5) | B(6) | B(7) | B(8) | B(11) | B(16) | B(21))
#define X1_ECX_AVX (B(11) | B(16))
#define X1_EDX (B(11) | B(20) | B(22) | B(25) | B(26) | B(27) | B(29) | B(30) | B(31))
#define X1_EDX_COMMON 0x0183a17fu /* AMD repeats leaf 1's FPU .. FXSR here; less APIC (it follows leaf 1), MTRR, MCE, MCA */
#define X1_EDX_FFXSR B(25)
#define L6_EAX_ARAT B(2)
#define X8_EBX (B(0) | B(2)) /* CLZERO, XSAVEERPTR */

/* In ring 3 there is none of: V86 mode, SYSENTER (no gate into the virtual kernel), FSGSBASE (its bit of CR4 is the host's), SMAP, UMIP (ditto), EFER.FFXSR. */
#define RING3_L1_EDX (B(1) | B(11))
#define RING3_L7_EBX (L7_EBX_FSGSBASE | CPUID_7_EBX_SMAP)
#define RING3_L7_ECX L7_ECX_UMIP
#define RING3_X1_EDX (X1_EDX_FFXSR | B(1))

#define NR_LEAVES 0x20u
#define EXT 0x80000000u

struct leaf {
	struct cpuid_regs r;
	bool special; /* depends on the subleaf or on the vcpu */
} __attribute__((aligned(32)));

static struct leaf basic[NR_LEAVES], ext[NR_LEAVES];
static struct {
	bool amd;
	uint64_t pa_mask, xcr0, efer, cr4;
	uint8_t dbg_feat;
} model;

static bool vendor_is(const struct cpuid_regs *l0, const char *text)
{
	return memcmp(&l0->ebx, text, 4) == 0 && memcmp(&l0->edx, text + 4, 4) == 0 && memcmp(&l0->ecx, text + 8, 4) == 0;
}

static void filter_1(struct cpuid_regs *r)
{
	uint32_t ecx = L1_ECX;

	if (!model.xcr0)
		ecx &= ~(CPUID_1_ECX_XSAVE | L1_ECX_AVX);
	if (!(model.xcr0 & XCR0_AVX))
		ecx &= ~L1_ECX_AVX;
	r->ecx = (r->ecx & ecx) | CPUID_1_ECX_HYPERVISOR | CPUID_1_ECX_X2APIC | CPUID_1_ECX_TSC_DEADLINE;
	r->edx = (r->edx & L1_EDX) | CPUID_1_EDX_APIC;
	r->ebx = (r->ebx & 0xffff) | 1u << 16; /* one logical CPU, APIC ID 0 */
}

static void filter_7(struct cpuid_regs *r)
{
	bool avx = model.xcr0 & XCR0_AVX;

	r->eax = 0;
	r->ebx &= avx ? L7_EBX : L7_EBX & ~L7_EBX_AVX;
	r->ecx &= avx ? L7_ECX : L7_ECX & ~L7_ECX_AVX;
	r->edx &= L7_EDX;
}

static void filter_x1(struct cpuid_regs *r)
{
	r->ecx &= model.xcr0 & XCR0_AVX ? X1_ECX : X1_ECX & ~X1_ECX_AVX;
	r->edx &= X1_EDX | (model.amd ? X1_EDX_COMMON : 0);
}

/* The APIC's timer counts with the TSC, so a crystal of that frequency is what tells both. */
static struct cpuid_regs leaf_tsc(const struct cpuid_regs *host)
{
	uint64_t hz = tsc_khz * 1000;

	if (!host->ebx || hz >> 32)
		return (struct cpuid_regs){ 0 };
	return (struct cpuid_regs){ .eax = 1, .ebx = 1, .ecx = (uint32_t)hz };
}

static void build(void)
{
	static const struct cpuid_regs zero;
	uint32_t max = cpuid(0, 0).eax, xmax = cpuid(EXT, 0).eax;

	for (uint32_t i = 0; i < NR_LEAVES; i++) {
		basic[i].r = i <= max ? cpuid(i, 0) : zero;
		ext[i].r = xmax >= EXT && i <= xmax - EXT ? cpuid(EXT + i, 0) : zero;
		/* 5 and 6: MWAIT, power. 9, a: performance. f-1f: monitoring, SGX, trace, keys, hybrid; but 15 and 16 are frequencies. */
		if (i == 3 || i == 5 || i == 6 || (i >= 8 && i != 0xb && i != 0xd && i != 0x15 && i != 0x16))
			basic[i].r = zero;
		/* a: SVM. 1a and more: IBS, LWP, topology, encryption; but 1d tells of caches. */
		if (i == 7)
			ext[i].r = (struct cpuid_regs){ .edx = ext[i].r.edx & B(8) }; /* invariant TSC */
		if (i >= 9 && i != 0x19 && i != 0x1d)
			ext[i].r = zero;
	}
	if (basic[0].r.eax > 0x16)
		basic[0].r.eax = 0x16;
	if (max >= 6)
		basic[6].r.eax = L6_EAX_ARAT;
	basic[0x15].r = leaf_tsc(&basic[0x15].r);
	if (ext[0].r.eax > EXT + 0x1d)
		ext[0].r.eax = EXT + 0x1d;
	filter_1(&basic[1].r);
	filter_7(&basic[7].r);
	filter_x1(&ext[1].r);
	ext[8].r.ebx &= X8_EBX;
	ext[8].r.ecx = 0; /* one core */
	ext[8].r.edx = 0;
	basic[1].special = basic[4].special = basic[7].special = basic[0xb].special = basic[0xd].special = ext[1].special = ext[0xa].special = ext[0x1d].special = true;
}

static void build_ring3(void)
{
	basic[1].r.edx &= ~RING3_L1_EDX;
	basic[7].r.ebx &= ~RING3_L7_EBX;
	basic[7].r.ecx &= ~RING3_L7_ECX;
	ext[1].r.edx &= ~RING3_X1_EDX;
}

static uint64_t cr4_bits(void)
{
	const struct cpuid_regs *l1 = &basic[1].r, *l7 = &basic[7].r;
	uint64_t m = CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT;

	m |= l1->edx & B(1) ? CR4_VME | CR4_PVI : 0;
	m |= l1->ecx & CPUID_1_ECX_XSAVE ? CR4_OSXSAVE : 0;
	m |= l7->ebx & L7_EBX_FSGSBASE ? CR4_FSGSBASE : 0;
	m |= l7->ebx & CPUID_7_EBX_SMEP ? CR4_SMEP : 0;
	m |= l7->ebx & CPUID_7_EBX_SMAP ? CR4_SMAP : 0;
	m |= l7->ecx & L7_ECX_UMIP ? CR4_UMIP : 0;
	return m;
}

static uint64_t efer_bits(void)
{
	uint32_t edx = ext[1].r.edx;

	return EFER_SCE | (edx & CPUID_81_EDX_LM ? EFER_LME | EFER_LMA : 0) | (edx & CPUID_81_EDX_NX ? EFER_NXE : 0) |
	       (edx & X1_EDX_FFXSR ? EFER_FFXSR : 0);
}

void cpuid_init(bool ring3)
{
	struct cpuid_regs l0 = cpuid(0, 0), l1 = cpuid(1, 0), l7 = { 0 };
	unsigned pa_bits = 36;

	model.amd = vendor_is(&l0, "AuthenticAMD") || vendor_is(&l0, "HygonGenuine");
	if (l0.eax >= 7)
		l7 = cpuid(7, 0);
	model.xcr0 = l1.ecx & CPUID_1_ECX_OSXSAVE ? xgetbv(0) : 0;
	/* DR6 and DR7 have these bits in hardware, whatever CPUID tells a guest: what drover computes has to agree with what a guest that owns
	 * the registers reads there. */
	model.dbg_feat = (uint8_t)((l7.ebx & CPUID_7_EBX_RTM ? DBG_FEAT_RTM : 0) | (l7.ecx & CPUID_7_ECX_BLD ? DBG_FEAT_BLD : 0) |
				   (model.amd ? DBG_FEAT_AMD : 0));
	build();
	if (ring3)
		build_ring3();
	if (cpuid(EXT, 0).eax >= EXT + 8)
		pa_bits = ext[8].r.eax & 0xff;
	model.pa_mask = (1ull << pa_bits) - 1;
	model.cr4 = cr4_bits();
	model.efer = efer_bits();
}

bool cpuid_amd(void) { return model.amd; }
uint64_t cpuid_pa_mask(void) { return model.pa_mask; }
uint64_t cpuid_xcr0_mask(void) { return model.xcr0; }
uint64_t cpuid_efer_mask(void) { return model.efer; }
uint64_t cpuid_cr4_mask(void) { return model.cr4; }
bool cpuid_tsc_aux(void) { return ext[1].r.edx & CPUID_81_EDX_RDTSCP; }
uint8_t cpuid_dbg_feat(void) { return model.dbg_feat; }

/* XSAVE: only what XCR0 may have; compaction and XSAVES's supervisor state are not given on. The host runs with the guest's XCR0, so the CPU
 * computes the size for it. */
static struct cpuid_regs leaf_xsave(uint32_t sub)
{
	struct cpuid_regs r = { 0 };

	if (!model.xcr0)
		return r;
	if (sub == 0) {
		r = cpuid(0xd, 0);
		r.eax = (uint32_t)model.xcr0;
		r.edx = 0;
		r.ecx = 576;
		if (model.xcr0 & XCR0_AVX) {
			struct cpuid_regs avx = cpuid(0xd, 2);

			r.ecx = avx.ebx + avx.eax;
		}
	} else if (sub == 1) {
		r.eax = cpuid(0xd, 1).eax & 1; /* XSAVEOPT */
	} else if (sub < 32 && (model.xcr0 >> sub & 1)) {
		r = cpuid(0xd, sub);
	}
	return r;
}

static struct cpuid_regs special(struct vcpu *v, uint32_t leaf, uint32_t sub)
{
	struct cpuid_regs r = { 0 };

	switch (leaf) {
	case 1:
		r = basic[1].r;
		vcpu_need(v, VST_CR);
		if (v->st.cr4 & CR4_OSXSAVE)
			r.ecx |= CPUID_1_ECX_OSXSAVE;
		if (!(v->apic.base & APIC_BASE_ENABLE))
			r.edx &= ~CPUID_1_EDX_APIC;
		break;
	case 4:
	case EXT + 0x1d:
		r = cpuid(leaf, sub);
		r.eax &= 0x3fff; /* no sharing: one CPU in one package */
		break;
	case 7:
		if (sub == 0)
			r = basic[7].r;
		if (sub == 0 && (v->dbg.feat & DBG_FEAT_BUS_LOCK))
			r.ecx |= CPUID_7_ECX_BLD;
		break;
	case EXT + 1:
		r = ext[1].r;
		r.ecx |= v->dbg.feat & DBG_FEAT_MASKS ? CPUID_81_ECX_DBEXT : 0;
		r.edx |= model.amd && (v->apic.base & APIC_BASE_ENABLE) ? CPUID_1_EDX_APIC : 0;
		r.ecx |= v->dbg.feat & DBG_FEAT_MASKS32 ? CPUID_81_ECX_DBEXT32 : 0;
		break;
	case 0xb:
		r.ecx = sub & 0xff;
		break;
	case 0xd:
		r = leaf_xsave(sub);
		break;
	case HC_CPUID_BASE:
		r.eax = HC_CPUID_TIMING;
		memcpy(&r.ebx, "drov", 4);
		memcpy(&r.ecx, "er\0\0", 4);
		break;
	case HC_CPUID_FEATURES:
		r.eax = (v->vm->lab ? HC_FEATURE_LAB : 0) | v->be->guest_feature;
		r.ebx = v->vm->level;
		break;
	case HC_CPUID_TIMING:
		r.eax = (uint32_t)tsc_khz;
		r.ebx = (uint32_t)tsc_khz; /* of the APIC's timer, before its divider */
		break;
	}
	return r;
}

static inline void put(struct vcpu *v, const struct cpuid_regs *r)
{
	v->r[GPR_RAX] = r->eax;
	v->r[GPR_RBX] = r->ebx;
	v->r[GPR_RCX] = r->ecx;
	v->r[GPR_RDX] = r->edx;
}

static __attribute__((noinline)) void answer_special(struct vcpu *v, uint32_t leaf, unsigned len)
{
	struct cpuid_regs r = special(v, leaf, (uint32_t)v->r[GPR_RCX]);

	if (v->nested)
		v->be->nested->cpuid(v, leaf, (uint32_t)v->r[GPR_RCX], &r);
	put(v, &r);
	vcpu_skip(v, len);
}

/* Leaves that do not exist read 0, as on AMD; Intel repeats the last one there. */
static inline void answer(struct vcpu *v, unsigned len)
{
	uint32_t leaf = (uint32_t)v->r[GPR_RAX], i = leaf & ~EXT;
	const struct leaf *l = leaf < EXT ? basic : ext;

	if (__builtin_expect(i >= NR_LEAVES || l[i].special, 0)) {
		answer_special(v, leaf, len);
		return;
	}
	put(v, &l[i].r);
	vcpu_skip(v, len);
}

static __attribute__((noinline)) void cpuid_slow(struct vcpu *v)
{
	unsigned len = fetch_insn_len_slow(v, DEC_CPUID);

	if (len)
		answer(v, len);
}

void cpuid_exit(struct vcpu *v)
{
	unsigned len = fetch_insn_len(v, DEC_CPUID);

	if (__builtin_expect(len != 0, 1))
		answer(v, len);
	else
		cpuid_slow(v);
}
