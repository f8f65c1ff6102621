/* SPDX-License-Identifier: MIT */
/* Guest-linear memory over walk.c and gmem.c. */
#include "vmm/gva.h"

#include "arch/x86/dbg.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/pte.h"
#include "vmm/backend.h"
#include "vmm/cpuid.h"

static __attribute__((noinline)) uint8_t *nested_phys(struct vcpu *v, uint64_t pa, size_t n, uint32_t access, bool table)
{
	const struct nested_ops *o = v->be->nested;
	uint64_t at = pa;
	bool there = !table && o->access ? o->access(v, &at, access) : !o->phys || o->phys(v, &at);
	uint8_t *p = there ? gmem_ptr(v->vm, (struct gpa){ at }, n) : NULL;

	if (!p) {
		v->miss.pa = pa;
		v->miss.access = access;
		v->miss.table = table;
		v->miss.valid = true;
	}
	return p;
}

uint8_t *gva_phys(struct vcpu *v, uint64_t pa, size_t n)
{
	return v->level ? nested_phys(v, pa, n, 0, true) : gmem_ptr(v->vm, (struct gpa){ pa }, n);
}

static bool read_table(void *ctx, uint64_t pa, void *dst, size_t size)
{
	const uint8_t *p = gva_phys(ctx, pa, size);

	if (p)
		memcpy(dst, p, size);
	return p != NULL;
}

static enum walk_mode mode_of(const struct vcpu_state *st)
{
	if (!(st->cr0 & CR0_PG))
		return WALK_NONE;
	if (!(st->cr4 & CR4_PAE))
		return WALK_32;
	return st->efer & EFER_LMA ? WALK_4LEVEL : WALK_PAE;
}

/* A guest in ring 3 has no pages in the host's range, whatever its tables say there (P21): software finds what hardware would. Nor where bits 47:0 alone lead. */
static bool not_the_guests(const struct vcpu *v, struct gva a, uint32_t access, struct walk_result *r)
{
	if (!v->be->ring3 || (is_canonical(a.v) && a.v < DBG_RING3_HOST_BASE))
		return false;
	r->nr = 0;
	r->error = access & (WALK_W | WALK_U);
	if ((access & WALK_I) && ((v->st.efer & EFER_NXE) || (v->st.cr4 & CR4_SMEP)))
		r->error |= WALK_I;
	return true;
}

bool gva_walk(struct vcpu *v, struct gva a, uint32_t access, struct walk_result *r)
{
	const struct vcpu_state *st = &v->st;
	struct walk_req q;

	vcpu_need(v, VST_CR);
	if (not_the_guests(v, a, access, r))
		return false;
	q = (struct walk_req){
		.va = a.v, .cr3 = st->cr3, .mode = (uint8_t)mode_of(st), .pse = st->cr4 & CR4_PSE, .nxe = st->efer & EFER_NXE,
		.wp = st->cr0 & CR0_WP, .smep = st->cr4 & CR4_SMEP, .smap = (st->cr4 & CR4_SMAP) && !(v->rflags & RFLAGS_AC),
		.access = access, .pa_mask = cpuid_pa_mask(),
	};
	return walk(&q, read_table, v, r);
}

/* One vcpu per VM: nobody else writes the tables meanwhile. */
void gva_set_ad(struct vcpu *v, const struct walk_result *r, bool write)
{
	for (unsigned i = 0; i < r->nr; i++) {
		uint64_t want = r->value[i] | PTE_A;

		if (i == 0 && r->entry_size == 8 && !(v->st.efer & EFER_LMA))
			continue; /* a PDPTE of PAE has none */
		if (write && i == r->nr - 1)
			want |= PTE_D;
		if (want != r->value[i]) {
			/* An entry may be one of the guest hypervisor's own nested tables: with the bit before, the next one may be nowhere. */
			uint8_t *p = gva_phys(v, r->at[i], r->entry_size);

			if (p)
				memcpy(p, &want, r->entry_size);
		}
	}
}

bool gva_touch(struct vcpu *v, struct gva a, bool write, uint64_t *pa)
{
	struct walk_result r;

	if (!gva_walk(v, a, (write ? WALK_W : 0u) | (vcpu_cpl(v) == 3 ? WALK_U : 0u), &r)) {
		vcpu_raise_pf(v, a.v, r.error);
		return false;
	}
	gva_set_ad(v, &r, write);
	*pa = r.pa;
	return true;
}

struct piece {
	uint8_t *host;
	size_t n;
};

/* Translates the one or two pages of the access; nothing has been touched when it fails. */
static enum gva_status pieces(struct vcpu *v, struct gva a, size_t n, bool write, struct piece out[2])
{
	uint32_t access = (write ? WALK_W : 0u) | (vcpu_cpl(v) == 3 ? WALK_U : 0u);
	struct walk_result r[2];
	size_t done = 0;
	unsigned nr = 0;

	v->miss.valid = false;
	while (done < n) {
		uint64_t va = a.v + done;
		size_t room = 4096 - (va & 4095), part = n - done < room ? n - done : room;

		v->miss.va = va;
		if (!gva_walk(v, (struct gva){ va }, access, &r[nr])) {
			if (v->miss.valid)
				return GVA_NO_MEMORY;
			vcpu_raise_pf(v, va, r[nr].error);
			return GVA_FAULT;
		}
		out[nr].n = part;
		out[nr].host = v->level ? nested_phys(v, r[nr].pa, part, access & WALK_W, false) : gmem_ptr(v->vm, (struct gpa){ r[nr].pa }, part);
		if (!out[nr].host)
			return GVA_NO_MEMORY;
		nr++;
		done += part;
	}
	for (unsigned i = 0; i < nr; i++)
		gva_set_ad(v, &r[i], write);
	if (nr < 2)
		out[1] = (struct piece){ NULL, 0 };
	return GVA_OK;
}

enum gva_status gva_read(struct vcpu *v, struct gva a, void *dst, size_t n)
{
	struct piece p[2] = { 0 };
	enum gva_status s = pieces(v, a, n, false, p);

	if (s != GVA_OK)
		return s;
	memcpy(dst, p[0].host, p[0].n);
	if (p[1].n)
		memcpy((uint8_t *)dst + p[0].n, p[1].host, p[1].n);
	return GVA_OK;
}

enum gva_status gva_write(struct vcpu *v, struct gva a, const void *src, size_t n)
{
	struct piece p[2] = { 0 };
	enum gva_status s = pieces(v, a, n, true, p);

	if (s != GVA_OK)
		return s;
	memcpy(p[0].host, src, p[0].n);
	if (p[1].n)
		memcpy(p[1].host, (const uint8_t *)src + p[0].n, p[1].n);
	return GVA_OK;
}

enum gva_status gva_probe_write(struct vcpu *v, struct gva a, size_t n)
{
	struct piece p[2] = { 0 };

	return pieces(v, a, n, true, p);
}

uint8_t *gva_span(struct vcpu *v, struct gva a, size_t n, bool write, enum gva_status *st)
{
	struct piece p[2] = { 0 };

	*st = pieces(v, a, n, write, p);
	return *st == GVA_OK ? p[0].host : NULL;
}
