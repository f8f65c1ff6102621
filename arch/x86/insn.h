/* SPDX-License-Identifier: MIT */
/* One C function per privileged instruction, named after it. Hosted builds shadow this file with a software CPU. */
#ifndef ARCH_X86_INSN_H
#define ARCH_X86_INSN_H

#include <stdbool.h>
#include <stdint.h>

struct cpuid_regs {
	uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid_regs cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_regs r;

	__asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
	return r;
}

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}

/* As above, but false when the instruction faults (traps.S keeps the fix-up table). *v is then 0. */
bool rdmsr_safe(uint32_t msr, uint64_t *v);
bool wrmsr_safe(uint32_t msr, uint64_t v);

static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

#define INSN_CR(n) \
	static inline uint64_t read_cr##n(void) \
	{ \
		uint64_t v; \
		__asm__ volatile("mov %%cr" #n ", %0" : "=r"(v)); \
		return v; \
	} \
	static inline void write_cr##n(uint64_t v) \
	{ \
		__asm__ volatile("mov %0, %%cr" #n : : "r"(v) : "memory"); \
	}
INSN_CR(0)
INSN_CR(2)
INSN_CR(3)
INSN_CR(4)
INSN_CR(8)
#undef INSN_CR

#define INSN_PORT(suffix, type) \
	static inline type in##suffix(uint16_t port) \
	{ \
		type v; \
		__asm__ volatile("in" #suffix " %1, %0" : "=a"(v) : "Nd"(port)); \
		return v; \
	} \
	static inline void out##suffix(uint16_t port, type v) \
	{ \
		__asm__ volatile("out" #suffix " %0, %1" : : "a"(v), "Nd"(port)); \
	}
INSN_PORT(b, uint8_t)
INSN_PORT(w, uint16_t)
INSN_PORT(l, uint32_t)
#undef INSN_PORT

static inline uint64_t xgetbv(uint32_t i)
{
	uint32_t lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(i));
	return (uint64_t)hi << 32 | lo;
}

static inline void xsetbv(uint32_t i, uint64_t v)
{
	__asm__ volatile("xsetbv" : : "c"(i), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}

/* area: 64-byte aligned, large enough for the components in mask (CPUID 0xd). */
static inline void xsave(void *area, uint64_t mask)
{
	__asm__ volatile("xsave64 (%0)" : : "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}

static inline void xrstor(const void *area, uint64_t mask)
{
	__asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}

/* area: 512 bytes, 16-byte aligned; for a CPU without XSAVE. */
static inline void fxsave(void *area)
{
	__asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}

static inline void fxrstor(const void *area)
{
	__asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

static inline void invlpg(const void *p)
{
	__asm__ volatile("invlpg (%0)" : : "r"(p) : "memory");
}

static inline void wbinvd(void)
{
	__asm__ volatile("wbinvd" : : : "memory");
}

/* Calls the host's NMI handler, after an exit has taken the NMI itself from the CPU. */
static inline void raise_nmi(void)
{
	__asm__ volatile("int $2" : : : "memory");
}

static inline void irq_disable(void)
{
	__asm__ volatile("cli" : : : "memory");
}

static inline void irq_enable(void)
{
	__asm__ volatile("sti" : : : "memory");
}

/* Opens interrupts for exactly one instruction boundary and waits there: nothing can slip between the two. */
static inline void rep_outsb(uint16_t port, const void *p, uint64_t n)
{
	__asm__ volatile("cld; rep outsb" : "+S"(p), "+c"(n) : "d"(port) : "memory");
}

static inline void irq_enable_and_hlt(void)
{
	__asm__ volatile("sti; hlt" : : : "memory");
}

static inline void hlt(void)
{
	__asm__ volatile("hlt" : : : "memory");
}

static inline void cpu_pause(void)
{
	__asm__ volatile("pause");
}

struct __attribute__((packed)) desc_ptr {
	uint16_t limit;
	uint64_t base;
};

static inline void lgdt(const struct desc_ptr *p)
{
	__asm__ volatile("lgdt %0" : : "m"(*p));
}

static inline void lidt(const struct desc_ptr *p)
{
	__asm__ volatile("lidt %0" : : "m"(*p));
}

static inline void lldt(uint16_t sel)
{
	__asm__ volatile("lldt %0" : : "r"(sel) : "memory");
}

static inline void ltr(uint16_t sel)
{
	__asm__ volatile("ltr %0" : : "r"(sel) : "memory");
}

static inline void sgdt(struct desc_ptr *p)
{
	__asm__ volatile("sgdt %0" : "=m"(*p));
}

static inline void sidt(struct desc_ptr *p)
{
	__asm__ volatile("sidt %0" : "=m"(*p));
}

static inline uint16_t str(void)
{
	uint16_t sel;

	__asm__ volatile("str %0" : "=r"(sel));
	return sel;
}

static inline uint16_t read_cs(void)
{
	uint16_t sel;

	__asm__("mov %%cs, %0" : "=r"(sel));
	return sel;
}

static inline uint16_t read_ss(void)
{
	uint16_t sel;

	__asm__("mov %%ss, %0" : "=r"(sel));
	return sel;
}

/* Calls the host's #MC handler: for one that an exit has taken from the CPU. */
static inline void raise_machine_check(void)
{
	__asm__ volatile("int $18" : : : "memory");
}

/* ---- VMX. All return false on VMfail (CF or ZF). pa: physical address of the 4 KiB region ---- */

static inline bool vmxon(uint64_t pa)
{
	bool ok;

	__asm__ volatile("vmxon %1" : "=@cca"(ok) : "m"(pa) : "memory");
	return ok;
}

static inline void vmxoff(void)
{
	__asm__ volatile("vmxoff" : : : "cc", "memory");
}

static inline bool vmclear(uint64_t pa)
{
	bool ok;

	__asm__ volatile("vmclear %1" : "=@cca"(ok) : "m"(pa) : "memory");
	return ok;
}

static inline bool vmptrld(uint64_t pa)
{
	bool ok;

	__asm__ volatile("vmptrld %1" : "=@cca"(ok) : "m"(pa) : "memory");
	return ok;
}

/* *v is untouched when the field does not exist. */
static inline bool vmread(uint64_t field, uint64_t *v)
{
	uint64_t got;
	bool ok;

	__asm__ volatile("vmread %2, %1" : "=@cca"(ok), "=r"(got) : "r"(field));
	if (ok)
		*v = got;
	return ok;
}

static inline bool vmwrite(uint64_t field, uint64_t v)
{
	bool ok;

	__asm__ volatile("vmwrite %2, %1" : "=@cca"(ok) : "r"(field), "rm"(v));
	return ok;
}

/* type: 1 one context, 2 all (INVVPID: 1 one VPID, 2 all) */
static inline bool invept(uint64_t type, uint64_t eptp)
{
	struct { uint64_t eptp, zero; } d = { eptp, 0 };
	bool ok;

	__asm__ volatile("invept %1, %2" : "=@cca"(ok) : "m"(d), "r"(type) : "memory");
	return ok;
}

static inline bool invvpid(uint64_t type, uint16_t vpid)
{
	struct { uint64_t vpid, linear; } d = { vpid, 0 };
	bool ok;

	__asm__ volatile("invvpid %1, %2" : "=@cca"(ok) : "m"(d), "r"(type) : "memory");
	return ok;
}

/* SVM's. The global interrupt flag holds back even NMIs. pa: a page for FS, GS, TR, LDTR and the SYSCALL and SYSENTER MSRs. */
static inline void clgi(void)
{
	__asm__ volatile("clgi" : : : "memory");
}

static inline void stgi(void)
{
	__asm__ volatile("stgi" : : : "memory");
}

static inline void vmsave(uint64_t pa)
{
	__asm__ volatile("vmsave %%rax" : : "a"(pa) : "memory");
}

/* What the host itself does for the lab: a read that its own data breakpoint can hit. */
static inline uint8_t touch8(const volatile uint8_t *p)
{
	uint8_t v;

	__asm__ volatile("movb (%1), %0" : "=q"(v) : "r"(p) : "memory"); /* what the #DB handler counts must be read after it */
	return v;
}

/* Stores to *p with TF set, for pvm/quirk.c; the #DB handler clears TF in its frame. */
static inline void step_over_store(volatile uint8_t *p)
{
	__asm__ volatile("pushfq\n\t"
			 "orq $0x100, (%%rsp)\n\t"
			 "popfq\n\t"
			 "movb $1, (%0)\n\t"
			 "nop\n\t"
			 "nop"
			 : : "r"(p) : "memory", "cc");
}

/* Runs two NOPs and a jump with TF set, for dbg_probe.c. The #DB handler clears TF in its frame. Returns where the jump goes to. */
static inline uint64_t step_over_jump(void)
{
	uint64_t target;

	__asm__ volatile("lea 1f(%%rip), %0\n\t"
			 "pushfq\n\t"
			 "orq $0x100, (%%rsp)\n\t"
			 "popfq\n\t"
			 "nop\n\t"
			 "nop\n\t"
			 "jmp 1f\n\t"
			 "nop\n"
			 "1:\tnop\n\t"
			 "nop"
			 : "=r"(target) : : "memory", "cc");
	return target;
}

#endif
