/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor takes a #DB of its own between its guest's exit and STGI, on its guest's stack or with its guest's GS; or finds it in DR6 afterwards.
 * Cause: with GIF=0 a breakpoint match is discarded, not held back, and a single step is not. L0 leaves the breakpoints of a hypervisor armed there.
 * Who had it: found here by reading the manual. Rules: NB = nested SVM; APM, table "Effect of the GIF on Interrupt Handling". */
#include "tests/guest/l1.h"

#define CLGI ".byte 0x0f, 0x01, 0xdd;"
#define STGI ".byte 0x0f, 0x01, 0xdc;"

/* One #DB with this cause, or none; then all as before. The handler leaves DR6_INIT. */
static void expect(const char *id, const char *desc, unsigned count, uint64_t dr6)
{
	check_eq(fmt("NB.gif.%s", id), desc, trap_count(VEC_DB), count);
	check_eq(fmt("NB.gif.%s.dr6", id), "DR6", count && trap_count(VEC_DB) ? trap_nth(VEC_DB, 0)->dr6 : read_dr6(), dr6);
	write_dr6(DR6_INIT);
	trap_clear();
}

static void data(void)
{
	write_dr0((uint64_t)watch_buf);
	write_dr7(DR7_INIT | DR7_BP(0, RW_WRITE, LEN_1));
	__asm__ volatile("movb $1, watch_buf" ::: "memory");
	expect("data.on", "GIF 1: a data breakpoint hits", 1, DR6_INIT | DR6_B0);
	__asm__ volatile(CLGI "movb $1, watch_buf; nop;" STGI ::: "memory");
	expect("data", "GIF 0: it does not", 0, DR6_INIT);
	check_eq("NB.gif.dr7", "DR7 is what was written", read_dr7(), DR7_INIT | DR7_BP(0, RW_WRITE, LEN_1));
	__asm__ volatile("movb $1, watch_buf" ::: "memory");
	expect("data.again", "GIF 1 again: it hits", 1, DR6_INIT | DR6_B0);
}

/* Armed between CLGI and STGI. */
static void armed_inside(void)
{
	uint64_t dr7 = DR7_INIT | DR7_BP(0, RW_WRITE, LEN_1), seen;

	write_dr7(DR7_INIT);
	__asm__ volatile(CLGI "mov %1, %%dr7; movb $1, watch_buf; mov %%dr7, %0;" STGI : "=&r"(seen) : "r"(dr7) : "memory");
	expect("inside", "armed with GIF 0: it does not hit there", 0, DR6_INIT);
	check_eq("NB.gif.inside.dr7", "DR7 is what was written", seen, dr7);
	__asm__ volatile("movb $1, watch_buf" ::: "memory");
	expect("inside.on", "but behind STGI", 1, DR6_INIT | DR6_B0);
}

static void io(void)
{
	uint64_t cr4 = read_cr4();

	write_cr4(cr4 | CR4_DE);
	write_dr1(0x80);
	write_dr7(DR7_INIT | DR7_BP(1, RW_IO, LEN_1));
	__asm__ volatile("out %%al, $0x80" ::: "memory");
	expect("io.on", "GIF 1: an I/O breakpoint hits", 1, DR6_INIT | DR6_B1);
	__asm__ volatile(CLGI "out %%al, $0x80; nop;" STGI ::: "memory");
	expect("io", "GIF 0: it does not", 0, DR6_INIT);
	write_dr7(DR7_INIT);
	write_cr4(cr4);
}

static void step(void)
{
	__asm__ volatile(CLGI "pushfq; orl $0x100, (%%rsp); popfq; nop; pushfq; andl $~0x100, (%%rsp); popfq;" STGI ::: "memory", "cc");
	check_eq("NB.gif.step", "GIF 0: a single step is a #DB all the same: one behind each instruction that TF is set at", trap_count(VEC_DB), 4);
	debug_state_reset();
	trap_clear();
}

SCENARIO(m00_gif, "breakpoints of a hypervisor while its GIF is 0", SCN_NESTED)
{
	if (!env.amd)
		scenario_skip("SVM only: this is an Intel CPU");
	l1_begin();
	db.anywhere = true;
	debug_state_reset();
	trap_clear();
	data();
	armed_inside();
	io();
	step();
	l1_end();
}
