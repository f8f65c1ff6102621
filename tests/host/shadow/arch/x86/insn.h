/* SPDX-License-Identifier: MIT */
/* Stands in for the real insn.h in hosted builds: the privileged instructions that the recompiled sources use, carried out by the software CPU. */
#ifndef ARCH_X86_INSN_H
#define ARCH_X86_INSN_H

#include <stdbool.h>
#include <stdint.h>

struct cpuid_regs {
	uint32_t eax, ebx, ecx, edx;
};

struct __attribute__((packed)) desc_ptr {
	uint16_t limit;
	uint64_t base;
};

struct cpuid_regs cpuid(uint32_t leaf, uint32_t subleaf);
uint64_t rdmsr(uint32_t msr);
void wrmsr(uint32_t msr, uint64_t v);
bool rdmsr_safe(uint32_t msr, uint64_t *v);
bool wrmsr_safe(uint32_t msr, uint64_t v);
uint64_t rdtsc(void);

uint64_t read_cr0(void);
uint64_t read_cr2(void);
uint64_t read_cr3(void);
uint64_t read_cr4(void);
void write_cr0(uint64_t v);
void write_cr2(uint64_t v);
void write_cr3(uint64_t v);
void write_cr4(uint64_t v);

void raise_machine_check(void);
void ltr(uint16_t sel);
void lldt(uint16_t sel);

static inline void raise_nmi(void)
{
} /* no NMI on the software CPU */
void irq_disable(void);
void irq_enable(void);
void irq_enable_and_hlt(void);
void hlt(void);
void cpu_pause(void);
void wbinvd(void);
void invlpg(const void *p);

uint8_t inb(uint16_t port);
void outb(uint16_t port, uint8_t v);

uint64_t xgetbv(uint32_t i);
void xsetbv(uint32_t i, uint64_t v);
void xsave(void *area, uint64_t mask);
void xrstor(const void *area, uint64_t mask);
void fxsave(void *area);
void fxrstor(const void *area);

void lgdt(const struct desc_ptr *p);
void lidt(const struct desc_ptr *p);
void sgdt(struct desc_ptr *p);
void sidt(struct desc_ptr *p);
uint16_t str(void);
uint16_t read_cs(void);
uint16_t read_ss(void);

bool vmxon(uint64_t pa);
void vmxoff(void);
bool vmclear(uint64_t pa);
bool vmptrld(uint64_t pa);
bool vmread(uint64_t field, uint64_t *v);
bool vmwrite(uint64_t field, uint64_t v);
bool invept(uint64_t type, uint64_t eptp);
bool invvpid(uint64_t type, uint16_t vpid);

void clgi(void);
void stgi(void);
void vmsave(uint64_t pa);

static inline void step_over_store(volatile uint8_t *p)
{
	*p = 1;
} /* this CPU combines the two (A34) */

uint8_t touch8(const volatile uint8_t *p);

#endif
