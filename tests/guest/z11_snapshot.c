/* SPDX-License-Identifier: MIT */
/* Symptom: after a live migration a guest's debugger sees a single step in DR6 before its handler runs, or loses the #DB, or the host dies of a DR7
 * that no guest could have written.
 * Cause: a #DB that waits for delivery is merged into the saved DR6, or not saved at all; restored values are believed; padding is not zeroed.
 * Who had it: Linux KVM (KVM_CAP_EXCEPTION_PAYLOAD came for it; d14bdb553f91, 2c10b61421a2), Xen until 15987cb03f.
 * Rules: Z10, Z11, Z13. */
#include "tests/guest/guest.h"

#include "arch/x86/def/snapshot.h"

static struct dbg_snapshot snap __attribute__((aligned(4096)));

CODE64(z11_amd, "vmmcall; nop; nop;" DONE)
CODE64(z11_intel, "vmcall; nop; nop;" DONE)

static uint64_t call(uint64_t op)
{
	return hypercall(HC_LAB_SNAPSHOT, op, (uint64_t)(uintptr_t)&snap, sizeof(snap));
}

static void fill(volatile uint8_t *p, uint8_t v)
{
	for (size_t i = 0; i < sizeof(snap); i++)
		p[i] = v;
}

/* All of it zero but what the scenario has set. */
static void saved_values(void)
{
	uint64_t rest = 0;

	write_dr0(0x1111);
	write_dr3(0x8000000000000003);
	write_dr6(DR6_INIT | DR6_BS | DR6_B1);
	write_dr7(DR7_INIT | DR7_RWLEN(1, RW_WRITE, LEN_4));
	fill((volatile uint8_t *)&snap, 0xff);
	check_eq("Z10.save", "a snapshot is saved", call(LAB_SAVE), 0);
	check_eq("Z10.save.dr0", "DR0", snap.dr[0], 0x1111);
	check_eq("Z10.save.dr3", "DR3", snap.dr[3], 0x8000000000000003);
	check_eq("Z10.save.dr6", "DR6", snap.dr6, DR6_INIT | DR6_BS | DR6_B1);
	check_eq("Z10.save.dr7", "DR7", snap.dr7, DR7_INIT | DR7_RWLEN(1, RW_WRITE, LEN_4));
	rest |= snap.flags | snap.payload | snap.cls | snap.shadow | snap.reserved[0] | snap.reserved[1] | snap.pending_dbg | snap.dr[1] | snap.dr[2];
	rest |= snap.debugctl | snap.reserved2;
	for (unsigned i = 0; i < 4; i++)
		rest |= snap.mask[i] | snap.irq_pending[i];
	for (unsigned i = snap.nr_lbr; i < SNAPSHOT_LBR_MAX; i++)
		rest |= snap.lbr[i];
	check_eq("Z10.save.zero", "what is not in use is 0, whatever lay there", rest, 0);
}

static void restored_values(void)
{
	uint64_t v = 0;

	debug_state_reset();
	check_eq("Z13.restore", "it is restored", call(LAB_RESTORE), 0);
	check_eq("Z13.dr0", "DR0 is back", read_dr0(), 0x1111);
	check_eq("Z13.dr3", "DR3 is back", read_dr3(), 0x8000000000000003);
	check_eq("Z13.dr6", "DR6 is back", read_dr6(), DR6_INIT | DR6_BS | DR6_B1);
	check_eq("Z13.dr7", "DR7 is back", read_dr7(), DR7_INIT | DR7_RWLEN(1, RW_WRITE, LEN_4));
	if (env.debugctl)
		check_eq("Z13.debugctl", "DEBUGCTL is what was saved", (try_rdmsr(MSR_DEBUGCTL, &v), v), snap.debugctl);
	else
		check_skip("Z13.debugctl", "DEBUGCTL is what was saved", "no DEBUGCTL");
	snap.dr6 = 0;
	snap.dr7 = 0;
	check_eq("Z10.fix", "zeroes in DR6 and DR7 are taken", call(LAB_RESTORE), 0);
	check_eq("Z10.fix.dr6", "DR6 has its fixed bits", read_dr6() | (env.rtm ? DR6_RTM : 0) | (env.bld ? DR6_BLD : 0), DR6_INIT);
	check_eq("Z10.fix.dr7", "DR7 has its fixed bits", read_dr7(), DR7_INIT);
}

static void refused(const char *what, size_t at, uint64_t bits)
{
	volatile uint8_t *p = (volatile uint8_t *)&snap;

	debug_state_reset();
	write_dr0(0x2222);
	call(LAB_SAVE);
	snap.dr[0] = 0x3333;
	for (unsigned i = 0; i < 8 && bits >> 8 * i; i++)
		p[at + i] |= (uint8_t)(bits >> 8 * i);
	check_eq(fmt("Z10.bad.%s", what), "a snapshot with that is refused", call(LAB_RESTORE), HC_EINVAL);
	check_eq(fmt("Z10.bad.%s.kept", what), "and changes nothing", read_dr0(), 0x2222);
}

static void refusals(void)
{
	refused("magic", offsetof(struct dbg_snapshot, magic), 1ull << 7);
	refused("version", offsetof(struct dbg_snapshot, version), 2);
	refused("size", offsetof(struct dbg_snapshot, size), 4);
	refused("flags", offsetof(struct dbg_snapshot, flags), 1u << 31);
	refused("payload", offsetof(struct dbg_snapshot, payload), 1);
	refused("cls", offsetof(struct dbg_snapshot, cls), 4);
	refused("shadow", offsetof(struct dbg_snapshot, shadow), 3);
	refused("reserved", offsetof(struct dbg_snapshot, reserved), 1);
	refused("pending", offsetof(struct dbg_snapshot, pending_dbg), DR6_BS);
	refused("dr6", offsetof(struct dbg_snapshot, dr6), 1ull << 32);
	refused("dr7", offsetof(struct dbg_snapshot, dr7), 1ull << 63);
	refused("debugctl", offsetof(struct dbg_snapshot, debugctl), 1ull << 7);
	refused("mask", offsetof(struct dbg_snapshot, mask), env.dbext ? 1ull << 31 : 1);
	refused("irq", offsetof(struct dbg_snapshot, irq_pending), 1u << 8);
	refused("lbr", offsetof(struct dbg_snapshot, lbr) + 8 * (SNAPSHOT_LBR_MAX - 1), 1);
	check_eq("Z10.bad.buffer", "nor one of another size", hypercall(HC_LAB_SNAPSHOT, LAB_RESTORE, (uint64_t)(uintptr_t)&snap, sizeof(snap) - 8),
		 HC_EINVAL);
}

/* The trap of the call itself waits while the vcpu is carried over. */
static void waiting_db(void)
{
	struct run r = { .code = env.amd ? z11_amd : z11_intel, .rflags = FL_TF };

	debug_state_reset();
	write_dr6(DR6_INIT | DR6_B3);
	r.regs.rax = HC_LAB_SNAPSHOT;
	r.regs.rbx = LAB_MIGRATE;
	r.regs.rcx = (uint64_t)(uintptr_t)&snap;
	r.regs.rdx = sizeof(snap);
	run_code(&r);
	check_trace("Z11.once", "the step over the call that migrates comes once, and the next ones too", r.code,
		    "DB+3/ffff4ff0;DB+4/ffff4ff0;DB+5/ffff4ff0");
	check_eq("Z11.flag", "the snapshot has the #DB", snap.flags & SNAPSHOT_DB, SNAPSHOT_DB);
	check_eq("Z11.payload", "and its cause", snap.payload, DR6_BS);
	check_eq("Z11.dr6", "which DR6 has not yet", snap.dr6, DR6_INIT | DR6_B3);
}

SCENARIO(z11_snapshot, "debug state is saved and restored whole, and checked", SCN_LAB)
{
	saved_values();
	restored_values();
	refusals();
	waiting_db();
}
