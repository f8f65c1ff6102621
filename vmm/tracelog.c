/* SPDX-License-Identifier: MIT */
/* The record is written before the handler runs and printed long after, so that nothing of it is formatted while guests run. */
#include "vmm/tracelog.h"

#include "arch/lib/log.h"
#include "arch/x86/insn.h"
#include "arch/x86/pmem.h"
#include "arch/x86/tsc.h"

enum { REC_RUN, REC_ACCESS };

struct rec {
	uint64_t tsc;      /* of the access; of the exit */
	uint64_t a, b;     /* run: RIP at the entry, RIP at the exit; access: old value, new value */
	uint64_t info;     /* exit */
	uint64_t exit[1];  /* the start of struct exit: kind, level, hw_reason */
	uint64_t entered;  /* TSC before the entry */
	uint32_t vm;
	uint8_t kind;      /* REC_* */
	uint8_t what, who; /* access: DBG_TRACE_*, DBG_BY_* */
	bool nested;       /* of the VM's own guest */
	uint64_t unused;
};
_Static_assert(sizeof(struct rec) == 64, "a power of two: found by a shift");

#define RECORDS 4096u

bool tracelog_on;

static struct rec *ring;
static uint64_t head;
static uint64_t last[DBG_TRACE_NR]; /* what each register was last seen with */
static const struct backend *inner;
static struct backend traced;

static __attribute__((noinline)) void access(const struct vcpu *v, unsigned what, uint64_t old, uint64_t new, unsigned who)
{
	ring[head++ % RECORDS] = (struct rec){ .tsc = rdtsc(), .a = old, .b = new, .vm = v ? v->vm->id : 0, .kind = REC_ACCESS, .what = (uint8_t)what,
					       .who = (uint8_t)who, .nested = v && v->level };
}

/* dbg_hw.h's. A breakpoint address is the guest's or a debugger's; what leaving loads is the host's. */
static void on_access(struct dbg_cpu *c, unsigned what, uint64_t value)
{
	const struct vcpu *v = this_cpu()->vcpu;
	unsigned reg = what & ~DBG_TRACE_READ, who = c->who;

	if (who == DBG_BY_ENTER && v && reg < 4 && (v->dbg.held >> reg & 1))
		who = DBG_BY_DEBUGGER;
	access(v, what, last[reg], value, who);
	last[reg] = value;
}

static void block(const struct vcpu *v, unsigned what, uint64_t value)
{
	if (last[what] != value)
		access(v, what, last[what], value, v->dbg.held && what == DBG_TRACE_BLOCK_DR7 ? DBG_BY_DEBUGGER : DBG_BY_ENTER);
	last[what] = value;
}

static __attribute__((noinline)) void blocks(const struct vcpu *v)
{
	block(v, DBG_TRACE_BLOCK_DR6, v->dbg.vm_dr6);
	block(v, DBG_TRACE_BLOCK_DR7, v->dbg.vm_dr7);
	block(v, DBG_TRACE_BLOCK_DEBUGCTL, v->dbg.vm_debugctl);
}

/* One record for both ways, and no more instructions than an exit's fifth. */
static void run(struct vcpu *v, struct cpu *c)
{
	struct rec *r;

	if ((last[DBG_TRACE_BLOCK_DR6] ^ v->dbg.vm_dr6) | (last[DBG_TRACE_BLOCK_DR7] ^ v->dbg.vm_dr7) | (last[DBG_TRACE_BLOCK_DEBUGCTL] ^ v->dbg.vm_debugctl))
		blocks(v);
	r = &ring[head++ % RECORDS];
	r->vm = v->vm->id;
	r->kind = REC_RUN;
	r->nested = v->level != 0;
	r->entered = rdtsc();
	r->a = v->rip;
	inner->run(v, c);
	r->tsc = v->exit.tsc;
	r->b = v->rip;
	r->info = v->exit.hw_info;
	__builtin_memcpy(r->exit, &v->exit, sizeof(r->exit));
}

const struct backend *tracelog_init(const struct backend *be)
{
	ring = pmem_alloc(RECORDS * sizeof(*ring), PAGE_SIZE);
	if (!ring) {
		log_printf("drover: trace=on: no memory for it\n");
		return be;
	}
	inner = be;
	traced = *be;
	traced.run = run;
	tracelog_on = true;
	this_cpu()->dbg.trace = on_access;
	return &traced;
}

void tracelog_guest(const struct vcpu *v, unsigned what, uint64_t old, uint64_t new)
{
	access(v, what, old, new, DBG_BY_GUEST);
}

/* ---- Text ---- */

static const char *const regs[DBG_TRACE_NR] = {
	"DR0", "DR1", "DR2", "DR3", NULL, NULL, "DR6", "DR7", [DBG_TRACE_DEBUGCTL] = "DEBUGCTL", [DBG_TRACE_MASK] = "mask 0", "mask 1", "mask 2", "mask 3",
	[DBG_TRACE_BLOCK_DR6] = "block DR6", [DBG_TRACE_BLOCK_DR7] = "block DR7", [DBG_TRACE_BLOCK_DEBUGCTL] = "block DEBUGCTL",
};

static void print_access(const struct rec *r)
{
	static const char *const what[] = { [DBG_BY_HOST] = "Host DRs", [DBG_BY_ENTER] = "Set DRs", [DBG_BY_LEAVE] = "Sync DRs", [DBG_BY_REFLECT] = "Set DRs",
					    [DBG_BY_GUEST] = "MOV DR", [DBG_BY_DEBUGGER] = "Set DRs" };
	static const char *const who[] = { [DBG_BY_HOST] = "host", [DBG_BY_ENTER] = "guest's, before entry", [DBG_BY_LEAVE] = "host's, after exit",
					   [DBG_BY_REFLECT] = "guest's #DB, reflected", [DBG_BY_GUEST] = "guest, emulated", [DBG_BY_DEBUGGER] = "debugger's, before entry" };
	const char *name = regs[r->what & ~DBG_TRACE_READ];

	if (r->what & DBG_TRACE_READ)
		log_printf("%s: %s = 0x%lx, was 0x%lx (%s)\n", what[r->who], name, r->b, r->a, r->who == DBG_BY_LEAVE ? "guest's, read" : who[r->who]);
	else
		log_printf("%s: %s 0x%lx -> 0x%lx (%s)\n", what[r->who], name, r->a, r->b, who[r->who]);
}

static void print_head(const struct rec *r, uint64_t tsc, uint64_t start)
{
	uint64_t us = tsc_to_us(tsc - start);

	log_printf("drover: trace: vm %u L%u %lu.%06lu: ", r->vm, r->nested ? 2u : 1u, us / 1000000, us % 1000000);
}

static void print(const struct rec *r, uint64_t start)
{
	struct exit e;

	print_head(r, r->kind == REC_RUN ? r->entered : r->tsc, start);
	if (r->kind != REC_RUN) {
		print_access(r);
		return;
	}
	log_printf("kvm_entry: vcpu 0, rip 0x%lx\n", r->a);
	print_head(r, r->tsc, start);
	__builtin_memcpy(&e, r->exit, sizeof(r->exit));
	log_printf("kvm_exit: vcpu 0 reason %s (0x%x) rip 0x%lx info 0x%lx\n", exit_name(e.kind), e.hw_reason, r->b, r->info);
}

void tracelog_print(unsigned max, bool forget)
{
	uint64_t n = head < RECORDS ? head : RECORDS, all = head;
	const struct rec *first;

	if (n > max)
		n = max;
	if (!tracelog_on || !n)
		return;
	log_printf("drover: trace: the last %lu of %lu records, in seconds\n", n, all);
	first = &ring[(all - n) % RECORDS];
	for (uint64_t i = all - n; i < all; i++)
		print(&ring[i % RECORDS], first->kind == REC_RUN ? first->entered : first->tsc);
	if (forget)
		head = 0;
}
