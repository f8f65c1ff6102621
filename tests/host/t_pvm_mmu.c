/* SPDX-License-Identifier: MIT */
/* PVM's shadow page tables against the walk of the guest's own: what they permit has to be permitted, and where they claim to be filled they have to be. */
#include <stdlib.h>
#include <string.h>

#include "arch/x86/def/cr.h"
#include "arch/x86/def/pte.h"
#include "arch/x86/pmem.h"
#include "arch/x86/pvm/pvm.h"
#include "model/cpu.h"
#include "model/ring3.h"
#include "tap.h"
#include "vmm/cpuid.h"
#include "vmm/gva.h"

#define MIB (1ull << 20)
#define RAM (8 * MIB)
#define TABLES 12u /* pages from 0 on; their entries are random, and point to each other as well as to all else */
#define GARBAGE 0x5a5a5a5a5a5a5a5aull

static struct vm vm;
static struct vcpu vcpu;
static struct pvm_vcpu hw;
static const struct backend be = { .name = "pvm", .ring3 = true };
static uint8_t *block; /* of memory, of which RAM is a part */
static uint64_t seed;

/* Top-level entries of both views that differ from those of an empty one. */
static unsigned not_empty(void)
{
	unsigned n = 0;

	for (unsigned view = 0; view < PVM_VIEWS; view++) {
		const uint64_t *root = phys_to_virt(pvm_mmu_root(&vcpu, view));

		for (unsigned i = 0; i < 512; i++)
			n += root[i] != (i == 511 ? pvm_host_slot() : 0);
	}
	return n;
}

/* skew: how far RAM lies from a 2 MiB boundary of the host. */
static void start(uint64_t ram, uint64_t skew)
{
	static const uint8_t no_cpl = 0xff;

	sw_reset(false, (struct ref_cpu){ 0 });
	cpuid_init(true);
	memset(&vm, 0, sizeof(vm));
	memset(&vcpu, 0, sizeof(vcpu));
	memset(&hw, 0, sizeof(hw));
	block = pmem_alloc(ram + 2 * MIB, 2 * MIB);
	vm.ram = block + skew;
	vm.ram_size = ram;
	vm.ram_hpa = virt_to_phys(vm.ram);
	vcpu.vm = &vm;
	vcpu.be = &be;
	vcpu.hw = &hw;
	vcpu.st_valid = VST_ALL;
	vcpu.live.cpl = &no_cpl;
	vcpu.st.cr0 = CR0_PE | CR0_PG | CR0_WP;
	vcpu.st.cr4 = CR4_PAE;
	vcpu.st.efer = EFER_LME | EFER_LMA | EFER_NXE;
	if (!pvm_mmu_init(&vcpu))
		abort();
	tap_eq(not_empty(), 0, "MMU.init", "the views are made: the host's slot, and nothing else");
}

static void stop(uint64_t ram)
{
	pvm_mmu_destroy(&vcpu);
	pmem_free(block, ram + 2 * MIB);
}

static uint64_t *entry(uint64_t page, unsigned i)
{
	return (uint64_t *)(void *)(vm.ram + page * PAGE_SIZE) + i;
}

/* ---- What hardware makes of a shadow: every access is CPL 3's ---- */

/* pa: guest-physical, in an access that is allowed. */
static bool hw_access(unsigned view, uint64_t va, uint32_t access, struct sw_walk *o)
{
	bool ok = sw_ring3_walk(pvm_mmu_root(&vcpu, view), va, access, o);

	if (ok)
		o->pa -= vm.ram_hpa;
	return ok;
}

static bool oracle(unsigned view, uint64_t va, uint32_t access, struct walk_result *r)
{
	return gva_walk(&vcpu, (struct gva){ va }, access | (view == PVM_USER ? WALK_U : 0), r);
}

static bool is_ram(uint64_t pa)
{
	return pa < vm.ram_size;
}

/* ---- Random tables ---- */

static const unsigned index_of[] = { 0, 1, 7, 255, 256, 510, 511 };
#define NR_INDEX (sizeof(index_of) / sizeof(index_of[0]))

static uint64_t canonical(uint64_t va)
{
	return (uint64_t)((int64_t)(va << 16) >> 16);
}

static uint64_t va_of(unsigned a, unsigned b, unsigned c, unsigned d)
{
	return canonical((uint64_t)index_of[a] << 39 | (uint64_t)index_of[b] << 30 | (uint64_t)index_of[c] << 21 | (uint64_t)index_of[d] << 12);
}

static uint64_t random_va(void)
{
	uint64_t r = rnd(&seed);

	return va_of(r % NR_INDEX, (r >> 8) % NR_INDEX, (r >> 16) % NR_INDEX, (r >> 24) % NR_INDEX) | (r >> 32 & 0xfff);
}

static uint64_t random_entry(void)
{
	uint64_t r = rnd(&seed), e = rnd(&seed) & (PTE_A | PTE_D | PTE_G | PTE_PWT);

	if (r % 16)
		e |= PTE_P;
	r >>= 4;
	if (r % 8)
		e |= PTE_W;
	r >>= 3;
	if (r % 4)
		e |= PTE_U;
	r >>= 2;
	if (r % 8 == 0)
		e |= PTE_NX;
	r >>= 3;
	if (r % 32 == 0)
		return e | (1ull << 47) | rnd(&seed) % 64 << 12; /* no RAM */
	if (r % 32 == 1)
		return e | (1ull << 51); /* beyond MAXPHYADDR */
	if (r % 32 < 22)
		return e | rnd(&seed) % TABLES << 12;
	if (r % 32 < 27)
		return e | rnd(&seed) % (RAM / PAGE_SIZE) << 12;
	if (r % 32 == 27)
		return e | PTE_PS | (RAM - 2 * MIB + rnd(&seed) % 4 * MIB); /* over the end, or with bits that a large page may not have */
	if (r % 32 == 28)
		return e | PTE_PS;  /* 1 GiB or 2 MiB, of which there is less */
	return e | PTE_PS | rnd(&seed) % (RAM / (2 * MIB)) * 2 * MIB;
}

static void random_tables(void)
{
	for (unsigned p = 0; p < TABLES; p++)
		for (unsigned i = 0; i < NR_INDEX; i++)
			*entry(p, index_of[i]) = random_entry();
	vcpu.st.cr3 = rnd(&seed) % TABLES << 12;
	if (rnd(&seed) % 64 == 0)
		vcpu.st.cr3 = 1ull << 47; /* nothing there */
}

static void random_mode(void)
{
	uint64_t r = rnd(&seed);

	vcpu.st.cr0 = CR0_PE | CR0_PG | (r & 1 ? CR0_WP : 0);
	vcpu.st.cr4 = CR4_PAE | (r & 2 ? CR4_SMEP : 0);
	vcpu.st.efer = EFER_LME | EFER_LMA | (r & 12 ? EFER_NXE : 0);
}

static struct tap_set sound = { .id = "MMU.sound" }, complete = { .id = "MMU.complete" }, where = { .id = "MMU.address" }, faults = { .id = "MMU.fault" },
		      dirty = { .id = "MMU.dirty" }, accessed = { .id = "MMU.accessed" }, untouched = { .id = "MMU.untouched" },
		      host = { .id = "P21.slot" };

/* All that the shadows permit. */
static void scan(void)
{
	for (unsigned i = 0; i < 2 * NR_INDEX * NR_INDEX * NR_INDEX * NR_INDEX; i++) {
		unsigned n = i / 2, view = i % 2;
		uint64_t va = va_of(n % NR_INDEX, n / NR_INDEX % NR_INDEX, n / (NR_INDEX * NR_INDEX) % NR_INDEX, n / (NR_INDEX * NR_INDEX * NR_INDEX));
		struct sw_walk o;
		struct walk_result r;
		bool ok;

		if (va >= PVM_HOST_BASE || !hw_access(view, va, 0, &o))
			continue;
		ok = oracle(view, va, 0, &r) && is_ram(r.pa);
		tap_case(&sound, ok, true, "view %u reads 0x%llx", view, (unsigned long long)va);
		if (!ok)
			continue;
		tap_case(&where, o.pa, r.pa, "view %u, 0x%llx", view, (unsigned long long)va);
		for (unsigned k = 0; k < r.nr; k++)
			tap_case(&accessed, r.value[k] & PTE_A, PTE_A, "view %u, 0x%llx, entry %u", view, (unsigned long long)va, k);
		if (o.write) {
			tap_case(&sound, oracle(view, va, WALK_W, &r), true, "view %u writes 0x%llx", view, (unsigned long long)va);
			tap_case(&dirty, r.value[r.nr - 1] & PTE_D, PTE_D, "view %u, 0x%llx", view, (unsigned long long)va);
		}
		if (hw_access(view, va, WALK_I, &o))
			tap_case(&sound, oracle(view, va, WALK_I, &r), true, "view %u executes 0x%llx", view, (unsigned long long)va);
	}
}

/* The bits of an entry's walk that it has to leave there. */
static void check_ad(const struct walk_result *r, bool write, uint64_t va)
{
	for (unsigned k = 0; k < r->nr; k++) {
		uint64_t want = PTE_A | (k == r->nr - 1 ? (write ? PTE_D : r->value[k] & PTE_D) : 0), mask = PTE_A | (k == r->nr - 1 ? PTE_D : 0), e;
		bool shared = false;

		for (unsigned j = 0; j < r->nr; j++)
			shared |= j != k && r->at[j] == r->at[k]; /* a table that contains itself */
		memcpy(&e, vm.ram + r->at[k], 8);
		if (!shared)
			tap_case(&accessed, e & mask, want, "0x%llx, entry %u", (unsigned long long)va, k);
	}
}

static void access_once(void)
{
	static uint8_t before[TABLES * PAGE_SIZE];
	static const uint32_t kinds[] = { 0, 0, WALK_W, WALK_W, WALK_I };
	uint32_t access = kinds[rnd(&seed) % 5], error = 0;
	unsigned view = rnd(&seed) % 2;
	uint64_t va = random_va(), gpa = 0;
	enum pvm_fill got;
	struct walk_result r;
	struct sw_walk o;
	bool want;

	vcpu.st.cpl = view == PVM_USER ? 3 : 0;
	if (hw_access(view, va, access, &o))
		return; /* scan() looks at it */
	want = oracle(view, va, access, &r);
	memcpy(before, vm.ram, sizeof(before));
	got = pvm_mmu_fault(&vcpu, va, o.error, &error, &gpa);
	if (va >= PVM_HOST_BASE) {
		tap_case(&host, got, PVM_FAULT, "0x%llx", (unsigned long long)va);
		tap_case(&host, error & ~(uint32_t)WALK_I, (access & WALK_W) | (view == PVM_USER ? WALK_U : 0), "error code at 0x%llx", (unsigned long long)va);
	} else if (!want) {
		tap_case(&faults, got, PVM_FAULT, "view %u, 0x%llx, access 0x%x", view, (unsigned long long)va, access);
		tap_case(&faults, error, r.error, "view %u, 0x%llx, access 0x%x: its code", view, (unsigned long long)va, access);
		tap_case(&untouched, memcmp(before, vm.ram, sizeof(before)), 0, "0x%llx", (unsigned long long)va);
	} else if (!is_ram(r.pa)) {
		tap_case(&faults, got, PVM_NO_RAM, "view %u, 0x%llx, access 0x%x", view, (unsigned long long)va, access);
		tap_case(&faults, gpa, r.pa, "view %u, 0x%llx: where", view, (unsigned long long)va);
	} else {
		tap_case(&complete, got, PVM_FILLED, "view %u, 0x%llx, access 0x%x", view, (unsigned long long)va, access);
		tap_case(&complete, hw_access(view, va, access, &o), true, "view %u, 0x%llx, access 0x%x: again", view, (unsigned long long)va, access);
		tap_case(&where, o.pa, r.pa, "view %u, 0x%llx", view, (unsigned long long)va);
		check_ad(&r, access & WALK_W, va);
	}
	for (unsigned i = 0; i < PVM_VIEWS; i++)
		tap_case(&host, ((uint64_t *)phys_to_virt(pvm_mmu_root(&vcpu, i)))[511], pvm_host_slot(), "the last slot of view %u", i);
}

TEST(MMU_random)
{
	seed = 0x70766d;
	for (unsigned machine = 0; machine < 3; machine++) {
		uint64_t ram = RAM - (machine == 2 ? 0x3000 : 0); /* no whole large page at its end */

		start(ram, machine == 1 ? 0x5000 : 0);
		for (unsigned round = 0; round < 200; round++) {
			random_tables();
			random_mode();
			pvm_mmu_flush(&vcpu);
			for (unsigned i = 0; i < 400; i++)
				access_once();
			scan();
		}
		stop(ram);
	}
	tap_end(&sound, "what a shadow permits, the guest's own tables permit at that privilege");
	tap_end(&where, "and it is the same memory");
	tap_end(&complete, "what has been filled can be accessed");
	tap_end(&faults, "all else is the guest's page fault, or a device's address");
	tap_end(&untouched, "a fault of the guest's changes no table");
	tap_end(&accessed, "each entry that was used is marked so");
	tap_end(&dirty, "nothing can be written that is not marked dirty");
	tap_end(&host, "the host's slot is the host's, and a guest finds nothing there");
}

/* ---- Directed: one page of each size ---- */

#define PML4 0u
#define PDPT 1u
#define PD 2u
#define PT 3u
#define RW (PTE_P | PTE_W | PTE_U)

/* Identity over the first 2 MiB by 4 KiB pages at 0, by one 2 MiB page each at 2, 4, 6 MiB. */
static void simple_tables(void)
{
	memset(vm.ram, 0, 4 * PAGE_SIZE);
	*entry(PML4, 0) = PDPT << 12 | RW;
	*entry(PDPT, 0) = PD << 12 | RW;
	*entry(PD, 0) = PT << 12 | RW;
	for (unsigned i = 1; i < 512; i++)
		*entry(PD, i) = i * 2 * MIB | PTE_PS | RW;
	for (unsigned i = 0; i < 512; i++)
		*entry(PT, i) = (uint64_t)i * PAGE_SIZE | RW;
	vcpu.st.cr3 = PML4 << 12;
	pvm_mmu_flush(&vcpu);
}

/* The guest-physical address that this read of hardware finds, filled in if need be. */
static uint64_t reads(unsigned view, uint64_t va)
{
	uint32_t error;
	uint64_t gpa;
	struct sw_walk o;

	vcpu.st.cpl = view == PVM_USER ? 3 : 0;
	if (!hw_access(view, va, 0, &o) && (pvm_mmu_fault(&vcpu, va, o.error, &error, &gpa) != PVM_FILLED || !hw_access(view, va, 0, &o)))
		return GARBAGE;
	return o.pa;
}

static bool there(unsigned view, uint64_t va)
{
	struct sw_walk o;

	return hw_access(view, va, 0, &o);
}

static void invlpg_sizes(uint64_t skew)
{
	struct tap_set set = { .id = skew ? "MMU.invlpg.broken" : "MMU.invlpg.whole" };
	struct sw_walk o;

	start(RAM, skew);
	simple_tables();
	for (unsigned view = 0; view < PVM_VIEWS; view++) {
		tap_case(&set, reads(view, 0x5123), 0x5123, "4 KiB, view %u", view);
		tap_case(&set, reads(view, 0x6000), 0x6000, "its neighbour");
		tap_case(&set, reads(view, 0x401234), 0x401234, "2 MiB");
		tap_case(&set, reads(view, 0x5ff000), 0x5ff000, "its other end");
		tap_case(&set, hw_access(view, 0x401234, 0, &o) ? o.size : 0, skew ? 12 : 21, "the size of the leaf");
	}
	*entry(PT, 5) = 0x9000 | RW;
	*entry(PD, 2) = 0x600000 | PTE_PS | RW;
	pvm_mmu_flush_page(&vcpu, 0x5fff);
	pvm_mmu_flush_page(&vcpu, 0x4ff123);
	for (unsigned view = 0; view < PVM_VIEWS; view++) {
		tap_case(&set, there(view, 0x6000), true, "a neighbour of 4 KiB has not been touched in view %u", view);
		tap_case(&set, reads(view, 0x5123), 0x9123, "4 KiB elsewhere, view %u", view);
		tap_case(&set, reads(view, 0x401234), 0x601234, "2 MiB elsewhere");
		tap_case(&set, reads(view, 0x5ff000), 0x7ff000, "its other end");
	}
	/* 1 GiB; the RAM of this machine is its beginning. Afterwards 4 KiB, after that again 2 MiB. */
	*entry(PDPT, 1) = PTE_PS | RW;
	tap_case(&set, reads(PVM_KERNEL, 1024 * MIB + 0x3000), 0x3000, "1 GiB");
	tap_case(&set, reads(PVM_KERNEL, 1024 * MIB + 6 * MIB), 6 * MIB, "its other end");
	tap_case(&set, reads(PVM_KERNEL, 1024 * MIB + RAM), GARBAGE, "where there is no RAM");
	*entry(PDPT, 1) = PD << 12 | RW;
	pvm_mmu_flush_page(&vcpu, 1024 * MIB + 2 * MIB);
	tap_case(&set, reads(PVM_KERNEL, 1024 * MIB + 0x5000), 0x9000, "no longer 1 GiB");
	tap_case(&set, reads(PVM_KERNEL, 1024 * MIB + 4 * MIB), 6 * MIB, "its other end");
	*entry(PD, 0) = 2 * MIB | PTE_PS | RW;
	pvm_mmu_flush_page(&vcpu, 1024 * MIB + 0x5000);
	tap_case(&set, reads(PVM_KERNEL, 1024 * MIB + 0x5000), 2 * MIB + 0x5000, "2 MiB where 4 KiB pages have been");
	tap_end(&set, "INVLPG takes the whole page of the guest, in both views, and no other one");
	stop(RAM);
}

TEST(MMU_invlpg)
{
	invlpg_sizes(0);
	invlpg_sizes(0x3000);
}

/* Without a flush: more rights at once, less when hardware's cache would know. A view is not the other one. */
TEST(MMU_rights)
{
	struct tap_set set = { .id = "MMU.rights" };
	uint32_t error = 0;
	uint64_t gpa;
	struct sw_walk o;

	start(RAM, 0);
	simple_tables();
	*entry(PT, 7) = 0;
	tap_case(&set, reads(PVM_USER, 0x7000), GARBAGE, "nothing there");
	*entry(PT, 7) = 0x7000 | PTE_P;
	tap_case(&set, reads(PVM_USER, 0x7000), GARBAGE, "the supervisor's");
	tap_case(&set, reads(PVM_KERNEL, 0x7000), 0x7000, "which the kernel reads");
	tap_case(&set, there(PVM_USER, 0x7000), false, "and a user does not for that");
	vcpu.st.cpl = 0;
	tap_case(&set, pvm_mmu_fault(&vcpu, 0x7000, WALK_P | WALK_W | WALK_U, &error, &gpa), PVM_FAULT, "read-only, CR0.WP=1");
	tap_case(&set, error, WALK_P | WALK_W, "the kernel's fault is no user's, whatever hardware says");
	vcpu.st.cr0 &= ~CR0_WP;
	pvm_mmu_flush(&vcpu);
	tap_case(&set, reads(PVM_KERNEL, 0x7000), 0x7000, "CR0.WP=0: read");
	tap_case(&set, hw_access(PVM_KERNEL, 0x7000, WALK_W, &o), false, "not dirty yet");
	tap_case(&set, pvm_mmu_fault(&vcpu, 0x7000, o.error, &error, &gpa), PVM_FILLED, "written");
	tap_case(&set, hw_access(PVM_KERNEL, 0x7000, WALK_W, &o), true, "and again");
	tap_case(&set, *entry(PT, 7) & (PTE_A | PTE_D), PTE_A | PTE_D, "dirty");
	*entry(PT, 7) |= PTE_U;
	tap_case(&set, reads(PVM_USER, 0x7000), 0x7000, "a user's now, without a flush");
	tap_case(&set, hw_access(PVM_USER, 0x7000, WALK_W, &o), false, "for whom CR0.WP says nothing");
	vcpu.st.cr4 |= CR4_SMEP;
	pvm_mmu_flush(&vcpu);
	tap_case(&set, reads(PVM_KERNEL, 0x7000), 0x7000, "SMEP: read");
	tap_case(&set, hw_access(PVM_KERNEL, 0x7000, WALK_I, &o), false, "not executed");
	vcpu.st.cpl = 0;
	tap_case(&set, pvm_mmu_fault(&vcpu, 0x7000, o.error, &error, &gpa), PVM_FAULT, "not at all");
	tap_case(&set, error, WALK_P | WALK_I, "and says so");
	tap_case(&set, reads(PVM_USER, 0x7000), 0x7000, "SMEP, a user: read");
	tap_case(&set, hw_access(PVM_USER, 0x7000, WALK_I, &o), true, "and executed");
	*entry(PD, 1) = 2 * MIB | PTE_PS | PTE_P | PTE_U;
	tap_case(&set, reads(PVM_USER, 2 * MIB + 0x5000), 2 * MIB + 0x5000, "a large page, read-only");
	*entry(PD, 1) = PT << 12 | RW;
	vcpu.st.cpl = 3;
	tap_case(&set, pvm_mmu_fault(&vcpu, 2 * MIB + 0x5000, WALK_P | WALK_W | WALK_U, &error, &gpa), PVM_FILLED, "small pages in its place, writable, without a flush");
	tap_case(&set, hw_access(PVM_USER, 2 * MIB + 0x5000, WALK_W, &o) ? o.pa : GARBAGE, 0x5000, "where the new table says");
	tap_end(&set, "rights of supervisor and user");
	stop(RAM);
}

/* Addresses that no guest has: a shadow entry would be where bits 47:0 say, which may be in the host's slot. */
TEST(MMU_not_the_guests)
{
	static const uint64_t va[] = { PVM_HOST_BASE, PVM_HOST_BASE + 0x5000, ~0ull, 0x0000ff8000000000, 0x0000800000000000, 0xffff7fffffffffff, 0x0001000000005000 };
	struct tap_set set = { .id = "P21.range" };
	uint32_t error;
	uint64_t gpa;
	struct sw_walk o;

	start(RAM, 0);
	simple_tables();
	*entry(PML4, 511) = *entry(PML4, 256) = *entry(PML4, 0);
	for (unsigned i = 0; i < sizeof(va) / sizeof(va[0]); i++)
		for (unsigned view = 0; view < PVM_VIEWS; view++) {
			vcpu.st.cpl = view == PVM_USER ? 3 : 0;
			error = 0xffff;
			tap_case(&set, pvm_mmu_fault(&vcpu, va[i], WALK_P | WALK_U | WALK_W, &error, &gpa), PVM_FAULT, "0x%llx", (unsigned long long)va[i]);
			tap_case(&set, error, WALK_W | (view == PVM_USER ? WALK_U : 0), "0x%llx: not present", (unsigned long long)va[i]);
			pvm_mmu_flush_page(&vcpu, va[i]);
			tap_case(&set, ((uint64_t *)phys_to_virt(pvm_mmu_root(&vcpu, view)))[511], pvm_host_slot(), "0x%llx: the host's slot", (unsigned long long)va[i]);
			tap_case(&set, hw_access(view, canonical(va[i]) & ~(0x1ffull << 39), 0, &o), false, "0x%llx: nothing was filled", (unsigned long long)va[i]);
		}
	tap_case(&set, reads(PVM_USER, 0xffff800000005000), 0x5000, "the first address of the upper half is a guest's");
	tap_case(&set, reads(PVM_USER, 0x00007f8000005000), GARBAGE, "as is the last slot of the lower one, where it has nothing");
	tap_end(&set, "no fault fills in the host's slot, and no INVLPG empties it");
	stop(RAM);
}

/* More tables than the pool has: everything is forgotten, and each access succeeds nevertheless. */
TEST(MMU_pool)
{
	struct tap_set set = { .id = "MMU.pool" };
	unsigned kept = 0;

	start(RAM, 0x1000);
	simple_tables();
	for (unsigned i = 0; i < 512; i++) {
		*entry(PD, i) = PT << 12 | RW;
		*entry(PDPT, i) = PD << 12 | RW;
		*entry(PML4, i) = PDPT << 12 | RW;
	}
	seed = 0x706f6f6c;
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t r = rnd(&seed), va = canonical(r >> 16) & ~(1ull << 46); /* never in the host's slot */
		unsigned view = r & 1;

		tap_case(&set, reads(view, va), va & 0x1fffff, "view %u, 0x%llx", view, (unsigned long long)va);
		tap_case(&set, hw.mmu.shadow.used <= PVM_MMU_PAGES, true, "pages in use");
		kept += reads(!view, va) == (va & 0x1fffff) && there(view, va);
	}
	tap_case(&set, kept > 19000, true, "what was filled stays as long as there is room: %u of 20000", kept);
	tap_end(&set, "the pool begins anew as often as it must");
	stop(RAM);
}
