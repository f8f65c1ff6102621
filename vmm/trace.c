/* SPDX-License-Identifier: MIT */
/* Printing the ring of exits, and all that is known of a vcpu when something is wrong. */
#include "vmm/trace.h"

#include "arch/lib/log.h"
#include "arch/lib/panic.h"
#include "arch/x86/percpu.h"
#include "arch/x86/pmem.h"
#include "vmm/backend.h"

#define TRACE_CPUS 64

static struct trace_ring *rings[TRACE_CPUS]; /* by CPU number */

struct trace_ring *trace_ring(const struct cpu *c)
{
	if (c->id >= TRACE_CPUS)
		panic("CPU %u is beyond the %u that can run guests", c->id, TRACE_CPUS);
	if (!rings[c->id])
		rings[c->id] = pmem_alloc(sizeof(*rings[0]), PAGE_SIZE);
	if (!rings[c->id])
		panic("no memory for the trace ring of CPU %u", c->id);
	return rings[c->id];
}

const char *exit_name(enum exit_kind k)
{
	switch (k) {
	case EXITK_NONE: return "none";
	case EXITK_INTR: return "interrupt";
	case EXITK_NMI: return "nmi";
	case EXITK_INTR_WINDOW: return "interrupt window";
	case EXITK_NMI_WINDOW: return "nmi window";
	case EXITK_EXCEPTION: return "exception";
	case EXITK_CPUID: return "cpuid";
	case EXITK_HLT: return "hlt";
	case EXITK_HYPERCALL: return "hypercall";
	case EXITK_MSR: return "msr";
	case EXITK_IO: return "io";
	case EXITK_CR: return "mov cr";
	case EXITK_DR: return "mov dr";
	case EXITK_XSETBV: return "xsetbv";
	case EXITK_INSN: return "instruction";
	case EXITK_MEM: return "memory";
	case EXITK_TASK_SWITCH: return "task switch";
	case EXITK_TRIPLE: return "triple fault";
	case EXITK_TIMER: return "timer";
	case EXITK_BUS_LOCK: return "bus lock";
	case EXITK_RING: return "ring 3";
	case EXITK_ENTRY_FAIL: return "entry failed";
	case EXITK_UNKNOWN: return "unknown";
	case EXITK_NR: break;
	}
	return "?";
}

void trace_dump(const struct trace_ring *t, unsigned max)
{
	uint64_t n = t->head < TRACE_ENTRIES ? t->head : TRACE_ENTRIES, last;

	if (n > max)
		n = max;
	if (!n)
		return;
	last = t->e[(t->head - 1) % TRACE_ENTRIES].tsc;
	log_printf("drover: last %lu of %lu exits (ticks before the last; plan: ops of the entry before):\n", n, t->head);
	for (uint64_t i = t->head - n; i < t->head; i++) {
		const struct trace_entry *e = &t->e[i % TRACE_ENTRIES];

		log_printf("drover:   -%lu %s%s reason=0x%x info=0x%lx rip=0x%lx plan=0x%x\n", last - e->tsc, exit_name(e->kind),
			   e->plan_enter & TRACE_FAST ? " (fast)" : "", e->hw_reason, e->info, e->rip, e->plan_enter & ~TRACE_FAST);
	}
}

static void dump_registers(struct vcpu *v)
{
	static const char *const names[GPR_NR] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
						   "r14", "r15" };

	log_printf("drover: vm %s: rip=%016lx rflags=%08lx exits=%lu last exit %s\n", v->vm->name, v->rip, v->rflags, v->exits,
		   exit_name(v->exit.kind));
	for (unsigned i = 0; i < GPR_NR; i += 4)
		log_printf("drover:   %s=%016lx %s=%016lx %s=%016lx %s=%016lx\n", names[i], v->r[i], names[i + 1], v->r[i + 1], names[i + 2],
			   v->r[i + 2], names[i + 3], v->r[i + 3]);
	log_printf("drover:   dr0=%lx dr1=%lx dr2=%lx dr3=%lx dr6=%lx dr7=%lx state=%u inject=%u/%u pending=%u/%u\n", v->dbg.dr[0], v->dbg.dr[1],
		   v->dbg.dr[2], v->dbg.dr[3], v->dbg.dr6, v->dbg.dr7, v->dbg.state, v->inject.type, v->inject.vector, v->exception.type,
		   v->exception.vector);
}

void trace_dump_vcpu(struct vcpu *v)
{
	unsigned broken;

	dump_registers(v);
	trace_dump(v->trace, TRACE_ENTRIES);
	broken = v->be->audit(v);
	log_printf("drover: audit: %u broken rules\n", broken);
	v->be->dump(v);
}

static void on_panic(void)
{
	struct cpu *c = this_cpu();

	if (c && c->vcpu)
		trace_dump_vcpu(c->vcpu);
}

void trace_init(void)
{
	panic_set_dumper(on_panic);
}
