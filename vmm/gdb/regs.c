/* SPDX-License-Identifier: MIT */
/* One table; order and names of the first three features are gdb's own ("Debugging with GDB", "i386 Features"), "org.drover.system" is drover's. */
#include "vmm/gdb/regs.h"

#include "arch/lib/fmt.h"
#include "arch/lib/string.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/pte.h"
#include "arch/x86/insn.h"
#include "arch/x86/percpu.h"
#include "vmm/backend.h"
#include "vmm/fpu.h"

enum kind { GPR, RIP, FLAGS, SELECTOR, STATE, X87, SSE, FTAG, DEBUG, CTL, APIC };
enum feature { CORE, SSE_FEATURE, SEGMENTS, SYSTEM, NR_FEATURES };

struct reg {
	const char *name, *type;
	uint8_t feature, kind, bits;
	uint16_t at;     /* index, or offset in struct vcpu_state or in the FXSAVE area */
	uint8_t size;    /* there, in bytes; 0: as bits says */
	uint16_t group;  /* VST_* */
};

#define ST(member) offsetof(struct vcpu_state, member)
#define G(name, i) { name, "int64", CORE, GPR, 64, i, 0, 0 }
#define SEL(name, i) { name, "int32", CORE, SELECTOR, 32, SEG_##i, 0, VST_CS | VST_SEG }
#define FX(name, off, n) { name, "int", CORE, X87, 32, off, n, 0 }
#define SYS(name, member, group) { name, "int64", SYSTEM, STATE, 64, ST(member), 0, group }
#define SYS32(name, member, group) { name, "int32", SYSTEM, STATE, 32, ST(member), 0, group }
#define ST_REG(i) { "st" #i, "i387_ext", CORE, X87, 80, 32 + 16 * i, 10, 0 }
#define XMM(i) { "xmm" #i, "vec128", SSE_FEATURE, SSE, 128, 160 + 16 * i, 16, 0 }
#define DR(i) { "dr" #i, "int64", SYSTEM, DEBUG, 64, i, 0, 0 }

static const struct reg table[] = {
	G("rax", GPR_RAX), G("rbx", GPR_RBX), G("rcx", GPR_RCX), G("rdx", GPR_RDX), G("rsi", GPR_RSI), G("rdi", GPR_RDI),
	{ "rbp", "data_ptr", CORE, GPR, 64, GPR_RBP, 0, 0 }, { "rsp", "data_ptr", CORE, GPR, 64, GPR_RSP, 0, 0 },
	G("r8", 8), G("r9", 9), G("r10", 10), G("r11", 11), G("r12", 12), G("r13", 13), G("r14", 14), G("r15", 15),
	{ "rip", "code_ptr", CORE, RIP, 64, 0, 0, 0 }, { "eflags", "i386_eflags", CORE, FLAGS, 32, 0, 0, 0 },
	SEL("cs", CS), SEL("ss", SS), SEL("ds", DS), SEL("es", ES), SEL("fs", FS), SEL("gs", GS),
	ST_REG(0), ST_REG(1), ST_REG(2), ST_REG(3), ST_REG(4), ST_REG(5), ST_REG(6), ST_REG(7),
	FX("fctrl", 0, 2), FX("fstat", 2, 2), { "ftag", "int", CORE, FTAG, 32, 4, 1, 0 }, FX("fiseg", 12, 2), FX("fioff", 8, 4), FX("foseg", 20, 2),
	FX("fooff", 16, 4), FX("fop", 6, 2),
	XMM(0), XMM(1), XMM(2), XMM(3), XMM(4), XMM(5), XMM(6), XMM(7), XMM(8), XMM(9), XMM(10), XMM(11), XMM(12), XMM(13), XMM(14), XMM(15),
	{ "mxcsr", "int32", SSE_FEATURE, SSE, 32, 24, 4, 0 },
	{ "fs_base", "int64", SEGMENTS, STATE, 64, ST(seg[SEG_FS].base), 0, VST_SEG },
	{ "gs_base", "int64", SEGMENTS, STATE, 64, ST(seg[SEG_GS].base), 0, VST_SEG },
	SYS("k_gs_base", kernel_gs_base, VST_MSR),
	SYS("cr0", cr0, VST_CR), SYS("cr2", cr2, VST_CR2), SYS("cr3", cr3, VST_CR), SYS("cr4", cr4, VST_CR), { "cr8", "int64", SYSTEM, APIC, 64, 0, 0, 0 },
	SYS("efer", efer, VST_CR), SYS("cs_base", seg[SEG_CS].base, VST_CS), SYS("ss_base", seg[SEG_SS].base, VST_CS), SYS("ds_base", seg[SEG_DS].base, VST_SEG),
	SYS("es_base", seg[SEG_ES].base, VST_SEG), SYS("gdtr_base", gdtr.base, VST_DESC), SYS32("gdtr_limit", gdtr.limit, VST_DESC),
	SYS("idtr_base", idtr.base, VST_DESC), SYS32("idtr_limit", idtr.limit, VST_DESC), SYS("tr_base", seg[SEG_TR].base, VST_SEG),
	SYS("star", star, VST_MSR), SYS("lstar", lstar, VST_MSR), SYS("cstar", cstar, VST_MSR), SYS("sfmask", sfmask, VST_MSR),
	SYS("sysenter_cs", sysenter_cs, VST_MSR), SYS("sysenter_esp", sysenter_esp, VST_MSR), SYS("sysenter_eip", sysenter_eip, VST_MSR),
	SYS("pat", pat, VST_MSR), SYS("tsc_aux", tsc_aux, VST_MSR),
	DR(0), DR(1), DR(2), DR(3), DR(6), DR(7), { "debugctl", "int64", SYSTEM, CTL, 64, 0, 0, 0 },
};
#define NR_REGS (sizeof(table) / sizeof(table[0]))

_Static_assert(GPR_RAX == 0, "table");

unsigned gdb_regs(void)
{
	return NR_REGS;
}

unsigned gdb_reg_size(unsigned i)
{
	return i < NR_REGS ? table[i].bits / 8u : 0;
}

/* ---- x87 and SSE: in the vcpu's area, but for the one that is loaded ---- */

static uint8_t *fx_area(struct vcpu *v)
{
	if (this_cpu()->vcpu == v) {
		irq_disable();
		fpu_save(v);
		irq_enable();
	}
	return v->fpu;
}

static void fx_changed(struct vcpu *v)
{
	uint8_t *state = (uint8_t *)v->fpu + 512; /* XSTATE_BV: x87 and SSE are no longer in their initial state */

	*state |= 3;
	if (this_cpu()->vcpu == v) {
		irq_disable();
		fpu_load(v);
		irq_enable();
	}
}

/* FXSAVE has a bit per register, "not empty"; gdb wants the x87's two, of which 3 is "empty" and 0 near enough for the rest. */
static uint32_t full_tags(uint8_t bits)
{
	uint32_t tags = 0;

	for (unsigned i = 0; i < 8; i++)
		if (!(bits >> i & 1))
			tags |= 3u << 2 * i;
	return tags;
}

/* ---- Values ---- */

static uint64_t debug_reg(const struct vcpu *v, unsigned n)
{
	return n == 6 ? v->dbg.dr6 : n == 7 ? v->dbg.dr7 : v->dbg.dr[n];
}

void gdb_reg_get(struct vcpu *v, unsigned i, uint8_t value[16])
{
	const struct reg *r = &table[i];
	uint64_t x = 0;

	memset(value, 0, 16);
	if (r->group)
		vcpu_need(v, r->group);
	switch ((enum kind)r->kind) {
	case GPR: x = v->r[r->at]; break;
	case RIP: x = v->rip; break;
	case FLAGS: x = v->rflags; break;
	case SELECTOR: x = v->st.seg[r->at].sel; break;
	case STATE: memcpy(&x, (const uint8_t *)&v->st + r->at, r->bits / 8u); break;
	case X87: case SSE: memcpy(value, fx_area(v) + r->at, r->size); return;
	case FTAG: x = full_tags(fx_area(v)[r->at]); break;
	case DEBUG: x = debug_reg(v, r->at); break;
	case CTL: x = v->dbg.debugctl; break;
	case APIC: x = v->apic.tpr >> 4; break;
	}
	memcpy(value, &x, sizeof(x));
}

#define FLAGS_WRITABLE 0x244dd5u /* ID, AC, NT, OF to CF without IF; IF may not become 0 behind STI. RF stays as it is, without a word: gdb puts
				     * it back behind a call. By it a breakpoint of the guest's would be missed. */

static bool set_flags(struct vcpu *v, uint64_t x)
{
	if ((x ^ v->rflags) & ~(FLAGS_WRITABLE | RFLAGS_RF))
		return false;
	v->rflags = (x & ~RFLAGS_RF) | (v->rflags & RFLAGS_RF);
	return true;
}

/* SDM "Checks on Guest RIP, RFLAGS, and SSP": elsewhere it is refused, and the VM would end. */
static bool set_rip(struct vcpu *v, uint64_t x)
{
	vcpu_need(v, VST_CS);
	if (vcpu_long64(v) ? !is_canonical(x) : x >> 32)
		return false;
	v->rip = x;
	return true;
}

static bool set_debug_reg(struct vcpu *v, unsigned n, uint64_t x)
{
	uint64_t gd = v->dbg.dr7 & DR7_GD;
	struct dbg_ctx ctx = { .long64 = true };
	bool ok;

	v->dbg.dr7 &= ~DR7_GD; /* general detect is for the guest's own instructions */
	ok = dbg_mov_to_dr(&v->dbg, n, &ctx, x) == DBG_OK;
	if (n != 7 || !ok)
		v->dbg.dr7 |= gd;
	return ok;
}

bool gdb_reg_set(struct vcpu *v, unsigned i, const uint8_t value[16])
{
	const struct reg *r = &table[i];
	uint8_t now[16];
	uint64_t x;

	gdb_reg_get(v, i, now);
	if (memcmp(now, value, r->bits / 8u) == 0)
		return true;
	memcpy(&x, value, sizeof(x));
	switch ((enum kind)r->kind) {
	case GPR: v->r[r->at] = x; return true;
	case RIP: return set_rip(v, x);
	case FLAGS: return set_flags(v, (uint32_t)x);
	case X87: case SSE:
		if (r->at == 24)
			x &= 0xffff; /* MXCSR: the rest is reserved, and XRSTOR would fault */
		memcpy((uint8_t *)fx_area(v) + r->at, r->at == 24 ? (const uint8_t *)&x : value, r->size);
		fx_changed(v);
		return true;
	case DEBUG: return set_debug_reg(v, r->at, x);
	case STATE:
		/* What an entry could refuse, or what would change the mode, is not for a debugger. */
		if (r->at != ST(cr2) && r->at != ST(seg[SEG_FS].base) && r->at != ST(seg[SEG_GS].base))
			return false;
		if (r->at != ST(cr2) && !is_canonical(x))
			return false;
		memcpy((uint8_t *)&v->st + r->at, &x, sizeof(x));
		vcpu_dirty(v, r->group);
		return true;
	case SELECTOR: case FTAG: case CTL: case APIC: break;
	}
	return false;
}

/* ---- The description ---- */

static const char *const feature_names[NR_FEATURES] = { "org.gnu.gdb.i386.core", "org.gnu.gdb.i386.sse", "org.gnu.gdb.i386.segments", "org.drover.system" };

static const char flags_type[] =
	"<flags id=\"i386_eflags\" size=\"4\"><field name=\"\" start=\"22\" end=\"31\"/><field name=\"ID\" start=\"21\" end=\"21\"/>"
	"<field name=\"VIP\" start=\"20\" end=\"20\"/><field name=\"VIF\" start=\"19\" end=\"19\"/><field name=\"AC\" start=\"18\" end=\"18\"/>"
	"<field name=\"VM\" start=\"17\" end=\"17\"/><field name=\"RF\" start=\"16\" end=\"16\"/><field name=\"NT\" start=\"14\" end=\"14\"/>"
	"<field name=\"OF\" start=\"11\" end=\"11\"/><field name=\"DF\" start=\"10\" end=\"10\"/><field name=\"IF\" start=\"9\" end=\"9\"/>"
	"<field name=\"TF\" start=\"8\" end=\"8\"/><field name=\"SF\" start=\"7\" end=\"7\"/><field name=\"ZF\" start=\"6\" end=\"6\"/>"
	"<field name=\"AF\" start=\"4\" end=\"4\"/><field name=\"PF\" start=\"2\" end=\"2\"/><field name=\"\" start=\"1\" end=\"1\"/>"
	"<field name=\"CF\" start=\"0\" end=\"0\"/></flags>";

static const char vector_types[] =
	"<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/><vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
	"<vector id=\"v16i8\" type=\"int8\" count=\"16\"/><vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
	"<vector id=\"v4i32\" type=\"int32\" count=\"4\"/><vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
	"<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/><field name=\"v16_int8\" type=\"v16i8\"/>"
	"<field name=\"v8_int16\" type=\"v8i16\"/><field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/>"
	"<field name=\"uint128\" type=\"uint128\"/></union>";

const char *gdb_target_xml(void)
{
	static char xml[12288];
	size_t n = strlen(xml);

	if (n)
		return xml;
	n = fmt_snprintf(xml, sizeof(xml), "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target><architecture>i386:x86-64</architecture>");
	for (unsigned f = 0; f < NR_FEATURES; f++) {
		n += fmt_snprintf(xml + n, sizeof(xml) - n, "<feature name=\"%s\">%s", feature_names[f], f == CORE ? flags_type : f == SSE_FEATURE ? vector_types : "");
		for (size_t i = 0; i < NR_REGS; i++)
			if (table[i].feature == f)
				n += fmt_snprintf(xml + n, sizeof(xml) - n, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\" regnum=\"%zu\"/>", table[i].name,
						  table[i].bits, table[i].type, i);
		n += fmt_snprintf(xml + n, sizeof(xml) - n, "</feature>");
	}
	fmt_snprintf(xml + n, sizeof(xml) - n, "</target>");
	return xml;
}
