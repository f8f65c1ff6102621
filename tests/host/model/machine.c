/* SPDX-License-Identifier: MIT */
/* The rest of the machine that the recompiled sources touch: CPUID, MSRs, control registers, memory. Plain storage, no behaviour. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "arch/x86/lapic.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/msr.h"
#include "arch/x86/insn.h"
#include "arch/x86/pmem.h"
#include "arch/x86/tsc.h"
#include "model/cpu.h"
#include "model/tlb.h"

/* ---- CPUID ---- */

struct cpuid_regs cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_regs r = { 0 };

	(void)subleaf;
	switch (leaf) {
	case 0:
		r.eax = 0xd;
		memcpy(&r.ebx, sw.amd ? "Auth" : "Genu", 4);
		memcpy(&r.edx, sw.amd ? "enti" : "ineI", 4);
		memcpy(&r.ecx, sw.amd ? "cAMD" : "ntel", 4);
		break;
	case 1:
		r.eax = sw.amd ? 0x800f12 : 0x906ea;
		r.ecx = sw.amd ? 0 : 1u << 5;
		r.edx = 0x078bfbff;
		break;
	case 7:
		r.ebx = sw.phys.rtm ? 1u << 11 : 0;
		r.ecx = sw.phys.bld ? 1u << 24 : 0;
		break;
	case 0x80000000: r.eax = 0x8000000a; break;
	case 0x80000001:
		r.ecx = sw.amd ? 1u << 2 | (sw.phys.masks ? 1u << 26 : 0) | (sw.phys.masks32 ? 1u << 30 : 0) : 0;
		r.edx = 1u << 20 | 1u << 29;
		break;
	case 0x80000008: r.eax = 0x3030; break;
	case 0x8000000a:
		if (sw.amd) {
			r.eax = 1;
			r.ebx = tlb_svm_asids(16);
			r.edx = tlb_svm_features(1u << 0 | 1u << 3 | 1u << 5 | 1u << 6 | 1u << 7); /* NPT, NRIPS, clean bits, flush by ASID, decode assists */
			r.edx |= sw.phys.lbrv ? 1u << 1 : 0;
		}
		break;
	}
	return r;
}

/* ---- MSRs ---- */

#define NR_MSRS 64
static struct {
	uint32_t msr;
	uint64_t v;
} msrs[NR_MSRS];
static unsigned nr_msrs;

static uint64_t *slot(uint32_t msr)
{
	for (unsigned i = 0; i < nr_msrs; i++)
		if (msrs[i].msr == msr)
			return &msrs[i].v;
	if (nr_msrs == NR_MSRS)
		abort();
	msrs[nr_msrs].msr = msr;
	msrs[nr_msrs].v = 0;
	return &msrs[nr_msrs++].v;
}

/* Capability MSRs of a VMX with everything: allowed-0 in the low half, allowed-1 in the high one. */
static bool vmx_cap(uint32_t msr, uint64_t *v)
{
	switch (msr) {
	case MSR_FEATURE_CONTROL: *v = FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX; return true;
	case MSR_VMX_BASIC: *v = 0x11 | 4096ull << 32 | 6ull << 50 | 1ull << 55; return true;
	case MSR_VMX_MISC: *v = 1ull << 30; return true;
	case MSR_VMX_CR0_FIXED0: *v = 0x80000021; return true;
	case MSR_VMX_CR4_FIXED0: *v = 0x2000; return true;
	case MSR_VMX_CR0_FIXED1: case MSR_VMX_CR4_FIXED1: *v = ~0ull; return true;
	case MSR_VMX_EPT_VPID_CAP: *v = tlb_vpid_cap(~0ull); return true;
	}
	if (msr >= MSR_VMX_PINBASED && msr <= MSR_VMX_TRUE_ENTRY) {
		*v = 0xffffffffull << 32;
		if (msr == MSR_VMX_PROCBASED2 && !sw.phys.bus_lock_exit)
			*v &= ~(1ull << 62);
		return true;
	}
	return false;
}

bool rdmsr_safe(uint32_t msr, uint64_t *v)
{
	int done;

	*v = 0;
	if (msr == MSR_DEBUGCTL) {
		sw_log(OP_RD_DEBUGCTL, 0, sw.debugctl);
		if (sw.lacks_debugctl)
			return false;
		*v = sw.debugctl;
		return true;
	}
	if (msr == MSR_VM_CR)
		return sw.amd;
	if (msr == 0xce) { /* CPUID faulting, on any vendor's */
		*v = sw.ring3 ? 1ull << 31 : 0;
		return true;
	}
	if ((msr >= MSR_VMX_BASIC && msr <= MSR_VMX_TRUE_ENTRY) || msr == MSR_FEATURE_CONTROL)
		return !sw.amd && vmx_cap(msr, v);
	done = sw_debug_msr(msr, false, v);
	if (done >= 0)
		return done;
	*v = *slot(msr);
	return true;
}

bool wrmsr_safe(uint32_t msr, uint64_t v)
{
	int done;

	if (msr == MSR_DEBUGCTL) {
		sw_log(OP_WR_DEBUGCTL, 0, v); /* tried, that is: it may fault */
		if (sw.lacks_debugctl || v >> 16)
			return false;
		if (!sw.swallows_debugctl)
			sw.debugctl = v;
		sw_host_branch();
		if (sw.nmi) {
			void (*nmi)(void) = sw.nmi;

			sw.nmi = NULL;
			nmi();
		}
		return true;
	}
	done = sw_debug_msr(msr, true, &v);
	if (done >= 0) {
		sw_host_branch(); /* of the loop that writes them */
		return done;
	}
	*slot(msr) = v;
	return true;
}

uint64_t rdmsr(uint32_t msr)
{
	uint64_t v;

	if (!rdmsr_safe(msr, &v))
		abort(); /* #GP in the host */
	return v;
}

void wrmsr(uint32_t msr, uint64_t v)
{
	if (!wrmsr_safe(msr, v))
		abort();
}

/* ---- Control registers, tables, time ---- */

static uint64_t cr[5];
static uint64_t gdt[8];

uint64_t read_cr0(void) { return cr[0] | CR0_PE | CR0_PG | CR0_NE; }
uint64_t read_cr2(void) { return cr[2]; }
uint64_t read_cr3(void) { return cr[3]; }
uint64_t read_cr4(void) { return cr[4]; }
void write_cr0(uint64_t v) { cr[0] = v; }
void write_cr2(uint64_t v) { cr[2] = v; }
void write_cr3(uint64_t v) { cr[3] = v; }
void write_cr4(uint64_t v) { cr[4] = v; }

void lgdt(const struct desc_ptr *p) { (void)p; }
void lidt(const struct desc_ptr *p) { (void)p; }
void sgdt(struct desc_ptr *p) { *p = (struct desc_ptr){ .limit = sizeof(gdt) - 1, .base = (uint64_t)(uintptr_t)gdt }; }
void sidt(struct desc_ptr *p) { *p = (struct desc_ptr){ 0 }; }
uint16_t str(void) { return 0x18; }
uint16_t read_cs(void) { return 0x08; }
uint16_t read_ss(void) { return 0x10; }

uint64_t tsc_khz = 1000000;
uint64_t rdtsc(void) { return sw.tsc += 10 + sw.tsc_step; }

void irq_enable_and_hlt(void) { irq_enable(); }
void hlt(void) {}
void raise_machine_check(void) { abort(); }
void ltr(uint16_t sel) { (void)sel; }
void cpu_pause(void) {}
void wbinvd(void) {}
void invlpg(const void *p) { (void)p; }
uint8_t inb(uint16_t port) { (void)port; return 0xff; }
void outb(uint16_t port, uint8_t v) { (void)port; (void)v; }
uint64_t xgetbv(uint32_t i) { (void)i; return 1; }
void xsetbv(uint32_t i, uint64_t v) { (void)i; (void)v; }
void xsave(void *area, uint64_t mask) { (void)area; (void)mask; }
void xrstor(const void *area, uint64_t mask) { (void)area; (void)mask; }
void fxsave(void *area) { memset(area, 0, 512); }
void fxrstor(const void *area) { (void)area; }
uint8_t touch8(const volatile uint8_t *p) { sw_host_access(REF_READ, (uint64_t)(uintptr_t)p, 1); return *p; }
void vmsave(uint64_t pa) { (void)pa; }

/* ---- Memory: the host's own, physical addresses are pointers ---- */

/* From mmap, so that a VM's memory costs only the pages that are touched. Aligned by mapping more and giving the ends back. */
void *pmem_alloc(size_t bytes, size_t align)
{
	size_t size = (bytes + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE, room = size + (align > PAGE_SIZE ? align : 0), head;
	uint8_t *p = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	if (room == size)
		return p;
	head = (align - (uintptr_t)p % align) % align;
	if (head)
		munmap(p, head);
	if (room - size - head)
		munmap(p + head + size, room - size - head);
	return p + head;
}

void pmem_free(void *p, size_t bytes)
{
	if (p)
		munmap(p, (bytes + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE);
}

uint64_t pmem_free_bytes(void) { return 1ull << 30; }
uint64_t virt_to_phys(const void *p) { return (uint64_t)(uintptr_t)p; }

/* What boot's tables point to lies below 4 GiB: a test fills this arena, which physical addresses from 0 on mean. */
uint8_t sw_low[SW_LOW_SIZE];
void *phys_to_virt(uint64_t pa) { return pa < SW_LOW_SIZE ? sw_low + pa : (void *)(uintptr_t)pa; }

/* The LAPIC's only parts here. */
void lapic_alarm(uint64_t tsc) { sw.alarm = tsc; }
void lapic_kick(void)
{
	sw.kicked = true;
}
