/* SPDX-License-Identifier: MIT */
/* IDT and TSS, the trap log, the #DB policy, run_code(). */
#include "tests/guest/rt.h"

struct idt_gate {
	uint16_t lo, sel;
	uint8_t ist, type;
	uint16_t mid;
	uint32_t hi, zero;
};
struct tss64 {
	uint32_t rsvd0;
	uint64_t rsp[3], rsvd1, ist[7], rsvd2;
	uint16_t rsvd3, iomap;
} __attribute__((packed));
struct table_ptr {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

extern const char trap_stubs[], ist_db_top[], ist_nmi_top[], ist_df_top[], ist_mc_top[], rsp0_top[], snippet_stack_top[];
extern uint64_t guest_gdt[];

struct trap_log trap_log;
struct db_cfg db;
volatile uint8_t watch_buf[64] __attribute__((aligned(64)));

static struct idt_gate idt[256] __attribute__((aligned(16)));
static struct tss64 tss __attribute__((aligned(128)));
static trap_hook hooks[256];
static struct run *running;
static struct trap_frame run_frame __attribute__((aligned(16)));
static unsigned db_depth, db_seen;

#define DB_STACK_STEP 0x1000 /* of the 16 KiB at IST1 */

/* ---- Tables ---- */

void trap_set_gate(unsigned vec, const void *handler, unsigned ist, unsigned dpl)
{
	uint64_t a = (uint64_t)handler;

	idt[vec & 0xff] = (struct idt_gate){ .lo = (uint16_t)a, .sel = SEL_KCODE64, .ist = (uint8_t)ist,
					     .type = (uint8_t)(0x8e | dpl << 5), .mid = (uint16_t)(a >> 16), .hi = (uint32_t)(a >> 32) };
}

void trap_restore_gate(unsigned vec)
{
	unsigned ist = vec == VEC_DB ? 1 : vec == VEC_NMI ? 2 : vec == VEC_DF ? 3 : vec == 18 ? 4 : 0;
	bool soft = vec == VEC_BP || vec == VEC_OF || vec == VEC_INT80 || vec == VEC_DONE;

	trap_set_gate(vec, trap_stubs + 16 * vec, ist, soft ? 3 : 0);
}

uint64_t trap_gate(unsigned vec)
{
	const struct idt_gate *g = &idt[vec & 0xff];

	return g->lo | (uint64_t)g->mid << 16 | (uint64_t)g->hi << 32;
}

void trap_close_gate(unsigned vec)
{
	idt[vec & 0xff].type &= 0x7f;
}

void gdt_set(unsigned sel, uint64_t descriptor)
{
	guest_gdt[sel / 8] = descriptor;
}

void trap_init(void)
{
	struct table_ptr p = { sizeof(idt) - 1, (uint64_t)idt };
	uint64_t a = (uint64_t)&tss;

	tss = (struct tss64){ .rsp = { (uint64_t)rsp0_top },
			      .ist = { (uint64_t)ist_db_top, (uint64_t)ist_nmi_top, (uint64_t)ist_df_top, (uint64_t)ist_mc_top },
			      .iomap = sizeof(tss) };
	gdt_set(SEL_TSS, (sizeof(tss) - 1) | (a & 0xffffff) << 16 | 0x89ull << 40 | (a >> 24 & 0xff) << 56);
	gdt_set(SEL_TSS + 8, a >> 32);
	trap_reset();
	__asm__ volatile("lidt %0; ltr %w1" ::"m"(p), "r"(SEL_TSS));
}

void trap_reset(void)
{
	for (unsigned v = 0; v < 256; v++) {
		hooks[v] = NULL;
		trap_restore_gate(v);
	}
	db = (struct db_cfg){ .storm = TRAP_LOG_MAX };
	running = NULL;
	db_depth = 0;
	tss.ist[0] = (uint64_t)ist_db_top;
	trap_clear();
}

void trap_set_hook(unsigned vec, trap_hook fn)
{
	hooks[vec & 0xff] = fn;
}

/* ---- Log ---- */

void trap_clear(void)
{
	trap_log.n = 0;
	db_seen = 0;
}

unsigned trap_count(unsigned vec)
{
	unsigned n = 0;

	for (unsigned i = 0; i < trap_log.n; i++)
		n += trap_log.rec[i].vec == vec;
	return n;
}

const struct trap_rec *trap_nth(unsigned vec, unsigned i)
{
	static const struct trap_rec none = { .vec = NO_FAULT };

	for (unsigned k = 0; k < trap_log.n; k++)
		if (trap_log.rec[k].vec == vec && i-- == 0)
			return &trap_log.rec[k];
	return &none;
}

static const char *vec_name(unsigned vec)
{
	static char name[4] = "V";

	switch (vec) {
	case VEC_DE: return "DE";
	case VEC_DB: return "DB";
	case VEC_NMI: return "NMI";
	case VEC_BP: return "BP";
	case VEC_OF: return "OF";
	case VEC_UD: return "UD";
	case VEC_NM: return "NM";
	case VEC_DF: return "DF";
	case VEC_SS: return "SS";
	case VEC_GP: return "GP";
	case VEC_PF: return "PF";
	case VEC_AC: return "AC";
	case VEC_INT80: return "I80";
	default: break;
	}
	name[1] = "0123456789abcdef"[vec >> 4 & 15];
	name[2] = "0123456789abcdef"[vec & 15];
	return name;
}

static bool vec_has_error(unsigned vec)
{
	return vec == 8 || (vec >= 10 && vec <= 14) || vec == 17;
}

static unsigned same_records(unsigned i)
{
	const struct trap_rec *a = &trap_log.rec[i];
	unsigned n = 1;

	while (i + n < trap_log.n && trap_log.rec[i + n].vec == a->vec && trap_log.rec[i + n].rip == a->rip &&
	       trap_log.rec[i + n].dr6 == a->dr6 && trap_log.rec[i + n].err == a->err)
		n++;
	return n;
}

/* Uses no fmt(): the caller's check id lives in that ring. */
const char *trap_render(const void *base)
{
	static char out[480];
	char *p = out;

	if (!trap_log.n)
		return "none";
	for (unsigned i = 0; i < trap_log.n && p < out + sizeof(out) - 64; i++) {
		const struct trap_rec *r = &trap_log.rec[i];
		int64_t off = (int64_t)(r->rip - (uint64_t)base);
		bool far = off > 0xffff || off < -0xffff;
		size_t room = (size_t)(out + sizeof(out) - p);
		unsigned same = same_records(i);

		p += format_to(p, room, "%s%s", i ? ";" : "", vec_name(r->vec));
		room = (size_t)(out + sizeof(out) - p);
		if (r->rip - (uint64_t)trap_stubs < 16 * 256)
			p += format_to(p, room, "@handler%lx", (r->rip - (uint64_t)trap_stubs) / 16);
		else
			p += format_to(p, room, "%c%lx", far ? '@' : off < 0 ? '-' : '+', far ? r->rip : (uint64_t)(off < 0 ? -off : off));
		room = (size_t)(out + sizeof(out) - p);
		if (r->vec == VEC_DB)
			p += format_to(p, room, "/%lx", r->dr6);
		else if (vec_has_error(r->vec))
			p += format_to(p, room, "(%lx)", r->err);
		if (same >= 8) {
			room = (size_t)(out + sizeof(out) - p);
			p += format_to(p, room, "*%u", same);
			i += same - 1;
		}
	}
	return out;
}

static struct trap_rec *log_trap(const struct trap_frame *f)
{
	static struct trap_rec spill;
	struct trap_rec *r = trap_log.n < TRAP_LOG_MAX ? &trap_log.rec[trap_log.n++] : &spill;

	*r = (struct trap_rec){ .vec = (uint8_t)f->vec, .cs = (uint16_t)f->cs, .ss = (uint16_t)f->ss, .rip = f->rip,
				.rflags = f->rflags, .rsp = f->rsp, .err = f->err };
	if (f->vec == VEC_PF)
		r->cr2 = read_cr2();
	return r;
}

/* ---- Handling ---- */

static uint64_t read_dr_addr(unsigned n)
{
	return n == 0 ? read_dr0() : n == 1 ? read_dr1() : n == 2 ? read_dr2() : read_dr3();
}

/* Rule A18: an exec breakpoint is a fault; RF lets the instruction run once it has been seen. */
static void db_auto_rf(struct trap_frame *f, const struct trap_rec *r)
{
	for (unsigned n = 0; n < 4; n++)
		if ((r->dr6 & (DR6_B0 << n)) && (r->dr7 & (DR7_L(n) | DR7_G(n))) && !(r->dr7 & DR7_RWLEN(n, 3, 0)) &&
		    read_dr_addr(n) == f->rip)
			f->rflags |= FL_RF;
}

static __attribute__((noreturn)) void run_finish(const struct trap_frame *f)
{
	struct run *r = running;

	r->regs = (struct regs){ f->rax, f->rbx, f->rcx, f->rdx, f->rsi, f->rdi, f->rbp, f->r8,
				 f->r9, f->r10, f->r11, f->r12, f->r13, f->r14, f->r15 };
	r->end = (unsigned)f->vec;
	r->end_rip = f->rip;
	r->end_rflags = f->rflags;
	running = NULL;
	if (env.run_debugctl)
		try_wrmsr(MSR_DEBUGCTL, 0);
	run_leave();
}

/* What the guest's own handler would do first. When GD was not cleared (rule A11 broken) the first MOV faults into here again,
 * on the stack below; the second try then works where at least that #DB clears GD. The record keeps what the break looked like. */
static void db_read_registers(struct trap_rec *r)
{
	uint64_t gd = 0;

	while (try_mov_from_dr(6, &r->dr6) != NO_FAULT) {
		if (gd)
			scenario_error("DR7.GD does not clear in the #DB handler, rip=0x%lx", r->rip);
		gd = DR7_GD;
	}
	r->dr7 = read_dr7() | gd;
}

static void db_policy(struct trap_frame *f, struct trap_rec *r)
{
	bool fixed = (r->dr6 & DR6_BD) && trap_fixup(f);

	if (++db_seen > db.storm && running) {
		db_depth = 0;
		tss.ist[0] += DB_STACK_STEP;
		run_finish(f);
	}
	if (db_seen > db.storm)
		scenario_error("#DB storm: more than %u, rip=0x%lx dr6=0x%lx", db.storm, r->rip, r->dr6);
	if (!running && !fixed && !db.anywhere)
		scenario_error("unexpected #DB rip=0x%lx dr6=0x%lx dr7=0x%lx", r->rip, r->dr6, r->dr7);
	if (db.clear_tf_after && db_seen >= db.clear_tf_after)
		f->rflags &= ~FL_TF;
}

static void db_trap(struct trap_frame *f)
{
	struct trap_rec *r;

	if (db_depth) {
		if (db_depth == 1 && trap_fixup(f))
			return;
		scenario_error("#DB inside the #DB handler, rip=0x%lx", f->rip);
	}
	db_depth = 1;
	tss.ist[0] -= DB_STACK_STEP; /* a nested #DB must not overwrite this frame */
	r = log_trap(f);
	if (!db.no_dr_access) {
		db_read_registers(r);
		if (!db.keep_dr6)
			write_dr6(DR6_INIT);
		if (!db.no_auto_rf)
			db_auto_rf(f, r);
	}
	if (db.read_debugctl && env.debugctl)
		try_rdmsr(MSR_DEBUGCTL, &r->debugctl);
	/* A second #DB before the handler's first instruction has overwritten the first one's frame: nowhere to return to. */
	if (running && f->rip == (uint64_t)trap_stubs + 16 * VEC_DB) {
		db_depth = 0;
		tss.ist[0] += DB_STACK_STEP;
		run_finish(f);
	}
	if (!hooks[VEC_DB] || !hooks[VEC_DB](f, r))
		db_policy(f, r);
	tss.ist[0] += DB_STACK_STEP;
	db_depth = 0;
}

void trap_entry(struct trap_frame *f)
{
	struct trap_rec *r;
	unsigned vec = (unsigned)f->vec;

	if (vec == VEC_DB) {
		db_trap(f);
		return;
	}
	if (vec == VEC_DONE && running)
		run_finish(f);
	r = log_trap(f);
	if (hooks[vec] && hooks[vec](f, r))
		return;
	if (vec == VEC_INT80)
		return;
	if (running && (running->resume >> (vec & 63) & 1) && vec < 64) {
		if (running->resume_at)
			f->rip = (uint64_t)running->resume_at;
		return;
	}
	if (running && (running->allow >> (vec & 63) & 1) && vec < 64)
		run_finish(f);
	if (trap_fixup(f))
		return;
	/* Inside a run the offset, as that does not change from build to build. */
	if (running)
		scenario_error("unexpected %s (vector %u) rip=code+0x%lx cs=0x%lx error=0x%lx", vec_name(vec), vec,
			       f->rip - (uint64_t)running->code, f->cs, f->err);
	scenario_error("unexpected %s (vector %u) rip=0x%lx cs=0x%lx error=0x%lx cr2=0x%lx", vec_name(vec), vec, f->rip, f->cs, f->err,
		       read_cr2());
}

/* ---- Running code ---- */

void run_code(struct run *r)
{
	const struct regs *g = &r->regs;
	uint64_t cs = r->cpl ? (r->compat ? SEL_UCODE32 : SEL_UCODE64) : (r->compat ? SEL_KCODE32 : SEL_KCODE64);

	if (!r->keep_log)
		trap_clear();
	r->end = NO_FAULT;
	run_frame = (struct trap_frame){ g->r15, g->r14, g->r13, g->r12, g->r11, g->r10, g->r9, g->r8,
					 g->rbp, g->rdi, g->rsi, g->rdx, g->rcx, g->rbx, g->rax, 0, 0,
					 (uint64_t)r->code, cs, r->rflags | FL_FIXED | (uint64_t)(r->iopl & 3) << 12,
					 (uint64_t)snippet_stack_top - 64, r->cpl ? SEL_UDATA : SEL_KDATA };
	running = r;
	if (env.run_debugctl && try_wrmsr(MSR_DEBUGCTL, env.run_debugctl) != NO_FAULT)
		scenario_error("DEBUGCTL=0x%lx is refused: nothing would be stepped", env.run_debugctl);
	run_enter(&run_frame);
}

const void *code_make(const uint8_t *bytes, unsigned n)
{
	static uint8_t buf[40] __attribute__((aligned(16)));
	static const uint8_t tail[] = { 0x90, 0xcd, VEC_DONE };

	if (n > 32)
		scenario_error("code_make: %u bytes", n);
	for (unsigned i = 0; i < n; i++)
		*(volatile uint8_t *)&buf[i] = bytes[i];
	for (unsigned i = 0; i < sizeof(tail); i++)
		*(volatile uint8_t *)&buf[n + i] = tail[i];
	return buf;
}
