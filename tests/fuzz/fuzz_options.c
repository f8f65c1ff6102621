/* SPDX-License-Identifier: MIT */
/* drover's command line and a module's string, any bytes. Input: whose, and how much room there is for the bad word; then the line, which a NUL may end. */
#include "boot/options.h"
#include "fuzz.h"
#include "vmm/vmopts.h"

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* What a refusal names stands in the line as a word, or as the beginning of one where there was no room for all of it. */
static void check_named(const char *line, const char *bad, size_t cap)
{
	size_t n;

	FUZZ_CHECK(memchr(bad, 0, cap) != NULL, "the bad word has no end");
	n = strlen(bad);
	FUZZ_CHECK(n > 0 || cap == 1, "a refusal that names nothing");
	for (const char *at = strstr(line, bad); at != NULL; at = strstr(at + 1, bad)) {
		bool whole = at[n] == 0 || blank(at[n]) || n == cap - 1 || n == 127;

		if ((at == line || blank(at[-1])) && whole)
			return;
	}
	FUZZ_CHECK(cap == 1, "the bad word '%s' does not stand in the line", bad);
}

/* The line with a word behind it that nobody knows: refused, and if the line alone was fine, for that word. */
static char *with_nonsense(const char *line)
{
	size_t n = strlen(line);
	char *more = malloc(n + 20);

	if (more == NULL)
		abort();
	memcpy(more, line, n);
	strcpy(more + n, " x=y nonsense"); /* two, since a first word may be a path */
	return more;
}

static void try_options(const char *line, char *bad, size_t cap)
{
	struct options o, again;
	char *more = with_nonsense(line), other[8];

	memset(&o, 0xa5, sizeof(o)); /* filled by the parser, whatever was there */
	if (!options_parse(line, &o, bad, cap))
		check_named(line, bad, cap);
	else
		FUZZ_CHECK(!options_parse(more, &again, other, sizeof(other)) && strcmp(other, "x=y") == 0, "after a good line, 'x=y' is called '%s'", other);
	free(more);
	FUZZ_CHECK(o.backend == CHOOSE_AUTO || o.backend == CHOOSE_SVM || o.backend == CHOOSE_VMX || o.backend == CHOOSE_PVM, "backend %u", o.backend);
	FUZZ_CHECK(o.com <= 0x10000 - 8, "com %#x", o.com);
	FUZZ_CHECK(o.gdb <= 0x10000 - 8 && (o.gdb || !o.gdb_wait), "gdb %#x", o.gdb);
	FUZZ_CHECK(o.budget_ms >= 1 && o.budget_ms <= 86400000, "budget %u", o.budget_ms);
	FUZZ_CHECK(o.min_mib >= 1 && o.min_mib <= 1u << 20, "minmem %u", o.min_mib);
	FUZZ_CHECK(memchr(o.fault, 0, sizeof(o.fault)) != NULL, "the fault's name has no end");
	FUZZ_CHECK(o.fault[0] == 0 || strstr(line, o.fault) != NULL, "fault %s", o.fault);
}

static bool plain_name(const char *s)
{
	size_t n = strnlen(s, VM_NAME_MAX);

	return n < VM_NAME_MAX && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == n;
}

static void try_vmopts(const char *line, char *bad, size_t cap)
{
	struct vmopts o = { 0 }, again = { 0 };
	char *more = with_nonsense(line), other[8];

	if (!vmopts_parse(line, &o, bad, cap)) {
		check_named(line, bad, cap);
	} else {
		FUZZ_CHECK(o.cmdline[0] == 0 || (o.cmdline >= line && o.cmdline <= line + strlen(line)), "the guest's line lies elsewhere");
		if (o.cmdline >= line && o.cmdline <= line + strlen(line))
			FUZZ_CHECK(vmopts_parse(more, &again, other, sizeof(other)), "behind '--' a word counts: '%s'", other);
		else
			FUZZ_CHECK(!vmopts_parse(more, &again, other, sizeof(other)) && strcmp(other, "x=y") == 0, "'x=y' is called '%s'", other);
	}
	free(more);
	FUZZ_CHECK(plain_name(o.name) && plain_name(o.module_of), "a name with other characters");
	FUZZ_CHECK(o.mem_mib == 0 || (o.mem_mib >= VMOPTS_MEM_MIN && o.mem_mib <= VMOPTS_MEM_MAX), "mem %u", o.mem_mib);
	FUZZ_CHECK(o.budget_ms <= 0x7fffffff && o.group <= 0xffff, "budget %u, group %u", o.budget_ms, o.group);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	uint8_t head = (uint8_t)fuzz_take(&in, 1);
	size_t cap = head & 0x40 ? 128 : 1 + (head & 0x3f);
	char *line = malloc(in.n + 1), *bad = malloc(cap);

	if (line == NULL || bad == NULL)
		abort();
	if (in.n > 0)
		memcpy(line, in.p, in.n);
	line[in.n] = 0;
	memset(bad, 0x7e, cap);
	if (head & 0x80)
		try_vmopts(line, bad, cap);
	else
		try_options(line, bad, cap);
	free(bad);
	free(line);
	return 0;
}
