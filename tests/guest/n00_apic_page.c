/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor that gives its guest the APIC gets an exit for memory that it has mapped, or its whole VM is stopped.
 * Cause: the APIC's page is no memory; L0's shadow of the hypervisor's tables can only map memory.
 * Who had it: found here in a review. Rules: NB (see n00_nested); E08. */
#include "tests/guest/apic.h"
#include "tests/guest/l1.h"

/* At the window, which leads there; and at its own address, without nested paging. EAX: version; EBX: task priority, written before. */
CODE64(n00_ap_page, "mov 0x30(%rdi), %eax; movl $0x50, 0x80(%rdi); mov 0x80(%rdi), %ebx;" L2_END)
CODE64(n00_ap_write, "movl $0x60, 0x80(%rdi); nop;" L2_END)

static void access_page(const char *id, const char *how, bool paging, uint64_t at)
{
	uint32_t version = apic_read(0x30);
	struct l2 g = { .code = n00_ap_page, .paging = paging, .flush = true };

	apic_write(APIC_TPR, 0);
	l1_map(3, (void *)APIC_PAGE, L1_READ | L1_WRITE);
	g.regs.rdi = at;
	l1_run(&g);
	check_eq(fmt("NB.apic.%s", id), how, g.exit.kind, L1_CPUID);
	check_eq(fmt("NB.apic.%s.read", id), "it reads the version", g.regs.rax, version);
	check_eq(fmt("NB.apic.%s.back", id), "and the task priority that it has written", g.regs.rbx, 0x50);
	check_eq(fmt("NB.apic.%s.l1", id), "which is its hypervisor's", apic_read(APIC_TPR), 0x50);
	apic_write(APIC_TPR, 0);
}

static void read_only(void)
{
	struct l2 g = { .code = n00_ap_write, .paging = true, .flush = true };

	l1_map(3, (void *)APIC_PAGE, L1_READ);
	g.regs.rdi = L1_WINDOW_GPA + 3 * 4096;
	l1_run(&g);
	check_eq("NB.apic.rights", "with rights to read alone a write is the hypervisor's to see", g.exit.kind == L1_MEM ? g.exit.gpa : g.exit.kind,
		 L1_WINDOW_GPA + 3 * 4096 + 0x80);
	check_eq("NB.apic.rights.none", "and is not made", apic_read(APIC_TPR), 0);
	l1_map(3, (void *)APIC_PAGE, L1_READ | L1_WRITE);
	l1_run(&g);
	check_eq("NB.apic.rights.then", "it goes on with the rights", g.exit.kind, L1_CPUID);
	check_eq("NB.apic.rights.made", "and is made then", apic_read(APIC_TPR), 0x60);
}

SCENARIO(n00_apic_page, "a hypervisor's APIC in its guest's memory", SCN_NESTED)
{
	l1_begin();
	apic_begin();
	access_page("nested", "L2's tables lead to the APIC's page: no exit", true, L1_WINDOW_GPA + 3 * 4096);
	access_page("plain", "without nested paging it is where L1's is", false, APIC_PAGE);
	read_only();
	apic_end();
	l1_end();
}
