/* SPDX-License-Identifier: MIT */
/* MOV DR by software, #DB delivery and breakpoint matches: any sequence, against the bit tables of tests/host/model/ref.c and the manuals' order of faults.
 * Input: the CPU's features, then operations; each begins with a byte that says which and where it runs. */
#include "arch/x86/dbg.h"
#include "fuzz.h"
#include "model/ref.h"

/* The guest's registers as the manuals give them. */
struct shadow {
	uint64_t dr[4], dr6, dr7;
	struct ref_cpu cpu;
	bool live;
};

/* "Move to/from Debug Registers" and "General-Detect Exception Condition" of both manuals: the order of faults. cr4 bit 3: DE; dr7 bit 13: GD. */
static enum dbg_fault fault_of(const struct shadow *s, unsigned n, const struct dbg_ctx *c)
{
	bool exists = n < 4 || n == 6 || n == 7 || (n < 6 && !(c->cr4 >> 3 & 1));

	if (!exists)
		return DBG_UD;
	if (!c->real && c->cpl != 0)
		return DBG_GP;
	return s->dr7 >> 13 & 1 ? DBG_DB : DBG_OK;
}

static uint64_t *reg_of(struct shadow *s, unsigned n)
{
	return n < 4 ? &s->dr[n] : n & 1 ? &s->dr7 : &s->dr6; /* DR4 is DR6, DR5 is DR7 */
}

static void check_same(const struct shadow *s, const struct dbg_vcpu *v)
{
	bool armed = false;

	for (unsigned i = 0; i < 4; i++) {
		armed |= ref_enabled(s->dr7, i);
		FUZZ_CHECK(v->dr[i] == s->dr[i], "DR%u is %#llx, not %#llx", i, (unsigned long long)v->dr[i], (unsigned long long)s->dr[i]);
	}
	FUZZ_CHECK(v->dr6 == s->dr6, "DR6 is %#llx, not %#llx", (unsigned long long)v->dr6, (unsigned long long)s->dr6);
	FUZZ_CHECK(v->dr7 == s->dr7, "DR7 is %#llx, not %#llx", (unsigned long long)v->dr7, (unsigned long long)s->dr7);
	FUZZ_CHECK(v->state == (s->live ? DBG_LIVE : armed ? DBG_ARMED : DBG_IDLE), "state %u, live %u, armed %u", v->state, s->live, armed);
}

static struct dbg_ctx take_ctx(struct fuzz_in *in)
{
	uint8_t b = (uint8_t)fuzz_take(in, 1);
	/* Half of them may touch debug registers, so that sequences get somewhere. */
	struct dbg_ctx c = { .cpl = b & 1 ? b >> 1 & 3 : 0, .real = b >> 3 & 1, .long64 = b >> 4 & 1 };

	c.cr4 = (b & 0x20 ? 8 : 0) | (b & 0x40 ? ~8ull : 0);
	return c;
}

static void mov_to(struct shadow *s, struct dbg_vcpu *v, unsigned n, struct fuzz_in *in)
{
	struct dbg_ctx c = take_ctx(in);
	uint64_t value = fuzz_take(in, 8), used = c.long64 ? value : (uint32_t)value;
	enum dbg_fault want = fault_of(s, n, &c);

	if (want == DBG_OK && n >= 4 && used >> 32)
		want = DBG_GP;
	if (want == DBG_OK)
		*reg_of(s, n) = n < 4 ? used : n & 1 ? ref_dr7_written(used, s->cpu) : ref_dr6_written(used, s->cpu);
	FUZZ_CHECK(dbg_mov_to_dr(v, n, &c, value) == want, "MOV DR%u, %#llx: fault %u expected", n, (unsigned long long)value, want);
}

static void mov_from(struct shadow *s, struct dbg_vcpu *v, unsigned n, struct fuzz_in *in)
{
	struct dbg_ctx c = take_ctx(in);
	enum dbg_fault want = fault_of(s, n, &c);
	uint64_t value = 0x5a5a5a5a5a5a5a5a, expected = value;

	if (want == DBG_OK)
		expected = c.long64 ? *reg_of(s, n) : (uint32_t)*reg_of(s, n);
	FUZZ_CHECK(dbg_check_access(v, n, &c) == want, "access to DR%u: fault %u expected", n, want);
	FUZZ_CHECK(dbg_mov_from_dr(v, n, &c, &value) == want, "MOV from DR%u: fault %u expected", n, want);
	FUZZ_CHECK(value == expected, "DR%u reads %#llx, not %#llx", n, (unsigned long long)value, (unsigned long long)expected);
}

/* A payload has DR6's event bits only (dbg.h). */
#define CAUSES 0x1e80fu

static void deliver(struct shadow *s, struct dbg_vcpu *v, struct fuzz_in *in)
{
	uint32_t cause = (uint32_t)fuzz_take(in, 3) & CAUSES, seen = cause;
	uint64_t old = fuzz_take(in, 4);

	/* On any value that a guest can have written, all causes at once too. */
	old = ref_dr6_written(old, s->cpu);
	FUZZ_CHECK(dbg_dr6_merge(old, cause, v->feat) == ref_dr6_after(old, cause, s->cpu), "DR6 %#llx, payload %#x", (unsigned long long)old, cause);
	for (unsigned i = 0; i < 4; i++)
		if (!ref_enabled(s->dr7, i))
			seen &= ~(1u << i); /* H15 */
	dbg_deliver(v, &(struct dbg_record){ .payload = cause });
	s->dr6 = ref_dr6_after(s->dr6, seen, s->cpu);
	s->dr7 &= ~0x2000ull;
}

/* Accesses near a breakpoint, or anywhere. */
static void access_memory(struct shadow *s, struct dbg_vcpu *v, unsigned how, struct fuzz_in *in)
{
	static const enum ref_access same[] = { [DBG_ACCESS_EXEC] = REF_FETCH, [DBG_ACCESS_READ] = REF_READ, [DBG_ACCESS_WRITE] = REF_WRITE,
						[DBG_ACCESS_IO] = REF_PORT };
	struct dbg_ctx c = take_ctx(in);
	enum dbg_access a = (enum dbg_access)(how & 3);
	unsigned len = 1 + (unsigned)fuzz_take(in, 1) % 64;
	int8_t off = (int8_t)fuzz_take(in, 1);
	uint64_t addr = how & 4 ? fuzz_take(in, 8) : s->dr[off & 3] + (uint64_t)(off >> 2);
	uint32_t hits = 0;

	for (unsigned i = 0; i < 4; i++) {
		bool want = ref_match(s->dr[i], s->dr7, i, same[a], addr, len, c.cr4 >> 3 & 1);

		FUZZ_CHECK(dbg_slot_matches(v->dr[i], v->dr7, i, a, addr, len, c.cr4) == want, "slot %u, DR %#llx, DR7 %#llx, access %u of %u at %#llx: %u",
			   i, (unsigned long long)s->dr[i], (unsigned long long)s->dr7, a, len, (unsigned long long)addr, want);
		hits |= want && ref_enabled(s->dr7, i) ? 1u << i : 0;
	}
	FUZZ_CHECK(dbg_bp_hit(v, a, addr, len, c.cr4) == hits, "hits are not %#x", hits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	uint8_t cpu = (uint8_t)fuzz_take(&in, 1);
	struct shadow s = { .dr6 = 0xffff0ff0, .dr7 = 0x400, .cpu = { .rtm = cpu & 1, .bld = cpu >> 1 & 1, .amd = cpu >> 2 & 1 } };
	struct dbg_vcpu v = { 0 };

	v.feat = (uint8_t)((s.cpu.rtm ? DBG_FEAT_RTM : 0) | (s.cpu.bld ? DBG_FEAT_BLD : 0) | (s.cpu.amd ? DBG_FEAT_AMD : 0));
	dbg_vcpu_reset(&v);
	check_same(&s, &v);
	while (in.n > 0) {
		uint8_t op = (uint8_t)fuzz_take(&in, 1);

		switch (op >> 4 & 7) {
		case 0: case 1: mov_from(&s, &v, op & 15, &in); break;
		case 2: deliver(&s, &v, &in); break;
		case 3: access_memory(&s, &v, op, &in); break;
		case 4: /* LIVE begins only behind a MOV DR that may run, and ends at a slow exit */
			if (s.live)
				dbg_settle(&v);
			else
				dbg_go_live(&v);
			s.live = !s.live;
			break;
		default: mov_to(&s, &v, op & 15, &in);
		}
		check_same(&s, &v);
	}
	return 0;
}
