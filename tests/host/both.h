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

#define BOTH(name) \
	static void name(bool amd); \
	TEST(name##_vmx) { name(false); } \
	TEST(name##_svm) { name(true); } \
	static void name(bool amd)

#endif
