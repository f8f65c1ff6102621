/* SPDX-License-Identifier: MIT */
/* Local APIC, 8259s and IOAPICs: one tick, nothing else. Sources: Intel SDM "Advanced Programmable Interrupt Controller". */
#include "arch/x86/lapic.h"

#include "arch/lib/log.h"
#include "arch/lib/panic.h"
#include "arch/x86/def/apic.h"
#include "arch/x86/def/cpuid.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/insn.h"
#include "arch/x86/percpu.h"
#include "arch/x86/pmem.h"
#include "arch/x86/traps.h"
#include "arch/x86/tsc.h"

#define PIC1 0x20
#define PIC2 0xa0
#define ALARM_MIN_HZ 200000u /* 5 us: an interrupt sooner than that keeps the host from its work */

static bool x2apic;
static volatile uint32_t *mmio; /* xAPIC registers; NULL until on, and in x2APIC mode */

static uint32_t lapic_read(uint32_t reg)
{
	return x2apic ? (uint32_t)rdmsr(MSR_X2APIC_BASE + reg / 16) : mmio[reg / 4];
}

static void lapic_write(uint32_t reg, uint32_t v)
{
	if (x2apic)
		wrmsr(MSR_X2APIC_BASE + reg / 16, v);
	else
		mmio[reg / 4] = v;
}

void lapic_eoi(void)
{
	if (x2apic || mmio != NULL)
		lapic_write(APIC_EOI, 0);
}

bool lapic_is_x2apic(void)
{
	return x2apic;
}

uint32_t lapic_id(void)
{
	uint32_t v = lapic_read(APIC_ID);

	return x2apic ? v : v >> 24;
}

void pic_mask_all(void)
{
	/* ICW1-ICW4 move the vectors: a spurious IRQ 7 or 15 comes even from a masked 8259, and 0x08-0x0f are exceptions. */
	outb(PIC1, 0x11);
	outb(PIC2, 0x11);
	outb(PIC1 + 1, VEC_PIC_BASE);
	outb(PIC2 + 1, VEC_PIC_BASE + 8);
	outb(PIC1 + 1, 4);
	outb(PIC2 + 1, 2);
	outb(PIC1 + 1, 1);
	outb(PIC2 + 1, 1);
	outb(PIC1 + 1, 0xff);
	outb(PIC2 + 1, 0xff);
}

void ioapic_mask_all(uint64_t pa)
{
	volatile uint32_t *io = phys_to_virt(pa);
	uint32_t version, last;

	io[IOAPIC_SELECT / 4] = IOAPIC_REG_VERSION;
	version = io[IOAPIC_WINDOW / 4];
	if (version == 0xffffffffu) /* nothing there */
		return;
	last = version >> 16 & 0xff;
	for (uint32_t i = 0; i <= last; i++) {
		io[IOAPIC_SELECT / 4] = IOAPIC_REG_REDIR + 2 * i;
		io[IOAPIC_WINDOW / 4] = io[IOAPIC_WINDOW / 4] | IOAPIC_REDIR_MASKED;
	}
}

static uint64_t timer_hz; /* behind the divider */
static uint32_t tick_count;
static bool alarm_set;

/* In periodic mode a new count begins at once, and is what every further round begins with. */
static bool on_timer(struct trapframe *tf)
{
	(void)tf;
	if (alarm_set) {
		alarm_set = false;
		lapic_write(APIC_TIMER_INITIAL, tick_count);
	}
	this_cpu()->ticks = this_cpu()->ticks + 1;
	lapic_eoi();
	return true;
}

void lapic_alarm(uint64_t tsc)
{
	uint64_t now = rdtsc(), least = timer_hz / ALARM_MIN_HZ, count = least;

	if (tsc > now && tsc - now > tsc_from_us(1000000 / HOST_TICK_HZ))
		return; /* the tick comes first, and who waits asks again */
	if (tsc > now)
		count = (tsc - now) * (timer_hz / 1000) / tsc_khz + 2; /* rather a little late than twice */
	if (count < least || count == 0)
		count = least + 1;
	if (count >= tick_count)
		return;
	alarm_set = true;
	lapic_write(APIC_TIMER_INITIAL, (uint32_t)count);
}

static bool on_kick(struct trapframe *tf)
{
	(void)tf;
	lapic_eoi();
	return true;
}

void lapic_kick(void)
{
	if (x2apic)
		lapic_write(APIC_SELF_IPI, VEC_KICK);
	else
		lapic_write(APIC_ICR, APIC_ICR_SELF | VEC_KICK);
}

static bool on_spurious(struct trapframe *tf)
{
	(void)tf; /* no EOI: nothing is in service */
	return true;
}

static bool on_error(struct trapframe *tf)
{
	(void)tf;
	lapic_write(APIC_ESR, 0);
	log_printf("drover: LAPIC error 0x%x\n", lapic_read(APIC_ESR));
	lapic_eoi();
	return true;
}

static void turn_on(enum lapic_mode mode)
{
	uint64_t base = rdmsr(MSR_APIC_BASE);
	bool has_x2apic = (cpuid(1, 0).ecx & CPUID_1_ECX_X2APIC) != 0;

	/* Not by ourselves in AUTO: QEMU 10 cannot count instructions (-icount) across an x2APIC timer access. */
	x2apic = has_x2apic && (mode == LAPIC_X2APIC || (base & APIC_BASE_X2APIC));
	if (!(base & APIC_BASE_ENABLE)) {
		base |= APIC_BASE_ENABLE;
		wrmsr(MSR_APIC_BASE, base); /* disabled -> xAPIC -> x2APIC: never in one step */
	}
	if (x2apic)
		wrmsr(MSR_APIC_BASE, base | APIC_BASE_X2APIC);
	else
		mmio = phys_to_virt(base & APIC_BASE_ADDR);
}

/* Timer ticks (after the divider) per second. 1 ms: an error of some parts in a thousand does not matter to a tick. */
static uint64_t measure_timer(void)
{
	uint64_t start, elapsed, gone;

	lapic_write(APIC_TIMER_DIVIDE, APIC_DIVIDE_BY_16);
	lapic_write(APIC_LVT_TIMER, APIC_LVT_MASKED | VEC_TIMER);
	lapic_write(APIC_TIMER_INITIAL, 0xffffffffu);
	start = rdtsc();
	do {
		cpu_pause();
		elapsed = rdtsc() - start;
	} while (elapsed < tsc_khz);
	gone = 0xffffffffu - lapic_read(APIC_TIMER_CURRENT);
	return gone * tsc_khz / elapsed * 1000;
}

void lapic_init(enum lapic_mode mode)
{
	uint32_t max_lvt;

	if (!(cpuid(1, 0).edx & CPUID_1_EDX_APIC))
		panic("the CPU has no local APIC");
	turn_on(mode);
	trap_set_hook(VEC_TIMER, on_timer);
	trap_set_hook(VEC_KICK, on_kick);
	trap_set_hook(VEC_SPURIOUS, on_spurious);
	trap_set_hook(VEC_LAPIC_ERROR, on_error);
	lapic_write(APIC_TPR, 0);
	lapic_write(APIC_SVR, APIC_SVR_ENABLE | VEC_SPURIOUS);
	max_lvt = lapic_read(APIC_VERSION) >> 16 & 0xff;
	if (max_lvt >= 4)
		lapic_write(APIC_LVT_PERF, APIC_LVT_MASKED | VEC_SPURIOUS);
	if (max_lvt >= 5)
		lapic_write(APIC_LVT_THERMAL, APIC_LVT_MASKED | VEC_SPURIOUS);
	lapic_write(APIC_LVT_LINT0, APIC_LVT_MASKED | VEC_SPURIOUS);
	lapic_write(APIC_LVT_LINT1, APIC_LVT_NMI);
	lapic_write(APIC_LVT_ERROR, VEC_LAPIC_ERROR);
	lapic_eoi(); /* what firmware left in service */
	timer_hz = measure_timer();
	tick_count = (uint32_t)(timer_hz / HOST_TICK_HZ);
	if (tick_count == 0)
		panic("the LAPIC timer does not run: %lu Hz by a TSC of %lu kHz", timer_hz, tsc_khz);
	lapic_write(APIC_LVT_TIMER, APIC_LVT_PERIODIC | VEC_TIMER);
	lapic_write(APIC_TIMER_INITIAL, tick_count);
	this_cpu()->apic_id = lapic_id();
}
