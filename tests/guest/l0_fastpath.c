/* SPDX-License-Identifier: MIT */
/* Symptom: now and then a guest reads a DR6 that it wrote long ago. Once in many thousands: nobody believes it.
 * Cause: as doc0_dr6_once: a hypervisor loads DR6 from its copy again behind an exit that its inner loop handles. Which exits those are, is its own
 * affair; KVM's are WRMSR of the TSC deadline and of the x2APIC's ICR (fixed, physical, without a shorthand), so that these are made here, 10^5 times
 * each. For a hypervisor that is not drover: no lab is needed (make check-l0).
 * Who: Linux KVM until c2fee09fc167 (2025; CVE-2025-21839).
 * Rules: H11. */
#include "tests/guest/apic.h"

#define ROUNDS 100000u
#define APIC_BASE_X2APIC 0x400u
#define APIC_BASE_ENABLED 0x800u
#define MSR_X2APIC_ID 0x802u
#define MSR_X2APIC_EOI 0x80bu
#define MSR_X2APIC_ICR 0x830u
#define VEC_SELF 0x41
#define FAR (1ull << 40) /* ticks: minutes */

static const uint32_t pattern[] = { 0xf, 0, DR6_BS | DR6_B1, DR6_BD | DR6_B3, 0x5, DR6_BS | DR6_BD | DR6_BT | 0xa };

static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}

static uint64_t x2apic_id(void)
{
	uint64_t id = 0;

	try_rdmsr(MSR_X2APIC_ID, &id);
	return id;
}

static uint64_t fixed_ones(void)
{
	return DR6_INIT & ~(uint64_t)(env.rtm ? DR6_RTM : 0) & ~(uint64_t)(env.bld ? DR6_BLD : 0);
}

static bool taken(struct trap_frame *f, struct trap_rec *rec)
{
	(void)f;
	(void)rec;
	wrmsr(MSR_X2APIC_EOI, 0);
	return true;
}

/* DR6 written, the MSR written, DR6 read. ahead: the value is that far behind now; else it is the value itself. */
static void rounds(const char *id, const char *desc, uint32_t msr, uint64_t value, bool ahead)
{
	unsigned count = env.count ? (unsigned)env.count : ROUNDS;
	uint64_t got = 0, want = 0;

	for (unsigned i = 0; i < count && got == want; i++) {
		uint32_t v = pattern[i % (sizeof(pattern) / sizeof(pattern[0]))];

		(void)read_dr7(); /* a lazy hypervisor gives the registers here */
		write_dr6(v);
		wrmsr(msr, ahead ? rdtsc() + value : value);
		got = read_dr6();
		want = v | fixed_ones();
	}
	check_eq(id, desc, got, want);
	write_dr6(DR6_INIT);
}

SCENARIO(l0_fastpath, "DR6 stays what the guest last wrote, through the exits that hypervisors handle fast", SCN_BY_NAME)
{
	uint64_t base = 0;
	uint32_t r[4];

	cpuid(1, 0, r);
	apic_begin();
	if (r[2] >> 24 & 1) {
		apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED | APIC_LVT_DEADLINE);
		__asm__ volatile("mfence");
		rounds("H11.deadline", "a TSC deadline in between", MSR_TSC_DEADLINE, FAR, true);
		wrmsr(MSR_TSC_DEADLINE, 0);
	} else {
		check_skip("H11.deadline", "a TSC deadline in between", "the local APIC has no TSC deadline");
	}
	if ((r[2] >> 21 & 1) && try_rdmsr(MSR_APIC_BASE, &base) == NO_FAULT) {
		wrmsr(MSR_APIC_BASE, base | APIC_BASE_X2APIC);
		trap_set_hook(VEC_SELF, taken);
		/* Interrupts are off: the first one waits, the others are the same one. */
		rounds("H11.icr", "an interrupt to itself by the x2APIC's ICR in between", MSR_X2APIC_ICR, x2apic_id() << 32 | VEC_SELF, false);
		__asm__ volatile("sti; nop; nop; cli" ::: "memory");
		wrmsr(MSR_APIC_BASE, base & ~(uint64_t)(APIC_BASE_ENABLED | APIC_BASE_X2APIC)); /* the only way back */
		wrmsr(MSR_APIC_BASE, base);
	} else {
		check_skip("H11.icr", "an interrupt to itself by the x2APIC's ICR in between", "the local APIC has no x2APIC mode");
	}
	apic_end();
}
