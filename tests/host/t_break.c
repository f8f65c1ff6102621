/* SPDX-License-Identifier: MIT */
/* Breakpoint match against brute force, classification, and MOV DR by software with its one order of faults. */
#include "arch/x86/dbg.h"
#include "arch/x86/def/cr.h"
#include "model/ref.h"
#include "tap.h"

static const struct {
	enum dbg_access ours;
	enum ref_access theirs;
} kinds[] = { { DBG_ACCESS_EXEC, REF_FETCH }, { DBG_ACCESS_READ, REF_READ }, { DBG_ACCESS_WRITE, REF_WRITE }, { DBG_ACCESS_IO, REF_PORT } };

static void match_around(struct tap_set *s, uint64_t dr, unsigned slot)
{
	for (unsigned nibble = 0; nibble < 16; nibble++)
		for (unsigned k = 0; k < 4; k++)
			for (uint64_t addr = dr - 20; addr != dr + 20; addr++)
				for (unsigned len = 1; len <= 16; len = len == 8 ? 16 : len + 1)
					for (unsigned de = 0; de < 2; de++) {
						uint64_t dr7 = (uint64_t)nibble << (16 + 4 * slot);

						tap_case(s, dbg_slot_matches(dr, dr7, slot, kinds[k].ours, addr, len, de ? CR4_DE : 0),
							 ref_match(dr, dr7, slot, kinds[k].theirs, addr, len, de),
							 "slot %u dr=0x%llx rw/len=%u access=%u addr=0x%llx len=%u de=%u", slot,
							 (unsigned long long)dr, nibble, k, (unsigned long long)addr, len, de);
					}
}

TEST(A16_match)
{
	static const uint64_t bases[] = { 0x1000, 0xffffffff80001000, 0x7ffffffffff8, 0, 0xfffffffffffffff8 };
	struct tap_set s = { .id = "A16.match" };

	for (unsigned b = 0; b < sizeof(bases) / sizeof(bases[0]); b++)
		for (unsigned low = 0; low < 8; low++)
			match_around(&s, bases[b] + low, (b + low) % 4);
	tap_end(&s, "overlap of access and breakpoint, bytewise");
}

TEST(A17_examples)
{
	struct dbg_vcpu v = { .dr = { 0x1003, 0x80, 0x2000, 0x3000 }, .dr7 = 0 };

	v.dr7 = DR7_INIT | DR7_L(0) | DR7_SLOT(0, DR_RW_WRITE, DR_LEN_4);
	tap_eq(dbg_bp_hit(&v, DBG_ACCESS_WRITE, 0x1000, 1, 0), 1, "A16.unaligned", "LEN 4 at X+3 covers X");
	tap_eq(dbg_bp_hit(&v, DBG_ACCESS_WRITE, 0x0fff, 1, 0), 0, "A16.before", "and not X-1");
	tap_eq(dbg_bp_hit(&v, DBG_ACCESS_WRITE, 0x0ffd, 4, 0), 1, "A16.overlap", "an access that begins before and reaches in hits");
	tap_eq(dbg_bp_hit(&v, DBG_ACCESS_READ, 0x1000, 1, 0), 0, "A16.read", "a write breakpoint does not see reads");
	v.dr7 = DR7_INIT | DR7_G(1) | DR7_SLOT(1, DR_RW_IO, DR_LEN_1);
	tap_eq(dbg_bp_hit(&v, DBG_ACCESS_IO, 0x80, 1, CR4_DE), 2, "A17.de", "RW=10 with CR4.DE: port access hits");
	tap_eq(dbg_bp_hit(&v, DBG_ACCESS_IO, 0x80, 1, 0), 0, "A17.no_de", "and not without");
	tap_eq(dbg_bp_hit(&v, DBG_ACCESS_IO, 0x7f, 2, CR4_DE), 2, "E09.word", "a word access that covers the port hits");
	tap_eq(dbg_bp_hit(&v, DBG_ACCESS_WRITE, 0x80, 1, CR4_DE), 0, "A17.memory", "memory at that number does not");
	v.dr7 = DR7_INIT | DR7_SLOT(2, DR_RW_ACCESS, DR_LEN_8) | DR7_L(3) | DR7_SLOT(3, DR_RW_ACCESS, DR_LEN_8);
	tap_eq(dbg_bp_hit(&v, DBG_ACCESS_READ, 0x2000, 8, 0), 0, "A15.not_enabled", "a slot without L and G never hits");
	tap_eq(dbg_bp_hit(&v, DBG_ACCESS_READ, 0x3007, 1, 0), 8, "A16.len8", "LEN 8 covers its last byte");
	tap_eq(dbg_bp_hit(&v, DBG_ACCESS_EXEC, 0x3000, 1, 0), 0, "A18.fetch", "RW=11 never sees a fetch");
}

TEST(A16_all_slots)
{
	struct tap_set s = { .id = "A16.slots" };
	uint64_t seed = 16;

	for (unsigned n = 0; n < 200000; n++) {
		struct dbg_vcpu v = { .dr7 = (rnd(&seed) & 0xffff00ff) | 0x400 };
		uint64_t addr = 0x1000 + rnd(&seed) % 16, cr4 = rnd(&seed) & CR4_DE;
		unsigned len = 1u << rnd(&seed) % 4, k = rnd(&seed) % 4;
		uint32_t want = 0;

		for (unsigned i = 0; i < 4; i++) {
			v.dr[i] = 0x1000 + rnd(&seed) % 16;
			if (ref_enabled(v.dr7, i) && ref_match(v.dr[i], v.dr7, i, kinds[k].theirs, addr, len, cr4 != 0))
				want |= 1u << i;
		}
		tap_case(&s, dbg_bp_hit(&v, kinds[k].ours, addr, len, cr4), want, "dr7=0x%llx addr=0x%llx len=%u access=%u",
			 (unsigned long long)v.dr7, (unsigned long long)addr, len, k);
	}
	tap_end(&s, "B0-3 of the enabled slots that hit");
}

/* ---- Classification (N13, N15: once, in the decode) ---- */

TEST(N13_classify)
{
	uint64_t dr[4] = { 0x1000, 0x2000, 0x1000, 0x1000 };
	uint64_t exec0 = DR7_INIT | DR7_L(0), data2 = DR7_INIT | DR7_G(2) | DR7_SLOT(2, DR_RW_WRITE, DR_LEN_1);

	tap_eq(dbg_classify(0x4000, dr, exec0, 0x1000), DBG_TRAP, "N13.step", "a step is a trap");
	tap_eq(dbg_classify(0x2000, dr, DR7_INIT, 0), DBG_FAULT, "N13.gd", "General Detect is a fault");
	tap_eq(dbg_classify(0x6000, dr, DR7_INIT, 0), DBG_FAULT, "N13.gd_bs", "also together with BS");
	tap_eq(dbg_classify(0x8000, dr, DR7_INIT, 0), DBG_TASK, "N13.task", "BT is a task switch");
	tap_eq(dbg_classify(0x1, dr, exec0, 0x1000), DBG_FAULT, "N15.code", "an enabled code breakpoint at RIP is a fault");
	tap_eq(dbg_classify(0x1, dr, exec0, 0x1003), DBG_TRAP, "N15.elsewhere", "not when RIP is elsewhere");
	tap_eq(dbg_classify(0x1, dr, DR7_INIT, 0x1000), DBG_TRAP, "A15.class", "not when the slot is disabled");
	tap_eq(dbg_classify(0x4, dr, data2, 0x1000), DBG_TRAP, "N15.data", "a data breakpoint is a trap wherever RIP is");
	tap_eq(dbg_classify(0, dr, exec0, 0x1000), DBG_TRAP, "N15.empty", "a slot that is not in the payload does not count");
	tap_eq(dbg_classify_needs(0xf, DR7_INIT | 0xff | DR7_SLOT(1, DR_RW_WRITE, 0)), 0xd, "N15.needs", "only code slots need their address read");
	tap_eq(dbg_classify_needs(0x200f, DR7_INIT | 0xff), 0, "N15.needs_gd", "none when BD decides");
}

/* ---- MOV DR by software ---- */

enum { OPERAND_OK, OPERAND_UD, OPERAND_GP, OPERAND_DB };

/* The one order (A09, V01): #UD, CPL, GD, and for a write the value. */
static unsigned want_fault(unsigned n, const struct dbg_ctx *ctx, uint64_t dr7, bool write, uint64_t value)
{
	if (n > 7 || ((n == 4 || n == 5) && (ctx->cr4 & CR4_DE)))
		return OPERAND_UD;
	if (!ctx->real && ctx->cpl)
		return OPERAND_GP;
	if (dr7 & 0x2000)
		return OPERAND_DB;
	if (write && n >= 4 && ctx->long64 && value >> 32)
		return OPERAND_GP;
	return OPERAND_OK;
}

static uint64_t reg_of(const struct dbg_vcpu *v, unsigned n)
{
	return n < 4 ? v->dr[n] : n == 4 || n == 6 ? v->dr6 : v->dr7;
}

static bool same(const struct dbg_vcpu *a, const struct dbg_vcpu *b)
{
	for (unsigned i = 0; i < 4; i++)
		if (a->dr[i] != b->dr[i])
			return false;
	return a->dr6 == b->dr6 && a->dr7 == b->dr7 && a->debugctl == b->debugctl && a->state == b->state;
}

static void mov_case(struct tap_set sets[4], unsigned n, const struct dbg_ctx *ctx, uint64_t dr7, uint64_t value)
{
	static const uint8_t ours[] = { [OPERAND_OK] = DBG_OK, [OPERAND_UD] = DBG_UD, [OPERAND_GP] = DBG_GP, [OPERAND_DB] = DBG_DB };
	struct dbg_vcpu v = { .dr = { 0x1111111111, 0x2222222222, 0x3333333333, 0x4444444444 }, .dr6 = 0xffff4ff1, .dr7 = dr7 };
	struct dbg_vcpu was = v;
	uint64_t mask = ctx->long64 ? ~0ull : 0xffffffff, got = 77, arg = value & mask;
	unsigned want = want_fault(n, ctx, dr7, false, 0);
#define AT "dr%u cpl=%u real=%u long=%u de=%u dr7=0x%llx value=0x%llx", n, ctx->cpl, ctx->real, ctx->long64, ctx->cr4 != 0, (unsigned long long)dr7, \
	(unsigned long long)value

	tap_case(&sets[0], dbg_mov_from_dr(&v, n, ctx, &got), ours[want], AT);
	tap_case(&sets[1], got, want == OPERAND_OK ? reg_of(&was, n) & mask : 77, AT);
	tap_case(&sets[3], same(&v, &was), true, AT);
	want = want_fault(n, ctx, dr7, true, value);
	tap_case(&sets[0], dbg_mov_to_dr(&v, n, ctx, value), ours[want], AT);
	if (want != OPERAND_OK) {
		tap_case(&sets[3], same(&v, &was), true, AT);
		return;
	}
	if (n >= 4)
		arg = n & 1 ? ref_dr7_written(arg, (struct ref_cpu){ 0 }) : ref_dr6_written(arg, (struct ref_cpu){ 0 });
	tap_case(&sets[2], reg_of(&v, n), arg, AT);
	for (unsigned i = 0; i < 8; i++) /* and no other register */
		if (i < 4 || i > 5)
			tap_case(&sets[3], i == n || (n > 3 && i == (n | 2)) || reg_of(&v, i) == reg_of(&was, i), true, AT);
#undef AT
}

/* Privilege: V86 mode is CPL 3, real mode has none. */
TEST(A08_cpl)
{
	struct dbg_vcpu v = { .dr7 = DR7_INIT };
	struct tap_set gp = { .id = "A08.gp" }, none = { .id = "A08.allowed" };
	uint64_t value = 0x1234;

	dbg_vcpu_reset(&v);
	for (unsigned cpl = 0; cpl < 4; cpl++)
		for (unsigned n = 0; n < 8; n++) {
			struct dbg_ctx user = { .cpl = (uint8_t)cpl, .long64 = true }, real = { .cpl = (uint8_t)cpl, .real = true };

			tap_case(cpl ? &gp : &none, dbg_mov_from_dr(&v, n, &user, &value), cpl ? DBG_GP : DBG_OK, "CPL %u, from DR%u", cpl, n);
			tap_case(&none, dbg_check_access(&v, n, &real), DBG_OK, "real mode, DR%u", n);
			if (cpl)
				tap_case(&gp, dbg_mov_to_dr(&v, n, &user, 0x7777), DBG_GP, "CPL %u, to DR%u", cpl, n);
		}
	tap_case(&gp, v.dr[0] | v.dr[3] | (v.dr6 ^ DR6_INIT) | (v.dr7 ^ DR7_INIT), 0, "a refused write");
	tap_end(&gp, "CPL 1 to 3: #GP, and nothing changes");
	tap_end(&none, "CPL 0 and real mode may");
}

TEST(A09_mov_dr)
{
	static const uint64_t values[] = { 0, 0xffffffff, 0x1000, 0x100000000, 0x8000000000000000, 0x0000800000000000, 0xffff0ff1, 0x2402 };
	struct tap_set sets[4] = { { .id = "A09.order" }, { .id = "A06.read" }, { .id = "A05.write" }, { .id = "A03.unchanged" } };

	for (unsigned n = 0; n < 16; n++)
		for (unsigned mode = 0; mode < 32; mode++)
			for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
				struct dbg_ctx ctx = { .cpl = mode & 1 ? 3 : 0, .real = mode & 2, .long64 = mode & 4, .cr4 = mode & 8 ? CR4_DE : 0 };

				mov_case(sets, n, &ctx, mode & 16 ? 0x2402 : 0x402, values[i]);
			}
	tap_end(&sets[0], "#UD, #GP of CPL, #DB of GD, #GP of the value, in this order");
	tap_end(&sets[1], "reads, DR4/5 as other names of DR6/7, 32 bits outside 64-bit mode");
	tap_end(&sets[2], "writes: DR0-3 any value, upper half cleared outside 64-bit mode, DR6/7 with their fixed bits");
	tap_end(&sets[3], "a faulting access changes nothing, a good one nothing else");
}

TEST(A04_any_address)
{
	struct dbg_ctx ctx = { .long64 = true };
	struct dbg_vcpu v = { .dr7 = DR7_INIT };

	tap_eq(dbg_mov_to_dr(&v, 2, &ctx, 0x1234000000000001), DBG_OK, "A04.write", "a non-canonical address is accepted");
	tap_eq(v.dr[2], 0x1234000000000001, "A04.value", "and kept as it is");
	tap_eq(dbg_mov_to_dr(&v, 6, &ctx, 0x100000000), DBG_GP, "A03.dr6", "an upper half in DR6 is #GP");
	tap_eq(dbg_mov_to_dr(&v, 5, &ctx, 0x100000400), DBG_GP, "A06.dr5", "also by DR7's other name");
}

TEST(H14_state_follows_dr7)
{
	struct dbg_ctx ctx = { 0 };
	struct dbg_vcpu v = { .dr7 = DR7_INIT, .state = DBG_IDLE };
	struct tap_set s = { .id = "H14.state" };

	for (unsigned en = 0; en < 256; en++) {
		dbg_mov_to_dr(&v, 7, &ctx, en);
		tap_case(&s, v.state, en ? DBG_ARMED : DBG_IDLE, "enables 0x%x", en);
	}
	tap_end(&s, "an emulated write of DR7 arms and disarms");
	v.state = DBG_LIVE;
	dbg_mov_to_dr(&v, 7, &ctx, 0);
	tap_eq(v.state, DBG_LIVE, "H14.live", "LIVE does not end by it");
}

/* SVM's GIF is 0: the guest's breakpoints are discarded, a debugger's are not, and the guest cannot own the registers, or its DR7 would act. */
TEST(NB_gif)
{
	struct dbg_vcpu v = { .policy = DBG_LAZY };

	dbg_vcpu_reset(&v);
	v.dr[1] = 0x5000;
	v.dr7 = DR7_INIT | DR7_GD | DR7_L(1) | 1ull << 20;
	dbg_settle(&v);
	tap_eq(dbg_bp_hit(&v, DBG_ACCESS_WRITE, 0x5000, 1, 0), 2, "NB.gif.one", "GIF 1: the breakpoint hits");
	v.deaf = true;
	dbg_settle(&v);
	tap_eq(dbg_bp_hit(&v, DBG_ACCESS_WRITE, 0x5000, 1, 0), 0, "NB.gif.zero", "GIF 0: it does not");
	tap_eq(dbg_eff_dr7(&v), DR7_INIT | DR7_GD | 1ull << 20, "NB.gif.dr7", "hardware does not have it enabled, but General Detect");
	tap_eq(v.state, DBG_IDLE, "NB.gif.idle", "nothing is armed");
	tap_ok(!dbg_may_go_live(&v), "NB.gif.live", "the guest's MOV DR is emulated");
	for (unsigned policy = DBG_EAGER; policy <= DBG_CACHED; policy++) {
		v.policy = (uint8_t)policy;
		dbg_settle(&v);
		tap_eq(v.state, DBG_IDLE, policy == DBG_EAGER ? "NB.gif.eager" : "NB.gif.cached", "whatever the policy");
	}
	tap_ok(dbg_hold(&v, 2, 0x6000, 1), "NB.gif.hold", "a debugger takes a slot");
	tap_eq(dbg_bp_hit(&v, DBG_ACCESS_WRITE, 0x6000, 1, 0), 4, "NB.gif.debugger", "and its breakpoint hits");
	dbg_release_all(&v);
	v.deaf = false;
	dbg_settle(&v);
	tap_eq(v.state, DBG_LIVE, "NB.gif.back", "GIF 1 again: the policy's state");
	tap_eq(dbg_bp_hit(&v, DBG_ACCESS_WRITE, 0x5000, 1, 0), 2, "NB.gif.again", "and it hits");
}
