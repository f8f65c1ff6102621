/* SPDX-License-Identifier: MIT */
/* PVM: returns and far jumps by software. Expected values: SDM "IRET", "RET", "JMP", "SYSRET", in the order of their checks. */
#include <string.h>

#include "pvm_guest.h"

#define NONCANON 0x800000000000ull
#define FL(x) (RFLAGS_BIT1 | (x))

struct ret {
	const char *what;
	unsigned cpl;
	uint64_t rflags;                     /* before */
	uint64_t rip, cs, fl, rsp, ss;       /* the frame */
	uint64_t fault;                      /* or, with PG_NONE: */
	unsigned to;                         /* CPL */
	uint64_t want_fl;
	uint16_t want_cs, want_ss;
};

#define GOES(cpl, fl, cs, ss) PG_NONE, cpl, fl, cs, ss
static const struct ret irets[] = {
	{ "NT", 0, FL(RFLAGS_NT), PG_UCODE, S_UCODE, 2, PG_USTACK, S_UDATA, PG_FAULT(VEC_GP, 0) },
	{ "null CS", 0, 2, PG_UCODE, 3, 2, PG_USTACK, S_UDATA, PG_FAULT(VEC_GP, 0) },
	{ "CS beyond the table", 0, 2, PG_UCODE, 0x93, 2, PG_USTACK, S_UDATA, PG_FAULT(VEC_GP, 0x90) },
	{ "CS in an LDT", 0, 2, PG_UCODE, 0x2f, 2, PG_USTACK, S_UDATA, PG_FAULT(VEC_GP, 0x2c) },
	{ "CS of the kernel from user mode", 3, 2, PG_UCODE, S_KCODE, 2, PG_USTACK, S_UDATA, PG_FAULT(VEC_GP, 8) },
	{ "CS is data", 0, 2, PG_UCODE, S_KDATA, 2, PG_USTACK, S_UDATA, PG_FAULT(VEC_GP, 0x10) },
	{ "RPL is not DPL", 0, 2, PG_UCODE, S_UCODE & ~3u, 2, PG_USTACK, S_UDATA, PG_FAULT(VEC_GP, 0x28) },
	{ "ring 1", 0, 2, PG_UCODE, S_CODE1 | 1, 2, PG_USTACK, S_UDATA, PG_FAULT(VEC_GP, 0x58) },
	{ "CS not present", 0, 2, PG_KCODE, S_KCODE_NP, 2, PG_KSTACK, S_KDATA, PG_FAULT(VEC_NP, 0x50) },
	{ "L and D", 0, 2, PG_KCODE, S_LD, 2, PG_KSTACK, S_KDATA, PG_FAULT(VEC_GP, 0x80) },
	{ "null SS for users", 0, 2, PG_UCODE, S_UCODE, 2, PG_USTACK, 0, PG_FAULT(VEC_GP, 0) },
	{ "SS of another RPL", 0, 2, PG_UCODE, S_UCODE, 2, PG_USTACK, S_KDATA, PG_FAULT(VEC_GP, 0x10) },
	{ "SS is code", 0, 2, PG_UCODE, S_UCODE, 2, PG_USTACK, S_UCODE, PG_FAULT(VEC_GP, 0x28) },
	{ "SS is read-only", 0, 2, PG_KCODE, S_KCODE, 2, PG_KSTACK, S_RDONLY, PG_FAULT(VEC_GP, 0x68) },
	{ "SS not present", 0, 2, PG_UCODE, S_UCODE, 2, PG_USTACK, S_UDATA_NP, PG_FAULT(VEC_SS, 0x30) },
	{ "null SS of another RPL", 0, 2, PG_KCODE, S_KCODE, 2, PG_KSTACK, 1, PG_FAULT(VEC_GP, 0) },
	{ "SS before RIP", 0, 2, NONCANON, S_UCODE, 2, PG_USTACK, 0x10, PG_FAULT(VEC_GP, 0x10) },
	{ "RIP not canonical", 0, 2, NONCANON, S_UCODE, 2, PG_USTACK, S_UDATA, PG_FAULT(VEC_GP, 0) },
	{ "EIP beyond 4 GiB", 0, 2, 0x100000000, S_UCODE32, 2, PG_USTACK, S_UDATA, PG_FAULT(VEC_GP, 0) },
	{ "to user mode", 0, 2, PG_UCODE, S_UCODE, FL(RFLAGS_IF), PG_USTACK, S_UDATA, GOES(3, FL(RFLAGS_IF), S_UCODE, S_UDATA) },
	{ "to compatibility mode", 0, 2, PG_UCODE, S_UCODE32, 2, PG_USTACK, S_UDATA, GOES(3, 2, S_UCODE32, S_UDATA) },
	{ "TF, RF, AC, IOPL and IF", 0, 2, PG_UCODE, S_UCODE, FL(0x53300), PG_USTACK, S_UDATA, GOES(3, FL(0x53300), S_UCODE, S_UDATA) },
	{ "VM is not loaded", 0, 2, PG_UCODE, S_UCODE, FL(RFLAGS_VM | RFLAGS_CF), PG_USTACK, S_UDATA, GOES(3, FL(RFLAGS_CF), S_UCODE, S_UDATA) },
	{ "to the kernel, null SS", 0, FL(RFLAGS_IF), PG_KCODE, S_KCODE, 2, PG_KSTACK, 0, GOES(0, 2, S_KCODE, 0) },
	{ "to the kernel", 0, 2, PG_KCODE + 16, S_KCODE, FL(RFLAGS_IOPL), PG_KSTACK, S_KDATA, GOES(0, FL(RFLAGS_IOPL), S_KCODE, S_KDATA) },
	{ "CS and SS as MOV from them reads", 0, 2, PG_KCODE, S_KCODE | 3, 2, PG_KSTACK, S_KDATA | 3, GOES(0, 2, S_KCODE, S_KDATA) },
	{ "null SS as MOV from it reads", 0, 2, PG_KCODE, S_KCODE | 3, 2, PG_KSTACK, PVM_XDATA | 3, GOES(0, 2, S_KCODE, 0) },
	{ "to conforming code", 3, 2, PG_UCODE, S_CONF | 3, 2, PG_USTACK, S_UDATA, GOES(3, 2, S_CONF | 3, S_UDATA) },
	{ "IF and IOPL from user mode", 3, FL(RFLAGS_IF), PG_UCODE, S_UCODE, FL(RFLAGS_IOPL), PG_USTACK, S_UDATA, GOES(3, FL(RFLAGS_IF), S_UCODE, S_UDATA) },
	{ "IF with IOPL 3", 3, FL(RFLAGS_IOPL), PG_UCODE, S_UCODE, FL(RFLAGS_IF), PG_USTACK, S_UDATA, GOES(3, FL(RFLAGS_IOPL | RFLAGS_IF), S_UCODE, S_UDATA) },
	{ "RF before it is gone", 0, FL(RFLAGS_RF), PG_UCODE, S_UCODE, 2, PG_USTACK, S_UDATA, GOES(3, 2, S_UCODE, S_UDATA) },
};

static void frame(const struct ret *r)
{
	const uint64_t words[] = { r->rip, r->cs, r->fl, r->rsp, r->ss };

	pg_poke(pg.r[GPR_RSP], words, sizeof(words));
}

TEST(pvm_by_iret)
{
	static const uint8_t iretq[] = { 0x48, 0xcf };
	struct tap_set faults = { .id = "P19.iret.fault" }, goes = { .id = "P17.iret" };

	for (unsigned i = 0; i < sizeof(irets) / sizeof(irets[0]); i++) {
		const struct ret *r = &irets[i];
		uint64_t rip, rsp;

		pg_start(r->cpl);
		pg.rflags = r->rflags;
		frame(r);
		rip = pg.rip;
		rsp = pg.r[GPR_RSP];
		pg_insn(VEC_GP, 0, iretq, sizeof(iretq));
		tap_case(&faults, pg_fault(), r->fault, "%s", r->what);
		if (r->fault != PG_NONE) {
			tap_case(&faults, pg.rip, rip, "%s: RIP stays", r->what);
			tap_case(&faults, pg.r[GPR_RSP], rsp, "%s: RSP stays", r->what);
			tap_case(&faults, pg.st.cpl, r->cpl, "%s: CPL stays", r->what);
			continue;
		}
		tap_case(&goes, pg.rip, r->rip, "%s: RIP", r->what);
		tap_case(&goes, pg.r[GPR_RSP], r->rsp, "%s: RSP", r->what);
		tap_case(&goes, pg.st.cpl, r->to, "%s: CPL", r->what);
		tap_case(&goes, pg.rflags, r->want_fl, "%s: RFLAGS", r->what);
		tap_case(&goes, pg.st.seg[SEG_CS].sel, r->want_cs, "%s: CS", r->what);
		tap_case(&goes, pg.st.seg[SEG_SS].sel, r->want_ss, "%s: SS", r->what);
	}
	tap_end(&faults, "IRETQ's faults, in their order");
	tap_end(&goes, "where IRETQ goes, and with what");
}

/* IRETD and IRET in 64-bit mode pop five words of their size; 16 bits load neither RF nor AC. */
TEST(pvm_iret_sizes)
{
	static const uint32_t words32[] = { PG_UCODE, S_UCODE, 0x10302, PG_USTACK, S_UDATA };
	static const uint16_t words16[] = { 0x5000, S_UCODE, 0x0302, 0x7000, S_UDATA };
	struct tap_set s = { .id = "P17.iret.sizes" };

	pg_start(0);
	pg_poke(pg.r[GPR_RSP], words32, sizeof(words32));
	PG_INSN(0xcf);
	tap_case(&s, pg.rip, PG_UCODE, "IRETD: RIP");
	tap_case(&s, pg.rflags, 0x10302, "IRETD: RFLAGS");
	tap_case(&s, pg.r[GPR_RSP], PG_USTACK, "IRETD: RSP");
	pg_start(0);
	pg.rflags |= RFLAGS_AC;
	pg_poke(pg.r[GPR_RSP], words16, sizeof(words16));
	PG_INSN(0x66, 0xcf);
	tap_case(&s, pg.rip, 0x5000, "IRET: RIP");
	tap_case(&s, pg.rflags, 0x0302 | RFLAGS_AC, "IRET: RFLAGS");
	tap_case(&s, pg.r[GPR_RSP], 0x7000, "IRET: RSP");
	tap_end(&s, "operands of 32 and 16 bits");
}

/* The #DBs behind IRETQ are of the TF that it began with; of its reads; none for a TF that it loads (A20). NMIs come again whatever it does. */
TEST(pvm_iret_traps)
{
	static const struct ret to_user = { "", 0, 2, PG_UCODE, S_UCODE, 2, PG_USTACK, S_UDATA };
	struct tap_set s = { .id = "P20.iret" };

	for (unsigned tf = 0; tf < 4; tf++) {
		struct ret r = to_user;

		pg_start(0);
		pg.rflags |= tf & 1 ? RFLAGS_TF : 0;
		r.fl |= tf & 2 ? RFLAGS_TF : 0;
		frame(&r);
		PG_INSN(0x48, 0xcf);
		tap_case(&s, pg_db(), tf & 1 ? DR6_BS : PG_NONE, "TF before %u, after %u", tf & 1, tf >> 1);
		tap_case(&s, pg.rflags & RFLAGS_TF, tf & 2 ? RFLAGS_TF : 0, "TF before %u, after %u: loaded", tf & 1, tf >> 1);
	}
	for (unsigned rw = 1; rw < 4; rw += 2) {
		pg_start(0);
		pg.dbg.dr[2] = PG_KSTACK + 16; /* RFLAGS' place */
		pg.dbg.dr7 = DR7_INIT | DR7_G(2) | (uint64_t)rw << 24;
		dbg_settle(&pg.dbg);
		frame(&to_user);
		PG_INSN(0x48, 0xcf);
		tap_case(&s, pg_db(), rw == 3 ? 1u << 2 : PG_NONE, "a breakpoint of type %u on the frame", rw);
	}
	for (unsigned bad = 0; bad < 2; bad++) {
		pg_start(0);
		pg.st.nmi_blocked = true;
		pg.rflags |= bad ? RFLAGS_NT : 0;
		frame(&to_user);
		PG_INSN(0x48, 0xcf);
		tap_case(&s, pg.st.nmi_blocked, false, "NMIs, faulting %u", bad);
	}
	pg_start(0);
	pg.st.shadow = SHADOW_MOV_SS;
	pg.st.pending_dbg = 1;
	frame(&to_user);
	PG_INSN(0x48, 0xcf);
	tap_case(&s, pg_db(), 1, "what MOV SS before it held back");
	tap_case(&s, pg.st.shadow, SHADOW_NONE, "its shadow");
	tap_end(&s, "traps behind IRETQ");
}

TEST(pvm_drop_inner)
{
	static const struct ret to_user = { "", 0, 2, PG_UCODE, S_UCODE, 2, PG_USTACK, S_UDATA };
	struct tap_set s = { .id = "P19.drop" };

	pg_start(0);
	pg.st.seg[SEG_DS] = pvm_seg(S_KDATA, pg_peek64(PG_GDT + S_KDATA));
	pg.st.seg[SEG_FS] = pvm_seg(S_CONF, pg_peek64(PG_GDT + S_CONF));
	pg.st.seg[SEG_GS] = pvm_seg(S_KDATA, pg_peek64(PG_GDT + S_KDATA));
	pg.st.seg[SEG_GS].base = 0x1234;
	frame(&to_user);
	PG_INSN(0x48, 0xcf);
	tap_case(&s, pg.st.seg[SEG_DS].sel, 0, "the kernel's DS");
	tap_case(&s, pg.st.seg[SEG_ES].sel, S_UDATA, "the users' ES");
	tap_case(&s, pg.st.seg[SEG_FS].sel, S_CONF, "conforming code in FS");
	tap_case(&s, pg.st.seg[SEG_GS].sel, 0, "the kernel's GS");
	tap_case(&s, pg.st.seg[SEG_GS].base, 0x1234, "its base");
	tap_end(&s, "a return to user mode leaves no segment of the kernel's");
}

TEST(pvm_retf_jmpf)
{
	struct tap_set s = { .id = "P19.far" };
	uint64_t words[4] = { PG_UCODE, S_UCODE, PG_USTACK, S_UDATA };
	uint8_t ptr[10] = { 0 };

	pg_start(0);
	pg_poke(pg.r[GPR_RSP], words, sizeof(words));
	PG_INSN(0x48, 0xcb);
	tap_case(&s, pg.rip, PG_UCODE, "RETFQ to user mode: RIP");
	tap_case(&s, pg.st.cpl, 3, "RETFQ to user mode: CPL");
	tap_case(&s, pg.r[GPR_RSP], PG_USTACK, "RETFQ to user mode: RSP");
	pg_start(0);
	pg_poke64(pg.r[GPR_RSP], PG_UCODE);
	pg_poke64(pg.r[GPR_RSP] + 8, S_UCODE);
	pg_poke64(pg.r[GPR_RSP] + 24, PG_USTACK);
	pg_poke64(pg.r[GPR_RSP] + 32, S_UDATA);
	PG_INSN(0x48, 0xca, 8, 0);
	tap_case(&s, pg.r[GPR_RSP], PG_USTACK + 8, "RETFQ 8 to user mode: RSP");
	pg_start(0);
	words[0] = PG_KCODE + 0x40;
	words[1] = S_KCODE;
	pg_poke(pg.r[GPR_RSP], words, 16);
	PG_INSN(0x48, 0xca, 8, 0);
	tap_case(&s, pg.rip, PG_KCODE + 0x40, "RETFQ 8 in the kernel: RIP");
	tap_case(&s, pg.r[GPR_RSP], PG_KSTACK + 24, "RETFQ 8 in the kernel: RSP");
	pg_start(3);
	pg_poke(pg.r[GPR_RSP], words, 16);
	PG_INSN(0x48, 0xcb);
	tap_case(&s, pg_fault(), PG_FAULT(VEC_GP, 8), "RETFQ into the kernel");
	for (unsigned k = 0; k < 2; k++) {
		static const struct { uint16_t sel; uint64_t rip, fault; } t[] = {
			{ S_KCODE, PG_KCODE + 0x80, PG_NONE }, { S_UCODE, PG_UCODE, PG_FAULT(VEC_GP, 0x28) }, { 0, 0, PG_FAULT(VEC_GP, 0) },
			{ S_TSS, 0, PG_FAULT(VEC_GP, 0x38) }, { S_KCODE_NP, 0, PG_FAULT(VEC_NP, 0x50) }, { PVM_KCODE, 0, PG_FAULT(VEC_GP, PVM_KCODE) },
			{ S_KCODE, NONCANON, PG_FAULT(VEC_GP, 0) }, { S_CONF, PG_KCODE + 8, PG_NONE }, { S_LD, 0, PG_FAULT(VEC_GP, 0x80) },
		};

		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			pg_start(0);
			pg.r[GPR_RBX] = PG_DATA;
			memcpy(ptr, &t[i].rip, 8);
			memcpy(ptr + 8, &t[i].sel, 2);
			pg_poke(PG_DATA, ptr, 10);
			if (k)
				PG_INSN(0x48, 0xff, 0x1b);
			else
				PG_INSN(0x48, 0xff, 0x2b);
			tap_case(&s, pg_fault(), t[i].fault, "case %u, call %u", i, k);
			if (t[i].fault != PG_NONE)
				continue;
			tap_case(&s, pg.rip, t[i].rip, "case %u, call %u: RIP", i, k);
			tap_case(&s, pg.r[GPR_RSP], PG_KSTACK - (k ? 16 : 0), "case %u, call %u: RSP", i, k);
			if (k) {
				tap_case(&s, pg_peek64(PG_KSTACK - 16), PG_KCODE + 3, "case %u: the return address", i);
				tap_case(&s, pg_peek64(PG_KSTACK - 8), S_KCODE, "case %u: CS on the stack", i);
			}
		}
	}
	tap_end(&s, "far RET, JMP and CALL");
}

TEST(pvm_by_sysret)
{
	struct tap_set s = { .id = "P17.sysret" };

	for (unsigned wide = 0; wide < 2; wide++) {
		pg_start(0);
		pg.st.star = (uint64_t)(S_UCODE32 & ~3u) << 48 | (uint64_t)S_KCODE << 32;
		pg.r[GPR_RCX] = PG_UCODE | (wide ? 0 : 0xf00000000ull);
		pg.r[GPR_R11] = FL(RFLAGS_RF | RFLAGS_VM | RFLAGS_IF | RFLAGS_CF);
		if (wide)
			PG_INSN(0x48, 0x0f, 0x07);
		else
			PG_INSN(0x0f, 0x07);
		tap_case(&s, pg.rip, PG_UCODE, "64 bits %u: RIP", wide);
		tap_case(&s, pg.rflags, FL(RFLAGS_IF | RFLAGS_CF), "64 bits %u: RFLAGS", wide);
		tap_case(&s, pg.st.cpl, 3, "64 bits %u: CPL", wide);
		tap_case(&s, pg.st.seg[SEG_CS].sel, wide ? S_UCODE : S_UCODE32, "64 bits %u: CS", wide);
		tap_case(&s, pg.st.seg[SEG_SS].sel, S_UDATA, "64 bits %u: SS", wide);
		tap_case(&s, pg_db(), PG_NONE, "64 bits %u: #DB", wide);
	}
	for (unsigned tf = 0; tf < 2; tf++) { /* A21: the TF that it leaves behind */
		pg_start(0);
		pg.rflags |= tf ? 0 : RFLAGS_TF;
		pg.r[GPR_RCX] = PG_UCODE;
		pg.r[GPR_R11] = FL(tf ? RFLAGS_TF : 0);
		PG_INSN(0x48, 0x0f, 0x07);
		tap_case(&s, pg_db(), tf ? DR6_BS : PG_NONE, "TF loaded %u", tf);
	}
	pg_start(3);
	PG_INSN(0x48, 0x0f, 0x07);
	tap_case(&s, pg_fault(), PG_FAULT(VEC_GP, 0), "in user mode");
	pg_start(3);
	pg.st.efer &= ~EFER_SCE;
	PG_INSN(0x48, 0x0f, 0x07);
	tap_case(&s, pg_fault(), PG_FAULT_PLAIN(VEC_UD), "without EFER.SCE, before the CPL");
	pg_start(0);
	pg.r[GPR_RCX] = NONCANON;
	PG_INSN(0x48, 0x0f, 0x07);
	tap_case(&s, pg_fault(), PG_FAULT(VEC_GP, 0), "RCX not canonical, Intel");
	tap_case(&s, pg.st.cpl, 0, "RCX not canonical: still in the kernel");
	tap_end(&s, "SYSRET");
}

TEST(pvm_by_syscall)
{
	struct tap_set s = { .id = "P19.syscall" };

	pg_start(3);
	pg.rip += 2;
	pg.rflags = FL(RFLAGS_IF | RFLAGS_CF | RFLAGS_RF | RFLAGS_DF);
	pg.st.star = (uint64_t)S_KCODE << 32;
	pg.st.lstar = PG_KCODE + 0x100;
	pg.st.sfmask = RFLAGS_IF | RFLAGS_DF;
	tap_case(&s, pvm_syscall(&pg), true, "done");
	tap_case(&s, pg.rip, PG_KCODE + 0x100, "RIP");
	tap_case(&s, pg.r[GPR_RCX], PG_UCODE + 2, "RCX");
	tap_case(&s, pg.r[GPR_R11], FL(RFLAGS_IF | RFLAGS_CF | RFLAGS_DF), "R11 has no RF");
	tap_case(&s, pg.rflags, FL(RFLAGS_CF), "RFLAGS");
	tap_case(&s, pg.st.cpl, 0, "CPL");
	tap_case(&s, pg.st.seg[SEG_CS].sel, S_KCODE, "CS");
	tap_case(&s, pg.st.seg[SEG_SS].sel, S_KCODE + 8, "SS");
	tap_case(&s, pg.r[GPR_RSP], PG_USTACK, "RSP stays the user's");
	for (unsigned fmask = 0; fmask < 2; fmask++) { /* A21 */
		pg_start(3);
		pg.rip += 2;
		pg.rflags |= RFLAGS_TF;
		pg.st.sfmask = fmask ? RFLAGS_TF : 0;
		pvm_syscall(&pg);
		tap_case(&s, pg_db(), fmask ? PG_NONE : DR6_BS, "TF, masked %u", fmask);
	}
	pg_start(3);
	pg.rip += 2;
	pg.st.shadow = SHADOW_MOV_SS;
	pg.st.pending_dbg = 2;
	pvm_syscall(&pg);
	tap_case(&s, pg_db(), 2, "what MOV SS held back comes in the kernel (A25)");
	tap_case(&s, pg.st.cpl, 0, "what MOV SS held back comes in the kernel: CPL");
	for (unsigned was = 0; was < 2; was++) { /* CS as the last entry had it, compatibility mode or not, and as SYSCALL found it */
		pg_start(3);
		pg.st.seg[SEG_CS] = pvm_seg(was ? S_UCODE32 : S_UCODE, pg_peek64(PG_GDT + ((was ? S_UCODE32 : S_UCODE) & ~3u)));
		pg.st.lstar = PG_KCODE + 0x100;
		pg.rip += 2;
		pg_hw.trap_vector = PVM_TRAP_SYSCALL;
		tap_case(&s, pvm_syscall(&pg), true, "from 64-bit mode, compatibility mode before %u", was);
		tap_case(&s, pg.rip, PG_KCODE + 0x100, "from 64-bit mode, compatibility mode before %u: RIP", was);
		pg_start(3);
		pg.st.seg[SEG_CS] = pvm_seg(was ? S_UCODE32 : S_UCODE, pg_peek64(PG_GDT + ((was ? S_UCODE32 : S_UCODE) & ~3u)));
		pg.rip += 3;
		pg.exit.len = 3;
		pg_hw.trap_vector = PVM_TRAP_SYSCALL32;
		tap_case(&s, pvm_syscall(&pg), false, "from compatibility mode on Intel, before %u", !was);
		tap_case(&s, pg.rip, PG_UCODE, "from compatibility mode on Intel, before %u: RIP at it, with its prefix", !was);
	}
	pg_start(3);
	pg.rip += 2;
	pg.st.efer &= ~EFER_SCE;
	tap_case(&s, pvm_syscall(&pg), false, "without EFER.SCE");
	tap_case(&s, pg_fault(), PG_FAULT_PLAIN(VEC_UD), "without EFER.SCE: fault");
	tap_case(&s, pg.rip, PG_UCODE, "without EFER.SCE: RIP at it");
	tap_end(&s, "SYSCALL");
}
