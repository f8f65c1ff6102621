/* SPDX-License-Identifier: MIT */
/* Tests that run on both backends: BOTH(name) defines two of them; short forms for the guest's scripts. */
#ifndef BOTH_H
#define BOTH_H

#include <stdio.h>

#include "machine.h"
#include "tap.h"

static const struct ref_cpu plain = { 0 };
static const struct gop show_dr67[] = { { G_MOV_FROM_DR, .n = 6 }, { G_MOV_FROM_DR, .n = 7 } };

#define WR(reg, v) { G_MOV_TO_DR, .n = (reg), .a = (v) }
#define RD(reg) { G_MOV_FROM_DR, .n = (reg) }
#define HC(nr) { G_HC, .a = (nr) }

/* A name per backend; good until the fourth later call. */
static inline const char *id(bool amd, const char *name)
{
	static char buf[4][80];
	static unsigned next;
	char *s = buf[next++ % 4];

	snprintf(s, sizeof(buf[0]), "%s.%s", name, amd ? "svm" : "vmx");
	return s;
}

/* A CPU with all of DEBUGCTL and what goes with it. */
static inline struct ref_cpu full(bool amd)
{
	return (struct ref_cpu){ .bld = true, .btf = true, .lbr = true, .lbrv = amd, .masks = amd, .masks32 = amd, .lbr_depth = amd ? 0 : 16 };
}

#define WM(msr, v) { G_WRMSR, .a = (v), .b = (msr) }
#define RM(msr) { G_RDMSR, .b = (msr) }
#define DEBUGCTL_MSR 0x1d9
#define TF_ON { G_POPF, .a = 1 }
#define TF_OFF { G_POPF }
static const struct gop show_all[] = { { G_MOV_FROM_DR, .n = 6 }, { G_MOV_FROM_DR, .n = 7 }, { .kind = G_RDMSR } };

/* One script on a full CPU, compared with bare hardware; the caller looks closer and stops the machine. */
static inline bool run_full(struct machine *m, bool amd, const char *name, const struct gop *ops, unsigned nr, const struct gop *handler, unsigned nr_handler)
{
	if (!machine_start(m, amd, full(amd)) || !machine_add(m, ops, nr, handler, nr_handler))
		return false;
	machine_run(m);
	machine_same_as_bare(m, 0, id(amd, name));
	sw_report(id(amd, name));
	return true;
}

/* The i-th record of a kind, its value; a value that none has if there is none. */
static inline uint64_t rec_of(const struct machine *m, enum rec_kind kind, unsigned i)
{
	const struct rec *r = machine_rec(m, 0, kind, i);

	return r ? r->a : 0xbadbadbad;
}

#define BOTH(name) \
	static void name(bool amd); \
	TEST(name##_vmx) { name(false); } \
	TEST(name##_svm) { name(true); } \
	static void name(bool amd)

#endif
