/* SPDX-License-Identifier: MIT */
/* Strict: a word that is not understood names itself, and nothing runs. */
#include "vmm/vmopts.h"

#include "arch/lib/string.h"
#include "vmm/nested.h"

static bool number(const char *s, uint64_t min, uint64_t max, unsigned *out)
{
	uint64_t v;

	if (!str_to_u64(s, &v) || v < min || v > max)
		return false;
	*out = (unsigned)v;
	return true;
}

/* Shown in logs: letters, digits, - _ . only. */
static bool name(const char *s, char out[VM_NAME_MAX])
{
	for (const char *p = s; *p; p++)
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || *p == '-' || *p == '_' || *p == '.'))
			return false;
	return *s != '\0' && str_copy(out, VM_NAME_MAX, s);
}

static bool option(const char *t, struct vmopts *o)
{
	if (str_eq(t, "lab"))
		o->lab = true;
	else if (str_eq(t, "buslock=exit"))
		o->bus_lock_exit = true;
	else if (str_eq(t, "debugctl=emulate"))
		o->debugctl_emulate = true;
	else if (str_eq(t, "debugctl=hardware"))
		o->debugctl_emulate = false;
	else if (str_eq(t, "nested=on"))
		o->nested = NESTED_ON;
	else if (str_eq(t, "nested=off"))
		o->nested = NESTED_OFF;
	else if (str_eq(t, "nested=locked"))
		o->nested = NESTED_LOCKED;
	else if (str_starts(t, "vm="))
		return name(t + 3, o->name);
	else if (str_starts(t, "mem="))
		return number(t + 4, VMOPTS_MEM_MIN, VMOPTS_MEM_MAX, &o->mem_mib);
	else if (str_starts(t, "budget="))
		return number(t + 7, 1, 0x7fffffff, &o->budget_ms);
	else if (str_starts(t, "group="))
		return number(t + 6, 1, 0xffff, &o->group);
	else if (str_starts(t, "module-of="))
		return name(t + 10, o->module_of);
	else
		return false;
	return true;
}

/* Some loaders put the file's own path first. It is no option: options have a '=', or are flags without '/' or ".elf". */
static bool is_path(const char *t)
{
	return !strchr(t, '=') && (strchr(t, '/') || str_ends(t, ".elf") || str_eq(t, "drover") || str_eq(t, "guest"));
}

bool vmopts_parse(const char *s, struct vmopts *o, char *bad, size_t bad_cap)
{
	char token[128];
	bool first = true, cut = false;

	o->cmdline = "";
	while (str_token(&s, token, sizeof(token), &cut)) {
		if (str_eq(token, "--")) {
			while (*s == ' ')
				s++;
			o->cmdline = s;
			return true;
		}
		if (!(first && is_path(token)) && (cut || !option(token, o))) {
			str_copy(bad, bad_cap, token);
			return false;
		}
		first = false;
		cut = false;
	}
	return true;
}
