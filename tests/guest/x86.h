/* SPDX-License-Identifier: MIT */
/* The guest's own names for architectural bits, and the instructions that C cannot write.
 * On purpose not drover's headers: a constant that is wrong there must not be wrong here too. */
#ifndef TESTS_GUEST_X86_H
#define TESTS_GUEST_X86_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* DR6: value after reset, and each cause. RTM (16) and BLD (11) are low-active: 1 means "did not happen". */
#define DR6_INIT 0xffff0ff0u
#define DR6_B0 0x1u
#define DR6_B1 0x2u
#define DR6_B2 0x4u
#define DR6_B3 0x8u
#define DR6_BLD (1u << 11)
#define DR6_BD (1u << 13)
#define DR6_BS (1u << 14)
#define DR6_BT (1u << 15)
#define DR6_RTM (1u << 16)

/* DR7. DR7_BP(n, rw, len) enables slot n (global bit); rw and len are the raw two-bit fields. */
#define DR7_INIT 0x400u
#define DR7_LE (1u << 8)
#define DR7_GE (1u << 9)
#define DR7_RTM (1u << 11)
#define DR7_GD (1u << 13)
#define DR7_L(n) (1u << (2 * (n)))
#define DR7_G(n) (2u << (2 * (n)))
#define DR7_RWLEN(n, rw, len) ((((uint32_t)(len) << 2) | (uint32_t)(rw)) << (16 + 4 * (n)))
#define DR7_BP(n, rw, len) (DR7_G(n) | DR7_RWLEN(n, rw, len))
#define RW_EXEC 0u
#define RW_WRITE 1u
#define RW_IO 2u
#define RW_RDWR 3u
#define LEN_1 0u
#define LEN_2 1u
#define LEN_8 2u
#define LEN_4 3u

#define FL_FIXED 0x2ul
#define FL_CF 0x1ul
#define FL_TF 0x100ul
#define FL_IF 0x200ul
#define FL_IOPL 0x3000ul
#define FL_RF 0x10000ul
#define FL_AC 0x40000ul

#define CR0_MP (1ul << 1)
#define CR0_EM (1ul << 2)
#define CR0_TS (1ul << 3)
#define CR0_AM (1ul << 18)
#define CR0_PG (1ul << 31)
#define CR4_DE (1ul << 3)
#define CR4_OSFXSR (1ul << 9)
#define CR4_OSXMMEXCPT (1ul << 10)
#define CR4_OSXSAVE (1ul << 18)

#define MSR_SYSENTER_CS 0x174u
#define MSR_SYSENTER_ESP 0x175u
#define MSR_SYSENTER_EIP 0x176u
#define MSR_DEBUGCTL 0x1d9u
#define MSR_PAT 0x277u
#define MSR_EFER 0xc0000080u
#define EFER_SCE 0x1ul
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_CSTAR 0xc0000083u
#define MSR_SFMASK 0xc0000084u
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX 0xc0000103u

#define DEBUGCTL_LBR 0x1ul
#define DEBUGCTL_BTF 0x2ul
#define DEBUGCTL_BLD 0x4ul

/* Vectors. VEC_INT80 logs and returns; VEC_DONE ends run_code(). Both gates have DPL 3. */
#define VEC_DE 0
#define VEC_DB 1
#define VEC_NMI 2
#define VEC_BP 3
#define VEC_OF 4
#define VEC_UD 6
#define VEC_NM 7
#define VEC_DF 8
#define VEC_SS 12
#define VEC_GP 13
#define VEC_PF 14
#define VEC_AC 17
#define VEC_INT80 0x80
#define VEC_DONE 0x81
#define NO_FAULT 0xff

/* Selectors of the runtime's GDT. DS and ES are SEL_UDATA at every privilege level, so that IRET to ring 3 keeps them. */
#define SEL_KCODE64 0x08
#define SEL_KDATA 0x10
#define SEL_KCODE32 0x18
#define SEL_UCODE32 0x23 /* order UCODE32, UDATA, UCODE64 is what SYSRET wants */
#define SEL_UDATA 0x2b
#define SEL_UCODE64 0x33
#define SEL_TSS 0x38 /* 16 bytes */
#define SEL_TSS32 0x48 /* room for a legacy-mode TSS, see gdt_set() */
#define SEL_FREE 0x50 /* the last, free for a scenario */

static inline void io_outb(uint16_t port, uint8_t v) { __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port)); }
static inline void io_outl(uint16_t port, uint32_t v) { __asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port)); }
static inline uint8_t io_inb(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

#define PVM_PAIR "invlpg 0xffffffffff4d5650; " /* HC_PVM_PAIR */

/* At CPL 0 only. The INVLPG in front has nothing to invalidate anywhere; to a drover that runs its guests in ring 3, where CPUID need not trap, the two
 * are its own CPUID. */
static inline void cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	__asm__ volatile(PVM_PAIR "cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub) : "memory");
}

static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi)::"memory");
	return ((uint64_t)hi << 32) | lo;
}

#define X86_CR(n)                                                                                                        \
	static inline uint64_t read_cr##n(void)                                                                          \
	{                                                                                                                \
		uint64_t v;                                                                                              \
		__asm__ volatile("mov %%cr" #n ", %0" : "=r"(v)::"memory");                                              \
		return v;                                                                                                \
	}                                                                                                                \
	static inline void write_cr##n(uint64_t v) { __asm__ volatile("mov %0, %%cr" #n ::"r"(v) : "memory"); }
X86_CR(0)
X86_CR(2)
X86_CR(3)
X86_CR(4)
#undef X86_CR

/* Plain MOV DR for n = 0-3, 6, 7: a fault here is unexpected and ends the scenario with ERROR (see try_mov_to_dr() for the rest). */
#define X86_DR(n)                                                                                                        \
	static inline uint64_t read_dr##n(void)                                                                          \
	{                                                                                                                \
		uint64_t v;                                                                                              \
		__asm__ volatile("mov %%dr" #n ", %0" : "=r"(v)::"memory");                                              \
		return v;                                                                                                \
	}                                                                                                                \
	static inline void write_dr##n(uint64_t v) { __asm__ volatile("mov %0, %%dr" #n ::"r"(v) : "memory"); }
X86_DR(0)
X86_DR(1)
X86_DR(2)
X86_DR(3)
X86_DR(6)
X86_DR(7)
#undef X86_DR

#endif
