/* SPDX-License-Identifier: MIT */
/* The tagged TLB: filled from the guest's own page tables and the nested ones that drover built, kept until a flush of APM "TLB Control" or SDM
 * "Invalidating Cached Translation Information". The hypervisor's writes to tables remove nothing. */
#include "model/tlb.h"

#include <stdio.h>
#include <string.h>

#include "arch/x86/def/cr.h"
#include "arch/x86/def/pte.h"
#include "arch/x86/def/vmcb.h"
#include "arch/x86/vmx/internal.h"
#include "model/cpu.h"

#define PROC_CR3_LOAD (1u << 15)
#define PROC_INVLPG (1u << 9)
#define MISC1_INVLPG (1u << 25)
#define LARGE_BIT 0x80u
#define NOWHERE 0 /* a host page: no translation */

struct tlb tlb;
static uint8_t junk[4096] __attribute__((aligned(4096))); /* the memory of whoever used this CPU before */

/* The guest that runs: what translations depend on, and which writes of control registers exit. */
static struct context {
	bool vmx, vpid_on;
	uint64_t tag, vpid, root;
	uint64_t cr[5], efer, owned[5], shadow[5];
	bool exit_cr[5], exit_invlpg;
} ctx;

/* What SVM may keep of a control block while the clean bits are set. */
static struct kept {
	const struct vmcb *of;
	uint64_t cr0, cr3, cr4, efer, n_cr3;
	uint32_t asid;
} kept[8];

/* ---- Entries ---- */

void tlb_foreign(void)
{
	tlb.foreign = true;
	tlb.nr_clean = 0;
}

void tlb_start(struct tlb_cpu cpu)
{
	memset(&tlb, 0, sizeof(tlb));
	memset(kept, 0, sizeof(kept));
	memset(junk, 0xa5, sizeof(junk));
	tlb.on = true;
	tlb.cpu = cpu;
	tlb_foreign();
}

void tlb_stop(void)
{
	memset(&tlb, 0, sizeof(tlb));
}

unsigned tlb_flushes(void)
{
	return tlb.svm_flushes + tlb.invepts + tlb.invvpids;
}

unsigned tlb_filled(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < TLB_SIZE; i++)
		n += tlb.e[i].valid;
	return n;
}

static bool is_clean(uint64_t tag)
{
	for (unsigned i = 0; i < tlb.nr_clean; i++)
		if (tlb.clean[i] == tag)
			return true;
	return !tlb.foreign;
}

static void set_clean(uint64_t tag)
{
	if (!is_clean(tag) && tlb.nr_clean < sizeof(tlb.clean) / sizeof(tlb.clean[0]))
		tlb.clean[tlb.nr_clean++] = tag;
}

static void drop_all(void)
{
	memset(tlb.e, 0, sizeof(tlb.e));
	tlb.foreign = false;
}

/* All of one tag; keep_global: but the global ones. On VMX that is INVEPT. */
static void drop_tag(uint64_t tag, bool keep_global)
{
	for (unsigned i = 0; i < TLB_SIZE; i++)
		if (tlb.e[i].tag == tag && !(keep_global && tlb.e[i].global))
			tlb.e[i].valid = false;
	if (!keep_global)
		set_clean(tag);
}

/* INVVPID: of one VPID, whatever EP4TA; guest-physical mappings stay. */
static void drop_vpid(uint64_t vpid, bool keep_global)
{
	for (unsigned i = 0; i < TLB_SIZE; i++)
		if (!tlb.e[i].gphys && tlb.e[i].vpid == vpid && !(keep_global && tlb.e[i].global))
			tlb.e[i].valid = false;
}

/* What an instruction of the guest itself removes. */
static void drop_own(bool keep_global)
{
	if (ctx.vmx)
		drop_vpid(ctx.vpid, keep_global);
	else
		drop_tag(ctx.tag, keep_global);
}

static void drop_page(uint64_t linear)
{
	for (unsigned i = 0; i < TLB_SIZE; i++)
		if (!tlb.e[i].gphys && tlb.e[i].tag == ctx.tag && tlb.e[i].vpid == ctx.vpid && tlb.e[i].page == linear >> 12)
			tlb.e[i].valid = false;
}

static struct tlb_entry *find(bool gphys, uint64_t page)
{
	for (unsigned i = 0; i < TLB_SIZE; i++) {
		struct tlb_entry *e = &tlb.e[i];

		if (e->valid && e->gphys == gphys && e->tag == ctx.tag && e->page == page && (gphys || e->vpid == ctx.vpid))
			return e;
	}
	return NULL;
}

static void keep(struct tlb_entry e)
{
	e.valid = true;
	e.tag = ctx.tag;
	e.vpid = ctx.vpid;
	tlb.e[tlb.next++ % TLB_SIZE] = e;
}

/* ---- Walks ---- */

/* Both nested formats have: bit 0 present or readable, address, bit 7 of level 2 and 3 for a large page. */
static uint64_t nested_walk(uint64_t gpa)
{
	uint64_t e = ctx.root & PTE_ADDR;

	for (int shift = 39; shift >= 12; shift -= 9) {
		e = ((const uint64_t *)(uintptr_t)(e & PTE_ADDR))[gpa >> shift & 511];
		if (!(e & 1))
			return NOWHERE;
		if (shift < 39 && shift > 12 && (e & LARGE_BIT))
			return ((e & PTE_ADDR) | (gpa & ((1ull << shift) - 1))) & ~0xfffull;
	}
	return e & PTE_ADDR;
}

/* Host page of a guest-physical address. cached: as the CPU finds it; else from the tables alone. */
static uint64_t nested(uint64_t gpa, bool cached)
{
	const struct tlb_entry *e;
	uint64_t host;

	if (!cached)
		return nested_walk(gpa);
	e = find(true, gpa >> 12);
	if (e)
		return e->host;
	host = is_clean(ctx.tag) ? nested_walk(gpa) : (uint64_t)(uintptr_t)junk;
	if (host != NOWHERE)
		keep((struct tlb_entry){ .gphys = true, .page = gpa >> 12, .host = host });
	return host;
}

static bool read_guest(uint64_t gpa, unsigned size, bool cached, uint64_t *v)
{
	uint64_t host = nested(gpa, cached);

	*v = 0;
	if (host != NOWHERE)
		memcpy(v, (const uint8_t *)(uintptr_t)host + (gpa & 0xfff), size);
	return host != NOWHERE;
}

/* 32-bit and PAE paging with small pages; CPL 0. False: a page fault. */
static bool guest_walk(uint64_t linear, bool cached, struct tlb_entry *out)
{
	bool pae = ctx.cr[4] & CR4_PAE, nxe = ctx.efer & EFER_NXE;
	unsigned bits = pae ? 9 : 10, size = pae ? 8 : 4;
	uint64_t table = pae ? ctx.cr[3] & 0xffffffe0 : ctx.cr[3] & 0xfffff000, e = 0;

	out->write = out->exec = true;
	if (!(ctx.cr[0] & CR0_PG)) {
		out->host = nested(linear, cached);
		return out->host != NOWHERE;
	}
	for (int shift = pae ? 30 : 22; shift >= 12; shift -= (int)bits) {
		if (!read_guest(table + size * (linear >> shift & ((1u << bits) - 1)), size, cached, &e) || !(e & 1))
			return false;
		if ((e & PTE_NX) && !nxe) /* reserved */
			return false;
		if (shift < 30) {
			out->write = out->write && (e & 2);
			out->exec = out->exec && !(e & PTE_NX);
		}
		table = e & PTE_ADDR;
	}
	out->global = (e & 0x100) && (ctx.cr[4] & CR4_PGE);
	out->host = nested(table, cached);
	return out->host != NOWHERE;
}

/* The CPU's way: the TLB first. A write right under CR0.WP is looked up at use, as both manuals have it. */
static bool translate(uint64_t linear, struct tlb_entry *out)
{
	const struct tlb_entry *hit = find(false, linear >> 12);

	memset(out, 0, sizeof(*out));
	if (hit) {
		tlb.hits++;
		*out = *hit;
		return true;
	}
	if (!guest_walk(linear, true, out))
		return false;
	out->page = linear >> 12;
	keep(*out);
	return true;
}

static bool allowed(const struct tlb_entry *e, bool write, bool exec)
{
	return !(exec && !e->exec) && !(write && !e->write && (ctx.cr[0] & CR0_WP));
}

/* ---- Guest instructions ---- */

/* Recorded: a, what the CPU gives; b, what a walk without any cache gives. */
static void access(struct sw_guest *g, const struct gop *o)
{
	bool write = o->kind == G_STORE, exec = o->c == 1;
	struct tlb_entry cpu, fresh = { 0 };
	bool ok = translate(o->a, &cpu) && allowed(&cpu, write, exec);
	bool fresh_ok = guest_walk(o->a, false, &fresh) && allowed(&fresh, write, exec);
	struct rec r = { .kind = R_MEM, .n = o->kind, .a = TLB_NO_VALUE, .b = TLB_NO_VALUE };
	uint32_t *at = (uint32_t *)(uintptr_t)(cpu.host + (o->a & 0xffc)), *fresh_at = (uint32_t *)(uintptr_t)(fresh.host + (o->a & 0xffc));

	if (ok && write)
		*at = (uint32_t)o->b;
	if (ok)
		r.a = write ? cpu.host : *at;
	if (fresh_ok)
		r.b = write ? fresh.host : *fresh_at;
	if ((ok != fresh_ok || (ok && cpu.host != fresh.host)) && !tlb.stale++)
		snprintf(tlb.first, sizeof(tlb.first), "%s at 0x%llx uses host page 0x%llx%s, the tables say 0x%llx%s", exec ? "fetch" : write ? "write" : "read",
			 (unsigned long long)o->a, (unsigned long long)cpu.host, ok ? "" : " (#PF)", (unsigned long long)fresh.host, fresh_ok ? "" : " (#PF)");
	if (g->nr_rec < G_RECS)
		g->rec[g->nr_rec++] = r;
}

static bool mov_to_cr(struct sw_guest *g, const struct gop *o, struct sw_exit *x)
{
	static const uint64_t flushed_by[5] = { [0] = CR0_PG, [4] = CR4_PGE | CR4_PAE | CR4_PSE | CR4_SMEP | CR4_SMAP };
	unsigned n = o->n;
	uint64_t old = ctx.cr[n];

	g->r[0] = o->a;
	x->dr = (uint8_t)n;
	x->write = true;
	if (ctx.exit_cr[n] || ((o->a ^ ctx.shadow[n]) & ctx.owned[n])) {
		x->kind = X_CR;
		return true;
	}
	ctx.cr[n] = (old & ctx.owned[n]) | (o->a & ~ctx.owned[n]);
	if (n == 3)
		drop_own(true);
	else if ((old ^ ctx.cr[n]) & flushed_by[n])
		drop_own(false);
	return false;
}

bool tlb_execute(struct sw_guest *g, const struct gop *o, const struct sw_ctl *ctl, struct sw_exit *x)
{
	if (ctl->bare || !tlb.on)
		return false;
	if (o->kind == G_MOV_TO_CR)
		return mov_to_cr(g, o, x);
	if (o->kind == G_INVLPG) {
		g->r[0] = o->a;
		if (ctx.exit_invlpg) {
			x->kind = X_INVLPG;
			return true;
		}
		drop_page(o->a);
		return false;
	}
	access(g, o);
	return false;
}

/* ---- Entries and exits ---- */

uint32_t tlb_svm_features(uint32_t edx) { return edx & ~tlb.cpu.svm_lacks; }
uint32_t tlb_svm_asids(uint32_t ebx) { return tlb.cpu.nr_asids ? tlb.cpu.nr_asids : ebx; }
uint64_t tlb_vpid_cap(uint64_t v) { return v & ~tlb.cpu.vpid_lacks; }

static void left(void)
{
	tlb.entries++;
	if (tlb.at_exit && tlb.entries == tlb.at_exit_nr)
		tlb.at_exit(tlb.at_exit_arg);
}

static struct kept *kept_of(const struct vmcb *b)
{
	unsigned i = 0;

	while (i < 7 && kept[i].of && kept[i].of != b)
		i++;
	if (kept[i].of != b)
		kept[i] = (struct kept){ .of = b };
	return &kept[i];
}

static struct kept *load_kept(const struct vmcb *b)
{
	struct kept *k = kept_of(b);

	if (!(b->clean & VMCB_CLEAN_CR)) {
		k->cr0 = b->cr0;
		k->cr3 = b->cr3;
		k->cr4 = b->cr4;
		k->efer = b->efer;
	}
	if (!(b->clean & VMCB_CLEAN_NP))
		k->n_cr3 = b->n_cr3;
	if (!(b->clean & VMCB_CLEAN_ASID))
		k->asid = b->asid;
	return k;
}

static void svm_flush(uint8_t how, uint64_t asid)
{
	bool by_asid = !(tlb.cpu.svm_lacks & 1u << 6); /* FlushByASID */

	tlb.svm_flushes += how != 0;
	if (how == VMCB_TLB_FLUSH_ALL)
		drop_all();
	else if (how && ((how != 3 && how != 7) || !by_asid))
		tlb.refused++; /* reserved: nothing is promised */
	else if (how)
		drop_tag(asid, how == 7);
}

void tlb_svm_enter(struct vmcb *b)
{
	const struct kept *k;

	if (!tlb.on)
		return;
	k = load_kept(b);
	svm_flush(b->tlb_control, k->asid);
	ctx = (struct context){ .tag = k->asid, .root = k->n_cr3, .cr = { k->cr0, 0, 0, k->cr3, k->cr4 }, .efer = k->efer };
	for (unsigned i = 0; i < 5; i++)
		ctx.exit_cr[i] = b->intercept[VMCB_I_CR] >> (16 + i) & 1;
	ctx.exit_cr[3] |= tlb.cpu.more_exits;
	ctx.exit_invlpg = (b->intercept[VMCB_I_MISC1] & MISC1_INVLPG) || tlb.cpu.more_exits;
}

void tlb_svm_leave(struct vmcb *b)
{
	struct kept *k = kept_of(b);

	if (!tlb.on)
		return;
	b->cr0 = k->cr0 = ctx.cr[0];
	b->cr3 = k->cr3 = ctx.cr[3];
	b->cr4 = k->cr4 = ctx.cr[4];
	left();
}

/* Without VPID an entry and an exit drop the combined mappings of VPID 0 (SDM "VM Entries and TLBs"). */
void tlb_vmx_enter(uint64_t *f)
{
	uint32_t proc = (uint32_t)f[VMCS_PROC_CTL];

	if (!tlb.on)
		return;
	ctx = (struct context){ .vmx = true, .vpid_on = f[VMCS_PROC2_CTL] & PROC2_VPID, .tag = f[VMCS_EPTP] & PTE_ADDR, .root = f[VMCS_EPTP],
				.cr = { f[VMCS_GUEST_CR0], 0, 0, f[VMCS_GUEST_CR3], f[VMCS_GUEST_CR4] }, .efer = f[VMCS_GUEST_EFER] };
	ctx.vpid = ctx.vpid_on ? f[VMCS_VPID] : 0;
	ctx.owned[0] = f[VMCS_CR0_MASK];
	ctx.shadow[0] = f[VMCS_CR0_SHADOW];
	ctx.owned[4] = f[VMCS_CR4_MASK];
	ctx.shadow[4] = f[VMCS_CR4_SHADOW];
	ctx.exit_cr[3] = (proc & PROC_CR3_LOAD) || tlb.cpu.more_exits;
	ctx.exit_invlpg = (proc & PROC_INVLPG) || tlb.cpu.more_exits;
	if (!ctx.vpid_on)
		drop_vpid(0, false);
}

void tlb_vmx_leave(uint64_t *f)
{
	if (!tlb.on)
		return;
	f[VMCS_GUEST_CR0] = ctx.cr[0];
	f[VMCS_GUEST_CR3] = ctx.cr[3];
	f[VMCS_GUEST_CR4] = ctx.cr[4];
	if (!ctx.vpid_on)
		drop_vpid(0, false);
	left();
}

bool tlb_invept(uint64_t type, uint64_t eptp)
{
	if (!tlb.on)
		return true;
	tlb.invepts++;
	if ((type == 1 && (tlb.cpu.vpid_lacks & EPTCAP_INVEPT_SINGLE)) || type < 1 || type > 2) {
		tlb.refused++;
		return false;
	}
	if (type == 1)
		drop_tag(eptp & PTE_ADDR, false);
	else
		drop_all();
	return true;
}

bool tlb_invvpid(uint64_t type, uint16_t vpid)
{
	if (!tlb.on)
		return true;
	tlb.invvpids++;
	if ((tlb.cpu.vpid_lacks & EPTCAP_INVVPID) || (type == 1 && ((tlb.cpu.vpid_lacks & (1ull << 41) /* INVVPID of one context */) || !vpid)) || type < 1 || type > 2) {
		tlb.refused++;
		return false;
	}
	for (unsigned i = 0; i < TLB_SIZE; i++)
		if (!tlb.e[i].gphys && (type == 2 || tlb.e[i].vpid == vpid))
			tlb.e[i].valid = false;
	return true;
}
