/* SPDX-License-Identifier: MIT */
/* PVM's world switch on the software CPU, in the place of switch.S: ring 3 with no help, where everything that matters is a trap. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "arch/x86/def/exitcode.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/def/pte.h"
#include "arch/x86/gdt.h"
#include "arch/x86/paging.h"
#include "arch/x86/pvm/area.h"
#include "arch/x86/pvm/pvm.h"
#include "arch/x86/traps.h"
#include "model/cpu.h"
#include "model/ring3.h"

#define TF 0x100ull
#define IF 0x200ull
#define IOPL 0x3000ull
#define RF 0x10000ull
#define END_PORT 0xf4

/* ---- What switch.S and gdt.c have ---- */

extern const uint8_t pvm_stubs[], pvm_syscall64[];
__asm__(".pushsection .rodata\n .balign 4096\n .globl pvm_text_start, pvm_stubs, pvm_syscall64, pvm_syscall32, pvm_text_end\n"
	"pvm_text_start: pvm_stubs: .skip 4080\n pvm_syscall64: .skip 8\n pvm_syscall32: .skip 8\n pvm_text_end:\n .popsection");

static struct cpu_area area;

struct cpu_area *cpu_area(const struct cpu *c)
{
	(void)c;
	return &area;
}

void trap_handle(struct trapframe *tf)
{
	sw.host_traps[tf->vector & 255]++;
}

bool paging_hang(uint64_t va, uint64_t table)
{
	return va == PVM_GDT_VA && table;
}

void lldt(uint16_t sel)
{
	(void)sel;
}

/* ---- Paging ---- */

bool sw_ring3_walk(uint64_t root, uint64_t va, uint32_t access, struct sw_walk *o)
{
	uint64_t table = root, all = ~0ull, any = 0, e;
	unsigned shift = 39;

	for (;; shift -= 9) {
		e = ((uint64_t *)phys_to_virt(table))[va >> shift & 511];
		o->error = access | 4;
		if (!(e & PTE_P))
			return false;
		all &= e;
		any |= e;
		if (shift == 12 || (e & PTE_PS))
			break;
		table = e & PTE_ADDR;
	}
	o->error |= 1;
	if ((shift != 12 && shift != 21) || (shift == 21 && (e & PTE_ADDR & 0x1fffff))) { /* PS is PAT in the last level */
		o->error |= 8;
		return false;
	}
	o->size = shift;
	o->write = all & PTE_W;
	o->pa = (e & PTE_ADDR) + (va & ((1ull << shift) - 1));
	return (all & PTE_U) && !((access & 2) && !o->write) && !((access & 16) && (any & PTE_NX));
}

static bool page_there(struct sw_guest *g, struct sw_exit *x, uint64_t va, uint32_t access)
{
	struct sw_walk o;

	if (!sw_ring3_walk(pvm_area.cr3, va, access, &o)) {
		x->kind = X_PF;
		x->cr2 = va;
		x->error = o.error;
		return false;
	}
	if (o.pa != (uint64_t)(uintptr_t)g->ram + va)
		g->dead = true; /* somebody else's memory */
	return true;
}

bool sw_ring3_fault(struct sw_guest *g, const struct sw_ctl *ctl, struct sw_exit *x, int i)
{
	const struct gop *o = &g->op[i];

	if (!ctl->ring3)
		return false;
	if (!page_there(g, x, g->rip, 16))
		return true;
	switch ((enum gop_kind)o->kind) {
	case G_STORE: return !page_there(g, x, o->a, 2);
	case G_LOAD: return !page_there(g, x, o->a, 0);
	case G_REP_STOS: return !page_there(g, x, o->a, 2);
	case G_MOV_SS: return ctl->user && o->a && !page_there(g, x, o->a, 0);
	default: return false;
	}
}

/* ---- The window in which DR7 is armed for the guest, in the host (P06) ---- */

static struct {
	uint8_t *at;
	size_t size;
} closed;

static void open_memory(void)
{
	if (closed.at)
		mprotect(closed.at, closed.size, PROT_READ | PROT_WRITE);
	closed.at = NULL;
}

/* A guest's memory is where the guest may watch it, too: there. */
static void touched(int sig, siginfo_t *info, void *context)
{
	uint8_t *p = info->si_addr;

	(void)context;
	if (!closed.at || p < closed.at || p >= closed.at + closed.size) {
		signal(sig, SIG_DFL);
		return;
	}
	sw_broken(RULE_P06, "the host touches guest memory at 0x%lx while DR7=0x%llx is the guest's", (unsigned long)(p - closed.at), (unsigned long long)sw.dr7);
	open_memory();
}

static bool armed_in_host(void)
{
	return sw.ring3 && !sw.guest && this_cpu()->dbg.guest_dr_loaded && (sw.dr7 & 0xff);
}

void sw_ring3_window(bool dr7)
{
	if (armed_in_host() && !dr7)
		sw_broken(RULE_P06, "the host does something else while DR7=0x%llx is the guest's", (unsigned long long)sw.dr7);
}

void sw_ring3_armed(void)
{
	static const struct sigaction act = { .sa_sigaction = touched, .sa_flags = SA_SIGINFO };
	struct vcpu *v = this_cpu()->vcpu;

	open_memory();
	if (!armed_in_host() || !v || !sw.close_memory)
		return;
	sigaction(SIGSEGV, &act, NULL);
	closed.at = v->vm->ram;
	closed.size = v->vm->ram_size;
	mprotect(closed.at, closed.size, PROT_NONE);
}

/* ---- Checks at an entry ---- */

static bool is_guests(uint64_t va)
{
	return va >> 47 == 0 || (va >> 47 == 0x1ffff && va < R3_HOST_BASE);
}

/* Byte by byte: the eight that any length could cover, wherever the address lies in them. */
static bool in_range(uint64_t dr)
{
	for (uint64_t b = dr & ~7ull; b != dr + 8; b++)
		if (!is_guests(b))
			return false;
	return true;
}

static void check_dr7(const struct sw_guest *g)
{
	uint64_t own = sw_want_dr7(g), want = own & ~0x2000ull;

	for (unsigned i = 0; i < 4; i++) {
		uint64_t enable = 3ull << 2 * i, type = 0xfull << (16 + 4 * i);
		bool io = (own >> (16 + 4 * i) & 3) == 2, off = io || !in_range(sw_want_dr(g, i));

		if (off)
			want &= ~(enable | type);
		if (off && (sw.dr7 & enable))
			sw_broken(io ? RULE_P08 : RULE_P03, "slot %u at 0x%llx is armed: DR7=0x%llx", i, (unsigned long long)sw_want_dr(g, i), (unsigned long long)sw.dr7);
	}
	if (sw.dr7 & 0x2000)
		sw_broken(RULE_P02, "DR7=0x%llx", (unsigned long long)sw.dr7);
	if (!(want & 0xff))
		want = 0x400;
	if ((sw.dr7 ^ want) & ~0x2000ull)
		sw_broken(RULE_P04, "DR7=0x%llx, of the guest's 0x%llx that leaves 0x%llx", (unsigned long long)sw.dr7, (unsigned long long)own,
			  (unsigned long long)want);
}

/* IRETQ finds the frame where RSP is, by the guest's page tables. */
static void check_frame(const struct pvm_area *a)
{
	struct sw_walk o = { 0 };

	(void)sw_ring3_walk(a->cr3, a->entry_rsp | R3_HOST_BASE, 2, &o);
	if (!(o.error & 1) || !o.write || o.pa != virt_to_phys(&a->frame))
		sw_broken(RULE_P21, "the frame is not at 0x%llx", (unsigned long long)a->entry_rsp);
}

void sw_ring3_entered(const struct sw_guest *g, const struct sw_ctl *ctl)
{
	const struct vcpu *v = this_cpu()->vcpu;
	const struct pvm_area *a = &pvm_area;
	struct sw_walk o;

	if (v->dbg.state == DBG_LIVE)
		sw_broken(RULE_P01, "the guest owns the registers");
	if ((a->frame.cs & a->frame.ss & 3) != 3 || (a->frame.rflags & IOPL) || !(a->frame.rflags & IF))
		sw_broken(RULE_P01, "CS=0x%llx SS=0x%llx RFLAGS=0x%llx is not ring 3's, with interrupts on", (unsigned long long)a->frame.cs,
			  (unsigned long long)a->frame.ss, (unsigned long long)a->frame.rflags);
	if (sw.dr6 != 0xffff0ff0)
		sw_broken(RULE_P11, "DR6=0x%llx at the entry", (unsigned long long)sw.dr6);
	if (ctl->inject && (a->frame.rflags & TF))
		sw_broken(RULE_P18, "vector %u's handler is entered with TF", ctl->inject_vector);
	if (sw.irqs)
		sw_broken(RULE_H12, "an entry with interrupts open");
	if (sw_ring3_walk(a->cr3, R3_HOST_BASE, 0, &o) || sw_ring3_walk(a->cr3, (uint64_t)(uintptr_t)pvm_area.r | 0xffffff8000000000, 0, &o))
		sw_broken(RULE_P21, "ring 3 can read the switcher's pages");
	check_frame(a);
	check_dr7(g);
}

/* ---- The guest's own tables ---- */

static void put64(struct vcpu *v, uint32_t at, uint64_t value)
{
	memcpy(v->vm->ram + at, &value, 8);
}

void sw_ring3_guest(struct vcpu *v, bool user)
{
	static const uint64_t gdt[6] = { 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff };

	for (unsigned i = 0; i < 6; i++)
		put64(v, R3_GDT + 8 * i, gdt[i]);
	for (unsigned i = 0; i < 256; i++) {
		uint64_t type = i == 1 ? 0x8e : i == 3 || i == 4 ? 0xef : 0x8f; /* #DB by an interrupt gate, as the scripts on a bare CPU have it */

		put64(v, R3_IDT + 16 * i, ((R3_STUBS + 16 * i) & 0xffff) | R3_KCODE << 16 | type << 40 | ((uint64_t)(R3_STUBS + 16 * i) >> 16) << 48);
		put64(v, R3_IDT + 16 * i + 8, 0);
		memset(v->vm->ram + R3_STUBS + 16 * i, 0x90, 16);
		memcpy(v->vm->ram + R3_STUBS + 16 * i, "\x48\xcf", 2); /* IRETQ */
	}
	put64(v, R3_TSS + 4, R3_STACK); /* RSP0 */
	memcpy(v->vm->ram + R3_SYSCALL, "\x48\x0f\x07\x90\x90\x90\x90\x90", 8); /* SYSRETQ */
	v->st.lstar = R3_SYSCALL;
	v->st.star = (uint64_t)(R3_UDATA - 8) << 48 | (uint64_t)R3_KCODE << 32;
	v->st.sfmask = 0x47700;
	v->st.efer |= 1; /* SCE */
	v->st.gdtr.base = R3_GDT;
	v->st.gdtr.limit = sizeof(gdt) - 1;
	v->st.idtr.base = R3_IDT;
	v->st.idtr.limit = 0xfff;
	v->st.seg[SEG_TR] = (struct seg){ .sel = 0x40, .ar = 0x8b, .limit = 103, .base = R3_TSS };
	v->r[GPR_RSP] = user ? R3_USER_STACK : R3_STACK;
	if (user) {
		v->st.seg[SEG_CS].sel = R3_UCODE;
		v->st.seg[SEG_CS].ar = 0xa0fb;
		v->st.seg[SEG_SS] = (struct seg){ .sel = R3_UDATA, .ar = 0xc0f3, .limit = 0xffffffff };
		v->st.cpl = 3;
		v->rflags |= IOPL; /* the end of the script is an OUT */
	}
	vcpu_dirty(v, VST_ALL);
	pvm_gdt_rebuild(v);
}

/* ---- The switch ---- */

static bool has_error(unsigned vector)
{
	return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

/* The entry is to a handler, and the frame is on the guest's stack: back to before, and the event is one to be injected. */
static void entered_handler(struct sw_guest *g, struct sw_ctl *ctl)
{
	uint64_t frame[5];

	if (g->rip < R3_STUBS || g->rip >= R3_STUBS + 16 * 256)
		return;
	ctl->inject = true;
	ctl->inject_vector = (uint8_t)((g->rip - R3_STUBS) / 16);
	g->r[GPR_RSP] += has_error(ctl->inject_vector) ? 8 : 0;
	memcpy(frame, g->ram + (g->r[GPR_RSP] & 0xfffff), sizeof(frame));
	g->rip = frame[0];
	g->rflags = frame[2];
}

/* All handlers but #DB's end at once: by an IRET that goes where the script says. */
static void leave_handler(struct sw_guest *g, unsigned vector, struct sw_exit *x)
{
	uint8_t *frame = g->ram + (g->r[GPR_RSP] & 0xfffff);

	memcpy(frame, &g->rip, 8);
	memcpy(frame + 16, &g->rflags, 8);
	g->rip = R3_STUBS + 16 * vector;
	g->rflags &= ~(TF | RF);
	x->kind = X_IRET;
}

/* The end of #DB's handler, in the script: sets RF in the image. */
static void iret(struct sw_guest *g)
{
	uint8_t *at = g->ram + (g->r[GPR_RSP] & 0xfffff) + 16;
	uint64_t flags;

	memcpy(&flags, at, 8);
	flags |= RF;
	memcpy(at, &flags, 8);
}

/* Vector and error code; whether it is a fault, in whose frame RF is set. */
static bool trap_of(const struct sw_guest *g, const struct sw_exit *x, uint64_t *vector, uint64_t *error)
{
	(void)g;
	*error = 0;
	switch ((enum sw_exit_kind)x->kind) {
	case X_INTR: case X_INTR_WINDOW: case X_NMI_WINDOW: case X_BUS_LOCK: *vector = 0x30; return false;
	case X_DB: case X_ICEBP: *vector = 1; return false;
	case X_HC: *vector = 6; return true;
	case X_PF:
		*vector = 14;
		*error = x->error;
		write_cr2(x->cr2);
		return true;
	case X_INT3: *vector = 3; return false;
	case X_SYSCALL: *vector = PVM_TRAP_SYSCALL; return false;
	case X_DR: case X_CPUID: case X_HLT: case X_IO: case X_MSR: case X_CR: case X_INVLPG: case X_FETCH: case X_END: case X_IRET: case X_MOV_SS: case X_SYSRET: break;
	case X_DEAD: case X_HANDLED: *vector = 0x30; return false;
	}
	*vector = 13;
	return true;
}

/* Its first instruction at CPL 0 has still to come: what MOV SS has held back until now is a #DB there (P15, XSA-260). */
static void held_in_host(struct sw_guest *g, const struct sw_exit *x)
{
	const uint8_t *at = x->kind == X_INT3 ? pvm_stubs + 3 * PVM_STUB_SIZE : pvm_syscall64;
	struct trapframe tf = { .vector = 1, .rip = (uint64_t)(uintptr_t)at, .cs = PVM_KCODE, .rflags = TF | 2 };
	unsigned before = sw.host_traps[1];

	g->shadow = false;
	if (!g->held)
		return;
	sw.dr6 = ref_dr6_after(sw.dr6, g->held, sw.phys);
	g->raised = g->held;
	g->held = 0;
	pvm_inside(&tf);
	if (tf.vector != 1 || sw.host_traps[1] != before || (tf.rflags & TF) || (sw.dr7 & 0xff) || sw.dr6 != 0xffff0ff0)
		sw_broken(RULE_P15, "%u handled by the host, RFLAGS=0x%llx DR7=0x%llx DR6=0x%llx", sw.host_traps[1] - before, (unsigned long long)tf.rflags,
			  (unsigned long long)sw.dr7, (unsigned long long)sw.dr6);
}

static uint64_t loaded(struct vcpu *v, const struct pvm_area *a, uint64_t sel)
{
	return pvm_hw(v)->gdt[a->cr3 == pvm_mmu_root(v, PVM_USER) ? PVM_USER : PVM_KERNEL][(sel & 0xffff) / 8];
}

/* What IRETQ makes of RSP: all of it in 64-bit mode, or by the size of the stack, bit B of its segment (SDM "IRET"). */
static uint64_t rsp_of_iret(struct vcpu *v, const struct pvm_area *a)
{
	uint64_t rsp = a->frame.rsp;

	if (loaded(v, a, a->frame.cs) >> 53 & 1)
		return rsp;
	return loaded(v, a, a->frame.ss) >> 54 & 1 ? rsp & 0xffffffff : ((a->entry_rsp + sizeof(a->frame)) & ~0xffffull) | (rsp & 0xffff);
}

void pvm_switch(void)
{
	struct vcpu *v = this_cpu()->vcpu;
	struct sw_guest *g = sw_guest_of(v);
	struct pvm_area *a = &pvm_area;
	struct sw_ctl ctl = { .ring3 = true, .db = true, .db_applied = true, .dr = true, .dr_first = true };
	struct sw_exit x = { 0 };
	bool fault;

	open_memory();
	memcpy(g->r, a->r, sizeof(g->r));
	g->r[GPR_RSP] = rsp_of_iret(v, a);
	g->rip = a->frame.rip;
	g->rflags = a->frame.rflags;
	ctl.user = a->cr3 == pvm_mmu_root(v, PVM_USER);
	entered_handler(g, &ctl);
	sw.ring3_cr0 = read_cr0();
	sw_entered(g, &ctl);
	sw_guest_run(g, &ctl, &x);
	if (ctl.inject && ctl.inject_vector != 1 && x.kind == X_HANDLED)
		leave_handler(g, ctl.inject_vector, &x);
	else if (x.kind == X_IRET)
		iret(g);

	if (x.kind == X_DEAD)
		vcpu_stop(v, EXIT_TRIPLE, "the script is lost");
	fault = trap_of(g, &x, &a->vector, &a->error);
	memcpy(a->r, g->r, sizeof(a->r));
	a->rip = g->rip;
	a->rsp = g->r[GPR_RSP];
	a->rflags = (g->rflags & ~IOPL) | IF | 2 | (fault ? RF : 0);
	a->cs = a->frame.cs;
	a->ss = a->frame.ss;
	if (x.kind == X_SYSCALL) {
		sw.host_steps += (g->rflags & TF & ~rdmsr(MSR_SFMASK)) != 0;
		a->r[GPR_RCX] = g->rip;
		a->r[GPR_R11] = g->rflags;
	}
	sw.guest = false;
	sw_log(OP_EXIT, 0, a->vector);
	sw_ring3_armed();
	if (x.kind == X_SYSCALL || x.kind == X_INT3)
		held_in_host(g, &x);
}
