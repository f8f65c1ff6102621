/* SPDX-License-Identifier: MIT */
/* PVM: events through the guest's IDT. Expected values: SDM "INT n" (order of checks, error codes), "64-Bit Mode Stack Frame", "Interrupt 8". */
#include <string.h>

#include "arch/x86/def/exitcode.h"
#include "arch/x86/pvm/exit.h"
#include "pvm_guest.h"
#include "vmm/exits.h"
#include "vmm/gva.h"
#include "vmm/run.h"

extern const struct backend pvm_backend;

#define HANDLER (PG_KCODE + 0x1000)
#define NONCANON 0x800000000000ull

static struct event fault(uint8_t vector, bool has_error, uint32_t error)
{
	return (struct event){ .type = EVENT_FAULT, .vector = vector, .has_error = has_error, .error = error };
}

static bool deliver(struct event e)
{
	pg.inject = e;
	return pvm_deliver(&pg);
}

static uint64_t word(unsigned i)
{
	return pg_peek64(pg.r[GPR_RSP] + 8 * i);
}

/* Frames of an interrupt, a fault with an error code, and a software interrupt. */
TEST(pvm_frame)
{
	static const struct { const char *what; uint8_t type, vector, len, ist; unsigned cpl; bool error; uint64_t base; } t[] = {
		{ "interrupt from user mode", EVENT_INTR, 0x40, 0, 0, 3, false, 0x21000 },
		{ "#PF from user mode", EVENT_FAULT, VEC_PF, 0, 0, 3, true, 0x21000 },
		{ "#UD in the kernel", EVENT_FAULT, VEC_UD, 0, 0, 0, false, PG_KSTACK & ~15ull },
		{ "#GP in the kernel, stack unaligned", EVENT_FAULT, VEC_GP, 0, 0, 0, true, PG_KSTACK & ~15ull },
		{ "INT n from user mode", EVENT_SOFT_INT, 0x80, 2, 0, 3, false, 0x21000 },
		{ "INT3 in the kernel", EVENT_SOFT_EXC, VEC_BP, 1, 0, 0, false, PG_KSTACK & ~15ull },
		{ "NMI by IST in the kernel", EVENT_NMI, VEC_NMI, 0, 1, 0, false, PG_IST1 },
		{ "#DF by IST from user mode", EVENT_FAULT, VEC_DF, 0, 1, 3, true, PG_IST1 },
		{ "ICEBP from user mode: a #DB, whatever the gate's DPL", EVENT_FAULT, VEC_DB, 0, 0, 3, false, 0x21000 },
	};
	struct tap_set s = { .id = "P18.frame" };

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		for (unsigned trap = 0; trap < 2; trap++) {
			bool soft = t[i].type == EVENT_SOFT_INT || t[i].type == EVENT_SOFT_EXC;
			uint64_t flags = RFLAGS_BIT1 | RFLAGS_IF | RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_AC | RFLAGS_CF, rsp, rip;
			unsigned n = t[i].error ? 1 : 0;

			pg_start(t[i].cpl);
			pg.rflags = flags;
			pg.r[GPR_RSP] |= i == 3 ? 8 : 0;
			rsp = pg.r[GPR_RSP];
			rip = pg.rip;
			pg_gate(t[i].vector, S_KCODE | 3, HANDLER + (3ull << 33), trap ? 15 : 14, soft ? 3 : 0, t[i].ist);
			tap_case(&s, deliver((struct event){ .type = t[i].type, .vector = t[i].vector, .len = t[i].len, .has_error = t[i].error, .error = 0x1234 }),
				 true, "%s: done", t[i].what);
			tap_case(&s, pg.r[GPR_RSP], t[i].base - 40 - 8 * n, "%s: RSP", t[i].what);
			tap_case(&s, pg.rip, HANDLER + (3ull << 33), "%s: RIP", t[i].what);
			tap_case(&s, pg.st.cpl, 0, "%s: CPL", t[i].what);
			tap_case(&s, pg.st.seg[SEG_CS].sel, S_KCODE, "%s: CS has the new CPL as its RPL", t[i].what);
			tap_case(&s, pg.st.seg[SEG_SS].sel, t[i].cpl ? 0 : S_KDATA, "%s: SS", t[i].what);
			if (n)
				tap_case(&s, word(0), 0x1234, "%s: error code", t[i].what);
			tap_case(&s, word(n), rip + t[i].len, "%s: pushed RIP", t[i].what);
			tap_case(&s, word(n + 1), t[i].cpl ? S_UCODE : S_KCODE, "%s: pushed CS", t[i].what);
			tap_case(&s, word(n + 2), soft ? flags & ~RFLAGS_RF : flags, "%s: pushed RFLAGS", t[i].what);
			tap_case(&s, word(n + 3), rsp, "%s: pushed RSP", t[i].what);
			tap_case(&s, word(n + 4), t[i].cpl ? S_UDATA : S_KDATA, "%s: pushed SS", t[i].what);
			tap_case(&s, pg.rflags, RFLAGS_BIT1 | RFLAGS_AC | RFLAGS_CF | (trap ? RFLAGS_IF : 0), "%s, trap gate %u: RFLAGS", t[i].what, trap);
			tap_case(&s, pg.st.nmi_blocked, t[i].type == EVENT_NMI, "%s: NMIs", t[i].what);
			tap_case(&s, pg.inject.type, EVENT_NONE, "%s: taken", t[i].what);
		}
	tap_end(&s, "frames, stacks and RFLAGS of deliveries");
}

/* How the tables are broken, and the fault of an event of each kind. soft, hard: expected for INT n and for an interrupt. */
struct broken {
	const char *what;
	unsigned cpl;
	uint16_t sel;
	uint64_t offset;
	unsigned type, dpl, ist;
	bool absent, beyond;
	uint64_t soft, hard;
};

#define V 0x80u
#define SAME(vec, code) PG_FAULT(vec, code), PG_FAULT(vec, (code) | 1)
static const struct broken gates[] = {
	{ "beyond the limit", 3, S_KCODE, HANDLER, 14, 3, 0, false, true, SAME(VEC_GP, V * 8 + 2) },
	{ "a 32-bit type", 3, S_KCODE, HANDLER, 6, 3, 0, false, false, SAME(VEC_GP, V * 8 + 2) },
	{ "a call gate", 3, S_KCODE, HANDLER, 12, 3, 0, false, false, SAME(VEC_GP, V * 8 + 2) },
	{ "the kernel's gate", 3, S_KCODE, HANDLER, 14, 0, 0, false, false, PG_FAULT(VEC_GP, V * 8 + 2), PG_NONE },
	{ "DPL before presence", 3, S_KCODE, HANDLER, 14, 0, 0, true, false, PG_FAULT(VEC_GP, V * 8 + 2), PG_FAULT(VEC_NP, V * 8 + 3) },
	{ "not present", 3, S_KCODE, HANDLER, 14, 3, 0, true, false, SAME(VEC_NP, V * 8 + 2) },
	{ "null CS", 3, 3, HANDLER, 14, 3, 0, false, false, SAME(VEC_GP, 0) },
	{ "CS beyond the table", 3, 0x90, HANDLER, 14, 3, 0, false, false, SAME(VEC_GP, 0x90) },
	{ "CS is data", 3, S_KDATA, HANDLER, 14, 3, 0, false, false, SAME(VEC_GP, 0x10) },
	{ "CS of users in the kernel", 0, S_UCODE, HANDLER, 14, 3, 0, false, false, SAME(VEC_GP, 0x28) },
	{ "CS not present", 3, S_KCODE_NP, HANDLER, 14, 3, 0, false, false, SAME(VEC_NP, 0x50) },
	{ "CS of 32 bits", 3, S_KCODE32, HANDLER, 14, 3, 0, false, false, SAME(VEC_GP, 0x48) },
	{ "CS with L and D", 3, S_LD, HANDLER, 14, 3, 0, false, false, SAME(VEC_GP, 0x80) },
	{ "RIP not canonical", 3, S_KCODE, NONCANON, 14, 3, 0, false, false, SAME(VEC_GP, 0) },
	{ "stack not canonical", 3, S_KCODE, HANDLER, 14, 3, 2, false, false, SAME(VEC_SS, 0) },
	{ "stack in a hole", 3, S_KCODE, HANDLER, 14, 3, 3, false, false, PG_FAULT(VEC_PF, 2), PG_FAULT(VEC_PF, 2) },
	{ "stack half in a hole", 3, S_KCODE, HANDLER, 14, 3, 4, false, false, PG_FAULT(VEC_PF, 2), PG_FAULT(VEC_PF, 2) },
	{ "stack read-only", 3, S_KCODE, HANDLER, 14, 3, 5, false, false, PG_FAULT(VEC_PF, 3), PG_FAULT(VEC_PF, 3) },
};

static void arrange(const struct broken *b)
{
	pg_start(b->cpl);
	pg_gate(V, b->sel, b->offset, b->type, b->dpl, b->ist);
	if (b->absent)
		pg_poke64(PG_IDT + V * 16, pg_peek64(PG_IDT + V * 16) & ~(1ull << 47));
	if (b->beyond)
		pg.st.idtr.limit = V * 16 + 14;
}

TEST(pvm_gates)
{
	struct tap_set s = { .id = "P19.gate" };

	for (unsigned i = 0; i < sizeof(gates) / sizeof(gates[0]); i++)
		for (unsigned soft = 0; soft < 2; soft++) {
			const struct broken *b = &gates[i];
			uint64_t want = soft ? b->soft : b->hard, rip, rsp;

			arrange(b);
			rip = pg.rip;
			rsp = pg.r[GPR_RSP];
			tap_case(&s, deliver((struct event){ .type = soft ? EVENT_SOFT_INT : EVENT_INTR, .vector = V, .len = soft ? 2 : 0 }), want == PG_NONE,
				 "%s, soft %u", b->what, soft);
			tap_case(&s, pg_fault(), want, "%s, soft %u: fault", b->what, soft);
			if (want == PG_NONE)
				continue;
			tap_case(&s, pg.rip, rip, "%s, soft %u: RIP stays", b->what, soft);
			tap_case(&s, pg.r[GPR_RSP], rsp, "%s, soft %u: RSP stays", b->what, soft);
			tap_case(&s, pg.st.cpl, b->cpl, "%s, soft %u: CPL stays", b->what, soft);
		}
	tap_end(&s, "gates that let nobody in: vector, error code, EXT");
}

/* The TSS is too short for the stack that is asked for: #TS with its selector. */
TEST(pvm_short_tss)
{
	struct tap_set s = { .id = "P19.tss" };

	pg_start(3);
	pg_gate(V, S_KCODE, HANDLER, 14, 3, 0);
	pg.st.seg[SEG_TR].limit = 10;
	deliver((struct event){ .type = EVENT_INTR, .vector = V });
	tap_case(&s, pg_fault(), PG_FAULT(VEC_TS, S_TSS | 1), "RSP0");
	pg_start(0);
	pg_gate(V, S_KCODE, HANDLER, 14, 3, 1);
	pg.st.seg[SEG_TR].limit = 42;
	deliver((struct event){ .type = EVENT_SOFT_INT, .vector = V, .len = 2 });
	tap_case(&s, pg_fault(), PG_FAULT(VEC_TS, S_TSS), "IST1");
	pg.st.seg[SEG_TR].limit = 43;
	pg.exception.type = EVENT_NONE;
	tap_case(&s, deliver((struct event){ .type = EVENT_SOFT_INT, .vector = V, .len = 2 }), true, "IST1, just long enough");
	pg_start(0);
	pg_gate(V, S_KCODE, HANDLER, 14, 3, 0);
	pg.st.seg[SEG_TR].limit = 0;
	tap_case(&s, deliver((struct event){ .type = EVENT_INTR, .vector = V }), true, "no stack of its own: not asked");
	tap_end(&s, "a TSS that is too short");
}

/* A CPU pushes downwards: the first word that does not fit tells CR2. Nothing has been written then. */
TEST(pvm_half_frame)
{
	struct tap_set s = { .id = "P18.whole" };

	arrange(&gates[16]);
	pg_poke64(PG_IST_EDGE - 16, 0x1111);
	pg_poke64(PG_IST_EDGE - 24, 0x1111);
	deliver((struct event){ .type = EVENT_INTR, .vector = V });
	tap_case(&s, pg.exception.cr2, 0x25ff8, "CR2: the highest word of the lower page");
	tap_case(&s, pg_peek64(PG_IST_EDGE - 16), 0x1111, "the upper page is as it was");
	arrange(&gates[15]);
	deliver((struct event){ .type = EVENT_INTR, .vector = V });
	tap_case(&s, pg.exception.cr2, PG_IST_HOLE - 8, "CR2: the first push");
	tap_end(&s, "a frame is pushed as a whole or not at all");
}

/* SDM "Interrupt 8 - Double Fault Exception". */
TEST(pvm_double)
{
	static const struct { uint8_t first; bool error; unsigned gate; uint64_t want; } t[] = {
		{ VEC_GP, true, 2, PG_FAULT(VEC_DF, 0) },          /* contributory, contributory */
		{ VEC_PF, true, 2, PG_FAULT(VEC_DF, 0) },          /* page fault, contributory */
		{ VEC_PF, true, 15, PG_FAULT(VEC_DF, 0) },         /* page fault, page fault */
		{ VEC_GP, true, 15, PG_FAULT(VEC_PF, 2) },         /* contributory, page fault: serially */
		{ VEC_UD, false, 2, PG_FAULT(VEC_GP, VEC_UD * 8 + 3) }, /* benign */
		{ VEC_DB, false, 15, PG_FAULT(VEC_PF, 2) },        /* #DB is benign (E17) */
	};
	struct tap_set s = { .id = "E17.double" };

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		const struct broken *b = &gates[t[i].gate];

		pg_start(3);
		pg_gate(t[i].first, b->sel, b->offset, b->type, b->dpl, b->ist);
		pg.inject = fault(t[i].first, t[i].error, 0);
		pg.inject.cr2 = 0x1234;
		tap_case(&s, pvm_deliver(&pg), false, "case %u", i);
		tap_case(&s, pg_fault(), t[i].want, "case %u: the fault that comes of it", i);
		tap_case(&s, pg.exit.vectoring.type, EVENT_NONE, "case %u: the first one is gone", i);
		if (t[i].first == VEC_PF)
			tap_case(&s, pg.st.cr2, t[i].gate == 15 ? PG_IST_HOLE - 8 : 0x1234, "case %u: CR2 of the last #PF", i);
	}
	arrange(&gates[2]); /* nothing at 8 */
	tap_case(&s, deliver(fault(VEC_DF, true, 0)), false, "#DF that cannot be delivered");
	tap_case(&s, pg.stopped, true, "#DF that cannot be delivered: shutdown");
	tap_case(&s, pg.exit_code, EXIT_TRIPLE, "#DF that cannot be delivered: why");
	tap_end(&s, "faults of a delivery combine as the manual's table says");
}

TEST(pvm_cr2)
{
	struct tap_set s = { .id = "P18.cr2" };

	pg_start(3);
	pg_gate(VEC_PF, S_KCODE, HANDLER, 14, 0, 0);
	pg.inject = fault(VEC_PF, true, 6);
	pg.inject.cr2 = 0xabcdef000;
	deliver(pg.inject);
	tap_case(&s, pg.st.cr2, 0xabcdef000, "CR2");
	tap_case(&s, word(0), 6, "error code");
	tap_end(&s, "a page fault brings CR2");
}

/* A breakpoint on the handler's stack is hit by the frame: a trap in the handler. What MOV SS held back comes behind a software interrupt, and is lost with any
 * other event (A25). */
TEST(pvm_deliver_db)
{
	struct tap_set s = { .id = "E08.frame" }, held = { .id = "A25.deliver" };

	for (unsigned i = 0; i < 4; i++) {
		pg_start(3);
		pg_gate(V, S_KCODE, HANDLER, 14, 3, 0);
		pg.dbg.dr[1] = i == 3 ? 0x21000 : 0x20fd8 + 8 * i; /* RIP, CS, RFLAGS; above the frame */
		pg.dbg.dr7 = DR7_INIT | DR7_L(1) | 1ull << 20 | 2ull << 22;
		dbg_settle(&pg.dbg);
		deliver((struct event){ .type = EVENT_INTR, .vector = V });
		tap_case(&s, pg_db(), i == 3 ? PG_NONE : 1u << 1, "at word %u", i);
		tap_case(&s, pg.exception.db.cls, i == 3 ? 0 : DBG_TRAP, "at word %u: a trap", i);
		tap_case(&s, pg.rip, HANDLER, "at word %u: behind the delivery", i);
	}
	for (unsigned k = 0; k < 3; k++) {
		pg_start(3);
		pg_gate(V, S_KCODE, HANDLER, 14, 3, 0);
		pg.st.shadow = SHADOW_MOV_SS;
		pg.st.pending_dbg = 1;
		if (k == 2)
			pg.st.idtr.limit = 0;
		deliver((struct event){ .type = k == 1 ? EVENT_FAULT : EVENT_SOFT_INT, .vector = V, .len = 2 });
		tap_case(&held, pg_db(), k ? PG_NONE : 1, "case %u", k);
		tap_case(&held, pg.st.shadow, SHADOW_NONE, "case %u: the shadow", k);
		tap_case(&held, pg.st.pending_dbg, 0, "case %u: nothing waits any more", k);
		if (k == 2)
			tap_case(&held, pg_fault(), PG_FAULT(VEC_GP, V * 8 + 2), "case %u: the fault", k);
	}
	tap_end(&s, "a breakpoint on the frame");
	tap_end(&held, "what MOV SS held back");
}

/* INT 1 (CD 01) has a #DB's vector and nothing else of it: DR6 and DR7.GD stay, whatever becomes of it, and a fault of its delivery is its own. */
TEST(pvm_int1)
{
	struct tap_set s = { .id = "A26.int1" };

	for (unsigned dpl = 0; dpl < 4; dpl += 3) {
		pg_start(3);
		pg_gate(VEC_DB, S_KCODE, HANDLER, 14, dpl, 0);
		pg.dbg.dr6 = DR6_INIT | 5;
		pg.dbg.dr7 = DR7_INIT | DR7_GD;
		PG_INSN(0xcd, 0x01);
		event_select_slow(&pg);
		tap_case(&s, pg.dbg.dr6, DR6_INIT | 5, "DR6, gate's DPL %u", dpl);
		tap_case(&s, pg.dbg.dr7, DR7_INIT | DR7_GD, "DR7, gate's DPL %u", dpl);
		tap_case(&s, pvm_deliver(&pg), dpl == 3, "gate's DPL %u", dpl);
		tap_case(&s, pg_fault(), dpl ? PG_NONE : PG_FAULT(VEC_GP, 10), "gate's DPL %u: fault", dpl);
	}
	pg_start(0); /* nor is it one to what comes together with it */
	PG_INSN(0xcd, 0x01);
	vcpu_raise_db(&pg, &(struct dbg_record){ .payload = 1, .cls = DBG_TRAP });
	tap_case(&s, pg.exception.type, EVENT_SOFT_INT, "a #DB does not take its place");
	tap_case(&s, pg.exception.db.payload, 0, "nor merges with it");
	tap_end(&s, "INT 1 is no debug exception");
}

/* The guest's own tables have something in the host's range; an access of drover's for the guest has to find nothing there. */
TEST(pvm_host_range)
{
	struct tap_set s = { .id = "P21.tables" };
	uint64_t v;

	pg_start(3);
	pg_gate(V, S_KCODE, HANDLER, 14, 3, 0);
	pg.st.idtr.base = PVM_HOST_BASE + PG_IDT;
	deliver((struct event){ .type = EVENT_INTR, .vector = V });
	tap_case(&s, pg_fault(), PG_FAULT(VEC_PF, 0), "the IDT");
	tap_case(&s, pg.exception.cr2, PVM_HOST_BASE + PG_IDT + V * 16, "the IDT: CR2");
	pg_start(3);
	pg_gate(V, S_KCODE, HANDLER, 14, 3, 0);
	pg_poke64(PG_TSS + 4, PVM_HOST_BASE + PG_RSP0);
	deliver((struct event){ .type = EVENT_INTR, .vector = V });
	tap_case(&s, pg_fault(), PG_FAULT(VEC_PF, 2), "the stack");
	pg_start(3);
	tap_case(&s, pvm_read(&pg, PVM_HOST_BASE + PG_UCODE, &v, 8, PVM_AT_CPL), false, "a user's read");
	tap_case(&s, pg_fault(), PG_FAULT(VEC_PF, 4), "a user's read: the fault");
	pg_start(0);
	pg_map_last();
	tap_case(&s, pvm_write(&pg, PVM_HOST_BASE - 8, &(uint64_t){ 0x1234 }, 8, PVM_AT_CPL), true, "a write up to the border");
	tap_case(&s, pvm_write(&pg, PVM_HOST_BASE - 4, &(uint64_t){ 0 }, 8, PVM_AT_CPL), false, "a write across the border");
	tap_case(&s, pg.exception.cr2, PVM_HOST_BASE, "a write across the border: CR2");
	tap_case(&s, pg_peek64(PG_LAST + 4088), 0x1234, "a write across the border: nothing below it");
	pg_start(0);
	tap_case(&s, gva_touch(&pg, (struct gva){ PVM_HOST_BASE + 0xfee00000 }, true, &v), false, "a device's page");
	tap_case(&s, pg_fault(), PG_FAULT(VEC_PF, 2), "a device's page: the fault");
	tap_end(&s, "the host's range is not there");
}

/* INT3, INTO and INT 3 as hardware leaves them, RIP behind, at the end of a page; the next one begins with an INT3 that has not run. */
TEST(pvm_soft_where)
{
	static const struct { const char *what; uint8_t bytes[2], vector, len, type; bool gone; } t[] = {
		{ "INT3", { 0x90, 0xcc }, VEC_BP, 1, EVENT_SOFT_EXC, false }, { "INT 3", { 0xcd, 3 }, VEC_BP, 2, EVENT_SOFT_INT, false },
		{ "INTO", { 0x90, 0xce }, VEC_OF, 1, EVENT_SOFT_EXC, false }, { "INT 4", { 0xcd, 4 }, VEC_OF, 2, EVENT_SOFT_INT, false },
		{ "INT3 in a page that is gone", { 0x90, 0xcc }, VEC_BP, 0, EVENT_SOFT_EXC, true }, { "another one there by now", { 0xfa, 0xfa }, VEC_BP, 0, EVENT_SOFT_EXC, false },
		{ "INTO in a page that is gone", { 0x90, 0xce }, VEC_OF, 0, EVENT_SOFT_EXC, true },
	};
	struct tap_set s = { .id = "P18.where" };

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		pg_start(0);
		if (t[i].vector == VEC_OF) /* 64-bit mode has none */
			pg.st.seg[SEG_CS] = pvm_seg(S_KCODE32, pg_peek64(PG_GDT + S_KCODE32));
		pg_poke(PG_KCODE + 0xffe, t[i].bytes, 2);
		pg_poke(PG_KCODE + 0x1000, "\xcc\xcc", 2);
		if (t[i].gone)
			pg_unmap(PG_KCODE);
		pg.rip = PG_KCODE + 0x1000;
		pg_hw.trap_vector = t[i].vector;
		pvm_decode(&pg, DR6_INIT);
		tap_case(&s, pg.exit.kind, EXITK_RING, "%s: the exit", t[i].what);
		pvm_backend.emulate(&pg);
		tap_case(&s, (uint64_t)pg.exception.type << 16 | pg.exception.len << 8 | pg.exception.vector, (uint64_t)t[i].type << 16 | t[i].len << 8 | t[i].vector,
			 "%s: type, length, vector", t[i].what);
		tap_case(&s, pg.rip + pg.exception.len, PG_KCODE + 0x1000, "%s: what is pushed", t[i].what);
	}
	tap_end(&s, "software interrupts are traps, wherever their bytes are");
}

/* OUTS or INS of four bytes at RSI or RDI, from RAM or into it. */
static void string_io(bool in, const uint8_t prefixes[2], uint64_t at)
{
	const uint8_t bytes[] = { prefixes[0], prefixes[1], in ? 0x6d : 0x6f };

	pg_poke(pg.rip, bytes, sizeof(bytes));
	pg.exit = (struct exit){ .kind = EXITK_IO, .u.io = { .port = 0x80, .size = 4, .in = in, .string = true } };
	pg.r[in ? GPR_RDI : GPR_RSI] = at;
	pg.r[GPR_RCX] = 5;
	exit_io(&pg);
}

/* SDM "INS", "OUTS", "64-Bit Mode Exceptions": an address that is not canonical is #GP(0). Both hardware backends come by the same code. CS to DS are no
 * overrides in 64-bit mode. */
TEST(pvm_string_io)
{
	static const struct { uint64_t at; bool hole, ring3; } t[] = {
		{ PG_DATA, false, false }, { 0x0001000000000000 + PG_DATA, true, false }, { 0x7ffffffffffe, true, false }, { 0x8000000000000000 + PG_DATA, true, false },
		{ PVM_HOST_BASE + PG_DATA, false, true }, { 0xffff7ffffffffffe, true, false }, { PVM_HOST_BASE, false, true }, { ~0ull - 3, false, true },
	};
	static const uint8_t prefixes[][2] = { { 0x26, 0x3e }, { 0xf3, 0x36 } };
	struct tap_set canon = { .id = "P21.string.canonical" }, range = { .id = "P21.string.range" };

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		for (unsigned k = 0; k < 4; k++) {
			const char *what = k & 1 ? "INS" : "OUTS";
			uint64_t want = t[i].hole ? PG_FAULT(VEC_GP, 0) : t[i].ring3 ? PG_FAULT(VEC_PF, k & 1 ? 2 : 0) : PG_NONE;

			pg_start(0);
			string_io(k & 1, prefixes[k >> 1], t[i].at);
			tap_case(t[i].hole ? &canon : &range, pg_fault(), want, "%s at 0x%llx, case %u", what, (unsigned long long)t[i].at, k);
			if (want == PG_NONE)
				continue;
			tap_case(&canon, pg.rip, PG_KCODE, "%s at 0x%llx, case %u: RIP stays", what, (unsigned long long)t[i].at, k);
			tap_case(&canon, pg.r[GPR_RCX], 5, "%s at 0x%llx, case %u: RCX stays", what, (unsigned long long)t[i].at, k);
			if (t[i].ring3)
				tap_case(&range, pg.exception.cr2, t[i].at, "%s at 0x%llx, case %u: CR2", what, (unsigned long long)t[i].at, k);
		}
	for (unsigned k = 0; k < 2; k++) {
		pg_start(0);
		pg.st.seg[SEG_FS].base = 1ull << 48;
		string_io(false, k ? (const uint8_t[]){ 0x64, 0x36 } : (const uint8_t[]){ 0x36, 0x3e }, PG_DATA);
		tap_case(&canon, pg_fault(), k ? PG_FAULT(VEC_GP, 0) : PG_NONE, "SS behind FS %u", k);
	}
	pg_start(0);
	pg.st.seg[SEG_CS] = pvm_seg(S_KCODE32, pg_peek64(PG_GDT + S_KCODE32));
	string_io(false, prefixes[0], 0x0001000000000000 + PG_DATA);
	tap_case(&canon, pg_fault(), PG_NONE, "compatibility mode has 32 bits of address");
	pg_start(0);
	pg.be = &(struct backend){ .name = "other" };
	string_io(false, prefixes[0], PVM_HOST_BASE + PG_DATA);
	tap_case(&range, pg_fault(), PG_NONE, "another backend has no range of the host's");
	tap_end(&canon, "INS and OUTS at an address that is not canonical");
	tap_end(&range, "INS and OUTS in the host's range");
}

/* SDM "I/O Permission Bit Map". */
TEST(pvm_io)
{
	struct tap_set s = { .id = "P19.io" };

	for (unsigned iopl = 0; iopl < 4; iopl++)
		for (unsigned cpl = 0; cpl < 4; cpl += 3) {
			pg_start(cpl);
			pg.rflags |= (uint64_t)iopl << 12;
			tap_case(&s, pvm_io_allowed(&pg, 0x80, 1), cpl <= iopl, "CPL %u, IOPL %u", cpl, iopl);
			tap_case(&s, pg_fault(), cpl <= iopl ? PG_NONE : PG_FAULT(VEC_GP, 0), "CPL %u, IOPL %u: fault", cpl, iopl);
		}
	for (unsigned i = 0; i < 8; i++) {
		static const struct { uint16_t base, limit, port; uint8_t size; uint64_t bits; bool ok; } t[] = {
			{ 104, 0x88, 0x80, 1, ~1ull, true }, { 104, 0x88, 0x80, 2, ~1ull, false }, { 104, 0x88, 0x80, 4, ~0xfull, true },
			{ 104, 0x88, 0x87, 2, ~0x180ull, true }, { 104, 0x88, 0x87, 2, ~0x80ull, false }, { 104, 104 + 17, 0x80, 1, 0, true },
			{ 104, 104 + 16, 0x80, 1, 0, false }, { 104, 102, 0, 1, 0, false },
		};

		pg_start(3);
		pg.st.seg[SEG_TR].limit = t[i].limit;
		pg_poke(PG_TSS + 102, &t[i].base, 2);
		pg_poke64(PG_TSS + 104 + 16, t[i].bits);
		tap_case(&s, pvm_io_allowed(&pg, t[i].port, t[i].size), t[i].ok, "map, case %u", i);
	}
	tap_end(&s, "who may touch a port");
}
