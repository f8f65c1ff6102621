/* SPDX-License-Identifier: MIT */
/* The hypercall interface between drover and its guests: numbers, arguments, results. No code. */
#ifndef ARCH_X86_DEF_HYPERCALL_H
#define ARCH_X86_DEF_HYPERCALL_H

/* VMMCALL on AMD, VMCALL on Intel. RAX = number, arguments RBX, RCX, RDX (not RSI/RDI); result in RAX; other registers are kept.
 * CPL > 0 and unknown numbers give HC_ENOSYS, as do lab calls of a VM that was not started with the flag `lab`. */
#define HC_ENOSYS 0xffffffffffffffda /* no such call, or not for this VM */
#define HC_EINVAL 0xffffffffffffffea /* an argument is out of range */
#define HC_ENODEV 0xffffffffffffffed /* what the call needs is absent here (no peer VM, no MSR storage) */

#define HC_NOP 0x00 /* the cheapest call: bench. Returns 0. Handled as any slow exit */

/* Lab calls. */
#define HC_LAB_FAST 0x10      /* a fast-path exit: goes round the inner loop. Returns 0 */
#define HC_LAB_SLOW 0x11      /* a slow exit: outer loop, registers synced, host interrupts opened. Returns 0 */
#define HC_LAB_HOST_BP 0x12   /* RBX = linear address, RCX = DR7 type/len nibble (LEN<<2|RW), RDX = slot 0-3: arm a breakpoint of the
			       * HOST in the host's own DR; RDX = ~0: remove all. The address is a host-linear number that may equal a
			       * guest-linear one, which is the point. Returns 0 */
#define HC_LAB_HOST_DR6 0x13  /* what a host #DB handler would see in DR6 now, after this exit was left. Returns DR6 */
#define HC_LAB_HOST_DEBUGCTL 0x14 /* RBX = value: set the host's DEBUGCTL through its one setter. Returns 0; ENODEV: the MSR faults or does not store */
#define HC_LAB_HOST_DEBUGCTL_RD 0x15 /* what RDMSR gives the host now (hardware, not the shadow); ENODEV as above */
#define HC_LAB_OPEN_DEBUGCTL 0x16 /* RBX = 1/0: let this VM's RDMSR of DEBUGCTL reach hardware (no intercept) or not. Returns 0 */
#define HC_LAB_COUNT 0x17     /* RBX = enum lab_counter; RCX = 1: reset after reading. Returns the count for this CPU */
#define HC_LAB_YIELD 0x18     /* run the other vCPU of this group until it yields or its slice ends. Returns 0; ENODEV: there is none */
#define HC_LAB_INJECT 0x19    /* RBX = enum lab_inject, RCX = vector (for LAB_IRQ). Returns 0 */
#define HC_LAB_RESET 0x1a     /* RBX = entry RIP, RCX = RSP: reset this vCPU's debug state as RESET/INIT do (rule Z08), then continue at RBX in
			       * the present mode with RCX as stack, RFLAGS=2. Does not return */
#define HC_LAB_HOST_STATE 0x1b /* RBX = 0: host DR7 as read now; 1..4: host DR0-3 as read now. Returns it */
#define HC_LAB_HOST_TOUCH 0x1c /* RBX = slot: the host itself reads the address of its breakpoint of that slot if it lies in host memory owned by the
			       * lab (see HC_LAB_HOST_BUF); Returns DR6 as the host's #DB handler saw it, or 0 when no #DB came */
#define HC_LAB_HOST_BUF 0x1d  /* Returns the host-linear address of the lab's own 64-byte host buffer (for HC_LAB_HOST_BP) */
#define HC_LAB_HOST_DB 0x1e   /* RBX = 1: reset. Returns how many #DBs the host took in its own context (host breakpoint hits included) */

#define HC_LAB_SNAPSHOT 0x1f  /* RBX = enum lab_snapshot, RCX = linear address of a struct dbg_snapshot (def/snapshot.h) inside one page, or for NESTED
			       * of a struct svm_nested_snapshot at a page, RDX = its size.
			       * Returns 0; EINVAL: size or place, or a field, which the host's log names; nothing has changed then */
#define HC_LAB_DEBUGGER 0x20  /* a debugger outside of this guest takes slot RDX: RBX = linear address, RCX = DR7 type/len nibble; RDX = ~0: gives
			       * all back. Returns 0; EINVAL: no such slot, or the guest has it enabled */
#define HC_LAB_DEBUGGER_HITS 0x21 /* RBX = 0: how often a slot of the debugger was hit; 1: that, and reset; 2: DR6 as it saw it at the last one */
#define HC_LAB_POLICY 0x22    /* Returns enum dbg_policy: 0 lazy, 1 eager, 2 cached, 3 trapped */
#define HC_LAB_AUDIT 0x28     /* Returns how many of the hardware's entry rules the control block that runs breaks; the host's log names them */

enum lab_snapshot {
	LAB_SAVE = 0,
	LAB_RESTORE = 1,
	LAB_MIGRATE = 2, /* this call is retired first, so that its trap waits; then saved, wiped, and restored from what was saved, the levels with it */
	LAB_NESTED_SAVE = 3,    /* this call is retired first, with RAX = 0 */
	LAB_NESTED_RESTORE = 4, /* goes on behind the call that saved, at its level, with RAX = 1 */
	LAB_MIGRATE_L2 = 5,     /* as MIGRATE, at the next exit of this guest's own guest that drover handles; nothing is written */
};

enum lab_counter {
	LAB_DR_READS = 0,        /* MOV from DR executed by the host */
	LAB_DR_WRITES = 1,       /* MOV to DR executed by the host */
	LAB_DEBUGCTL_READS = 2,
	LAB_DEBUGCTL_WRITES = 3,
	LAB_EXITS = 4,           /* exits of this vCPU, fast ones included */
	LAB_FAST_EXITS = 5,
	LAB_MASK_WRITES = 6,     /* address masks written by the host (AMD) */
	LAB_BUS_LOCKS = 7,       /* bus locks of this vCPU that the host was told of (buslock=exit) */
	LAB_MOVES = 8,           /* how often LAB_MIGRATE or LAB_MIGRATE_L2 has saved, wiped and restored this vCPU, its levels included */
	LAB_NR_COUNTERS
};

enum lab_inject { LAB_IRQ = 0, LAB_NMI = 1 };

#define HC_CPUID_BASE 0x40000000
#define HC_CPUID_FEATURES 0x40000001 /* EAX: HC_FEATURE_*; EBX: the level of the machine that asks: 1 in a guest of the first drover */
#define HC_CPUID_TIMING 0x40000010 /* EAX: kHz of the TSC, EBX: of the APIC timer before its divider; as other hypervisors have it */
#define HC_FEATURE_LAB 0x1 /* EAX of HC_CPUID_FEATURES */
#define HC_FEATURE_SVM 0x2
#define HC_FEATURE_VMX 0x4
#define HC_FEATURE_PVM 0x8 /* the guest's kernel runs in ring 3 */

/* CPUID does not trap there on every CPU. INVLPG of this address, which every other place has nothing at, with CPUID behind it is drover's CPUID always.
 * VMCALL or VMMCALL behind it is a hypercall also where a hypervisor below drover takes those of ring 3 for its own. */
#define HC_PVM_PAIR 0xffffffffff4d5650

#endif
