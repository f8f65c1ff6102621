/* SPDX-License-Identifier: MIT */
/* Symptom: a guest sets a breakpoint on an address of its hypervisor's entry code, or of the stack that the entry code uses, and the host takes the #DB: in
 * the middle of the switch, with the guest's page tables, again and again.
 * Cause: without hardware help the debug registers are the guest's while the host's first instructions run. A check of the address alone lets through what
 * begins below the host's range and ends in it, or lies in it by its length.
 * Who had it: Xen (XSA-444: the mask of AMD's breakpoints), and source document 4 is about just this filter.
 * Rules: P03, P04, P05, P21, A04. Expected: the registers read back as written, such a slot never hits, the one beside it does. */
#include "tests/guest/guest.h"

CODE64(p03_store, "movb %al, (%rbx); nop;" DONE)
CODE64(p03_user, "nop; ud2;")

/* What of drover's image a guest's entry and exit run through and read, whatever the build: the runner compares these with its symbols (rungs.py). */
#define TEXT_FROM 0xffffffff80100000ul /* the switcher's text */
#define TEXT_TO 0xffffffff80104000ul
#define DATA_FROM 0xffffffff80120000ul /* IDT, saved registers and exit stack; the CPU's TSS and IST stacks */
#define DATA_TO 0xffffffff80180000ul
#define VIEWS_FROM 0xffffff8000000000ul /* the views of the GDT */
#define VIEWS_TO 0xffffff8000004000ul

/* Tables of the host, its image, its data, the ends of the range; the upper half below it, the other half, no address at all. */
static const uint64_t places[] = {
	0xffffff8000000000, 0xffffff8000000008, 0xffffff8000001000, 0xffffff8000002000, 0xffffff8000003ff8, 0xffffffff80000000, 0xffffffff80100000,
	0xffffffff80101000, 0xffffffff80102000, 0xffffffff80145000, 0xffffffff80152ff8, 0xfffffffffffffff8, 0xffffffffffffffff, 0xffffff7ffffffff9,
	0xffffff7fffffffff, 0x0000800000000000, 0xffff7fffffffffff, 0x00007fffffffffff,
};
#define NR (sizeof(places) / sizeof(places[0]))

static const struct {
	const char *name;
	unsigned rw, len;
} types[] = { { "exec", RW_EXEC, LEN_1 }, { "write8", RW_WRITE, LEN_8 }, { "any1", RW_RDWR, LEN_1 }, { "any4", RW_RDWR, LEN_4 } };

/* Much that makes the host run its entry code: exits, a fault, a system of its own. */
static void provoke(enum force_exit k, uint64_t address)
{
	uint8_t v;

	fx(k);
	fx(FX_CPUID);
	(void)try_read8(address | 0x8000000000000000ul, &v); /* #PF or #GP: nothing there */
	fx(k);
}

static void beside(unsigned slot, const char *id)
{
	struct run r = { .code = p03_store, .cpl = slot & 1 ? 3 : 0, .regs = { .rbx = (uint64_t)watch_buf } };

	run_code(&r);
	check_trace(id, "the slot beside it hits, it does not", p03_store, fmt("DB+2/%x", DR6_INIT | 1u << slot));
}

static void set_dr(unsigned n, uint64_t v)
{
	(void)try_mov_to_dr(n, v);
}

static void each_place(void)
{
	uint64_t bad = 0, v = 0;

	db.anywhere = true;
	for (unsigned i = 0; i < NR; i++)
		for (unsigned t = 0; t < 4; t++) {
			unsigned slot = (i + t) % 4, other = (slot + 1) % 4;
			uint32_t dr7 = DR7_INIT | DR7_BP(slot, types[t].rw, types[t].len) | DR7_BP(other, RW_WRITE, LEN_1);

			set_dr(slot, places[i]);
			set_dr(other, (uint64_t)watch_buf);
			write_dr7(dr7);
			trap_clear();
			provoke(FX_SLOW, places[i]);
			check_eq(fmt("P03.quiet.%u.%s", i, types[t].name), "no #DB", trap_count(VEC_DB), 0);
			(void)try_mov_from_dr(slot, &v);
			bad += v != places[i] || read_dr7() != dr7;
			beside(other, fmt("P04.%u.%s", i, types[t].name));
			set_dr(slot, (uint64_t)watch_buf); /* P05: the same slot, now at an address that the guest has */
			write_dr7(DR7_INIT | DR7_BP(slot, RW_RDWR, LEN_1));
			beside(slot, fmt("P05.%u.%s", i, types[t].name));
			write_dr7(DR7_INIT);
		}
	check_eq("A04.readback", "the registers read back as written", bad, 0);
}

/* An exit, a step and a fault from user mode with four breakpoints in the host; what of that was not as without them. */
static unsigned disturbed(uint64_t at, uint64_t step, unsigned rw, unsigned len)
{
	struct run r = { .code = p03_user, .cpl = 3, .rflags = FL_TF, .allow = 1 << VEC_UD };
	uint32_t dr7 = DR7_INIT;

	for (unsigned i = 0; i < 4; i++) {
		set_dr(i, at + i * step);
		dr7 |= DR7_BP(i, rw, len);
	}
	write_dr7(dr7);
	run_code(&r);
	write_dr7(DR7_INIT);
	return trap_log.n != 2 || trap_count(VEC_DB) != 1 || trap_nth(VEC_DB, 0)->dr6 != (DR6_INIT | DR6_BS) || r.end != VEC_UD;
}

/* As an exec breakpoint each byte of where the switcher is; as a watchpoint the first and the last bytes of each page of its data. */
static void sweep(void)
{
	unsigned exec = 0, data = 0, views = 0;

	db.anywhere = true;
	if (env.lab)
		hypercall(HC_LAB_HOST_DB, 1, 0, 0);
	for (uint64_t a = TEXT_FROM; a < TEXT_TO; a += 4)
		exec += disturbed(a, 1, RW_EXEC, LEN_1);
	for (uint64_t page = DATA_FROM; page < DATA_TO; page += 4096)
		for (uint64_t a = page - 0x100; a < page + 0x200; a += 32)
			data += disturbed(a, 8, RW_RDWR, LEN_8);
	for (uint64_t a = VIEWS_FROM; a < VIEWS_TO; a += (a & 0xfff) < 0x80 ? 32 : 0xf80)
		views += disturbed(a, 8, RW_RDWR, LEN_8);
	check_eq("P21.sweep.text", "a step and a fault, no other #DB", exec, 0);
	check_eq("P21.sweep.data", "a step and a fault, no other #DB", data, 0);
	check_eq("P21.sweep.views", "a step and a fault, no other #DB", views, 0);
	if (env.lab)
		check_eq("P03.host", "no #DB in the host", hypercall(HC_LAB_HOST_DB, 1, 0, 0), 0);
}

/* The last bytes below the host's range are the guest's. What reaches beyond by 7 bytes counts as the host's, whatever its length says (rule P03). */
static void edge(void)
{
	uint64_t page = 0xffffff7fffe00000, last = 0xffffff7ffffffff8;
	struct run r = { .code = p03_store, .regs = { .rbx = last } };

	map_2m(page, (uint64_t)watch_buf & ~0x1ffffful);
	write_dr3(last);
	write_dr7(DR7_INIT | DR7_BP(3, RW_WRITE, LEN_8));
	run_code(&r);
	check_trace("P03.last", "the last eight bytes of the guest's", p03_store, "DB+2/ffff0ff8");
	write_dr3(last + 1);
	write_dr7(DR7_INIT | DR7_BP(3, RW_WRITE, LEN_1));
	r.regs.rbx = last + 1;
	run_code(&r);
	check_trace("P03.beyond", "seven bytes behind it are the host's", p03_store, env.pvm ? "none" : "DB+2/ffff0ff8");
	write_dr7(DR7_INIT);
}

SCENARIO(p03_host_range, "breakpoints on the addresses of a hypervisor", 0)
{
	each_place();
	sweep();
	edge();
}
