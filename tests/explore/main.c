/* SPDX-License-Identifier: MIT */
/* The parameter sets, and what must have been seen: `explore [PATTERN [INVARIANTS]]`: sets by name; digits. */
#include "explore.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

const char *const event_names[NR_EVENTS] = {
	[EV_ENTER] = "enter", [EV_SWITCH] = "preempt", [EV_HOST_BP_ON] = "host-bp-on", [EV_HOST_BP_OFF] = "host-bp-off",
	[EV_HOST_CTL_ON] = "host-debugctl-on", [EV_HOST_CTL_OFF] = "host-debugctl-off", [EV_HOST_DB] = "host-db", [EV_ATTACH] = "attach",
	[EV_DETACH] = "detach", [EV_RESET] = "reset", [EV_SLOW] = "slow-exit", [EV_FAST] = "fast-exit", [EV_READ_DR0] = "read-dr0",
	[EV_READ_DR6] = "read-dr6", [EV_READ_DR7] = "read-dr7", [EV_DR0_ZERO] = "dr0=0", [EV_DR0_ADDR] = "dr0=addr", [EV_DR6_INIT] = "dr6=init",
	[EV_DR6_MARK] = "dr6=mark", [EV_DR7_OFF] = "dr7=off", [EV_DR7_ARM] = "dr7=armed", [EV_DR7_GD] = "dr7=armed+gd", [EV_RDMSR] = "rdmsr-debugctl",
	[EV_CTL_ZERO] = "debugctl=0", [EV_CTL_SET] = "debugctl=btf", [EV_MASK_ZERO] = "mask=0", [EV_MASK_SET] = "mask=7",
	[EV_HIT_FAST] = "db-hit-fast", [EV_HIT_SLOW] = "db-hit-slow", [EV_STEP_FAST] = "db-step-fast", [EV_STEP_SLOW] = "db-step-slow",
	[EV_GD_FAST] = "db-gd-fast", [EV_GD_SLOW] = "db-gd-slow", [EV_HELD_HIT] = "debugger-hit",
};
const char *const nmi_names[NR_NMIS] = { "", "nmi: host-bp-on", "nmi: host-bp-off", "nmi: debugctl-on", "nmi: debugctl-off", "nmi: host-db",
					 "nmi: host-bp-on and host-db", "nmi: stray #DB" };

#define SVM_CAPS (DBG_CAP_VM_DR6 | DBG_CAP_VM_DR7 | DBG_CAP_DB_APPLIED | DBG_CAP_LBRV)
#define VMX_CAPS (DBG_CAP_VM_DR7 | DBG_CAP_VM_DEBUGCTL | DBG_CAP_EXIT_ZEROES_DEBUGCTL | DBG_CAP_PENDING)

static const struct backend_set {
	const char *name;
	unsigned caps, feat;
	bool db_clears;
} backends[] = {
	{ "vmx", VMX_CAPS, DBG_FEAT_BTF, false },
	{ "svm", SVM_CAPS, DBG_FEAT_AMD | DBG_FEAT_MASKS, false },
	{ "svm-lbrv", SVM_CAPS, DBG_FEAT_AMD | DBG_FEAT_BTF, false },
	{ "svm-lbrv-clears", SVM_CAPS, DBG_FEAT_AMD | DBG_FEAT_BTF, true },
};

static const struct extra_set {
	const char *name;
	bool debugger;
	uint8_t held;
	unsigned nmis, where;
	bool owned;
} extras[] = {
	{ "hold0", true, 0, 0, 0, true },
	{ "hold1", true, 1, 0, 0, true },
	{ "nmi-hit", false, 0, 1u << NMI_HIT, 1u << IN_RUN | 1u << IN_PLAN, true },
	{ "nmi-bp", false, 0, 1u << NMI_BP_ON | 1u << NMI_BP_OFF, 1u << IN_RUN, true },
	{ "nmi-bp-hit", false, 0, 1u << NMI_BP_ON_HIT, 1u << IN_RUN, true },
	{ "nmi-debugctl", false, 0, 1u << NMI_CTL_ON | 1u << NMI_CTL_OFF, 1u << IN_RUN, false },
	{ "nmi-stray", false, 0, 1u << NMI_STRAY, 1u << IN_RUN | 1u << IN_PLAN, true },
	{ "nmi-owned", false, 0, 1u << NMI_CTL_ON | 1u << NMI_CTL_OFF, 1u << IN_RUN, true },
	{ "nmi-bp-in-plan", false, 0, 1u << NMI_BP_ON | 1u << NMI_BP_OFF, 1u << IN_PLAN, true },
	{ "nmi-debugctl-in-plan", false, 0, 1u << NMI_CTL_ON | 1u << NMI_CTL_OFF, 1u << IN_PLAN, false },
};
static const char *const policies[DBG_NR_POLICIES] = { "lazy", "eager", "cached", "trapped" };

static unsigned passed, failed;
static uint64_t all_states, all_transitions;

static void line(bool ok, const char *text)
{
	passed += ok;
	failed += !ok;
	printf("%sok %s\n", ok ? "" : "not ", text);
	fflush(stdout);
}

static void run_set(const struct backend_set *b, unsigned policy, const struct extra_set *x, const char *pattern)
{
	struct timespec t0, t1;
	struct result r;
	char text[320];
	bool ok;

	par = (struct params){ .be = { .dbg_caps = b->caps }, .policy = (uint8_t)policy, .feat = (uint8_t)b->feat, .db_clears = b->db_clears,
			       .debugger = x->debugger, .held = x->held, .nmis = x->nmis, .where = x->where, .owned = x->owned };
	snprintf(par.name, sizeof(par.name), "%s/%s/%s", b->name, policies[policy], x->name);
	if ((pattern && fnmatch(pattern, par.name, 0)) || (!strcmp(x->name, "nmi-owned") && !(b->caps & DBG_CAP_VM_DEBUGCTL)))
		return;
	clock_gettime(CLOCK_MONOTONIC, &t0);
	ok = search(&r);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	all_states += r.states;
	all_transitions += r.transitions;
	if (ok || r.blown)
		snprintf(text, sizeof(text), "set.%s %lu states, %lu transitions, %.1f s%s", par.name, r.states, r.transitions,
			 (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9, r.blown ? " # too many states" : "");
	else
		snprintf(text, sizeof(text), "set.%s # I%u after %u events, the last is %s: %s", par.name, bad_invariant, r.length, event_names[r.last], bad);
	line(ok, text);
}

static void witnesses(void)
{
	static const uint8_t states[DBG_NR_POLICIES] = { [DBG_LAZY] = 7, [DBG_EAGER] = 6, [DBG_CACHED] = 6, [DBG_TRAPPED] = 3 };
	char text[128];

	for (unsigned i = 0; i < NR_EVENTS; i++) {
		snprintf(text, sizeof(text), "seen.event %s", event_names[i]);
		line(seen.events >> i & 1, text);
	}
	for (unsigned i = 1; i < NR_NMIS; i++) {
		snprintf(text, sizeof(text), "seen.event %s", nmi_names[i]);
		line(seen.nmis >> i & 1, text);
	}
	for (unsigned i = 0; i < DBG_NR_POLICIES; i++) { /* no others may be: a debugger's slots are armed, and nobody is LIVE then */
		snprintf(text, sizeof(text), "seen.states %s: IDLE %d, ARMED %d, LIVE %d", policies[i], seen.states[i] & 1, seen.states[i] >> 1 & 1,
			 seen.states[i] >> 2 & 1);
		line(seen.states[i] == states[i], text);
	}
	for (unsigned i = 0; i <= 15; i++) {
		bool enter = i <= 5;

		if (i == 6 || i == 7)
			continue;
		snprintf(text, sizeof(text), "seen.op %s bit %u", enter ? "enter" : "leave", i);
		line((enter ? seen.enter_ops : seen.leave_ops) >> i & 1, text);
	}
}

int main(int argc, char **argv)
{
	const char *pattern = argc > 1 ? argv[1] : NULL;

	if (argc > 2)
		wanted_invariants = 0;
	for (const char *d = argc > 2 ? argv[2] : ""; *d; d++)
		wanted_invariants |= 1u << (*d & 15);
	for (unsigned b = 0; b < sizeof(backends) / sizeof(backends[0]); b++)
		for (unsigned p = 0; p < DBG_NR_POLICIES; p++)
			for (unsigned x = 0; x < sizeof(extras) / sizeof(extras[0]); x++)
				run_set(&backends[b], p, &extras[x], pattern);
	if (!pattern)
		witnesses();
	invariant_rules();
	printf("# %lu states, %lu transitions\nsearch: %u passed, %u failed\n", all_states, all_transitions, passed, failed);
	return failed || !passed;
}
