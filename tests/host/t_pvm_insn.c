/* SPDX-License-Identifier: MIT */
/* PVM: the other instructions that trap in ring 3, the views of the GDT, and the shadows of STI and MOV SS. */
#include "pvm_guest.h"

#define FL(x) (RFLAGS_BIT1 | (x))

TEST(pvm_cli_sti)
{
	struct tap_set s = { .id = "P19.if" }, shadow = { .id = "A24.sti" };

	for (unsigned iopl = 0; iopl < 4; iopl++)
		for (unsigned cpl = 0; cpl < 4; cpl += 3)
			for (unsigned sti = 0; sti < 2; sti++) {
				uint64_t fl = FL((uint64_t)iopl << 12 | (sti ? 0 : RFLAGS_IF));
				bool ok = cpl <= iopl;

				pg_start(cpl);
				pg.rflags = fl;
				PG_INSN((uint8_t)(0xfa + sti));
				tap_case(&s, pg_fault(), ok ? PG_NONE : PG_FAULT(VEC_GP, 0), "CPL %u, IOPL %u, STI %u", cpl, iopl, sti);
				tap_case(&s, pg.rflags, ok ? fl ^ RFLAGS_IF : fl, "CPL %u, IOPL %u, STI %u: RFLAGS", cpl, iopl, sti);
				tap_case(&shadow, pg.st.shadow, ok && sti ? SHADOW_STI : SHADOW_NONE, "CPL %u, IOPL %u, STI %u", cpl, iopl, sti);
			}
	pg_start(0);
	pg.rflags = FL(RFLAGS_IF);
	PG_INSN(0xfb);
	tap_case(&shadow, pg.st.shadow, SHADOW_NONE, "IF was set");
	pg_start(0);
	pg.rflags = FL(RFLAGS_TF);
	PG_INSN(0xfb);
	tap_case(&shadow, pg_db(), DR6_BS, "holds no step");
	tap_end(&s, "CLI and STI by the virtual CPL and IOPL");
	tap_end(&shadow, "STI holds interrupts for one instruction, not #DBs");
}

/* By the checks of "MOV - Move"; SS at the virtual CPL, with RPL 3 for a segment of the kernel as MOV from SS reads it. */
TEST(pvm_load)
{
	static const struct { uint8_t reg; unsigned cpl; uint16_t sel; uint64_t fault; uint16_t want; } t[] = {
		{ SEG_SS, 0, S_KDATA, PG_NONE, S_KDATA }, { SEG_SS, 0, S_KDATA | 3, PG_NONE, S_KDATA }, { SEG_SS, 0, 0, PG_NONE, 0 }, { SEG_SS, 0, 1, PG_FAULT(VEC_GP, 0) },
		{ SEG_SS, 0, S_UDATA, PG_FAULT(VEC_GP, 0x20) }, { SEG_SS, 0, S_KDATA | 1, PG_FAULT(VEC_GP, 0x10) }, { SEG_SS, 0, S_RDONLY, PG_FAULT(VEC_GP, 0x68) },
		{ SEG_SS, 0, S_KCODE, PG_FAULT(VEC_GP, 8) }, { SEG_SS, 3, S_UDATA, PG_NONE, S_UDATA }, { SEG_SS, 3, 0, PG_FAULT(VEC_GP, 0) }, { SEG_SS, 3, 3, PG_FAULT(VEC_GP, 0) },
		{ SEG_SS, 3, S_UDATA_NP, PG_FAULT(VEC_SS, 0x30) }, { SEG_SS, 3, S_KDATA | 3, PG_FAULT(VEC_GP, 0x10) }, { SEG_SS, 0, 0x90, PG_FAULT(VEC_GP, 0x90) },
		{ SEG_SS, 0, 0x24, PG_FAULT(VEC_GP, 0x24) }, { SEG_SS, 3, PVM_XDATA | 3, PG_FAULT(VEC_GP, PVM_XDATA) }, { SEG_DS, 3, PVM_XDATA | 3, PG_FAULT(VEC_GP, PVM_XDATA) },
		{ SEG_DS, 0, S_UCODE, PG_NONE, S_UCODE }, { SEG_DS, 3, S_KDATA, PG_FAULT(VEC_GP, 0x10) }, { SEG_DS, 3, S_UDATA, PG_NONE, S_UDATA },
		{ SEG_ES, 3, S_UDATA_NP, PG_FAULT(VEC_NP, 0x30) }, { SEG_FS, 0, S_TSS, PG_FAULT(VEC_GP, 0x38) }, { SEG_GS, 3, 3, PG_NONE, 3 },
		{ SEG_DS, 3, S_CONF, PG_NONE, S_CONF }, { SEG_DS, 3, PVM_KDATA, PG_FAULT(VEC_GP, PVM_KDATA) }, { SEG_CS, 0, S_KDATA, PG_FAULT_PLAIN(VEC_UD) },
		{ 6, 0, S_KDATA, PG_FAULT_PLAIN(VEC_UD) },
	};
	struct tap_set s = { .id = "P19.load" };

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		pg_start(t[i].cpl);
		pg.r[GPR_RAX] = t[i].sel;
		PG_INSN(0x8e, (uint8_t)(0xc0 | t[i].reg << 3));
		tap_case(&s, pg_fault(), t[i].fault, "register %u, CPL %u, selector 0x%x", t[i].reg, t[i].cpl, t[i].sel);
		if (t[i].fault == PG_NONE)
			tap_case(&s, pg.st.seg[t[i].reg].sel, t[i].want, "register %u, CPL %u, selector 0x%x: loaded", t[i].reg, t[i].cpl, t[i].sel);
	}
	tap_end(&s, "loads of segment registers");
}

/* MOV SS and POP SS hold their own hits, the step, and what was held before, for one instruction; LSS and other segments do not (A23, P20). */
TEST(pvm_movss)
{
	struct tap_set s = { .id = "A23.emulated" };

	for (unsigned k = 0; k < 3; k++) {
		pg_start(0);
		pg.rflags = FL(RFLAGS_TF | RFLAGS_RF);
		pg.dbg.dr[0] = PG_DATA;
		pg.dbg.dr7 = DR7_INIT | DR7_L(0) | 3ull << 16 | 1ull << 18;
		dbg_settle(&pg.dbg);
		pg.r[GPR_RBX] = PG_DATA;
		pg_poke64(PG_DATA, k == 2 ? (uint64_t)S_KDATA << 32 : S_KDATA);
		if (k == 0)
			PG_INSN(0x8e, 0x13);
		else if (k == 1)
			PG_INSN(0x8e, 0x1b); /* DS */
		else
			PG_INSN(0x0f, 0xb2, 0x0b); /* LSS ECX */
		tap_case(&s, pg_fault(), PG_NONE, "case %u", k);
		tap_case(&s, pg_db(), k ? DR6_BS | 1 : PG_NONE, "case %u: #DB", k);
		tap_case(&s, pg.st.shadow, k ? SHADOW_NONE : SHADOW_MOV_SS, "case %u: shadow", k);
		tap_case(&s, pg.st.pending_dbg, k ? 0 : 1, "case %u: held", k);
		tap_case(&s, pg.rflags, FL(RFLAGS_TF), "case %u: RF is over", k);
	}
	pg_start(0); /* what it held comes with the next instruction's, if software carries that out */
	pg.rflags = FL(RFLAGS_TF | RFLAGS_IF);
	pg.st.shadow = SHADOW_MOV_SS;
	pg.st.pending_dbg = 4;
	pg_hw.live_shadow = 1;
	PG_INSN(0xfa);
	tap_case(&s, pg_db(), DR6_BS | 4, "CLI behind it");
	tap_end(&s, "MOV SS by software");
}

TEST(pvm_tables)
{
	struct tap_set s = { .id = "P19.tables" };
	static const uint8_t table[10] = { 0x57, 0, 0, 0x30, 1, 0, 0, 0, 0, 0 };

	for (unsigned cpl = 0; cpl < 4; cpl += 3)
		for (unsigned k = 2; k < 4; k++) {
			pg_start(cpl);
			pg.r[GPR_RBX] = PG_UCODE + 0x100;
			pg_poke(PG_UCODE + 0x100, table, 10);
			PG_INSN(0x0f, 0x01, (uint8_t)(0x03 | k << 3));
			tap_case(&s, pg_fault(), cpl ? PG_FAULT(VEC_GP, 0) : PG_NONE, "load %u at CPL %u", k, cpl);
			tap_case(&s, pg.st.gdtr.base, !cpl && k == 2 ? 0x13000 : PG_GDT, "load %u at CPL %u: GDTR", k, cpl);
			tap_case(&s, pg.st.idtr.base, !cpl && k == 3 ? 0x13000 : PG_IDT, "load %u at CPL %u: IDTR", k, cpl);
			tap_case(&s, k == 2 ? pg.st.gdtr.limit : pg.st.idtr.limit, !cpl ? 0x57 : k == 2 ? PG_GDT_LIMIT : PG_IDT_LIMIT, "load %u at CPL %u: limit", k, cpl);
		}
	pg_start(0);
	pg.r[GPR_RBX] = PG_DATA;
	pg_poke64(PG_DATA + 2, 0x800000000000);
	PG_INSN(0x0f, 0x01, 0x13);
	tap_case(&s, pg_fault(), PG_FAULT(VEC_GP, 0), "LGDT of a base that is not canonical");
	for (unsigned k = 0; k < 2; k++) {
		pg_start(3);
		pg.r[GPR_RBX] = PG_UCODE + 0x100;
		PG_INSN(0x0f, 0x01, (uint8_t)(0x03 | k << 3));
		tap_case(&s, pg_peek64(PG_UCODE + 0x102), k ? PG_IDT : PG_GDT, "store %u: base", k);
		tap_case(&s, pg_peek64(PG_UCODE + 0x100) & 0xffff, k ? PG_IDT_LIMIT : PG_GDT_LIMIT, "store %u: limit", k);
	}
	tap_end(&s, "SGDT, SIDT, LGDT, LIDT");
}

TEST(pvm_selectors)
{
	static const struct { uint8_t op; unsigned cpl; uint16_t sel; uint64_t fault; } t[] = {
		{ 3, 0, S_TSS, PG_NONE }, { 3, 3, S_TSS, PG_FAULT(VEC_GP, 0) }, { 3, 0, 0, PG_FAULT(VEC_GP, 0) }, { 3, 0, S_KDATA, PG_FAULT(VEC_GP, 0x10) },
		{ 3, 0, S_LDT, PG_FAULT(VEC_GP, 0x70) }, { 3, 0, S_TSS_BUSY16, PG_FAULT(VEC_GP, 0x88) }, { 3, 0, 0x1020, PG_FAULT(VEC_GP, 0x1020) },
		{ 3, 0, S_TSS | 4, PG_FAULT(VEC_GP, 0x3c) }, { 2, 0, S_LDT, PG_NONE }, { 2, 0, 0, PG_NONE }, { 2, 0, S_TSS, PG_FAULT(VEC_GP, 0x38) },
		{ 2, 3, S_LDT, PG_FAULT(VEC_GP, 0) }, { 2, 0, 0x90, PG_FAULT(VEC_GP, 0x90) },
	};
	struct tap_set s = { .id = "P19.selectors" };

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		pg_start(t[i].cpl);
		pg.st.seg[SEG_LDTR].sel = pg.st.seg[SEG_TR].sel = 0x1234;
		pg.r[GPR_RAX] = t[i].sel;
		PG_INSN(0x0f, 0x00, (uint8_t)(0xc0 | t[i].op << 3));
		tap_case(&s, pg_fault(), t[i].fault, "%s 0x%x, CPL %u", t[i].op == 3 ? "LTR" : "LLDT", t[i].sel, t[i].cpl);
		tap_case(&s, pg.st.seg[t[i].op == 3 ? SEG_TR : SEG_LDTR].sel, t[i].fault == PG_NONE ? t[i].sel : 0x1234, "case %u: loaded", i);
		if (i == 0) {
			tap_case(&s, pg_peek64(PG_GDT + S_TSS) >> 40 & 0xff, 0x8b, "LTR makes it busy");
			tap_case(&s, pg.st.seg[SEG_TR].base, PG_TSS, "TR's base");
			pg.r[GPR_RAX] = S_TSS;
			PG_INSN(0x0f, 0x00, 0xd8);
			tap_case(&s, pg_fault(), PG_FAULT(VEC_GP, 0x38), "LTR of a busy one");
		}
	}
	pg_start(0);
	pg_poke64(PG_GDT + S_TSS, pg_peek64(PG_GDT + S_TSS) & ~(1ull << 47));
	pg.r[GPR_RAX] = S_TSS;
	PG_INSN(0x0f, 0x00, 0xd8);
	tap_case(&s, pg_fault(), PG_FAULT(VEC_NP, 0x38), "LTR of one that is not present");
	tap_end(&s, "LLDT and LTR");
}

TEST(pvm_small)
{
	struct tap_set s = { .id = "P19.small" };

	for (unsigned cpl = 0; cpl < 4; cpl += 3) {
		pg_start(cpl);
		pg.st.seg[SEG_GS].base = 0x1111;
		pg.st.kernel_gs_base = 0x2222;
		PG_INSN(0x0f, 0x01, 0xf8);
		tap_case(&s, pg_fault(), cpl ? PG_FAULT(VEC_GP, 0) : PG_NONE, "SWAPGS at CPL %u", cpl);
		tap_case(&s, pg.st.seg[SEG_GS].base, cpl ? 0x1111 : 0x2222, "SWAPGS at CPL %u: GS", cpl);
		tap_case(&s, pg.st.kernel_gs_base, cpl ? 0x2222 : 0x1111, "SWAPGS at CPL %u: the other", cpl);
		pg_start(cpl);
		pg.r[GPR_RBX] = PG_UCODE + 0x100;
		pg_poke64(PG_UCODE + 0x100, 0xe);
		PG_INSN(0x0f, 0x01, 0x33);
		tap_case(&s, pg_fault(), cpl ? PG_FAULT(VEC_GP, 0) : PG_NONE, "LMSW at CPL %u", cpl);
		tap_case(&s, pg.st.cr0 & 0xf, cpl ? 1 : 0xf, "LMSW at CPL %u: PE stays", cpl);
		pg_start(cpl);
		pg.r[GPR_RCX] = ~0ull;
		PG_INSN(0x0f, 0x01, 0xe1);
		tap_case(&s, pg.r[GPR_RCX], pg.st.cr0 & 0xffffffff, "SMSW ECX at CPL %u", cpl);
		pg_start(cpl);
		pg.r[GPR_RCX] = ~0ull;
		PG_INSN(0x66, 0x0f, 0x00, 0xc9);
		tap_case(&s, pg.r[GPR_RCX], 0xffffffffffff0000 | S_TSS, "STR CX at CPL %u", cpl);
		pg_start(cpl);
		pvm_mmu_init(&pg);
		PG_INSN(0x0f, 0x01, 0x3c, 0x25, 0, 0x50, 0, 0);
		tap_case(&s, pg_fault(), cpl ? PG_FAULT(VEC_GP, 0) : PG_NONE, "INVLPG at CPL %u", cpl);
		pvm_mmu_destroy(&pg);
		pg_start(cpl);
		pg.r[GPR_RAX] = 0x40000000;
		pg.r[GPR_RBX] = 0x1111;
		PG_INSN(0x0f, 0x01, 0x3c, 0x25, 0x50, 0x56, 0x4d, 0xff, 0x0f, 0xa2);
		tap_case(&s, pg_fault(), PG_NONE, "CPUID by the pair at CPL %u", cpl);
		tap_case(&s, pg.rip, (cpl ? PG_UCODE : PG_KCODE) + 10, "CPUID by the pair at CPL %u: both at once", cpl);
		tap_case(&s, pg.r[GPR_RBX] == 0x1111, false, "CPUID by the pair at CPL %u: carried out", cpl);
		pg_start(cpl);
		pvm_mmu_init(&pg);
		PG_INSN(0x0f, 0x01, 0x3c, 0x25, 0x50, 0x56, 0x4d, 0xff, 0x90);
		tap_case(&s, pg_fault(), cpl ? PG_FAULT(VEC_GP, 0) : PG_NONE, "its INVLPG alone at CPL %u", cpl);
		pvm_mmu_destroy(&pg);
		pg_start(cpl); /* MOVAPS, not aligned: hardware's fault is the guest's */
		PG_INSN(0x0f, 0x28, 0x03);
		tap_case(&s, pg_fault(), PG_FAULT(VEC_GP, 0), "a fault of the instruction's own at CPL %u", cpl);
		pg_start(cpl);
		pg_insn(VEC_SS, 0, (const uint8_t[]){ 0x90 }, 1);
		tap_case(&s, pg_fault(), PG_FAULT(VEC_SS, 0), "#SS at CPL %u", cpl);
		pg_start(cpl);
		PG_INSN(0xcd, 0x80);
		tap_case(&s, (uint64_t)pg.exception.type << 8 | pg.exception.vector, EVENT_SOFT_INT << 8 | 0x80, "INT n at CPL %u", cpl);
		tap_case(&s, pg.exception.len, 2, "INT n at CPL %u: length", cpl);
		pg_start(cpl);
		PG_INSN(0xcc);
		tap_case(&s, (uint64_t)pg.exception.type << 8 | pg.exception.vector, EVENT_SOFT_EXC << 8 | 3, "INT3 at CPL %u", cpl);
	}
	tap_end(&s, "SWAPGS, LMSW, SMSW, STR, INVLPG, CPUID's pair, software interrupts, reflected faults");
}

/* ---- The views ---- */

/* What hardware lets ring 3 load: P, S, DPL 3 (or conforming code). */
static bool loads(uint64_t d, bool as_code)
{
	if (!(d >> 47 & 1) || !(d >> 44 & 1))
		return false;
	if (as_code)
		return (d >> 43 & 1) && ((d >> 42 & 1) || (d >> 45 & 3) == 3);
	return (d >> 45 & 3) == 3 && (!(d >> 43 & 1) || (d >> 41 & 1));
}

TEST(pvm_views)
{
	static const struct { uint16_t sel; bool code, kernel, user; } t[] = {
		{ S_KCODE, true, true, false }, { S_KDATA, false, true, false }, { S_UCODE, true, false, true }, { S_UCODE32, true, false, true },
		{ S_UDATA, false, true, true }, { S_UDATA_NP, false, false, false }, { S_TSS, false, false, false }, { S_TSS, true, false, false },
		{ S_KCODE32, true, true, false }, { S_KCODE_NP, true, false, false }, { S_CONF, true, false, true }, { S_RDONLY, false, true, false },
		{ S_LDT, false, false, false }, { 0x90, false, false, false },
	};
	struct tap_set s = { .id = "P21.views" };

	pg_start(0);
	pg_poke64(PG_GDT + 0x90, 0x00cff3000000ffff); /* beyond the limit */
	pg_poke64(PG_GDT, 0x00cff3000000ffff);        /* null */
	pvm_gdt_rebuild(&pg);
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		for (unsigned view = 0; view < PVM_VIEWS; view++)
			tap_case(&s, loads(pg_hw.gdt[view][t[i].sel / 8], t[i].code), view == PVM_KERNEL ? t[i].kernel : t[i].user, "selector 0x%x, view %u", t[i].sel,
				 view);
	for (unsigned i = 0; i < 512; i++)
		for (unsigned view = 0; view < PVM_VIEWS; view++) {
			uint64_t d = pg_hw.gdt[view][i];

			tap_case(&s, d && (!(d >> 44 & 1) || !(d >> 40 & 1)), false, "entry %u of view %u: a gate, a TSS, or hardware would write it", i, view);
		}
	tap_case(&s, pg_hw.gdt[PVM_KERNEL][0], 0, "the null entry");
	tap_case(&s, pvm_gdt_changed(&pg), false, "unchanged");
	pg_poke64(PG_GDT + S_UDATA - 3, 0);
	tap_case(&s, pvm_gdt_changed(&pg), true, "changed");
	tap_case(&s, pg_hw.gdt[PVM_USER][S_UDATA / 8], 0, "and seen");
	tap_case(&s, pvm_gdt_changed(&pg), false, "unchanged again");
	tap_end(&s, "what hardware can load in each virtual mode");
}

/* Selectors for an entry: DPL 3 and loadable whatever the guest has in its table now. */
TEST(pvm_hw_selectors)
{
	struct tap_set s = { .id = "P21.entry" };

	for (unsigned k = 0; k < 6; k++)
		for (unsigned cpl = 0; cpl < 4; cpl += 3) {
			unsigned view = cpl ? PVM_USER : PVM_KERNEL;

			pg_start(cpl);
			pg.st.seg[SEG_DS] = pvm_seg(S_KDATA, pg_peek64(PG_GDT + S_KDATA));
			switch (k) {
			case 1: pg.st.gdtr.limit = 0; break;
			case 2: pg_poke64(PG_GDT + (cpl ? S_UCODE - 3 : S_KCODE), 0); break;
			case 3: pg_poke64(PG_GDT + (cpl ? S_UDATA - 3 : S_KDATA), 0); break;
			case 4: pg.st.seg[SEG_SS] = (struct seg){ .ar = SEG_AR_UNUSABLE }; break;
			case 5: pg.st.gdtr.base = PVM_HOST_BASE; break;
			}
			pvm_gdt_rebuild(&pg);
			pvm_hw_segs(&pg);
			tap_case(&s, loads(pg_hw.gdt[view][pg_hw.cs / 8], true), true, "case %u, CPL %u: CS", k, cpl);
			tap_case(&s, loads(pg_hw.gdt[view][pg_hw.ss / 8], false), true, "case %u, CPL %u: SS", k, cpl);
			tap_case(&s, (pg_hw.cs & 7) == 3 && (pg_hw.ss & 7) == 3, true, "case %u, CPL %u: RPL", k, cpl);
			tap_case(&s, pg_hw.gdt[view][pg_hw.cs / 8] >> 53 & 1, 1, "case %u, CPL %u: 64-bit code", k, cpl);
			tap_case(&s, !pg_hw.ds || loads(pg_hw.gdt[view][pg_hw.ds / 8], false), true, "case %u, CPL %u: DS", k, cpl);
			tap_case(&s, pg_hw.cs == (cpl ? S_UCODE : (S_KCODE | 3)), k == 0 || k == 3 || k == 4, "case %u, CPL %u: the guest's own where it can be", k, cpl);
		}
	tap_end(&s, "selectors that load");
}

TEST(pvm_stale_view)
{
	struct tap_set s = { .id = "P21.stale" };

	pg_start(3); /* an entry that the guest has made since */
	pg_poke64(PG_GDT + S_UDATA_NP - 3, 0x00cff3000000ffff);
	pg.r[GPR_RAX] = S_UDATA_NP;
	pg_insn(VEC_NP, 0x30, (const uint8_t[]){ 0x8e, 0xd8 }, 2);
	tap_case(&s, pg_fault(), PG_NONE, "no fault");
	tap_case(&s, pg.rip, PG_UCODE, "it runs again");
	tap_case(&s, loads(pg_hw.gdt[PVM_USER][S_UDATA_NP / 8], false), true, "and will load");
	tap_end(&s, "a view that is older than the guest's table");
}

/* ---- Shadows ---- */

struct step {
	const char *what;
	uint8_t shadow;
	uint32_t pending;
	uint64_t rflags;
	bool window;
	uint8_t insn;       /* at RIP */
	bool ran;           /* its trap has come: else another exit at the same RIP */
	uint32_t payload;   /* hardware's */
	uint64_t after;     /* RFLAGS in hardware behind it */
	unsigned hidden;    /* expected: a step is made */
	unsigned kind;      /* of exit */
	uint64_t db;        /* its payload */
	uint64_t want;      /* RFLAGS */
};

static const struct step steps[] = {
	{ "STI, nothing waits", SHADOW_STI, 0, FL(0), false, 0x90, false, 0, FL(0), 0, EXITK_INTR, 0, FL(0) },
	{ "STI, an interrupt waits", SHADOW_STI, 0, FL(0), true, 0x90, true, DR6_BS, FL(RFLAGS_TF), 1, EXITK_INTR_WINDOW, 0, FL(0) },
	{ "STI, the guest steps itself", SHADOW_STI, 0, FL(RFLAGS_TF), true, 0x90, true, DR6_BS, FL(RFLAGS_TF), 0, EXITK_EXCEPTION, DR6_BS, FL(RFLAGS_TF) },
	{ "MOV SS holds a hit", SHADOW_MOV_SS, 2, FL(0), false, 0x90, true, DR6_BS, FL(RFLAGS_TF), 1, EXITK_EXCEPTION, 2, FL(0) },
	{ "and the next one hits", SHADOW_MOV_SS, 2, FL(0), false, 0x90, true, DR6_BS | 1, FL(RFLAGS_TF), 1, EXITK_EXCEPTION, 3, FL(0) },
	{ "an exec slot at the next instruction is not its hit", SHADOW_STI, 0, FL(0), true, 0x90, true, DR6_BS | 8, FL(RFLAGS_TF), 1, EXITK_INTR_WINDOW, 0, FL(0) },
	{ "MOV SS with TF", SHADOW_MOV_SS, 2, FL(RFLAGS_TF), false, 0x90, true, DR6_BS, FL(RFLAGS_TF), 0, EXITK_EXCEPTION, DR6_BS | 2, FL(RFLAGS_TF) },
	{ "an exit before it has run", SHADOW_MOV_SS, 2, FL(0), false, 0x90, false, 0, FL(RFLAGS_TF), 1, EXITK_INTR, 0, FL(0) },
	{ "POPF loads TF itself", SHADOW_STI, 0, FL(0), true, 0x9d, true, DR6_BS, FL(RFLAGS_TF), 1, EXITK_INTR_WINDOW, 0, FL(RFLAGS_TF) },
	{ "POPF clears it", SHADOW_STI, 0, FL(0), true, 0x9d, true, DR6_BS, FL(0), 1, EXITK_INTR_WINDOW, 0, FL(0) },
};

TEST(pvm_shadow)
{
	struct tap_set s = { .id = "A23.shadow" };

	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		const struct step *t = &steps[i];
		uint64_t bits;

		pg_start(0);
		pg.dbg.dr7 = DR7_INIT | DR7_L(0) | DR7_L(1) | DR7_L(3) | 1ull << 16 | 1ull << 20; /* slot 3: exec */
		pg.st.shadow = t->shadow;
		pg.st.pending_dbg = t->pending;
		pg.rflags = t->rflags;
		pg.want_intr_window = t->window;
		pg_poke(pg.rip, &t->insn, 1);
		pg_hw.entry_rip = pg.rip;
		pg_hw.entry_rflags = pg.rflags;
		bits = pvm_shadow_enter(&pg);
		tap_case(&s, bits & RFLAGS_TF, t->hidden ? RFLAGS_TF : 0, "%s: the step", t->what);
		tap_case(&s, bits & RFLAGS_RF, t->shadow == SHADOW_MOV_SS ? RFLAGS_RF : 0, "%s: exec breakpoints", t->what); /* Intel */
		pg.rflags = t->after;
		pg.rip += t->ran;
		pg.exit.kind = t->ran ? EXITK_EXCEPTION : EXITK_INTR;
		pg.exit.u.exc.vector = VEC_DB;
		pg.exit.u.exc.db = (struct dbg_record){ .payload = t->payload, .cls = DBG_TRAP };
		pvm_shadow_leave(&pg);
		tap_case(&s, pg.exit.kind, t->kind, "%s: the exit", t->what);
		if (t->kind == EXITK_EXCEPTION)
			tap_case(&s, pg.exit.u.exc.db.payload, t->db, "%s: the #DB", t->what);
		tap_case(&s, pg.rflags, t->want, "%s: RFLAGS", t->what);
		tap_case(&s, pg.st.shadow, t->ran ? SHADOW_NONE : t->shadow, "%s: the shadow", t->what);
		tap_case(&s, pg.st.pending_dbg, t->ran ? 0 : t->pending, "%s: what is held", t->what);
	}
	tap_end(&s, "shadows that a hidden step ends");
}

/* PUSHF under the hidden step: the guest finds the RFLAGS that it has. */
TEST(pvm_shadow_pushf)
{
	struct tap_set s = { .id = "A23.pushf" };

	pg_start(0);
	pg.st.shadow = SHADOW_STI;
	pg.want_intr_window = true;
	pg_poke(pg.rip, "\x9c", 1);
	tap_case(&s, pvm_shadow_enter(&pg), RFLAGS_TF, "a step");
	pg.r[GPR_RSP] -= 8;
	pg_poke64(pg.r[GPR_RSP], 0x302);
	pg.rip++;
	pg.rflags |= RFLAGS_TF;
	pg.exit.kind = EXITK_EXCEPTION;
	pg.exit.u.exc.vector = VEC_DB;
	pg.exit.u.exc.db = (struct dbg_record){ .payload = (uint32_t)DR6_BS, .cls = DBG_TRAP };
	pvm_shadow_leave(&pg);
	tap_case(&s, pg_peek64(pg.r[GPR_RSP]), 0x202, "on the stack");
	tap_case(&s, pg.rflags, 2, "in the register");
	tap_end(&s, "PUSHF does not see it");
}
