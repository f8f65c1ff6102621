/* SPDX-License-Identifier: MIT */
/* Symptom: a watchpoint on a buffer does not fire when a string I/O instruction reads or fills it, an I/O breakpoint not when INS or OUTS
 * touch the port; or each cause comes as a #DB of its own.
 * Cause: hardware looks at no breakpoint for what the hypervisor emulates: it has to match the memory side and the port itself, and to
 * merge both with the step.
 * Who had it: Linux KVM lacks the memory side; Xen matched I/O breakpoints since bec9e32050.
 * Rules: E08, E09, E10, A34. Port 0x3ff (the UART's scratch register) is emulated under drover. */
#include "tests/guest/guest.h"

CODE64(e08_outs, "outsb; nop;" DONE)
CODE64(e08_ins, "insb; nop;" DONE)
CODE64(e08_prefix_outs, ".byte 0x2e, 0x67; outsb; nop;" DONE)
CODE64(e08_seg_outs, ".byte 0x64; outsb; nop;" DONE)
CODE64(e08_seg_ins, ".byte 0x64; insb; nop;" DONE)
CODE32(e08_outs32, "outsb; nop;" DONE)
CODE32(e08_ins32, "insb; nop;" DONE)
CODE64(e08_rep_outs, "rep outsb; nop;" DONE)
CODE64(e08_rep_ins, "rep insb; nop;" DONE)

#define PORT DR7_BP(0, RW_IO, LEN_1)       /* DR0 = the port */
#define SRC(rw) DR7_BP(1, rw, LEN_1)       /* DR1 = the source's second byte or, not REP, its first */
#define DST(rw) DR7_BP(2, rw, LEN_4)       /* DR2 = the destination's dword */

static const struct bps {
	const char *rule, *name, *code, *want;
	bool compat;
	uint64_t rflags, rcx;
	uint32_t dr7;
} cases[] = {
	{ "E08", "outs", e08_outs, "DB+1/ffff0ff2", false, 0, 0, SRC(RW_RDWR) },
	{ "E08", "outs.write", e08_outs, "none", false, 0, 0, SRC(RW_WRITE) },
	{ "E08", "outs.prefix", e08_prefix_outs, "DB+3/ffff0ff2", false, 0, 0, SRC(RW_RDWR) },
	{ "E08", "outs32", e08_outs32, "DB+1/ffff0ff2", true, 0, 0, SRC(RW_RDWR) },
	{ "E08", "ins", e08_ins, "DB+1/ffff0ff4", false, 0, 0, DST(RW_WRITE) },
	{ "E08", "ins.rdwr", e08_ins, "DB+1/ffff0ff4", false, 0, 0, DST(RW_RDWR) },
	{ "E08", "ins32", e08_ins32, "DB+1/ffff0ff4", true, 0, 0, DST(RW_WRITE) },
	{ "E09", "outs", e08_outs, "DB+1/ffff0ff1", false, 0, 0, PORT },
	{ "E09", "ins", e08_ins, "DB+1/ffff0ff1", false, 0, 0, PORT },
	{ "E09", "ins32", e08_ins32, "DB+1/ffff0ff1", true, 0, 0, PORT },
	{ "E10", "outs", e08_outs, "DB+1/ffff0ff3", false, 0, 0, PORT | SRC(RW_RDWR) },
	{ "E10", "outs.tf", e08_outs, "DB+1/ffff4ff3;DB+2/ffff4ff0", false, FL_TF, 0, PORT | SRC(RW_RDWR) },
	{ "E10", "outs.tf.io", e08_outs, "DB+1/ffff4ff1;DB+2/ffff4ff0", false, FL_TF, 0, PORT },
	{ "E10", "outs.tf.data", e08_outs, "DB+1/ffff4ff2;DB+2/ffff4ff0", false, FL_TF, 0, SRC(RW_RDWR) },
	{ "E10", "ins", e08_ins, "DB+1/ffff0ff5", false, 0, 0, PORT | DST(RW_WRITE) },
	{ "E10", "ins.tf", e08_ins, "DB+1/ffff4ff5;DB+2/ffff4ff0", false, FL_TF, 0, PORT | DST(RW_WRITE) },
	{ "E10", "ins32.tf", e08_ins32, "DB+1/ffff4ff5;DB+2/ffff4ff0", true, FL_TF, 0, PORT | DST(RW_WRITE) },
	{ "E08", "rep-outs", e08_rep_outs, "DB+0/ffff0ff2", false, 0, 3, SRC(RW_RDWR) },
	{ "E08", "rep-ins", e08_rep_ins, "DB+0/ffff0ff4;DB+0/ffff0ff4;DB+2/ffff0ff4", false, 0, 3, DST(RW_WRITE) },
	{ "E09", "rep-outs", e08_rep_outs, "DB+0/ffff0ff1;DB+0/ffff0ff1;DB+2/ffff0ff1", false, 0, 3, PORT },
	{ "E10", "rep-outs.tf", e08_rep_outs, "DB+0/ffff4ff1;DB+0/ffff4ff3;DB+2/ffff4ff1;DB+3/ffff4ff0", false, FL_TF, 3, PORT | SRC(RW_RDWR) },
};

static void one(const struct bps *c, unsigned cpl, enum force_exit k)
{
	struct run r = { .code = c->code, .cpl = cpl, .iopl = cpl, .compat = c->compat, .rflags = c->rflags };

	r.regs = (struct regs){ .rcx = c->rcx, .rsi = (uint64_t)watch_buf, .rdi = (uint64_t)watch_buf + 32, .rdx = 0x3ff };
	watch_buf[0] = 0xa5;
	watch_buf[32] = 0;
	write_dr0(0x3ff);
	write_dr1((uint64_t)watch_buf + (c->rcx ? 1 : 0));
	write_dr2((uint64_t)watch_buf + 32);
	write_dr7(DR7_INIT | c->dr7);
	fx(k);
	run_code(&r);
	write_dr7(DR7_INIT);
	check_trace(fmt("%s.%s.%u.%s", c->rule, c->name, cpl, fx_name(k)), "the #DBs", c->code, c->want);
}

/* A segment override moves the source of OUTS, never the destination of INS. */
static void segments(void)
{
	struct run r = { .code = e08_seg_outs, .regs = { .rsi = (uint64_t)watch_buf - 0x1000, .rdx = 0x3ff } };
	uint64_t fs = 0;

	try_rdmsr(MSR_FS_BASE, &fs);
	try_wrmsr(MSR_FS_BASE, 0x1000);
	watch_buf[0] = 0x69;
	watch_buf[32] = 0;
	write_dr1((uint64_t)watch_buf);
	write_dr2((uint64_t)watch_buf + 32);
	write_dr7(DR7_INIT | SRC(RW_RDWR) | DST(RW_WRITE));
	run_code(&r);
	check_trace("E08.seg.outs", "the override's base counts", r.code, "DB+2/ffff0ff2");
	check_eq("E08.seg.outs.value", "the byte from there", io_inb(0x3ff), 0x69);
	r = (struct run){ .code = e08_seg_ins, .regs = { .rdi = (uint64_t)watch_buf + 32, .rdx = 0x3ff } };
	run_code(&r);
	check_trace("E08.seg.ins", "INS takes no override", r.code, "DB+2/ffff0ff4");
	check_eq("E08.seg.ins.value", "the byte is there", watch_buf[32], 0x69);
	write_dr7(DR7_INIT);
	try_wrmsr(MSR_FS_BASE, fs);
}

SCENARIO(e08_string_bps, "breakpoints on both sides of INS and OUTS", 0)
{
	write_cr4(read_cr4() | CR4_DE);
	for (unsigned cpl = 0; cpl < 4; cpl += 3)
		FOR_FX(k)
			for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
				one(&cases[i], cpl, k);
	/* The data did get across. */
	struct run r = { .code = e08_outs, .regs = { .rsi = (uint64_t)watch_buf, .rdx = 0x3ff } };

	watch_buf[0] = 0x5a;
	watch_buf[40] = 0;
	run_code(&r);
	r = (struct run){ .code = e08_ins, .regs = { .rdi = (uint64_t)watch_buf + 40, .rdx = 0x3ff } };
	run_code(&r);
	check_eq("E08.value", "out of one buffer, into the other", watch_buf[40], 0x5a);
	segments();
}
