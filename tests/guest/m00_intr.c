/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor inside a guest is not told of its interrupts while its guest runs, gets them too early behind an exit, or its guest takes them.
 * Cause: L0 injects into what runs, not into whom it is for; forgets GIF; or loses what waits over the level switch.
 * Who had it: Linux KVM's nested SVM (lost wake-ups, IRQs with GIF=0), 2010 to 2020.
 * Rules: NB (see n00_nested); APM "Global Interrupt Flag", "Virtual Interrupts"; A35. */
#include "tests/guest/apic.h"
#include "tests/guest/l1.h"

/* L2 asks L0 for an interrupt of L1: only a lab can, and only L1 has the hypercalls. So it is queued before the entry, with IF off. */
#define VEC_TEST 0x55

/* SVM: an NMI would come at once. VMX has no GIF: IF stays 0 up to the entry, and NMIs are left out. */
static void hold(void)
{
	if (env.amd)
		__asm__ volatile(".byte 0x0f, 0x01, 0xdd" ::: "memory"); /* CLGI */
	else
		__asm__ volatile("cli" ::: "memory");
}

CODE64(m00_loop, "mov $1000000, %ecx; 1: pause; dec %ecx; jnz 1b;" L2_END)

static unsigned hits;
static uint64_t hit_rip;

static bool count(struct trap_frame *f, struct trap_rec *rec)
{
	(void)rec;
	hits++;
	hit_rip = f->rip;
	return true;
}

static bool without_masking;

static void masking(uint8_t *b)
{
	if (without_masking)
		*(uint64_t *)(void *)(b + 0x60) &= ~(1ul << 24); /* V_INTR_MASKING */
}

static void into_l1(const char *what, uint64_t l1_if, uint64_t l2_if, bool want, enum lab_inject kind)
{
	struct l2 g = { .code = m00_loop, .intr = true, .nmi = true, .rflags = l2_if, .l1_rflags = env.amd ? l1_if : 0, .tweak = env.amd ? masking : NULL };
	unsigned vec = kind == LAB_NMI ? VEC_NMI : VEC_TEST;

	hits = 0;
	trap_set_hook(vec, count);
	hold();
	hypercall(HC_LAB_INJECT, kind, VEC_TEST, 0);
	check_eq(fmt("NB.gif.%s", what), "it waits while GIF is 0, or IF", hits, 0);
	l1_run(&g);
	check_eq(fmt("NB.intr.%s", what), want ? "L2 exits for it" : "L2 runs to its end", g.exit.kind,
		 !want ? L1_CPUID : kind == LAB_NMI ? L1_NMI : L1_INTR);
	if (want)
		check_eq(fmt("NB.intr.rip.%s", what), "before its first instruction", g.rip, (uint64_t)m00_loop);
	__asm__ volatile("sti; nop; cli" ::: "memory");
	check_eq(fmt("NB.taken.%s", what), "and L1 takes it once", hits, 1);
	if (env.amd && want && (l1_if || kind == LAB_NMI))
		check_eq(fmt("NB.where.%s", what), "behind STGI, not before", hit_rip > (uint64_t)l1_exit_insn, 1);
	trap_set_hook(vec, NULL);
}

/* An event that L1 injects goes first; the exit then shows L2 in its handler. */
static void behind_event(void)
{
	struct l2 g = { .code = m00_loop, .intr = true, .l1_rflags = env.amd ? FL_IF : 0, .inject = { L1_EV_SOFT, VEC_INT80, false, 0 } };

	hits = 0;
	trap_clear();
	trap_set_hook(VEC_TEST, count);
	hold();
	hypercall(HC_LAB_INJECT, LAB_IRQ, VEC_TEST, 0);
	l1_run(&g);
	__asm__ volatile("sti; nop; cli" ::: "memory"); /* VMX: the exit has cleared IF; SVM: taken behind STGI already */
	check_eq("N21.exit", "the exit comes", g.exit.kind, L1_INTR);
	check_eq("N21.vectoring", "and no event was cut short", g.exit.vectoring.type, L1_EV_NONE);
	check("N21.rip", "L2 stands at the handler of what L1 had injected", g.rip == trap_gate(VEC_INT80));
	check_eq("N21.waits", "which has not run", trap_count(VEC_INT80), 0);
	check_eq("N21.taken", "L1 takes its own", hits, 1);
	trap_set_hook(VEC_TEST, NULL);
}

/* A virtual interrupt that L1 offers: taken when L2 lets it. */
CODE64(m00_vintr, "nop; nop; sti; nop; nop; cli;" L2_END)

static void offer(uint8_t *b)
{
	*(uint64_t *)(void *)(b + 0x60) |= 1ul << 8 | 0xful << 16 | 1ul << 20 | (uint64_t)VEC_INT80 << 32;
}

static void offer_intercepted(uint8_t *b)
{
	offer(b);
	*(uint32_t *)(void *)(b + 0x0c) |= 1u << 4;
}

/* An IDT that no shadow table has yet, behind pages of L1's window. */
static struct { uint16_t limit; uint64_t base; } __attribute__((packed)) idtr;

static void far_idt_map(void)
{
	__asm__ volatile("sidt %0" : "=m"(idtr));
	for (unsigned i = 0; i < 2; i++)
		l1_map(20 + i, (const void *)((idtr.base & ~4095ul) + i * 4096), L1_READ);
}

static void offer_far_idt(uint8_t *b)
{
	offer(b);
	*(uint64_t *)(void *)(b + 0x488) = L1_WINDOW_GPA + 20 * 4096 + (idtr.base & 4095);
}

static void virtual_far(void)
{
	struct l2 g = { .code = m00_vintr, .tweak = offer_far_idt, .paging = true, .flush = true };

	far_idt_map();
	trap_clear();
	l1_run(&g);
	check_eq("NB.virq.npf.exit", "the same where L0 has to map the IDT first, in the middle of the delivery", g.exit.kind, L1_CPUID);
	check_trace("NB.virq.npf", "it comes, once", m00_vintr, "I80+4");
}

static void virtual(void)
{
	struct l2 g = { .code = m00_vintr, .tweak = offer };

	trap_clear();
	l1_run(&g);
	check_eq("NB.virq.exit", "L2 runs to its end", g.exit.kind, L1_CPUID);
	check_trace("NB.virq", "the virtual interrupt comes behind STI's shadow", m00_vintr, "I80+4");
	g = (struct l2){ .code = m00_vintr, .tweak = offer, .rflags = FL_IF };
	trap_clear();
	l1_run(&g);
	check_trace("NB.virq.open", "with IF=1 at the entry it is first", m00_vintr, "I80+0");
	if (env.fragile)
		check_skip("NB.virq.npf", "the same where L0 has to map the IDT first", "Bochs names another event than the one that was cut short");
	else
		virtual_far();
	g = (struct l2){ .code = m00_vintr, .tweak = offer_intercepted };
	trap_clear();
	l1_run(&g);
	check_eq("NB.virq.window", "with its intercept it exits", g.exit.kind, L1_WINDOW);
	check_eq("NB.virq.window.rip", "there", g.rip - (uint64_t)m00_vintr, 4);
	check_eq("NB.virq.window.none", "and is not delivered", trap_count(VEC_INT80), 0);
}

/* HLT that L1 does not intercept is ended by what L1 has posted, and by what is L1's own: L2's IF does not count there. */
CODE64(m00_hlt, "sti; hlt; nop; cli;" L2_END)
CODE64(m00_hlt_off, "hlt; nop;" L2_END)

static void in_a_while(void)
{
	apic_write(APIC_LVT_TIMER, VEC_TEST);
	apic_write(APIC_INITIAL, 2000000);
}

static void halted(void)
{
	struct l2 g = { .code = m00_hlt, .tweak = offer, .intr = true, .l1_rflags = FL_IF };

	hits = 0;
	trap_set_hook(VEC_TEST, count);
	apic_begin();
	apic_write(APIC_DIVIDE, APIC_DIVIDE_BY_1);
	in_a_while();
	trap_clear();
	l1_run(&g);
	check_eq("NB.hlt.virq.exit", "a posted virtual interrupt ends L2's HLT", g.exit.kind, L1_CPUID);
	check_trace("NB.hlt.virq", "behind it", m00_hlt, "I80+2");
	g = (struct l2){ .code = m00_hlt_off, .intr = true, .l1_rflags = FL_IF };
	in_a_while();
	l1_run(&g);
	check_eq("NB.hlt.intr", "L1's timer ends it with IF=0", g.exit.kind, L1_INTR);
	check_eq("NB.hlt.intr.rip", "behind it", g.rip - (uint64_t)m00_hlt_off, 1);
	__asm__ volatile("sti; nop; cli" ::: "memory");
	apic_end();
	trap_set_hook(VEC_TEST, NULL);
}

SCENARIO(m00_intr, "interrupts and NMIs of L1 while L2 runs", SCN_LAB | SCN_NESTED)
{
	l1_begin();
	into_l1("irq", FL_IF, 0, true, LAB_IRQ);
	into_l1("irq.l2if", FL_IF, FL_IF, true, LAB_IRQ);
	into_l1("irq.masked", 0, FL_IF, !env.amd, LAB_IRQ); /* VMX: the control alone decides, whatever IF is on either level */
	if (env.amd) {
		into_l1("nmi", 0, 0, true, LAB_NMI);
		/* One EFLAGS.IF for both: it is L2's that counts, whatever L1's was. */
		without_masking = true;
		into_l1("irq.plain", 0, FL_IF, true, LAB_IRQ);
		into_l1("irq.plain.l2off", FL_IF, 0, false, LAB_IRQ);
		without_masking = false;
	}
	behind_event();
	if (env.amd) {
		virtual();
		halted();
	}
	l1_end();
}
