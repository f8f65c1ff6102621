/* SPDX-License-Identifier: MIT */
/* Symptom: a guest's user resets the machine, ends its VM, or reads what a device of the host's has; INS writes into the host, or where its guest's tables lead.
 * Cause: IN and OUT of ring 3 go by IOPL and the I/O map of a TSS, both of which are the guest's own there, while hardware has the host's; and whoever carries
 * out a string instruction has to look at its address as hardware would have: at its high bits, at whose it is.
 * Who had it: nobody may say for PVM; drover's own string I/O took addresses that are not canonical.
 * Rules: P21, P19; HP = what a hostile guest probes. Expected: the faults of the manual, and IN reads what it reads in the kernel. */
#include "tests/guest/guest.h"

#define HOST 0xffffff8000000000ul
#define IMAGE 0xffffffff80000000ul
#define MAPPED 0xffffffffc0000000ul
#define ELSEWHERE 0x400000ul /* where it is not the host's, p21_escape has mapped something there */

extern const uint64_t guest_gdt[];

CODE64(p21p_in, "inb %dx, %al;" DONE)
CODE64(p21p_out, "outb %al, %dx;" DONE)
CODE64(p21p_outs, "outsb;" DONE)
CODE64(p21p_ins, "insb;" DONE)

static struct {
	uint8_t tss[104], map[0x201]; /* ports up to 0xfff, and a byte of ones */
} io_tss __attribute__((aligned(128)));

/* The runtime's TSS with an I/O map behind it that refuses one port, or none; 0xffff: the runtime's own again. */
static void io_map(uint16_t refused)
{
	static uint64_t own[2];
	bool back = refused == 0xffff;
	uint64_t at = (uint64_t)&io_tss;

	if (!own[0]) {
		own[0] = guest_gdt[SEL_TSS / 8] & ~(2ull << 40); /* not busy */
		own[1] = guest_gdt[SEL_TSS / 8 + 1];
	}
	if (!back) {
		const uint8_t *from = (const uint8_t *)((own[0] >> 16 & 0xffffff) | (own[0] >> 56) << 24 | own[1] << 32);

		for (unsigned i = 0; i < sizeof(io_tss.tss); i++)
			io_tss.tss[i] = from[i];
		for (unsigned i = 0; i < 0x200; i++)
			io_tss.map[i] = i == refused / 8u ? (uint8_t)(1u << refused % 8) : 0;
		io_tss.map[0x200] = 0xff;
		io_tss.tss[102] = sizeof(io_tss.tss);
		io_tss.tss[103] = 0;
	}
	gdt_set(SEL_TSS, back ? own[0] : (sizeof(io_tss) - 1) | (at & 0xffffff) << 16 | 0x89ull << 40 | (at >> 24 & 0xff) << 56);
	gdt_set(SEL_TSS + 8, back ? own[1] : at >> 32);
	__asm__ volatile("ltr %w0" ::"r"(SEL_TSS));
}

/* What ends it; NO_FAULT: a #PF elsewhere. */
static unsigned port(const char *code, unsigned cpl, unsigned iopl, uint16_t at, uint64_t address)
{
	struct run r = { .code = code, .cpl = cpl, .allow = 1 << VEC_PF | 1 << VEC_GP | 1 << VEC_SS };

	r.iopl = iopl;
	r.regs.rdx = at;
	r.regs.rsi = r.regs.rdi = address;
	run_code(&r);
	return r.end == VEC_PF && trap_nth(VEC_PF, 0)->cr2 != address ? NO_FAULT : r.end;
}

static unsigned in(unsigned cpl, unsigned iopl, uint16_t at)
{
	struct run r = { .code = p21p_in, .cpl = cpl, .allow = 1 << VEC_GP };

	r.iopl = iopl;
	r.regs.rdx = at;
	run_code(&r);
	return r.end == VEC_DONE ? r.regs.rax & 0xff : 0x100 | r.end;
}

/* How many of INS and OUTS at that address, in the kernel, with IOPL 3 and with an open I/O map, end otherwise. */
static unsigned strings(uint64_t address, unsigned end)
{
	unsigned wrong = 0;

	for (unsigned k = 0; k < 3; k++) {
		if (k == 2)
			io_map(0);
		wrong += port(p21p_outs, k ? 3 : 0, k == 1 ? 3 : 0, 0x80, address) != end;
		wrong += port(p21p_ins, k ? 3 : 0, k == 1 ? 3 : 0, 0x80, address) != end;
	}
	io_map(0xffff);
	return wrong;
}

/* A guest's IOPL and I/O map let its users at the guest's ports, which are not hardware's: neither those by which drover talks and ends, nor those by which a
 * machine is reset. String I/O reaches the host's memory as little as a MOV does. */
SCENARIO(p21_ports, "a guest's users at ports and string I/O", 0)
{
	static const uint16_t at[] = { 0x20, 0x21, 0x64, 0xa1, 0x3ff, 0xcf8, 0xcfc }, never[] = { 0x3f8, 0x3fb, 0x64, 0x21, 0x402, 0x604, 0xcf8, 0xcf9, 0xf4 };
	static const uint64_t where[] = { HOST, IMAGE + 0x101000, IMAGE + 0x144000, IMAGE + 0x152000, ~0ul }, nowhere[] = { 0x1000000000000, 0x800000000000, 1ul << 62 };
	unsigned refused = 0, open = 0, same = 0, nothing = 0, wrong = 0;

	for (unsigned i = 0; i < sizeof(never) / sizeof(never[0]) && !(refused | open); i++) { /* the last one would end all */
		refused += port(p21p_in, 3, 0, never[i], 0) != VEC_GP;
		refused += port(p21p_out, 3, 0, never[i], 0) != VEC_GP;
		io_map(never[i]);
		open += port(p21p_in, 3, 0, never[i], 0) != VEC_GP;
		open += port(p21p_out, 3, 0, never[i], 0) != VEC_GP;
		io_map(0xffff);
	}
	for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		unsigned kernels = in(0, 0, at[i]);

		same += kernels > 0xff || in(3, 3, at[i]) != kernels;
		io_map(0);
		same += in(3, 0, at[i]) != kernels;
		io_map(0xffff);
		nothing += (at[i] == 0x64 || at[i] >= 0xcf8) && kernels != 0xff;
	}
	same += port(p21p_out, 3, 3, 0x80, 0) != VEC_DONE;
	check_eq("P21.port.refused", "IOPL 0 and nothing in the I/O map: #GP", refused, 0);
	check_eq("P21.port.map", "a bit of the I/O map, all others clear: #GP", open, 0);
	check_eq("P21.port.iopl", "IOPL 3, or an open I/O map: what the kernel reads", same, 0);
	if (env.drover)
		check_eq("P21.port.nothing", "PCI and the keyboard's controller are not there", nothing, 0);
	for (unsigned i = 0; i < sizeof(where) / sizeof(where[0]); i++)
		wrong += strings(where[i] + (env.pvm || i == 0 || i == 4 ? 0 : ELSEWHERE), VEC_PF);
	check_eq("P21.port.string", "INS and OUTS in the host's range: #PF there", wrong, 0);
	wrong = 0;
	for (unsigned i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++)
		wrong += strings(nowhere[i], VEC_GP);
	check_eq("P21.port.nowhere", "INS and OUTS at an address that is not canonical: #GP", wrong, 0);
	map_2m(MAPPED, (uint64_t)watch_buf & ~0x1ffffful);
	check_eq("P21.port.mapped", "where the guest's own tables have something there: under PVM still #PF",
		 strings(MAPPED + ((uint64_t)watch_buf & 0x1fffff), env.pvm ? VEC_PF : VEC_DONE), 0);
}

