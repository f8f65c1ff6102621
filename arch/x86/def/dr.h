/* SPDX-License-Identifier: MIT */
/* Debug registers, DEBUGCTL and the #DB payload: bits as the manuals name them. */
#ifndef ARCH_X86_DEF_DR_H
#define ARCH_X86_DEF_DR_H

#define DR6_B(i) (1ull << (i))
#define DR6_B_ALL 0xfull
#define DR6_BLD (1ull << 11) /* active low: 0 = a bus lock was trapped */
#define DR6_BIT12 (1ull << 12) /* always 0 in DR6; "enabled breakpoint" in VMX's pending-debug field only */
#define DR6_BD (1ull << 13)
#define DR6_BS (1ull << 14)
#define DR6_BT (1ull << 15)
#define DR6_RTM (1ull << 16) /* active low: 0 = inside a transactional region */
#define DR6_INIT 0xffff0ff0ull /* after RESET; also the mask of the bits that read 1 when nothing happened */
#define DR6_STICKY (DR6_BD | DR6_BS | DR6_BT)

#define DR7_L(i) (1ull << ((i) * 2))
#define DR7_G(i) (2ull << ((i) * 2))
#define DR7_ENABLE(i) (3ull << ((i) * 2))
#define DR7_ENABLE_ALL 0xffull
#define DR7_LE (1ull << 8)
#define DR7_GE (1ull << 9)
#define DR7_BIT10 (1ull << 10) /* always 1 */
#define DR7_RTM (1ull << 11)
#define DR7_GD (1ull << 13)
#define DR7_RWLEN(i) (0xfull << (16 + (i) * 4))
#define DR7_RW(dr7, i) (((dr7) >> (16 + (i) * 4)) & 3)
#define DR7_LEN(dr7, i) (((dr7) >> (18 + (i) * 4)) & 3)
#define DR7_SLOT(i, rw, len) ((((uint64_t)(rw)) | ((uint64_t)(len) << 2)) << (16 + (i) * 4))
#define DR7_INIT 0x400ull
#define DR_RW_EXEC 0
#define DR_RW_WRITE 1
#define DR_RW_IO 2
#define DR_RW_ACCESS 3
#define DR_LEN_1 0
#define DR_LEN_2 1
#define DR_LEN_8 2
#define DR_LEN_4 3

#define DEBUGCTL_LBR (1ull << 0)
#define DEBUGCTL_BTF (1ull << 1)
#define DEBUGCTL_BUS_LOCK (1ull << 2)
#define DEBUGCTL_FREEZE_IN_SMM (1ull << 14)

#endif
