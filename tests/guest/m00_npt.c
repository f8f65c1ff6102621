/* SPDX-License-Identifier: MIT */
/* Symptom: a guest's guest reads stale memory after its hypervisor has remapped a page, writes to one that is read-only, or hangs on a fault that nobody
 * shows to the hypervisor.
 * Cause: L0 shadows L1's nested tables and does not flush with L1, gives more rights than L1's entry has, or keeps for itself a fault that is L1's.
 * Who had it: Linux KVM's shadow MMU in many forms (CVE-2021-3653 and its siblings are the near ones).
 * Rules: NB (see n00_nested); the page fault of the second level: APM "Nested versus Guest Page Faults, Fault Ordering". */
#include "tests/guest/l1.h"

#define AT(slot) (L1_WINDOW_GPA + (slot) * 4096ul)

static volatile uint64_t page[3][512] __attribute__((aligned(4096)));

CODE64(m00_read, "mov (%rbx), %rax; mov %rax, %r8;" L2_END)
CODE64(m00_write, "mov %r8, (%rbx); mov (%rbx), %r9;" L2_END)
CODE64(m00_call, "call *%rbx;" L2_END)
CODE64(m00_cpuid, "cpuid; nop; hlt;")

/* What the exit says of the access: SVM's error code, or VMX's qualification as far as every CPU has it. */
static void info(const char *id, const char *desc, const struct l2 *g, uint64_t svm, uint64_t vmx)
{
	if (env.amd)
		check_eq(id, desc, g->exit.info1, svm);
	else
		check_eq(id, desc, g->exit.info1 & 0x1bf, vmx | 0x180);
}

static void faults(void)
{
	struct l2 g = { .code = m00_read, .paging = true, .flush = true, .regs = { .rbx = AT(3) + 8 } };

	page[0][1] = 0x1234;
	l1_map(3, page[0], 0);
	l1_run(&g);
	check_eq("NB.npf.absent", "a page that L1 has not mapped", g.exit.kind, L1_MEM);
	check_eq("NB.npf.gpa", "its address", g.exit.gpa, AT(3) + 8);
	check_eq("NB.npf.read", "a read", g.exit.write, 0);
	info("NB.npf.info", "error code: user, not present; the final address", &g, 0x100000004, 1);
	check_eq("NB.npf.rip", "at the instruction", g.rip, (uint64_t)m00_read);
	l1_map(3, page[0], L1_READ);
	g.flush = false; /* an entry that was absent needs no flush */
	l1_run(&g);
	check_eq("NB.npf.mapped", "mapped, it goes on", g.exit.kind, L1_CPUID);
	check_eq("NB.npf.value", "and reads that page", g.regs.r8, 0x1234);

	g = (struct l2){ .code = m00_write, .paging = true, .regs = { .rbx = AT(3) + 16, .r8 = 0x77 } };
	l1_run(&g);
	check_eq("NB.npf.ro", "a write to a read-only page", g.exit.kind == L1_MEM ? g.exit.write : 99, 1);
	info("NB.npf.ro.info", "error code: user, write, present", &g, 0x100000007, 2 | 1 << 3);
	check_eq("NB.npf.ro.kept", "has not been made", page[0][2], 0);
	l1_map(3, page[0], L1_READ | L1_WRITE);
	l1_run(&g);
	check_eq("NB.npf.rw", "writable, it is made", page[0][2], 0x77);
	check_eq("NB.npf.rw.read", "and read back", g.regs.r9, 0x77);
}

static void remap(void)
{
	struct l2 g = { .code = m00_read, .paging = true, .flush = true, .regs = { .rbx = AT(5) } };

	page[1][0] = 0x1111;
	page[2][0] = 0x2222;
	l1_map(5, page[1], L1_RIGHTS);
	l1_run(&g);
	check_eq("NB.remap.first", "the first page", g.regs.r8, 0x1111);
	l1_map(5, page[2], L1_RIGHTS);
	g = (struct l2){ .code = m00_read, .paging = true, .flush = true, .regs = { .rbx = AT(5) } };
	l1_run(&g);
	check_eq("NB.remap.second", "after a remap and a flush the second", g.regs.r8, 0x2222);
	l1_map(5, page[2], 0);
	g = (struct l2){ .code = m00_read, .paging = true, .flush = true, .regs = { .rbx = AT(5) } };
	l1_run(&g);
	check_eq("NB.remap.gone", "and then none", g.exit.kind, L1_MEM);
}

static void execute(void)
{
	struct l2 g = { .code = m00_call, .paging = true, .flush = true, .regs = { .rbx = AT(6) + ((uint64_t)m00_cpuid & 4095) } };

	l1_map(6, m00_cpuid - ((uint64_t)m00_cpuid & 4095), L1_READ | L1_WRITE);
	l1_run(&g);
	check_eq("NB.exec.nx", "a fetch from a page without the right", g.exit.kind, L1_MEM);
	info("NB.exec.nx.info", "error code: user, present, fetch", &g, 0x100000015, 4 | 3 << 3);
	l1_map(6, m00_cpuid - ((uint64_t)m00_cpuid & 4095), L1_RIGHTS);
	g.rip = 0;
	l1_run(&g);
	check_eq("NB.exec", "with the right it runs there", g.exit.kind == L1_CPUID ? g.rip : 0, g.regs.rbx);
}

/* Instructions that L0 has to fetch through both levels of L1's tables: L1 does not intercept RDMSR, and hardware may not tell its length. */
CODE64(m00_rdmsr, "rdmsr; jmp *%rbx;")

static void fetched(void)
{
	struct l2 g = { .code = m00_call, .paging = true, .flush = true, .regs = { .rcx = MSR_EFER, .rbx = AT(7) + ((uint64_t)m00_rdmsr & 4095) } };
	uint64_t efer = 0;

	l1_map(7, m00_rdmsr - ((uint64_t)m00_rdmsr & 4095), L1_RIGHTS);
	g.code = (const void *)g.regs.rbx;
	g.regs.rbx = (uint64_t)m00_cpuid;
	l1_run(&g);
	try_rdmsr(MSR_EFER, &efer);
	check_eq("NB.fetch", "code at an address that is not L1's", g.exit.kind == L1_CPUID ? g.rip : 0, (uint64_t)m00_cpuid);
	check_eq("NB.fetch.value", "and its RDMSR", g.regs.rax, efer & 0xffffffff);
}

static void hostile(void)
{
	struct l2 g = { .code = m00_read, .paging = true, .flush = true, .regs = { .rbx = AT(9) } };

	l1_map(9, page[0], L1_RIGHTS | L1_RESERVED);
	l1_run(&g);
	check_eq("NB.reserved", "a reserved bit in L1's entry", g.exit.kind, L1_MEM);
	if (!env.drover) {
		check_skip("NB.beyond", "L1's entry points behind its memory", "a bare machine reads something there");
		return;
	}
	l1_map(9, (const void *)(env.mem_bytes + 0x100000), L1_RIGHTS);
	g = (struct l2){ .code = m00_read, .paging = true, .flush = true, .regs = { .rbx = AT(9) } };
	l1_run(&g);
	check_eq("NB.beyond", "L1's entry points behind its memory", g.exit.kind, L1_MEM);
}

/* INS and OUTS that L0 carries out for L2: the rights of L1's nested tables are those of the access, and what they lack is L1's to know. */
CODE64(m00_insb, "mov $0x80, %edx; insb;" L2_END)
CODE64(m00_outsb, "mov $0x80, %edx; outsb;" L2_END)
CODE64(m00_rep_insb, "mov $0x80, %edx; mov $3, %ecx; rep insb;" L2_END)

static void string_io(void)
{
	struct l2 g = { .code = m00_insb, .paging = true, .flush = true, .regs = { .rdi = AT(11) + 8 } };

	l1_map(11, page[0], 0);
	l1_run(&g);
	check_eq("NB.ins.absent", "INS to a page that L1 has not mapped", g.exit.kind, L1_MEM);
	check_eq("NB.ins.gpa", "its address", g.exit.gpa, AT(11) + 8);
	check_eq("NB.ins.info", "a write, to the final address", g.exit.info1, env.amd ? 0x100000006 : 0x182);
	check_eq("NB.ins.rip", "at the instruction", g.rip - (uint64_t)m00_insb, 5);
	check_eq("NB.ins.rdi", "with nothing done", g.regs.rdi, AT(11) + 8);
	l1_map(11, page[0], L1_READ);
	g.regs.rdi = AT(11) + 8;
	l1_run(&g);
	check_eq("NB.ins.ro", "to a read-only page", g.exit.kind, L1_MEM);
	check_eq("NB.ins.ro.info", "a write where reading is allowed", g.exit.info1, env.amd ? 0x100000007 : 0x18a);
	l1_map(11, page[0], L1_RIGHTS);
	l1_run(&g);
	check_eq("NB.ins.rw", "writable, it is made", g.exit.kind == L1_CPUID ? g.regs.rdi : 0, AT(11) + 9);
	l1_map(12, page[0], 0);
	g = (struct l2){ .code = m00_outsb, .paging = true, .flush = true, .regs = { .rsi = AT(12) } };
	l1_run(&g);
	check_eq("NB.outs.absent", "OUTS from one that is absent", g.exit.kind == L1_MEM ? g.exit.info1 : 0, env.amd ? 0x100000004 : 0x181);
	l1_map(12, page[0], L1_READ);
	g.rip = 0;
	l1_run(&g);
	check_eq("NB.outs.ro", "reading needs no more than that right", g.exit.kind == L1_CPUID ? g.regs.rsi : 0, AT(12) + 1);
	g = (struct l2){ .code = m00_rep_insb, .paging = true, .flush = true, .regs = { .rdi = AT(12) + 4094 } };
	l1_map(12, page[0], L1_RIGHTS);
	l1_map(13, page[1], 0);
	l1_run(&g);
	check_eq("NB.rep.absent", "REP INS over the end of what is mapped", g.exit.kind == L1_MEM ? g.exit.gpa : 0, AT(13));
	check_eq("NB.rep.rcx", "with one element left", g.regs.rcx, 1);
	l1_map(13, page[1], L1_RIGHTS);
	l1_run(&g);
	check_eq("NB.rep.on", "goes on from there", g.exit.kind == L1_CPUID ? g.regs.rdi : 0, AT(13) + 1);
}

/* Many pages: more than a bounded pool of shadow tables may hold at once, in both directions. */
static void many(void)
{
	unsigned bad = 0;

	for (unsigned i = 0; i < 512; i++)
		l1_map(i, page[i % 3], L1_RIGHTS);
	for (unsigned i = 0; i < 3; i++)
		page[i][0] = 0x5000 + i;
	for (unsigned i = 0; i < 512; i++) {
		unsigned at = i * 37 % 512;
		struct l2 g = { .code = m00_read, .paging = true, .flush = !i, .regs = { .rbx = AT(at) } };

		l1_run(&g);
		bad += g.exit.kind != L1_CPUID || g.regs.r8 != 0x5000 + at % 3;
	}
	check_eq("NB.many", "each page is the right one", bad, 0);
}

SCENARIO(m00_npt, "nested paging: faults, rights, remaps, fetches", SCN_NESTED)
{
	l1_begin();
	faults();
	remap();
	execute();
	fetched();
	hostile();
	string_io();
	many();
	l1_end();
}
