/* SPDX-License-Identifier: MIT */
/* Snapshots: every byte written, every field checked, and a #DB that waits is carried over once (rules Z10, Z11, Z13). */
#include <stdio.h>
#include <string.h>

#include "arch/x86/def/dr.h"
#include "arch/x86/def/hypercall.h"
#include "both.h"
#include "vmm/snapshot.h"

static const struct gop nothing[] = { { G_NOP } };

/* A vcpu that has never run, with all features, so that each field can be something. */
static struct vcpu *fresh(struct machine *m, bool amd, unsigned feat)
{
	struct vcpu *v;

	if (!machine_start(m, amd, plain))
		return NULL;
	v = machine_add(m, OPS(nothing), OPS(nothing));
	v->dbg.feat = (uint8_t)((amd ? DBG_FEAT_AMD : 0) | feat);
	return v;
}

BOTH(Z10_whole)
{
	struct machine m;
	struct dbg_snapshot s, zero;
	struct vcpu *v = fresh(&m, amd, 0);

	if (!v)
		return;
	for (unsigned i = 0; i < 4; i++)
		v->dbg.dr[i] = 0x1000 + i;
	memset(&s, 0xff, sizeof(s));
	snapshot_save(v, &s);
	tap_ok(s.dr[0] == 0x1000 && s.dr[3] == 0x1003, id(amd, "Z10.dr"), "DR0-3 are saved");
	tap_eq(s.dr6, 0xffff0ff0, id(amd, "Z10.dr6"), "DR6 is");
	tap_eq(s.size, sizeof(s), id(amd, "Z10.size"), "the size is the struct's");
	/* What names itself aside, nothing of the buffer's old bytes is left. */
	memset(&zero, 0, sizeof(zero));
	zero.magic = s.magic;
	zero.version = s.version;
	zero.size = s.size;
	memcpy(zero.dr, s.dr, sizeof(zero.dr));
	zero.dr6 = s.dr6;
	zero.dr7 = s.dr7;
	tap_ok(memcmp(&zero, &s, sizeof(s)) == 0, id(amd, "Z10.padding"), "every other byte is 0");
	tap_ok(!snapshot_check(v, &s), id(amd, "Z10.own"), "what was saved can be restored");
	machine_stop(&m);
}

struct bad {
	const char *field;
	size_t at;
	uint8_t size;
	uint64_t value;
};
#define BAD(f, v) { #f, offsetof(struct dbg_snapshot, f), sizeof(((struct dbg_snapshot *)0)->f), v }

static const struct bad bads[] = {
	BAD(magic, 0), BAD(version, 0), BAD(version, 2), BAD(size, 8), BAD(flags, 1u << 4), BAD(flags, 1u << 31), BAD(payload, 1), BAD(cls, 1),
	BAD(shadow, 3), { "reserved", offsetof(struct dbg_snapshot, reserved), 1, 1 }, { "reserved", offsetof(struct dbg_snapshot, reserved) + 1, 1, 1 },
	{ "reserved", offsetof(struct dbg_snapshot, reserved2), 4, 1 }, BAD(pending_dbg, 1), BAD(dr6, 1ull << 32), BAD(dr7, 1ull << 63), BAD(debugctl, 1u << 6), BAD(debugctl, 1),
	{ "mask", offsetof(struct dbg_snapshot, mask) + 12, 4, 1 }, { "irq_pending", offsetof(struct dbg_snapshot, irq_pending), 8, 1u << 8 },
	BAD(nr_lbr, 1), BAD(nr_lbr, SNAPSHOT_LBR_MAX + 1), { "lbr", offsetof(struct dbg_snapshot, lbr), 8, 1 },
};

BOTH(Z10_refused)
{
	struct tap_set set = { .id = id(amd, "Z10.refused") };
	struct machine m;
	struct dbg_snapshot good, s;
	struct vcpu *v = fresh(&m, amd, 0);

	if (!v)
		return;
	snapshot_save(v, &good);
	for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
		const char *why;

		s = good;
		memcpy((uint8_t *)&s + bads[i].at, &bads[i].value, bads[i].size);
		why = snapshot_check(v, &s);
		/* a class without a #DB is named by what it belongs to */
		tap_case(&set, why && (strcmp(why, bads[i].field) == 0 || (strcmp(bads[i].field, "cls") == 0 && strcmp(why, "payload") == 0)), true,
			 "%s=0x%llx: %s", bads[i].field, (unsigned long long)bads[i].value, why ? why : "taken");
	}
	tap_end(&set, "each bad field is refused by its name");
	s = good;
	s.flags = SNAPSHOT_DB;
	s.payload = 1u << 12;
	tap_ok(snapshot_check(v, &s) != NULL, id(amd, "Z10.payload"), "bit 12 is no cause");
	s.payload = 1;
	s.cls = DBG_TASK + 1;
	tap_ok(snapshot_check(v, &s) != NULL, id(amd, "Z10.cls"), "nor is there a fifth class");
	s.cls = DBG_TRAP;
	tap_ok(!snapshot_check(v, &s), id(amd, "Z10.db"), "a trap with B0 waiting is taken");
	s = good;
	s.shadow = SHADOW_MOV_SS;
	s.pending_dbg = 1 | (uint32_t)DR6_BS;
	tap_ok(!snapshot_check(v, &s), id(amd, "Z11.held"), "as are bits that MOV SS holds back");
	s.shadow = SHADOW_STI;
	tap_ok(snapshot_check(v, &s) != NULL, id(amd, "Z11.held.sti"), "which STI does not");
	machine_stop(&m);
}

BOTH(Z10_restored)
{
	struct machine m;
	struct dbg_snapshot s, again;
	struct vcpu *v = fresh(&m, amd, DBG_FEAT_LBR | DBG_FEAT_BTF | (amd ? DBG_FEAT_MASKS : 0));

	if (!v)
		return;
	snapshot_save(v, &s);
	s.dr6 = 0;
	s.dr7 = 0x10101 | 0xd000;
	s.debugctl = 2;
	s.mask[2] = amd ? 0xfff : 0;
	s.nr_lbr = amd ? 4 : 0;
	s.lbr[1] = amd ? 0x1234 : 0;
	s.irq_pending[1] = 1;
	s.flags = SNAPSHOT_NMI | SNAPSHOT_NMI_BLOCKED;
	tap_ok(!snapshot_check(v, &s), id(amd, "Z13.taken"), "features that the vcpu has can be restored");
	snapshot_restore(v, &s);
	tap_eq(v->dbg.dr6, 0xffff0ff0, id(amd, "Z10.fix.dr6"), "DR6's fixed bits");
	tap_eq(v->dbg.dr7, 0x10501, id(amd, "Z10.fix.dr7"), "DR7's");
	tap_eq(v->dbg.state, DBG_ARMED, id(amd, "H14.restore"), "the registers are loaded for a breakpoint that came this way");
	tap_eq(v->dbg.debugctl, 2, id(amd, "Z13.debugctl"), "DEBUGCTL");
	tap_ok(v->nmi_pending && v->st.nmi_blocked && v->event_pending, id(amd, "Z11.nmi"), "a pending NMI and the blocking of others");
	snapshot_save(v, &again);
	s.dr6 = 0xffff0ff0;
	s.dr7 = 0x10501;
	again.nr_lbr = amd ? again.nr_lbr : 0;
	tap_ok(memcmp(&s, &again, sizeof(s)) == 0, id(amd, "Z13.same"), "saved again it is the same");
	machine_stop(&m);
}

BOTH(Z11_waiting)
{
	struct machine m;
	struct dbg_snapshot s;
	struct vcpu *v = fresh(&m, amd, 0);

	if (!v)
		return;
	v->dbg.dr6 = 0xffff0ff8;
	vcpu_raise_db(v, &(struct dbg_record){ .payload = 1 | (uint32_t)DR6_BS, .cls = DBG_TRAP, .emulated = true });
	snapshot_save(v, &s);
	tap_eq(s.dr6, 0xffff0ff8, id(amd, "Z11.dr6"), "DR6 has nothing of a #DB that waits");
	tap_eq(s.payload, 0x4001, id(amd, "Z11.payload"), "the snapshot has it");
	snapshot_wipe(v);
	tap_ok(v->exception.type == EVENT_NONE && v->dbg.dr6 == 0xffff0ff0, id(amd, "Z11.wiped"), "the vcpu has nothing left");
	snapshot_restore(v, &s);
	tap_ok(v->exception.type == EVENT_FAULT && v->exception.vector == 1 && v->exception.db.payload == 0x4001 &&
	       v->exception.db.cls == DBG_TRAP && v->exception.db.emulated, id(amd, "Z11.back"), "and then it waits again");
	tap_eq(v->dbg.dr6, 0xffff0ff8, id(amd, "Z11.back.dr6"), "with DR6 as it was");
	machine_stop(&m);
}

/* The trap of the very call that migrates, on the way into a guest that single-steps. */
BOTH(Z11_migrate)
{
	static const struct gop ops[] = { { G_POPF, .a = 1 }, { G_HC, .a = HC_LAB_SNAPSHOT, .b = LAB_MIGRATE, .c = 0x5000, .d = sizeof(struct dbg_snapshot) },
					  { G_NOP }, { G_POPF }, { G_NOP } };
	struct machine m;
	const struct dbg_snapshot *s;

	if (!machine_start(&m, amd, plain) || !machine_add(&m, OPS(ops), OPS(show_dr67)))
		return;
	machine_run(&m);
	s = (const struct dbg_snapshot *)(m.g[0].ram + 0x5000);
	tap_eq(s->magic, SNAPSHOT_MAGIC, id(amd, "Z11.migrate.saved"), "the snapshot is in the guest's memory");
	tap_eq(s->payload, DR6_BS, id(amd, "Z11.migrate.payload"), "with the step over the call");
	machine_same_as_bare(&m, 0, id(amd, "Z11.migrate"));
	sw_report(id(amd, "migrate"));
	machine_stop(&m);
}
