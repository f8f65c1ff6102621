/* SPDX-License-Identifier: MIT */
/* SVM's virtual machine control block (VMCB): layout and bits as the APM's appendix "Layout of VMCB" names them. No code. */
#ifndef ARCH_X86_DEF_VMCB_H
#define ARCH_X86_DEF_VMCB_H

#include <stddef.h>
#include <stdint.h>

struct vmcb_seg {
	uint16_t sel;
	uint16_t attr; /* descriptor bits 55:52 and 47:40 packed into 12 bits: 7:0 as VMX's access rights, then AVL, L, D/B, G */
	uint32_t limit;
	uint64_t base;
};

/* Words of intercept[]. */
enum { VMCB_I_CR, VMCB_I_DR, VMCB_I_EXC, VMCB_I_MISC1, VMCB_I_MISC2, VMCB_I_MISC3, VMCB_I_NR };

struct vmcb {
	/* control area */
	uint32_t intercept[VMCB_I_NR]; /* CR and DR: reads in 15:0, writes in 31:16 */
	uint8_t rsvd_018[0x24];
	uint16_t pause_threshold;
	uint16_t pause_count;
	uint64_t iopm_pa;
	uint64_t msrpm_pa;
	uint64_t tsc_offset;
	uint32_t asid;
	uint8_t tlb_control;
	uint8_t rsvd_05d[3];
	uint64_t vintr;
	uint64_t int_state;
	uint64_t exit_code;
	uint64_t exit_info1;
	uint64_t exit_info2;
	uint64_t exit_int_info;
	uint64_t np_control;
	uint64_t avic_apic_bar;
	uint64_t ghcb_pa;
	uint64_t event_inj;
	uint64_t n_cr3;
	uint64_t lbr_control;
	uint32_t clean;
	uint32_t rsvd_0c4;
	uint64_t nrip;
	uint8_t fetched;
	uint8_t insn_bytes[15];
	uint8_t rsvd_0e0[0x320];
	/* state save area */
	struct vmcb_seg es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
	uint8_t rsvd_4a0[0x2b];
	uint8_t cpl;
	uint8_t rsvd_4cc[4];
	uint64_t efer;
	uint8_t rsvd_4d8[0x70];
	uint64_t cr4;
	uint64_t cr3;
	uint64_t cr0;
	uint64_t dr7;
	uint64_t dr6;
	uint64_t rflags;
	uint64_t rip;
	uint8_t rsvd_580[0x58];
	uint64_t rsp;
	uint64_t s_cet;
	uint64_t ssp;
	uint64_t isst_addr;
	uint64_t rax;
	uint64_t star;
	uint64_t lstar;
	uint64_t cstar;
	uint64_t sfmask;
	uint64_t kernel_gs_base;
	uint64_t sysenter_cs;
	uint64_t sysenter_esp;
	uint64_t sysenter_eip;
	uint64_t cr2;
	uint8_t rsvd_648[0x20];
	uint64_t g_pat;
	uint64_t dbgctl;
	uint64_t br_from;
	uint64_t br_to;
	uint64_t last_excp_from;
	uint64_t last_excp_to;
	uint8_t rsvd_698[0x968];
};

/* Every field with its offset in the manual: the assertions below, and the dump. */
#define VMCB_FIELDS(X) \
	X(intercept[VMCB_I_CR], 0x000) \
	X(intercept[VMCB_I_DR], 0x004) \
	X(intercept[VMCB_I_EXC], 0x008) \
	X(intercept[VMCB_I_MISC1], 0x00c) \
	X(intercept[VMCB_I_MISC2], 0x010) \
	X(intercept[VMCB_I_MISC3], 0x014) \
	X(pause_threshold, 0x03c) \
	X(pause_count, 0x03e) \
	X(iopm_pa, 0x040) \
	X(msrpm_pa, 0x048) \
	X(tsc_offset, 0x050) \
	X(asid, 0x058) \
	X(tlb_control, 0x05c) \
	X(vintr, 0x060) \
	X(int_state, 0x068) \
	X(exit_code, 0x070) \
	X(exit_info1, 0x078) \
	X(exit_info2, 0x080) \
	X(exit_int_info, 0x088) \
	X(np_control, 0x090) \
	X(avic_apic_bar, 0x098) \
	X(ghcb_pa, 0x0a0) \
	X(event_inj, 0x0a8) \
	X(n_cr3, 0x0b0) \
	X(lbr_control, 0x0b8) \
	X(clean, 0x0c0) \
	X(nrip, 0x0c8) \
	X(fetched, 0x0d0) \
	X(cpl, 0x4cb) \
	X(efer, 0x4d0) \
	X(cr4, 0x548) \
	X(cr3, 0x550) \
	X(cr0, 0x558) \
	X(dr7, 0x560) \
	X(dr6, 0x568) \
	X(rflags, 0x570) \
	X(rip, 0x578) \
	X(rsp, 0x5d8) \
	X(s_cet, 0x5e0) \
	X(ssp, 0x5e8) \
	X(isst_addr, 0x5f0) \
	X(rax, 0x5f8) \
	X(star, 0x600) \
	X(lstar, 0x608) \
	X(cstar, 0x610) \
	X(sfmask, 0x618) \
	X(kernel_gs_base, 0x620) \
	X(sysenter_cs, 0x628) \
	X(sysenter_esp, 0x630) \
	X(sysenter_eip, 0x638) \
	X(cr2, 0x640) \
	X(g_pat, 0x668) \
	X(dbgctl, 0x670) \
	X(br_from, 0x678) \
	X(br_to, 0x680) \
	X(last_excp_from, 0x688) \
	X(last_excp_to, 0x690)

#define VMCB_SEGS(X) \
	X(es, 0x400) \
	X(cs, 0x410) \
	X(ss, 0x420) \
	X(ds, 0x430) \
	X(fs, 0x440) \
	X(gs, 0x450) \
	X(gdtr, 0x460) \
	X(ldtr, 0x470) \
	X(idtr, 0x480) \
	X(tr, 0x490)

/* What becomes of a field when a guest runs a guest of its own (svm/nested_merge.c): X(kind, field).
 * EITHER: intercepts: drover's or the guest hypervisor's. STATE: its guest's: from its control block at VMRUN, back into it at #VMEXIT. SHARED: not
 * switched by VMRUN and #VMEXIT: its guest goes on with the guest hypervisor's and leaves its own; VMLOAD and VMSAVE move it. RECORD: as SHARED, but
 * VMLOAD and VMSAVE do not touch it. Not here: what is drover's alone (IOPM: every port exits; AVIC, GHCB, CET), what is computed, and what goes through
 * struct vcpu: RIP, RSP, RAX, RFLAGS, DR6, DR7, DEBUGCTL, the event. */
#define VMCB_NESTED(X) \
	X(EITHER, intercept[VMCB_I_CR]) X(EITHER, intercept[VMCB_I_DR]) X(EITHER, intercept[VMCB_I_EXC]) \
	X(EITHER, intercept[VMCB_I_MISC1]) X(EITHER, intercept[VMCB_I_MISC2]) X(EITHER, intercept[VMCB_I_MISC3]) \
	X(STATE, int_state) X(STATE, es) X(STATE, cs) X(STATE, ss) X(STATE, ds) X(STATE, gdtr) X(STATE, idtr) X(STATE, cpl) \
	X(STATE, efer) X(STATE, cr4) X(STATE, cr3) X(STATE, cr0) X(STATE, cr2) \
	X(SHARED, fs) X(SHARED, gs) X(SHARED, ldtr) X(SHARED, tr) X(SHARED, star) X(SHARED, lstar) X(SHARED, cstar) X(SHARED, sfmask) \
	X(SHARED, kernel_gs_base) X(SHARED, sysenter_cs) X(SHARED, sysenter_esp) X(SHARED, sysenter_eip) \
	X(RECORD, br_from) X(RECORD, br_to) X(RECORD, last_excp_from) X(RECORD, last_excp_to)

/* All that hardware looks at at VMRUN: two stretches, [from, to). */
#define VMCB_CONTROL_END offsetof(struct vmcb, fetched)
#define VMCB_SAVE_START offsetof(struct vmcb, es)
#define VMCB_SAVE_END offsetof(struct vmcb, rsvd_698)

#define VMCB_CHECK(field, off) _Static_assert(offsetof(struct vmcb, field) == (off), "VMCB layout: " #field);
VMCB_FIELDS(VMCB_CHECK)
VMCB_SEGS(VMCB_CHECK)
#undef VMCB_CHECK
_Static_assert(sizeof(struct vmcb_seg) == 16, "VMCB layout: segment");
_Static_assert(sizeof(struct vmcb) == 4096, "VMCB layout: one page");

/* intercept[VMCB_I_MISC1] */
#define VMCB_I1_INTR (1u << 0)
#define VMCB_I1_NMI (1u << 1)
#define VMCB_I1_SMI (1u << 2)
#define VMCB_I1_INIT (1u << 3)
#define VMCB_I1_VINTR (1u << 4)
#define VMCB_I1_RDPMC (1u << 15)
#define VMCB_I1_CPUID (1u << 18)
#define VMCB_I1_IRET (1u << 20)
#define VMCB_I1_SWINT (1u << 21)
#define VMCB_I1_INVD (1u << 22)
#define VMCB_I1_HLT (1u << 24)
#define VMCB_I1_INVLPGA (1u << 26)
#define VMCB_I1_IOIO (1u << 27)
#define VMCB_I1_MSR (1u << 28)
#define VMCB_I1_SHUTDOWN (1u << 31)
/* intercept[VMCB_I_MISC2] */
#define VMCB_I2_VMRUN (1u << 0)
#define VMCB_I2_VMMCALL (1u << 1)
#define VMCB_I2_VMLOAD (1u << 2)
#define VMCB_I2_VMSAVE (1u << 3)
#define VMCB_I2_STGI (1u << 4)
#define VMCB_I2_CLGI (1u << 5)
#define VMCB_I2_SKINIT (1u << 6)
#define VMCB_I2_ICEBP (1u << 8)
#define VMCB_I2_WBINVD (1u << 9)
#define VMCB_I2_MONITOR (1u << 10)
#define VMCB_I2_MWAIT (1u << 11)
#define VMCB_I2_XSETBV (1u << 13)

#define VMCB_TLB_NONE 0
#define VMCB_TLB_FLUSH_ALL 1
#define VMCB_TLB_FLUSH_ASID 3 /* only with FlushByASID */

#define VMCB_V_TPR 0xffull
#define VMCB_V_IRQ (1ull << 8)
#define VMCB_V_PRIO_MAX (0xfull << 16)
#define VMCB_V_IGN_TPR (1ull << 20)
#define VMCB_V_INTR_MASKING (1ull << 24)
#define VMCB_V_VECTOR (0xffull << 32)

#define VMCB_INT_SHADOW (1ull << 0)
#define VMCB_NP_ENABLE (1ull << 0)
#define VMCB_LBR_ENABLE (1ull << 0)

/* EVENTINJ and EXITINTINFO */
#define VMCB_EV_VECTOR 0xffull
#define VMCB_EV_TYPE(ev) (((ev) >> 8) & 7)
#define VMCB_EV_TYPE_BITS (7ull << 8)
#define VMCB_EV_INTR 0u
#define VMCB_EV_NMI 2u
#define VMCB_EV_EXCEPTION 3u
#define VMCB_EV_SOFT 4u
#define VMCB_EV_ERROR_VALID (1ull << 11)
#define VMCB_EV_RSVD 0x7ffff000ull
#define VMCB_EV_VALID (1ull << 31)

/* VMCB clean bits: set = the CPU may keep what it has cached of the group. All others are always loaded. */
#define VMCB_CLEAN_I (1u << 0)    /* intercepts, TSC offset, pause filter */
#define VMCB_CLEAN_IOPM (1u << 1) /* both permission maps: addresses and contents */
#define VMCB_CLEAN_ASID (1u << 2)
#define VMCB_CLEAN_TPR (1u << 3)
#define VMCB_CLEAN_NP (1u << 4)
#define VMCB_CLEAN_CR (1u << 5)
#define VMCB_CLEAN_DR (1u << 6)
#define VMCB_CLEAN_DT (1u << 7)
#define VMCB_CLEAN_SEG (1u << 8)
#define VMCB_CLEAN_CR2 (1u << 9)
#define VMCB_CLEAN_LBR (1u << 10)
#define VMCB_CLEAN_ALL 0x7ffu

/* Permission maps. IOPM: 64 K ports and 3 more bits, 1 = intercept. MSRPM: 2 bits per MSR (read, write), three ranges of 8192. */
#define VMCB_IOPM_SIZE 0x3000u
#define VMCB_MSRPM_SIZE 0x2000u

/* EXITINFO1 of an I/O intercept */
#define VMCB_IO_IN (1ull << 0)
#define VMCB_IO_STR (1ull << 2)
#define VMCB_IO_REP (1ull << 3)
#define VMCB_IO_SIZE(info) (((info) >> 4) & 7) /* one bit of 8, 16, 32: the value is the size in bytes */
#define VMCB_IO_PORT(info) ((uint16_t)((info) >> 16))
/* EXITINFO1 of a nested page fault: a page-fault error code, and where in the walk. */
#define VMCB_NPF_WRITE (1ull << 1)
#define VMCB_NPF_FETCH (1ull << 4)
/* EXITINFO1 of a CR intercept, with decode assists */
#define VMCB_CR_IS_MOV (1ull << 63)

#endif
