/* SPDX-License-Identifier: MIT */
/* Symptom: a guest brings the host down, or stops for good, by entering a guest of its own with a control block full of nonsense.
 * Cause: L0 hands to hardware what it has not checked, reads the block twice, or reads and writes through addresses that L1 chose.
 * Who had it: Linux KVM, CVE-2021-3653 (AVIC), CVE-2021-3656 (VMLOAD, VMSAVE), CVE-2021-29657 (the double fetch of VMRUN's block).
 * Rules: NB (see n00_nested), M01; APM "Canonicalization and Consistency Checks". HP = what a hostile guest probes. */
#include "tests/guest/l1.h"

#define MSR_VM_CR 0xc0010114u
#define MSR_VM_HSAVE 0xc0010117u

CODE64(m00_code, "nop;" L2_END)

static uint64_t value;
static unsigned at;

static void put(uint8_t *b)
{
	*(uint64_t *)(void *)(b + at) = value;
}

static void drop_vmrun(uint8_t *b) { b[0x10] &= 0xfe; }
static void no_asid(uint8_t *b) { *(uint32_t *)(void *)(b + 0x58) = 0; }

static void refused(const char *what, void (*tweak)(uint8_t *), unsigned offset, uint64_t v)
{
	struct l2 g = { .code = m00_code, .tweak = tweak };

	at = offset;
	value = v;
	l1_run(&g);
	check_eq(fmt("NB.%s", what), "refused", g.exit.kind, L1_INVALID);
	g = (struct l2){ .code = m00_code };
	l1_run(&g);
	check_eq(fmt("NB.%s.next", what), "the next one runs", g.exit.kind, L1_CPUID);
}

static void checks(void)
{
	uint64_t efer = 0;

	try_rdmsr(MSR_EFER, &efer);
	refused("no-vmrun", drop_vmrun, 0, 0);
	refused("asid", no_asid, 0, 0);
	refused("svme", put, 0x4d0, efer & ~(1ul << 12));
	refused("efer", put, 0x4d0, efer | 1ul << 40);
	refused("cr0.nw", put, 0x558, (read_cr0() & ~(1ul << 30)) | 1ul << 29);
	refused("cr0.high", put, 0x558, read_cr0() | 1ul << 32);
	refused("cr4", put, 0x548, read_cr4() | 1ul << 40);
	refused("cr4.pae", put, 0x548, read_cr4() & ~(1ul << 5));
	refused("event", put, 0xa8, 1ul << 31 | 5ul << 8 | 13);
	refused("event.vector", put, 0xa8, 1ul << 31 | 3ul << 8 | 40);
	refused("msrpm", put, 0x48, 1ul << 60);
}

/* ---- The instructions ---- */

static uint8_t block[4096] __attribute__((aligned(4096)));

static void operands(void)
{
	uint64_t old = 0, gs = 0;

	check_eq("HP.vmrun.odd", "VMRUN: not at a page", SVM_INSN("0xd8", (uint64_t)block + 8), VEC_GP);
	check_eq("HP.vmrun.far", "VMRUN: beyond any address", SVM_INSN("0xd8", 1ul << 60), VEC_GP);
	check_eq("HP.vmload.odd", "VMLOAD: not at a page", SVM_INSN("0xda", (uint64_t)block + 8), VEC_GP);
	check_eq("HP.vmsave.far", "VMSAVE: beyond any address", SVM_INSN("0xdb", 1ul << 60), VEC_GP);
	if (env.drover) {
		check_eq("HP.vmload.mem", "VMLOAD: behind the memory", SVM_INSN("0xda", (env.mem_bytes + 0x100000) & ~0xffful), VEC_GP);
		check_eq("HP.vmsave.mem", "VMSAVE: behind the memory", SVM_INSN("0xdb", (env.mem_bytes + 0x100000) & ~0xffful), VEC_GP);
	}
	if (env.drover) /* an emulator may panic */
		check_eq("HP.skinit", "SKINIT is not announced", SVM_INSN("0xde", 0), VEC_UD);
	try_rdmsr(MSR_KERNEL_GS_BASE, &old);
	try_wrmsr(MSR_KERNEL_GS_BASE, 0x123456000);
	check_eq("NB.vmsave", "VMSAVE", SVM_INSN("0xdb", (uint64_t)block), NO_FAULT);
	check_eq("NB.vmsave.value", "stores KernelGSBase", *(uint64_t *)(void *)(block + 0x620), 0x123456000);
	*(uint64_t *)(void *)(block + 0x620) = 0x777000;
	check_eq("NB.vmload", "VMLOAD", SVM_INSN("0xda", (uint64_t)block), NO_FAULT);
	try_rdmsr(MSR_KERNEL_GS_BASE, &gs);
	check_eq("NB.vmload.value", "loads it", gs, 0x777000);
	try_wrmsr(MSR_KERNEL_GS_BASE, old);
	check_eq("NB.clgi", "CLGI", SVM_INSN("0xdd", 0), NO_FAULT);
	check_eq("NB.stgi", "STGI", SVM_INSN("0xdc", 0), NO_FAULT);
	check_eq("NB.invlpga", "INVLPGA", SVM_INSN("0xdf", 0), NO_FAULT);
}

static void msrs(void)
{
	uint64_t v = 0;

	if (!env.drover) {
		check_skip("NB.vm_cr", "VM_CR and VM_HSAVE_PA", "emulators have them in part");
		return;
	}
	check_eq("NB.vm_cr", "VM_CR can be read", try_rdmsr(MSR_VM_CR, &v), NO_FAULT);
	check_eq("NB.vm_cr.value", "SVM is not disabled", v & 0x18, 0);
	check_eq("NB.vm_cr.reserved", "reserved bits: #GP", try_wrmsr(MSR_VM_CR, 1ul << 20), VEC_GP);
	check_eq("NB.hsave.odd", "VM_HSAVE_PA: not a page", try_wrmsr(MSR_VM_HSAVE, 0x1001), VEC_GP);
	check_eq("NB.hsave.far", "beyond any address", try_wrmsr(MSR_VM_HSAVE, 1ul << 60), VEC_GP);
}

/* xorshift; a fixed seed, so that each run is the same. */
static uint64_t seed = 0x9e3779b97f4a7c15;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

/* One or two fields of the save area and of the control area at random. What L2 then does is its own business, as long as it comes back: it shuts down,
 * faults, or is refused. It runs whatever it finds, so it may not write. */
static void noise(uint8_t *b)
{
	static const uint16_t fields[] = { 0x400, 0x408, 0x412, 0x418, 0x420, 0x438, 0x460, 0x468, 0x480, 0x488, 0x4c8, 0x4d0, 0x548, 0x550, 0x558, 0x560,
					   0x568, 0x570, 0x578, 0x5d8, 0x640, 0x668, 0x670, 0x58, 0x68, 0xb0, 0xb8, 0xc0, 0xc8, 0x48, 0x40, 0x60 };

	for (unsigned i = 0; i < 2; i++) {
		unsigned f = fields[rnd() % (sizeof(fields) / sizeof(fields[0]))];
		uint64_t v = *(uint64_t *)(void *)(b + f);

		*(uint64_t *)(void *)(b + f) = rnd() & 1 ? v ^ 1ul << (rnd() & 63) : rnd();
	}
	*(uint32_t *)(void *)(b + 0x0c) = ~2u & ~0x10u; /* everything exits, but NMI and VINTR */
}

static void garbage(void)
{
	unsigned invalid = 0, entered = 0, sane = 0;

	for (unsigned i = 0; i < 512; i++)
		l1_map(i, NULL, 0);
	for (unsigned i = 0; i < 400; i++) {
		struct l2 g = { .code = m00_code, .tweak = noise, .movdr = ~0u, .paging = true, .read_only = true };

		l1_run(&g);
		invalid += g.exit.kind == L1_INVALID;
		entered += g.exit.kind != L1_INVALID && g.exit.kind != L1_NONE;
		write_dr7(DR7_INIT);
		write_dr6(DR6_INIT);
		if (i % 16 == 15) {
			g = (struct l2){ .code = m00_code };
			l1_run(&g);
			sane += g.exit.kind == L1_CPUID;
		}
	}
	check("HP.garbage.refused", "random blocks: some are refused", invalid > 20);
	check("HP.garbage.entered", "others run, and come back", entered > 20);
	check_eq("HP.garbage.sane", "and in between a good one does", sane, 25);
}

SCENARIO(m00_refused, "control blocks that no CPU enters, and the instructions' operands", SCN_NESTED)
{
	if (!env.amd)
		scenario_skip("SVM only: this is an Intel CPU");
	l1_begin();
	checks();
	operands();
	msrs();
	if (env.drover)
		garbage();
	l1_end();
	if (env.amd)
		check_eq("HP.off", "with EFER.SVME off again VMRUN is no instruction", SVM_INSN("0xd8", (uint64_t)block), VEC_UD);
}
