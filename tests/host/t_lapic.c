/* SPDX-License-Identifier: MIT */
/* The virtual APIC by itself: time is what the test says. Expected values are the SDM's. */
#include <string.h>

#include "arch/x86/def/apic.h"
#include "arch/x86/def/msr.h"
#include "tap.h"
#include "vmm/dev/lapic.h"
#include "vmm/dev/pic.h"

#define X2(reg) (MSR_X2APIC_BASE + (reg) / 16)
#define PERIOD 1000u /* the least one */

static struct vlapic l;

static void start(void)
{
	memset(&l, 0, sizeof(l));
	l.min_period = PERIOD;
	vlapic_reset(&l);
	vlapic_write(&l, APIC_SVR, APIC_SVR_ENABLE | 0xff, 0);
}

static void to_x2(void)
{
	start();
	vlapic_wrmsr(&l, MSR_APIC_BASE, l.base | APIC_BASE_X2APIC, 0);
}

static uint32_t rd(uint32_t reg)
{
	return vlapic_read(&l, reg, 0);
}

static void wr(uint32_t reg, uint32_t val)
{
	vlapic_write(&l, reg, val, 0);
}

static void self(uint8_t vector)
{
	wr(APIC_ICR, APIC_ICR_SELF | vector);
}

/* Takes what comes, or -1. */
static int take(void)
{
	int vector = vlapic_irq(&l);

	if (vector >= 0)
		vlapic_ack(&l, (uint8_t)vector);
	return vector;
}

TEST(lapic_reset)
{
	struct tap_set s = { .id = "lapic.reset" };

	memset(&l, 0xa5, sizeof(l));
	vlapic_reset(&l);
	tap_case(&s, l.base, 0xfee00900, "APIC_BASE");
	tap_case(&s, rd(APIC_ID), 0, "ID");
	tap_case(&s, rd(APIC_VERSION) & 0xff00ff, 0x50014, "version: six LVTs");
	tap_case(&s, rd(APIC_SVR), 0xff, "SVR");
	tap_case(&s, rd(APIC_DFR), 0xffffffff, "DFR");
	for (uint32_t reg = APIC_LVT_TIMER; reg <= APIC_LVT_ERROR; reg += 16)
		tap_case(&s, rd(reg), APIC_LVT_MASKED, "LVT 0x%x", reg);
	wr(APIC_LVT_LINT0, 0x700);
	tap_case(&s, rd(APIC_LVT_LINT0), 0x10700, "an LVT stays masked while SVR has the APIC off");
	self(0x41);
	tap_case(&s, (uint64_t)vlapic_irq(&l), (uint64_t)-1, "and no interrupt is accepted");
	tap_end(&s, "registers after RESET, and an APIC that software has not turned on");
}

TEST(lapic_priority)
{
	struct tap_set s = { .id = "lapic.priority" };

	start();
	self(0x41);
	self(0x52);
	self(0x4f);
	tap_case(&s, (uint64_t)take(), 0x52, "the highest first");
	tap_case(&s, (uint64_t)take(), (uint64_t)-1, "a lower one waits for EOI");
	tap_case(&s, rd(APIC_PPR), 0x50, "PPR is the class in service");
	self(0x5f);
	tap_case(&s, (uint64_t)take(), (uint64_t)-1, "so does one of the same class");
	self(0x61);
	tap_case(&s, (uint64_t)take(), 0x61, "a higher class comes at once");
	tap_case(&s, rd(APIC_ISR + 0x20), 1u << 18, "ISR of 0x40-0x5f");
	tap_case(&s, rd(APIC_IRR + 0x20), 1u << 1 | 1u << 15 | 1u << 31, "IRR of 0x40-0x5f");
	wr(APIC_EOI, 0);
	tap_case(&s, (uint64_t)take(), (uint64_t)-1, "EOI ends the highest only");
	wr(APIC_EOI, 0);
	tap_case(&s, (uint64_t)take(), 0x5f, "then the next");
	wr(APIC_EOI, 0);
	wr(APIC_TPR, 0x40);
	tap_case(&s, (uint64_t)take(), (uint64_t)-1, "the task priority holds its own class back");
	wr(APIC_TPR, 0x3f);
	tap_case(&s, rd(APIC_PPR), 0x3f, "PPR is TPR where that is higher");
	tap_case(&s, (uint64_t)take(), 0x4f, "a lower one does not");
	wr(APIC_EOI, 0);
	tap_case(&s, (uint64_t)take(), 0x41, "the last");
	wr(APIC_EOI, 0);
	wr(APIC_EOI, 0);
	tap_case(&s, rd(APIC_PPR), 0x3f, "an EOI too many does nothing");
	tap_end(&s, "IRR, ISR, TPR and EOI");
}

TEST(lapic_icr)
{
	static const struct {
		uint32_t icr, high;
		int vector;
		uint8_t want;
	} t[] = {
		{ APIC_ICR_SELF | 0x40, 0x77000000, 0x40, 0 }, { 2u << 18 | 0x40, 0, 0x40, 0 }, { 3u << 18 | 0x40, 0, -1, 0 }, { 0x40, 0, 0x40, 0 },
		{ 0x40, 0x01000000, -1, 0 }, { 0x40, 0xff000000, 0x40, 0 }, { 0x140, 0, 0x40, 0 }, { 0x400, 0, -1, VLAPIC_WANT_NMI },
		{ 0x400, 0x05000000, -1, 0 }, { APIC_ICR_SELF | 0x402, 0, -1, VLAPIC_WANT_NMI }, { 0x4500, 0, -1, VLAPIC_WANT_INIT },
		{ 0x8500, 0, -1, 0 }, { 0xc500, 0, -1, VLAPIC_WANT_INIT }, { 0x608, 0, -1, 0 }, { 0x200, 0, -1, 0 },
		{ 0x840, 0x01000000, 0x40, 0 }, { 0x840, 0x02000000, -1, 0 }, { 0x840, 0xff000000, 0x40, 0 },
	};
	struct tap_set s = { .id = "lapic.icr" };

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		start();
		wr(APIC_LDR, 0x01000000);
		wr(APIC_ICR_HIGH, t[i].high);
		wr(APIC_ICR, t[i].icr);
		tap_case(&s, (uint64_t)vlapic_irq(&l), (uint64_t)t[i].vector, "case %u: ICR 0x%x to 0x%x", i, t[i].icr, t[i].high);
		tap_case(&s, l.want, t[i].want, "case %u: ICR 0x%x asks", i, t[i].icr);
	}
	start(); /* clusters */
	wr(APIC_DFR, 0);
	wr(APIC_LDR, 0x21000000);
	wr(APIC_ICR_HIGH, 0x11000000);
	wr(APIC_ICR, 0x840);
	tap_case(&s, (uint64_t)take(), (uint64_t)-1, "another cluster");
	wr(APIC_ICR_HIGH, 0x23000000);
	wr(APIC_ICR, 0x840);
	tap_case(&s, (uint64_t)take(), 0x40, "this one");
	tap_end(&s, "destinations, shorthands and delivery modes of one CPU");
}

TEST(lapic_errors)
{
	struct tap_set s = { .id = "lapic.esr" };

	start();
	self(0x0f);
	tap_case(&s, rd(APIC_ESR), 0, "ESR shows nothing before it is written");
	wr(APIC_ESR, 0);
	tap_case(&s, rd(APIC_ESR), 0x20, "an illegal vector was sent");
	wr(APIC_ESR, 0);
	tap_case(&s, rd(APIC_ESR), 0, "and that is told once");
	rd(0x40);
	wr(0x3a0, 1);
	wr(APIC_ESR, 0);
	tap_case(&s, rd(APIC_ESR), 0x80, "a register that there is not");
	wr(APIC_LVT_ERROR, 0x71);
	self(3);
	tap_case(&s, (uint64_t)take(), 0x71, "the error's own interrupt");
	wr(APIC_EOI, 0);
	wr(APIC_LVT_ERROR, 3);
	self(3);
	wr(APIC_ESR, 0);
	tap_case(&s, rd(APIC_ESR), 0x60, "an illegal vector of its own does not go round for ever");
	wr(APIC_LVT_TIMER, 7);
	vlapic_write(&l, APIC_TIMER_INITIAL, 10, 0);
	vlapic_tick(&l, 1000);
	tap_case(&s, l.esr, 0x40, "the timer's illegal vector");
	tap_end(&s, "ESR");
	for (uint32_t reg = 0; reg < 0x1000; reg += 16) { /* the sanitizers are the judges */
		vlapic_write(&l, reg, 0xffffffff, 5);
		vlapic_read(&l, reg, 6);
		vlapic_wrmsr(&l, MSR_X2APIC_BASE + reg / 16, ~0ull, 7);
	}
}

TEST(lapic_timer)
{
	struct tap_set s = { .id = "lapic.timer" };

	start();
	wr(APIC_TIMER_DIVIDE, 0xb); /* by 1 */
	wr(APIC_LVT_TIMER, 0x50);
	vlapic_write(&l, APIC_TIMER_INITIAL, 5000, 100);
	tap_case(&s, vlapic_read(&l, APIC_TIMER_CURRENT, 1100), 4000, "it counts down");
	tap_case(&s, vlapic_will_wake(&l), 1, "it would end a HLT");
	vlapic_tick(&l, 5099);
	tap_case(&s, (uint64_t)take(), (uint64_t)-1, "not early");
	vlapic_tick(&l, 5100);
	tap_case(&s, (uint64_t)take(), 0x50, "in time");
	tap_case(&s, vlapic_read(&l, APIC_TIMER_CURRENT, 5200), 0, "and then stands");
	tap_case(&s, l.expiry, VLAPIC_NEVER, "for good");
	tap_case(&s, vlapic_will_wake(&l), 0, "nothing to wait for");
	wr(APIC_EOI, 0);

	vlapic_write(&l, APIC_TIMER_INITIAL, 5000, 0);
	vlapic_write(&l, APIC_TIMER_DIVIDE, 0, 1000); /* by 2: 4000 are left */
	tap_case(&s, l.expiry, 9000, "a new divider takes effect on what is left");
	tap_case(&s, vlapic_read(&l, APIC_TIMER_CURRENT, 3000), 3000, "of the count");
	vlapic_write(&l, APIC_TIMER_INITIAL, 0, 3000);
	tap_case(&s, l.expiry, VLAPIC_NEVER, "a count of 0 stops it");

	vlapic_write(&l, APIC_TIMER_DIVIDE, 0xa, 0); /* by 128 */
	vlapic_write(&l, APIC_TIMER_INITIAL, 0xffffffff, 1000);
	tap_case(&s, l.expiry, 1000 + (0xffffffffull << 7), "the longest");
	vlapic_write(&l, APIC_LVT_TIMER, APIC_LVT_MASKED | 0x50, 2000);
	tap_case(&s, vlapic_will_wake(&l), 0, "masked, it wakes nobody");
	vlapic_tick(&l, ~0ull - 1);
	tap_case(&s, (uint64_t)take(), (uint64_t)-1, "and interrupts nobody");
	vlapic_write(&l, APIC_LVT_TIMER, 0x50, ~0ull - 1);
	tap_case(&s, (uint64_t)take(), (uint64_t)-1, "nor later");
	tap_end(&s, "one-shot");
}

TEST(lapic_periodic)
{
	struct tap_set s = { .id = "lapic.periodic" };

	start();
	wr(APIC_TIMER_DIVIDE, 0xb);
	wr(APIC_LVT_TIMER, APIC_LVT_PERIODIC | 0x50);
	vlapic_write(&l, APIC_TIMER_INITIAL, 3000, 0);
	vlapic_tick(&l, 3000);
	tap_case(&s, l.expiry, 6000, "the next one");
	tap_case(&s, vlapic_read(&l, APIC_TIMER_CURRENT, 4000), 2000, "counts again");
	vlapic_tick(&l, 13000);
	tap_case(&s, l.expiry, 15000, "those that were missed are one, and the rhythm stays");
	tap_case(&s, (uint64_t)take(), 0x50, "it has come");
	vlapic_write(&l, APIC_TIMER_INITIAL, 1, 20000);
	tap_case(&s, l.expiry, 20000 + PERIOD, "not more often than the host can bear");
	tap_case(&s, vlapic_read(&l, APIC_TIMER_CURRENT, 20001), 1, "though the count is what was written at the most");
	vlapic_tick(&l, 20000 + PERIOD);
	tap_case(&s, l.expiry, 20000 + 2 * PERIOD, "nor does it catch up");
	tap_end(&s, "periodic");
}

TEST(lapic_deadline)
{
	struct tap_set s = { .id = "lapic.deadline" };
	uint64_t v = 1;

	start();
	vlapic_wrmsr(&l, MSR_TSC_DEADLINE, 5000, 0);
	tap_case(&s, l.expiry, VLAPIC_NEVER, "without its mode the MSR does nothing");
	wr(APIC_LVT_TIMER, APIC_LVT_DEADLINE | 0x50);
	vlapic_wrmsr(&l, MSR_TSC_DEADLINE, 5000, 100);
	vlapic_rdmsr(&l, MSR_TSC_DEADLINE, &v, 200);
	tap_case(&s, v, 5000, "it reads back");
	vlapic_write(&l, APIC_TIMER_INITIAL, 10, 300);
	tap_case(&s, l.expiry, 5000, "a count is ignored");
	tap_case(&s, vlapic_read(&l, APIC_TIMER_CURRENT, 300), 0, "and reads 0");
	vlapic_tick(&l, 5000);
	tap_case(&s, (uint64_t)take(), 0x50, "in time");
	vlapic_rdmsr(&l, MSR_TSC_DEADLINE, &v, 5001);
	tap_case(&s, v, 0, "and is off then");
	wr(APIC_EOI, 0);
	vlapic_wrmsr(&l, MSR_TSC_DEADLINE, 1, 6000);
	tap_case(&s, (uint64_t)take(), 0x50, "one that is past comes at once");
	wr(APIC_EOI, 0);
	vlapic_wrmsr(&l, MSR_TSC_DEADLINE, 9000, 6000);
	vlapic_wrmsr(&l, MSR_TSC_DEADLINE, 0, 6001);
	tap_case(&s, l.expiry, VLAPIC_NEVER, "0 disarms");
	vlapic_wrmsr(&l, MSR_TSC_DEADLINE, 9000, 6002);
	vlapic_write(&l, APIC_LVT_TIMER, 0x50, 6003);
	tap_case(&s, l.expiry, VLAPIC_NEVER, "and so does another mode");
	tap_end(&s, "TSC deadline");
}

TEST(lapic_base)
{
	static const struct {
		uint64_t from, to;
		bool ok;
	} t[] = {
		{ 0xfee00900, 0xfee00d00, true }, { 0xfee00d00, 0xfee00900, false }, { 0xfee00d00, 0xfee00100, true }, { 0xfee00100, 0xfee00d00, false },
		{ 0xfee00100, 0xfee00900, true }, { 0xfee00900, 0xfee00500, false }, { 0xfee00900, 0xfee00800, true }, { 0xfee00900, 0xfec00900, false },
		{ 0xfee00900, 0xfee00901, false }, { 0xfee00900, 0x1fee00900, false }, { 0xfee00900, 1ull << 63 | 0xfee00900, false },
		{ 0xfee00900, 0xfee00b00, false },
	};
	struct tap_set s = { .id = "lapic.base" };

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		start();
		l.base = t[i].from;
		tap_case(&s, vlapic_wrmsr(&l, MSR_APIC_BASE, t[i].to, 0), t[i].ok, "0x%llx -> 0x%llx", (unsigned long long)t[i].from, (unsigned long long)t[i].to);
		tap_case(&s, l.base, t[i].ok ? t[i].to : t[i].from, "case %u: the value", i);
	}
	start();
	self(0x44);
	vlapic_wrmsr(&l, MSR_APIC_BASE, 0xfee00100, 0);
	tap_case(&s, (uint64_t)vlapic_irq(&l), (uint64_t)-1, "off, it brings nothing");
	vlapic_wrmsr(&l, MSR_APIC_BASE, 0xfee00900, 0);
	tap_case(&s, l.svr, 0xff, "on again, it is as after RESET");
	tap_end(&s, "APIC_BASE and its transitions");
}

TEST(lapic_x2apic)
{
	static const struct {
		uint32_t reg;
		uint64_t val;
		bool ok;
	} w[] = {
		{ APIC_TPR, 0xff, true }, { APIC_TPR, 0x100, false }, { APIC_EOI, 0, true }, { APIC_EOI, 1, false }, { APIC_ESR, 0, true }, { APIC_ESR, 1, false },
		{ APIC_ID, 0, false }, { APIC_VERSION, 0, false }, { APIC_LDR, 0, false }, { APIC_DFR, 0, false }, { APIC_ICR_HIGH, 0, false },
		{ APIC_SVR, 0x1ff, true }, { APIC_SVR, 0x11ff, false }, { APIC_LVT_TIMER, 0x510ff, true }, { APIC_LVT_TIMER, 0x81000, false },
		{ APIC_LVT_LINT0, 0x1f7ff, true }, { APIC_LVT_ERROR, 0x100, false }, { APIC_TIMER_INITIAL, 1ull << 32, false }, { APIC_TIMER_CURRENT, 0, false },
		{ APIC_TIMER_DIVIDE, 4, false }, { APIC_ICR, 0x1040, false }, { APIC_ICR, 0x100040, false }, { APIC_SELF_IPI, 0x140, false },
		{ APIC_SELF_IPI, 0x40, true }, { 0x3f0 + 16, 0, false }, { 0xff0, 0, false }, { APIC_IRR, 0, false },
	};
	struct tap_set s = { .id = "lapic.x2apic" };
	uint64_t v = 0;

	start();
	tap_case(&s, vlapic_rdmsr(&l, X2(APIC_ID), &v, 0), false, "no MSRs as xAPIC");
	to_x2();
	tap_case(&s, vlapic_mmio(&l), false, "no page as x2APIC");
	for (unsigned i = 0; i < sizeof(w) / sizeof(w[0]); i++)
		tap_case(&s, vlapic_wrmsr(&l, X2(w[i].reg), w[i].val, 0), w[i].ok, "0x%x = 0x%llx", w[i].reg, (unsigned long long)w[i].val);
	to_x2();
	tap_case(&s, vlapic_rdmsr(&l, X2(APIC_LDR), &v, 0) && v == 1, true, "logical ID");
	tap_case(&s, vlapic_rdmsr(&l, X2(APIC_EOI), &v, 0), false, "EOI is for writing");
	vlapic_wrmsr(&l, X2(APIC_SELF_IPI), 0x66, 0);
	tap_case(&s, (uint64_t)take(), 0x66, "self IPI");
	vlapic_wrmsr(&l, X2(APIC_ICR), 0x70, 0);
	tap_case(&s, (uint64_t)take(), 0x70, "to ID 0");
	vlapic_wrmsr(&l, X2(APIC_ICR), 1ull << 32 | 0x80, 0);
	tap_case(&s, (uint64_t)take(), (uint64_t)-1, "to another");
	vlapic_rdmsr(&l, X2(APIC_ICR), &v, 0);
	tap_case(&s, v, 1ull << 32 | 0x80, "ICR is one register");
	vlapic_wrmsr(&l, X2(APIC_ICR), 1ull << 32 | 0x890, 0);
	tap_case(&s, (uint64_t)take(), 0x90, "to logical ID 1");
	vlapic_wrmsr(&l, X2(APIC_ICR), 0xffffffffull << 32 | 0xa0, 0);
	tap_case(&s, (uint64_t)take(), 0xa0, "to all");
	tap_end(&s, "x2APIC: reserved bits are #GP");
}

TEST(pic_masks)
{
	static const uint8_t icw[] = { 0x20, 4, 1 };
	struct tap_set s = { .id = "pic" };
	struct pic p;

	pic_init(&p);
	tap_case(&s, pic_read(&p, true), 0xff, "all masked");
	pic_write(&p, false, 0x11);
	for (unsigned i = 0; i < 3; i++)
		pic_write(&p, true, icw[i]);
	tap_case(&s, pic_read(&p, true), 0, "ICW1 clears the mask, ICW2-4 are none");
	pic_write(&p, true, 0xfb);
	tap_case(&s, pic_read(&p, true), 0xfb, "then it is one");
	pic_write(&p, false, 0x20);
	pic_write(&p, true, 0xfe);
	tap_case(&s, pic_read(&p, true), 0xfe, "an EOI is no ICW1");
	pic_write(&p, false, 0x12); /* single, no ICW4 */
	pic_write(&p, true, 8);
	pic_write(&p, true, 0x55);
	tap_case(&s, pic_read(&p, true), 0x55, "one ICW only");
	tap_end(&s, "the 8259s' masks");
}
