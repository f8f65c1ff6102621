/* SPDX-License-Identifier: MIT */
/* Building a machine for a test. VMs come from the real vm_create(), with the smallest multiboot image there is. */
#include "machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/lib/log.h"
#include "arch/x86/dbg_switch.h"
#include "arch/x86/def/hypercall.h"
#include "arch/x86/svm/svm.h"
#include "arch/x86/vmx/vmx.h"
#include "model/ring3.h"
#include "tap.h"
#include "vmm/cpuid.h"
#include "vmm/gdb/gdb.h"
#include "vmm/gdb/packet.h"
#include "vmm/run.h"
#include "vmm/trace.h"

extern const struct backend svm_backend, pvm_backend;
void svm_model_reset(void);

unsigned machine_policy;
bool machine_ring3;

static struct {
	const struct vcpu *v;
	struct sw_guest *g;
} bound[MAX_VMS];

void sw_bind(struct vcpu *v, struct sw_guest *g)
{
	unsigned i = 0;

	while (i < MAX_VMS - 1 && bound[i].v && bound[i].v != v)
		i++;
	bound[i].v = v;
	bound[i].g = g;
}

struct sw_guest *sw_guest_of(const struct vcpu *v)
{
	for (unsigned i = 0; i < MAX_VMS; i++)
		if (bound[i].v == v)
			return bound[i].g;
	return NULL;
}

/* Nothing can be compared then: a failure, also where checks print nothing. */
static bool broken(const char *why)
{
	if (tap_instead)
		tap_case(tap_instead, 1, 0, "%s", why);
	return tap_ok(false, "machine", "%s", why);
}

bool machine_start(struct machine *m, bool amd, struct ref_cpu phys)
{
	char reason[128];

	memset(m, 0, sizeof(*m));
	memset(bound, 0, sizeof(bound));
	phys.no_debugctl |= machine_ring3;
	sw_reset(amd, phys);
	sw.ring3 = sw.close_memory = machine_ring3;
	svm_model_reset();
	m->cpu = this_cpu();
	memset(m->cpu, 0, sizeof(*m->cpu));
	m->cpu->self = m->cpu;
	m->be = machine_ring3 ? &pvm_backend : amd ? &svm_backend : &vmx_backend;
	/* What firmware left is not the host's. */
	sw.dr7 = 0x455;
	sw.debugctl = 2;
	dbg_host_init(&m->cpu->dbg);
	m->cpu->dbg.can = (uint8_t)((phys.btf ? DBG_FEAT_BTF : 0) | (phys.lbr ? DBG_FEAT_LBR : 0)); /* what dbg_probe.c finds by trying */
	cpuid_init(machine_ring3);
	trace_init();
	if (m->be->probe(reason, sizeof(reason), NULL) != BACKEND_OK || !m->be->cpu_on(m->cpu))
		return broken("the backend does not come up");
	sw.irqs = true;
	sw.nr_log = 0;
	sw.strict = true;
	return true;
}

/* ELF32, one segment at 1 MiB that holds the multiboot header. */
static void make_image(uint8_t *file, unsigned size)
{
	static const uint32_t header[3] = { 0x1badb002, 0, 0u - 0x1badb002 };
	static const uint32_t note[7] = { 7, 8, 1, 0x766f7264, 0x00007265, 0x100000, 0 };
	static const uint8_t ident[16] = { 0x7f, 'E', 'L', 'F', 1, 1, 1 };
	uint16_t *h16 = (uint16_t *)(void *)file;
	uint32_t *h32 = (uint32_t *)(void *)file;
	uint32_t *ph = (uint32_t *)(void *)(file + 52);

	memset(file, 0, size);
	memcpy(file, ident, sizeof(ident));
	h16[8] = 2;   /* executable */
	h16[9] = 3;   /* 80386 */
	h32[5] = 1;
	h32[6] = 0x100000; /* entry */
	h32[7] = 52;  /* program headers */
	h16[20] = 52;
	h16[21] = 32;
	h16[22] = 2;
	ph[8] = 4; /* PT_NOTE: the 64-bit entry, for a backend that needs one */
	ph[9] = 160;
	ph[12] = ph[13] = 28;
	memcpy(file + 160, note, sizeof(note));
	ph[0] = 1; /* PT_LOAD: offset, va, pa, file size, memory size, flags, align */
	ph[1] = 0;
	ph[2] = ph[3] = 0x100000;
	ph[4] = ph[5] = size;
	ph[6] = 7;
	ph[7] = 0x1000;
	memcpy(file + 128, header, sizeof(header));
}

struct vcpu *machine_add(struct machine *m, const struct gop *ops, unsigned nr, const struct gop *handler, unsigned nr_handler)
{
	static _Alignas(8) uint8_t image[256];
	struct vm_config cfg = { .dbg_policy = machine_policy, .bus_lock_exit = m->bus_lock_exit, .id = m->nr, .group = 1, .mem_mib = 4, .budget_ms = 1000000, .lab = true, .image = { image, sizeof(image), "" },
				 .cmdline = "" };
	unsigned i = m->nr, code = 0;
	struct vm *vm;

	make_image(image, sizeof(image));
	snprintf(cfg.name, sizeof(cfg.name), "vm%u", i);
	vm = vm_create(&cfg, m->be, &code);
	if (!vm) {
		broken("a VM is not created");
		return NULL;
	}
	m->vm[m->nr++] = vm;
	sw_assemble(&m->g[i], vm->ram, sw.amd, ops, nr, handler, nr_handler);
	sw_assemble(&m->bare[i], vm->ram, sw.amd, ops, nr, handler, nr_handler);
	sw_bind(vm->vcpu, &m->g[i]);
	if (machine_ring3)
		sw_ring3_guest(vm->vcpu, m->user);
	m->g[i].user = m->bare[i].user = m->user;
	vm->vcpu->rip = G_MAIN;
	return vm->vcpu;
}

void machine_run(struct machine *m)
{
	for (unsigned i = 0; i < m->nr; i++) {
		m->vm[i]->vcpu->peer = m->vm[(i + 1) % m->nr]->vcpu;
		m->g[i].de = m->bare[i].de = m->vm[i]->vcpu->st.cr4 & 8;
		sw_run_bare(&m->bare[i], sw.phys);
	}
	if (m->nr)
		run_group(m->vm[0]->vcpu, m->cpu);
}

void machine_stop(struct machine *m)
{
	for (unsigned i = 0; i < m->nr; i++)
		vm_destroy(m->vm[i]);
	m->be->cpu_off(m->cpu);
	sw.strict = false;
}

static const char *rec_text(const struct sw_guest *g, unsigned i, char *buf, unsigned cap)
{
	static const char *const names[] = { [R_DR] = "DR", [R_DB] = "#DB", [R_EXC] = "exception", [R_MSR] = "MSR", [R_HC] = "hypercall",
					     [R_MEM] = "memory", [R_FLAGS] = "flags" };

	if (i >= g->nr_rec)
		snprintf(buf, cap, "nothing");
	else
		snprintf(buf, cap, "%s%u 0x%llx 0x%llx", names[g->rec[i].kind], g->rec[i].n, (unsigned long long)g->rec[i].a,
			 (unsigned long long)g->rec[i].b);
	return buf;
}

void machine_same_as_bare(struct machine *m, unsigned vm, const char *id)
{
	const struct sw_guest *a = &m->g[vm], *b = &m->bare[vm];
	char x[64], y[64];
	unsigned i = 0;

	while (i < a->nr_rec && i < b->nr_rec && memcmp(&a->rec[i], &b->rec[i], sizeof(a->rec[i])) == 0)
		i++;
	if (tap_instead)
		tap_case(tap_instead, i != a->nr_rec || i != b->nr_rec || a->dead || b->dead, 0, "%s record %u: %s, bare %s", id, i,
			 rec_text(a, i, x, sizeof(x)), rec_text(b, i, y, sizeof(y)));
	tap_ok(i == a->nr_rec && i == b->nr_rec && i > 0 && !a->dead && !b->dead, id, "the guest sees what bare hardware shows (%u records)%s; at %u: %s, bare %s",
	       b->nr_rec, a->dead ? ", lost its way" : "", i, rec_text(a, i, x, sizeof(x)), rec_text(b, i, y, sizeof(y)));
}

const struct rec *machine_rec(const struct machine *m, unsigned vm, enum rec_kind kind, unsigned i)
{
	for (unsigned k = 0; k < m->g[vm].nr_rec; k++)
		if (m->g[vm].rec[k].kind == kind && i-- == 0)
			return &m->g[vm].rec[k];
	return NULL;
}

unsigned machine_recs(const struct machine *m, unsigned vm, enum rec_kind kind)
{
	unsigned n = 0;

	while (machine_rec(m, vm, kind, n))
		n++;
	return n;
}

void machine_host_bp(struct machine *m, unsigned slot, uint64_t addr, unsigned nibble)
{
	sw.want_dr[slot] = addr;
	sw.want_dr7 = (sw.want_dr7 & ~(0xfull << (16 + 4 * slot))) | 2ull << 2 * slot | (uint64_t)nibble << (16 + 4 * slot);
	dbg_host_set_bp(&m->cpu->dbg, slot, addr, nibble);
}

void machine_host_debugctl(struct machine *m, uint64_t v)
{
	sw.want_debugctl = v;
	dbg_host_set_debugctl(&m->cpu->dbg, v);
}

bool machine_hold(struct machine *m, unsigned vm, unsigned slot, uint64_t addr, unsigned rw_len)
{
	struct sw_guest *g = &m->g[vm];

	if (!dbg_hold(&m->vm[vm]->vcpu->dbg, slot, addr, rw_len))
		return false;
	g->held_slots |= (uint8_t)(1u << slot);
	g->held_dr[slot] = addr;
	g->held_dr7 = (g->held_dr7 & ~(0xfull << (16 + 4 * slot))) | 2ull << 2 * slot | (uint64_t)rw_len << (16 + 4 * slot);
	return true;
}

#define IDLE_MAX 1000000u /* polls */

int gdb_line_take(struct gdb_line *l)
{
	if (l->at == l->n && (l->running || !*l->ask)) {
		if (++l->idle <= IDLE_MAX)
			return -1;
		tap_instead = NULL; /* it has stopped, and gdb has gone or thinks that it runs */
		tap_ok(false, "Z01.stuck", "the guest stands, and nobody lets it go on");
		exit(1);
	}
	if (l->at == l->n) {
		l->n = (size_t)snprintf(l->frame, sizeof(l->frame), "+$%s#%02x", *l->ask, gdb_checksum(*l->ask, strlen(*l->ask)));
		l->at = 0;
		l->running = strcmp(*l->ask, "c") == 0 || strcmp(*l->ask, "s") == 0 || strcmp(*l->ask, "D") == 0 || strncmp(*l->ask, "vCont;", 6) == 0;
		l->ask++;
	}
	return (uint8_t)l->frame[l->at++];
}

void machine_gdb_end(struct machine *m)
{
	gdb_end(0x10);
	for (unsigned i = 0; i < m->nr; i++)
		gdb_vm_gone(m->vm[i]);
	gdb_on = false;
}

int machine_find(unsigned from, enum sw_op op, int n)
{
	for (unsigned i = from; i < sw.nr_log; i++)
		if (sw.log[i].op == op && (n < 0 || sw.log[i].n == n))
			return (int)i;
	return -1;
}

unsigned machine_count(unsigned from, unsigned to, enum sw_op op, int n)
{
	unsigned count = 0;

	for (unsigned i = from; i < to && i < sw.nr_log; i++)
		count += sw.log[i].op == op && (n < 0 || sw.log[i].n == n);
	return count;
}
