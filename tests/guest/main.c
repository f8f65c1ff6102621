/* SPDX-License-Identifier: MIT */
/* Start-up in C: what machine is this, which scenarios were asked for, and the run over them. */
#include "tests/guest/rt.h"

struct mb_info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline;
};
#define MB_BOOT_MAGIC 0x2badb002u
#define MB_HAS_MEM 0x1u
#define MB_HAS_CMDLINE 0x4u

extern const struct scenario scenarios_start[], scenarios_end[];
extern uint32_t boot_magic, boot_info;
extern uint64_t boot_pml4[512];

struct env env;

static bool text_is(const uint32_t *regs, const char *text)
{
	const char *p = (const char *)regs;

	for (unsigned i = 0; i < 12; i++)
		if (p[i] != text[i])
			return false;
	return true;
}

static void detect_hypervisor(void)
{
	uint32_t r[4], name[3];

	cpuid(1, 0, r);
	if (!(r[2] >> 31))
		return;
	cpuid(HC_CPUID_BASE, 0, r);
	name[0] = r[1];
	name[1] = r[2];
	name[2] = r[3];
	if (!text_is(name, "drover\0\0\0\0\0\0"))
		return;
	env.drover = true;
	if (r[0] < HC_CPUID_FEATURES)
		return;
	cpuid(HC_CPUID_FEATURES, 0, r);
	env.lab = r[0] & HC_FEATURE_LAB;
	env.svm = r[0] & HC_FEATURE_SVM;
	env.vmx = r[0] & HC_FEATURE_VMX;
	env.pvm = r[0] & HC_FEATURE_PVM;
	env.level = r[1];
}

/* Who is below drover may take a hypercall of ring 3 for its own, and refuse it. */
static bool paired;

static uint64_t hypercall_pair(uint64_t nr, uint64_t rbx, uint64_t rcx, uint64_t rdx)
{
	__asm__ volatile(PVM_PAIR "vmmcall" : "+a"(nr), "+b"(rbx), "+c"(rcx), "+d"(rdx)::"memory");
	return nr;
}

static void detect(void)
{
	uint32_t r[4], name[3], max;

	cpuid(0, 0, r);
	max = r[0];
	name[0] = r[1];
	name[1] = r[3];
	name[2] = r[2];
	env.amd = text_is(name, "AuthenticAMD") || text_is(name, "HygonGenuine");
	env.intel = text_is(name, "GenuineIntel");
	cpuid(1, 0, r);
	env.xsave = r[2] >> 26 & 1;
	env.avx = r[2] >> 28 & 1;
	env.sysenter = r[3] >> 11 & 1;
	if (max >= 7) {
		cpuid(7, 0, r);
		env.rtm = r[1] >> 11 & 1;
		env.bld = r[2] >> 24 & 1;
	}
	cpuid(0x80000000, 0, r);
	if (r[0] >= 0x80000001) {
		cpuid(0x80000001, 0, r);
		env.dbext = r[2] >> 26 & 1;
		env.rdtscp = r[3] >> 27 & 1;
	}
	detect_hypervisor();
	paired = env.pvm && hypercall(HC_NOP, 0, 0, 0) != 0;
	cpuid(env.amd ? 0x80000001 : 1, 0, r);
	env.nested = env.drover && (r[2] >> (env.amd ? 2 : 5) & 1);
	if (env.lab)
		env.policy = (unsigned)hypercall(HC_LAB_POLICY, 0, 0, 0) % NR_POLICIES;
}

/* ---- Exits on demand ---- */

/* One copy: drover knows the length of an instruction on the page that it fetched from last, and on another the exit is not a fast one. */
__attribute__((noinline)) uint64_t hypercall(uint64_t nr, uint64_t rbx, uint64_t rcx, uint64_t rdx)
{
	if (paired)
		return hypercall_pair(nr, rbx, rcx, rdx);
	if (env.amd)
		__asm__ volatile("vmmcall" : "+a"(nr), "+b"(rbx), "+c"(rcx), "+d"(rdx)::"memory");
	else
		__asm__ volatile("vmcall" : "+a"(nr), "+b"(rbx), "+c"(rcx), "+d"(rdx)::"memory");
	return nr;
}

bool fx_available(enum force_exit k)
{
	return k == FX_NONE || k == FX_CPUID || (k == FX_NOP && env.drover) || ((k == FX_FAST || k == FX_SLOW) && env.lab);
}

void fx(enum force_exit k)
{
	uint32_t r[4];

	if (!fx_available(k))
		return;
	if (k == FX_CPUID)
		cpuid(0, 0, r);
	else if (k != FX_NONE && hypercall(k == FX_NOP ? HC_NOP : k == FX_FAST ? HC_LAB_FAST : HC_LAB_SLOW, 0, 0, 0) != 0)
		scenario_error("the hypercall for a %s exit is refused", fx_name(k));
}

const char *fx_name(enum force_exit k)
{
	static const char *const names[FX_NR] = { "native", "cpuid", "nop", "fast", "slow" };

	return k < FX_NR ? names[k] : "?";
}

/* ---- Extra mappings ---- */

static uint64_t *table_below(uint64_t *entry)
{
	static uint64_t pool[8][512] __attribute__((aligned(4096)));
	static unsigned used;

	if (!(*entry & 1)) {
		if (used == 8)
			scenario_error("map_2m: out of page tables");
		*entry = (uint64_t)pool[used++] | 7;
	}
	return (uint64_t *)(*entry & 0xffffffffff000);
}

void map_2m(uint64_t va, uint64_t pa)
{
	uint64_t *pdpt = table_below(&boot_pml4[va >> 39 & 511]);
	uint64_t *pd = table_below(&pdpt[va >> 30 & 511]);

	pd[va >> 21 & 511] = (pa & ~0x1ffffful) | 0x87;
	write_cr3(read_cr3());
}

/* ---- Command line ---- */

#define PICK_MAX 128
static const struct scenario *picked[PICK_MAX];
static unsigned nr_picked;

static size_t span(const char *s, char stop)
{
	size_t n = 0;

	while (s[n] && s[n] != ' ' && s[n] != stop)
		n++;
	return n;
}

static bool same(const char *s, size_t n, const char *word)
{
	size_t i = 0;

	while (i < n && word[i] && s[i] == word[i])
		i++;
	return i == n && !word[i];
}

static __attribute__((noreturn)) void bad_option(const char *what, const char *s, size_t n)
{
	char buf[80];
	size_t i = 0;

	for (; i < n && i < sizeof(buf) - 1; i++)
		buf[i] = s[i];
	buf[i] = 0;
	print("guest: unknown %s: %s\n", what, buf);
	guest_exit(EXIT_BADOPT);
}

static void pick(const struct scenario *s)
{
	for (unsigned i = 0; i < nr_picked; i++)
		if (picked[i] == s)
			return;
	if (nr_picked < PICK_MAX)
		picked[nr_picked++] = s;
}

/* flags: one of these, 0: any. */
static void pick_all(uint64_t flags)
{
	for (const struct scenario *s = scenarios_start; s < scenarios_end; s++)
		if (!(s->flags & SCN_BY_NAME) && (!flags || (s->flags & flags)))
			pick(s);
}

static __attribute__((noreturn)) void list_scenarios(void)
{
	for (const struct scenario *s = scenarios_start; s < scenarios_end; s++)
		print("scenario %s%s%s%s: %s\n", s->name, s->flags & SCN_BY_NAME ? " by-name" : "", s->flags & SCN_LAB ? " lab" : "",
		      s->flags & SCN_DROVER ? " drover" : "", s->title);
	guest_exit(EXIT_PASS);
}

static void pick_named(const char *s)
{
	for (;;) {
		size_t n = span(s, ',');
		const struct scenario *sc = scenarios_start;

		if (same(s, n, "list"))
			list_scenarios();
		while (sc < scenarios_end && !same(s, n, sc->name))
			sc++;
		if (same(s, n, "all"))
			pick_all(0);
		else if (same(s, n, "nested"))
			pick_all(SCN_NESTED);
		else if (sc == scenarios_end)
			bad_option("scenario", s, n);
		else
			pick(sc);
		if (s[n] != ',')
			return;
		s += n + 1;
	}
}

/* A loader may put the image's own name first. */
static bool is_image_name(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s[i] == '=')
			return false;
	for (size_t i = 0; i < n; i++)
		if (s[i] == '/')
			return true;
	return (n > 4 && same(s + n - 4, 4, ".elf")) || same(s, n, "guest");
}

static uint64_t number(const char *s, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9' || v > (~0ul - 9) / 10)
			bad_option("number", s, n);
		v = v * 10 + (uint64_t)(s[i] - '0');
	}
	return v;
}

static void parse_cmdline(const char *s)
{
	for (bool first = true;; first = false) {
		size_t n;

		while (*s == ' ')
			s++;
		if (!*s)
			break;
		n = span(s, ' ');
		if (n >= 9 && same(s, 9, "scenario="))
			pick_named(s + 9);
		else if (n == 10 && same(s, 9, "debugctl=") && s[9] >= '0' && s[9] <= '7')
			env.run_debugctl = (uint64_t)(s[9] - '0');
		else if (n > 5 && same(s, 5, "seed="))
			env.seed = number(s + 5, n - 5);
		else if (n > 6 && same(s, 6, "count="))
			env.count = number(s + 6, n - 6);
		else if (same(s, n, "fragile"))
			env.fragile = true;
		else if (!first || !is_image_name(s, n))
			bad_option("option", s, n);
		s += n;
	}
	if (!nr_picked)
		pick_all(0);
}

void guest_main(void)
{
	const struct mb_info *info = (const struct mb_info *)(uint64_t)boot_info;

	trap_init();
	detect();
	/* Boot firmware leaves the timer live on what are exception vectors here. */
	if (!env.drover) {
		io_outb(0x21, 0xff);
		io_outb(0xa1, 0xff);
	}
	console_init();
	env.debugctl = try_rdmsr(MSR_DEBUGCTL, &boot_capture.debugctl) == NO_FAULT;
	env.cmdline = "";
	if (boot_magic == MB_BOOT_MAGIC) {
		if (info->flags & MB_HAS_MEM)
			env.mem_bytes = 0x100000 + (uint64_t)info->mem_upper * 1024;
		if (info->flags & MB_HAS_CMDLINE)
			env.cmdline = (const char *)(uint64_t)info->cmdline;
	}
	parse_cmdline(env.cmdline);

	print("KTAP version 1\n1..%u\n", nr_picked);
	for (unsigned i = 0; i < nr_picked; i++)
		scenario_run(picked[i], i + 1);
	print("# totals: pass:%u fail:%u skip:%u error:%u\n", total.pass, total.fail, total.skip, total.error);
	guest_exit(total.error ? EXIT_ERROR : total.fail ? EXIT_FAIL : EXIT_PASS);
}
