/* SPDX-License-Identifier: MIT */
/* Random guest scripts against bare hardware: two vcpus share a CPU, the host's breakpoints and DEBUGCTL are on, slices end early. Seeded. */
#include "arch/x86/def/hypercall.h"
#include "both.h"

#include <string.h>

#define SCRIPT 60
#define RUNS 400

static uint64_t pick_address(uint64_t *s)
{
	static const uint32_t pages[] = { 0x5000, 0x5004, 0x6000, 0x6008, G_MAIN + 4, G_MAIN + 31, G_MAIN + 60 };

	return pages[rnd(s) % 7] + rnd(s) % 4;
}

static unsigned debuggers_slot; /* 0-3: no script enables it, since it would find it taken */

/* Enables, types and lengths; RW=10 now and then; never LEN with a code breakpoint, which is undefined. */
static uint64_t pick_dr7(uint64_t *s)
{
	uint64_t v = 0x400 | (rnd(s) & rnd(s) & 0xff);

	for (unsigned i = 0; i < 4; i++) {
		uint64_t rw = rnd(s) % 4, len = rw ? rnd(s) % 4 : 0;

		v |= (rw | len << 2) << (16 + 4 * i);
	}
	v &= ~(3ull << 2 * debuggers_slot);
	return rnd(s) % 16 ? v : v | 0x2000;
}

/* What a CPU with all of DEBUGCTL has more: branches and their records, masks, MOV SS (on AMD without a watched operand: an exit behind it would lose
 * the hit, since the control block has no place for it), strings, bus locks. */
static struct gop pick_more(uint64_t *s)
{
	static const uint32_t msrs[] = { 0, 0, 0, 0, 0x1db, 0x1dc, 0x1c9, 0x681, 0x6c1, 0x682, 0x68f, 0xc0011027, 0xc0011019, 0xc001101b };
	struct gop o = { .flags = rnd(s) % 8 ? 0 : GOP_IRQ };

	switch (rnd(s) % 12) {
	case 0: case 1: o.kind = G_JMP; break;
	case 2: o.kind = G_MOV_SS; o.a = sw.amd || rnd(s) % 2 ? 0 : pick_address(s); break;
	case 3: case 4: o.kind = G_WRMSR; o.a = rnd(s) % 8; break;
	case 5: case 6: case 7: o.kind = G_RDMSR; o.b = msrs[rnd(s) % 14]; break;
	case 8: o.kind = G_WRMSR; o.b = msrs[11 + rnd(s) % 3]; o.a = rnd(s) % 2 ? 0 : rnd(s) & 0xfff; break;
	case 9: o.kind = G_REP_STOS; o.n = (uint8_t)(1 + rnd(s) % 3); o.a = pick_address(s); break;
	case 10: o.kind = G_SPLIT_LOCK; break;
	default: o.kind = G_PUSHF; break;
	}
	return o;
}

static struct gop pick_op(uint64_t *s)
{
	static const uint8_t drs[] = { 0, 1, 2, 3, 6, 7, 7, 6, 4, 5 };
	struct gop o = { .n = drs[rnd(s) % 10], .flags = rnd(s) % 8 ? 0 : GOP_IRQ };

	switch (rnd(s) % 16) {
	case 0: case 1: case 2:
		o.kind = G_MOV_TO_DR;
		o.a = o.n < 4 ? pick_address(s) : o.n & 1 ? pick_dr7(s) : 0xffff0ff0 ^ (rnd(s) & 0xe00f);
		break;
	case 3: case 4: o.kind = G_MOV_FROM_DR; break;
	case 5: case 6: o.kind = G_STORE; o.n = (uint8_t)(1u << rnd(s) % 3); o.a = pick_address(s); break;
	case 7: o.kind = G_LOAD; o.n = (uint8_t)(1u << rnd(s) % 3); o.a = pick_address(s); break;
	case 8: o.kind = rnd(s) % 2 ? G_IN : G_OUT; o.a = 0x80; break;
	case 9: o.kind = G_POPF; o.a = rnd(s) % 2; break;
	case 10: o.kind = G_CPUID; o.a = rnd(s) % 2 ? rnd(s) % 64 : rnd(s); break;
	case 11: o.kind = G_HC; o.a = HC_LAB_FAST; break;
	case 12: o.kind = G_HC; o.a = rnd(s) % 2 ? HC_LAB_SLOW : HC_LAB_YIELD; break;
	case 13: o.kind = G_NOP; break;
	case 14: o.kind = rnd(s) % 2 ? G_RDMSR : G_WRMSR; o.a = 1ull << rnd(s) % 10; break;
	default: o.kind = rnd(s) % 4 ? G_NOP : G_ICEBP; break;
	}
	return o;
}

/* First difference between guest and bare machine, as text; NULL: none. */
static const char *difference(const struct machine *m, unsigned vm, unsigned run)
{
	static char text[120];
	const struct sw_guest *a = &m->g[vm], *b = &m->bare[vm];
	unsigned i = 0;

	while (i < a->nr_rec && i < b->nr_rec && memcmp(&a->rec[i], &b->rec[i], sizeof(a->rec[i])) == 0)
		i++;
	if (i == a->nr_rec && i == b->nr_rec)
		return NULL;
	snprintf(text, sizeof(text), "run %u vm%u record %u: kind %d %u 0x%llx, bare kind %d %u 0x%llx", run, vm, i, i < a->nr_rec ? a->rec[i].kind : -1,
		 a->rec[i].n, (unsigned long long)a->rec[i].a, i < b->nr_rec ? b->rec[i].kind : -1, b->rec[i].n, (unsigned long long)b->rec[i].a);
	return text;
}

static bool add_random(struct machine *m, uint64_t *s)
{
	static const struct gop handler[] = { { G_MOV_FROM_DR, .n = 6 }, { G_MOV_FROM_DR, .n = 7 } };
	struct gop ops[SCRIPT];
	struct vcpu *v;

	for (unsigned i = 0; i < SCRIPT; i++)
		ops[i] = sw.phys.btf && rnd(s) % 3 == 0 ? pick_more(s) : pick_op(s);
	v = machine_add(m, ops, SCRIPT, handler, 2);
	if (v && debuggers_slot < 4)
		machine_hold(m, m->nr - 1, debuggers_slot, pick_address(s), rnd(s) % 4 ? 3 | (unsigned)(rnd(s) % 4) << 2 : 0);
	if (v && rnd(s) % 2)
		v->st.cr4 |= 8;
	return v;
}

static struct ref_cpu pick_cpu(bool amd, uint64_t *s)
{
	struct ref_cpu cpu = { .rtm = rnd(s) % 2 };

	if (machine_ring3) {
		cpu.bld = rnd(s) % 2;
		return cpu;
	}
	if (rnd(s) % 2)
		return cpu;
	cpu = full(amd);
	cpu.bld = rnd(s) % 2;
	cpu.masks32 = amd && rnd(s) % 2;
	return cpu;
}

static void random_runs(bool amd, const char *id, const char *rules_id)
{
	struct tap_set same = { .id = id }, rules = { .id = rules_id };
	uint64_t records = 0, dbs = 0, hits = 0;

	for (unsigned run = 0; run < RUNS; run++) {
		uint64_t s = run * 2 + amd;
		struct machine m;

		if (!machine_start(&m, amd, pick_cpu(amd, &s)))
			return;
		if (rnd(&s) % 2)
			machine_host_bp(&m, rnd(&s) % 4, pick_address(&s), 1 | (unsigned)(rnd(&s) % 4) << 2);
		if (rnd(&s) % 2)
			machine_host_debugctl(&m, amd ? 0x41 : 0x4041);
		sw.clears_debugctl = rnd(&s) % 2;
		sw.close_memory = machine_ring3 && run % 16 == 0;
		debuggers_slot = rnd(&s) % 4 ? 31 : rnd(&s) % 4;
		sw.tsc_step = rnd(&s) % 2 ? 0 : rnd(&s) % 4000000;
		if (!add_random(&m, &s) || (rnd(&s) % 2 && !add_random(&m, &s)))
			return;
		machine_run(&m);
		for (unsigned i = 0; i < m.nr; i++) {
			const char *d = difference(&m, i, run);

			tap_case(&same, d != NULL, 0, "%s", d ? d : "");
			records += m.bare[i].nr_rec;
			dbs += machine_recs(&m, i, R_DB);
			hits += m.vm[i]->vcpu->debugger_hits;
		}
		for (unsigned r = 0; r < RULE_NR; r++)
			tap_case(&rules, sw.broken[r], 0, "run %u rule %u: %s", run, r, sw.first[r]);
		machine_stop(&m);
	}
	tap_case(&same, records > 10000 && dbs > 500 && hits > 50, true, "%llu records, %llu #DBs, %llu hits of a debugger only",
		 (unsigned long long)records, (unsigned long long)dbs, (unsigned long long)hits);
	tap_end(&same, "random scripts see what bare hardware shows");
	tap_end(&rules, "every invariant at every operation of them");
}

TEST(H10_random_vmx)
{
	random_runs(false, "H10.random.vmx", "H08.random.vmx");
}

TEST(H10_random_svm)
{
	random_runs(true, "H10.random.svm", "H08.random.svm");
}

/* On the backend without hardware help, on both vendors' CPUs. */
static void random_ring3(bool amd, const char *id, const char *rules_id)
{
	machine_ring3 = true;
	random_runs(amd, id, rules_id);
	machine_ring3 = false;
}

TEST(P20_random_intel)
{
	random_ring3(false, "P20.random.intel", "P06.random.intel");
}

TEST(P20_random_amd)
{
	random_ring3(true, "P20.random.amd", "P06.random.amd");
}
