/* SPDX-License-Identifier: MIT */
/* From the loader to the machine model: the host is set up in order, then every VM runs, then one verdict. */
#include <stddef.h>
#include <stdint.h>

#include "arch/lib/log.h"
#include "arch/lib/panic.h"
#include "arch/lib/string.h"
#include "arch/x86/bootinfo.h"
#include "arch/x86/cpuinit.h"
#include "arch/x86/dbg_probe.h"
#include "arch/x86/dbg_switch.h"
#include "arch/x86/def/cpuid.h"
#include "arch/x86/def/exitcode.h"
#include "arch/x86/def/hypercall.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/gdt.h"
#include "arch/x86/insn.h"
#include "arch/x86/lapic.h"
#include "arch/x86/paging.h"
#include "arch/x86/percpu.h"
#include "arch/x86/pmem.h"
#include "arch/x86/quirks.h"
#include "arch/x86/smp.h"
#include "arch/x86/traps.h"
#include "arch/x86/tsc.h"
#include "boot/multiboot_parse.h"
#include "boot/options.h"
#include "drivers/acpi.h"
#include "drivers/debugcon.h"
#include "drivers/machine_exit.h"
#include "drivers/screen.h"
#include "drivers/uart.h"
#include "vmm/backend.h"
#include "vmm/gdb/gdb.h"
#include "vmm/vmm.h"

extern const struct backend svm_backend, vmx_backend, pvm_backend;
extern const uint8_t boot_start[], image_end[]; /* linker.ld */

static struct bootinfo boot;
static struct options options;
static struct vmm_config config;

#define MIB (1024u * 1024u)
#define LOW_MEMORY 0x100000u /* the first MiB stays unused: firmware's data, and AP start-up code one day */

void boot_main(uint32_t magic, uint32_t info); /* boot.S */

static _Noreturn void finish(enum exit_code code)
{
	log_printf("drover: verdict %s code=0x%x\n", code == EXIT_PASS ? "PASS" : "FAIL", (unsigned)code);
	machine_exit((int)code);
}

/* A drover below writes both consoles of a VM to one log, where each line would stand twice. */
static bool in_drover(void)
{
	return config.level > 0;
}

/* How many drovers are below: each tells its guests theirs. */
static unsigned levels_below(void)
{
	struct cpuid_regs r = cpuid(HC_CPUID_BASE, 0);
	uint32_t level;

	if (!(cpuid(1, 0).ecx & CPUID_1_ECX_HYPERVISOR) || memcmp(&r.ebx, "drov", 4) != 0 || memcmp(&r.ecx, "er\0\0", 4) != 0)
		return 0;
	level = cpuid(HC_CPUID_FEATURES, 0).ebx;
	return level < 1 ? 1 : level > 99 ? 99 : level;
}

static struct uart gdb_uart;

static int gdb_take(void)
{
	int c = uart_take(&gdb_uart);

	if (c >= 0)
		gdb_uart.dead = false; /* somebody reads again */
	return c;
}

static void gdb_send(const char *s, size_t n)
{
	uart_send(&gdb_uart, s, n);
}

static void init_gdb(void)
{
	static const struct gdb_port port = { gdb_take, gdb_send };

	if (!options.gdb)
		return;
	if (options.gdb == options.com || !uart_open(&gdb_uart, options.gdb))
		log_printf("drover: no UART for gdb at 0x%x%s%s\n", options.gdb, options.gdb == options.com ? ": it is the console's" : "",
			   options.gdb_wait ? ", and one is to be waited for" : "");
	else
		gdb_init(&port, options.gdb_wait);
	gdb_uart.patience = 2000000000; /* whoever is at the other end may be slow to read; it has stopped the machine anyway */
}

static void init_sinks(void)
{
	const char *screen = "off";
	bool screen_ok = false, debugcon = options.debugcon != 0 && debugcon_init(options.debugcon);

	if (options.com != 0 && !(debugcon && in_drover()) && !uart_init(options.com))
		log_printf("drover: no UART at 0x%x\n", options.com);
	init_gdb();
	/* A framebuffer above 4 GiB is out of reach of boot's page tables: init_memory takes it up later. */
	if (options.screen && boot.fb.pa < 0x100000000ull)
		screen_ok = screen_init(&boot.fb, &screen);
	if (options.screen && !screen_ok && boot.fb.pa < 0x100000000ull)
		log_printf("drover: no usable screen (%s)\n", screen);
}

static void log_boot(void)
{
	log_printf("drover: started by multiboot %u, loader '%s', %zu modules\n", boot.protocol, boot.loader, boot.nr_modules);
	log_printf("drover: command line '%s'\n", boot.cmdline);
	if (config.level)
		log_printf("drover: level %u: a guest of drover\n", config.level);
	if (boot.fb.kind == BOOT_SCREEN_RGB)
		log_printf("drover: framebuffer %ux%u, %u bits, at 0x%lx\n", boot.fb.width, boot.fb.height, boot.fb.bpp, boot.fb.pa);
	cpuinit_log();
}

static void refuse_bad_boot(bool parsed, const char *bad)
{
	if (!parsed) {
		log_printf("drover: unknown option or value '%s'\n", bad);
		finish(EXIT_BADOPT);
	}
	if (options.gdb_wait && !gdb_on)
		finish(EXIT_BADOPT); /* init_gdb() has said why */
	if (boot.string_cut || boot.modules_dropped > 0) {
		log_printf("drover: a command line is longer than %u characters, or there are more than %u modules\n", BOOTINFO_STRING - 1,
			   BOOTINFO_MAX_MODULES);
		finish(EXIT_BADOPT);
	}
}

static bool is_memory(const struct boot_range *m)
{
	return m->type == BOOT_MEM_AVAILABLE || m->type == BOOT_MEM_ACPI || m->type == BOOT_MEM_NVS;
}

/* May the 2 MiB at pa be mapped write-back? Where RAM and a device share them the MTRRs make the device's part uncached. */
static bool is_ram(uint64_t pa)
{
	for (size_t i = 0; i < boot.nr_mmap; i++) {
		const struct boot_range *m = &boot.mmap[i];

		if (is_memory(m) && m->addr < pa + 2 * MIB && m->addr + m->len > pa)
			return true;
	}
	return false;
}

static void init_memory(void)
{
	uint64_t ram_end = 0, total = 0, pages;
	bool ok = true;
	const char *screen;

	for (size_t i = 0; i < boot.nr_mmap; i++) {
		const struct boot_range *m = &boot.mmap[i];

		if (is_memory(m) && m->addr + m->len > ram_end)
			ram_end = m->addr + m->len;
		if (m->type == BOOT_MEM_AVAILABLE) {
			total += m->len;
			ok = pmem_add(m->addr, m->len) && ok;
		}
	}
	for (size_t i = 0; i < boot.nr_mmap; i++) /* what two entries claim belongs to the one that is not free */
		if (boot.mmap[i].type != BOOT_MEM_AVAILABLE)
			ok = pmem_reserve(boot.mmap[i].addr, boot.mmap[i].len) && ok;
	ok = pmem_reserve(0, LOW_MEMORY) && ok;
	ok = pmem_reserve((uint64_t)(uintptr_t)boot_start, virt_to_phys(image_end) - (uint64_t)(uintptr_t)boot_start) && ok;
	for (size_t i = 0; i < boot.nr_modules; i++)
		ok = pmem_reserve(boot.module[i].pa, boot.module[i].len) && ok;
	log_printf("drover: memory: %lu MiB in the map, %lu MiB free%s\n", total / MIB, pmem_free_bytes() / MIB,
		   ok && boot.mmap_dropped == 0 ? "" : ", the map is too fragmented: some is not used");
	if (pmem_free_bytes() < (uint64_t)options.min_mib * MIB) {
		log_printf("drover: too little memory: have %lu MiB free, need %u MiB\n", pmem_free_bytes() / MIB, options.min_mib);
		finish(EXIT_NOMEM);
	}
	paging_init(ram_end, is_ram);
	pages = paging_check_wx();
	log_printf("drover: w^x ok: %lu pages checked\n", pages);
	if (options.screen && boot.fb.pa >= 0x100000000ull && paging_map_device(boot.fb.pa, (uint64_t)boot.fb.pitch * boot.fb.height))
		screen_init(&boot.fb, &screen);
}

/* A host breakpoint, or a stray one: counted and silenced by the debug-state code. */
static bool on_db(struct trapframe *tf)
{
	(void)tf;
	dbg_host_db(&this_cpu()->dbg);
	return true;
}

static void init_clock(void)
{
	struct acpi_info acpi;
	const char *source;

	if (acpi_init(&boot, &acpi))
		log_printf("drover: acpi: revision %u from the %s, %u tables, MADT 0x%lx, FADT 0x%lx, %u CPUs (1 runs), %u IOAPICs\n",
			   acpi.revision, acpi.source, acpi.nr_tables, acpi.madt, acpi.fadt, acpi.nr_cpus, acpi.nr_ioapics);
	else
		log_printf("drover: acpi: no tables\n");
	pic_mask_all();
	for (unsigned i = 0; i < acpi.nr_ioapics; i++)
		ioapic_mask_all(acpi.ioapic[i]);
	source = tsc_init(acpi.pm_timer);
	lapic_init(options.x2apic ? LAPIC_X2APIC : LAPIC_AUTO);
	log_printf("drover: timer: %u Hz by the LAPIC (%s), TSC %lu kHz (from %s)\n", HOST_TICK_HZ, lapic_is_x2apic() ? "x2apic" : "xapic",
		   tsc_khz, source);
}

static void choose_backend(void)
{
	static const struct backend *const table[] = { [CHOOSE_SVM] = &svm_backend, [CHOOSE_VMX] = &vmx_backend, [CHOOSE_PVM] = &pvm_backend };
	bool locked = false;

	for (size_t i = CHOOSE_AUTO + 1; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct backend *b = table[i];
		char reason[160] = "";
		enum backend_verdict v;

		if (options.backend != CHOOSE_AUTO && options.backend != i)
			continue;
		if (options.backend == CHOOSE_AUTO && i == CHOOSE_PVM) {
			if (locked)
				break; /* said so: firmware's lock is to be found, not to be worked around */
			log_printf("drover: no hardware virtualization: guests will run in ring 3\n");
		}
		v = b->probe(reason, sizeof(reason), options.fault[0] != '\0' ? options.fault : NULL);
		if (v == BACKEND_OK) {
			log_printf("drover: backend %s\n", b->name);
			config.backend = b;
			return;
		}
		log_printf("drover: backend %s refused: %s\n", b->name, reason);
		locked |= v == BACKEND_LOCKED;
	}
	log_printf("drover: no backend can run here\n");
	finish(locked ? EXIT_LOCKED : EXIT_NOVIRT);
}

static void take_modules(void)
{
	if (boot.nr_modules == 0) {
		log_printf("drover: no module: nothing to run\n");
		finish(EXIT_NOMODULE);
	}
	for (size_t i = 0; i < boot.nr_modules; i++)
		config.module[i] = (struct vmm_module){ boot.module[i].pa, boot.module[i].len, boot.module[i].cmdline };
	config.nr_modules = boot.nr_modules;
	config.budget_ms = options.budget_ms;
	config.dbg_policy = options.dbg_policy;
	config.trace = options.trace;
	config.bad_entry = str_eq(options.fault, "bad-entry");
}
_Static_assert(BOOTINFO_MAX_MODULES == VMM_MAX_MODULES, "every module that boot keeps can be handed on");

/* fault=stack: runs into the guard page; the #PF cannot be pushed, and the #DF comes on its own stack. */
static __attribute__((noinline)) uint64_t eat_stack(uint64_t n)
{
	volatile uint8_t page[1024];

	page[0] = (uint8_t)n;
	return n == 0 ? page[0] : eat_stack(n - 1) + page[0];
}

static void lab_faults(void)
{
	if (str_eq(options.fault, "panic"))
		panic("asked for by fault=panic");
	if (str_eq(options.fault, "stack"))
		log_printf("drover: the stack did not overflow: %lu\n", eat_stack(1000));
}

void boot_main(uint32_t magic, uint32_t info)
{
	uint64_t start = rdtsc();
	char bad[64] = "";
	bool known = multiboot_parse(magic, info, &boot);
	bool parsed = options_parse(boot.cmdline, &options, bad, sizeof(bad));

	config.level = levels_below();
	panic_set_end(machine_exit);
	gdt_init(&cpu0);
	traps_init();
	dbg_host_init(&cpu0.dbg);
	dbg_probe(&cpu0.dbg);
	trap_set_hook(VEC_DB, on_db);
	quirks_auto = options.quirks;
	init_sinks();
	if (!known)
		panic("not started by a multiboot loader: EAX=0x%x", magic);
	log_boot();
	refuse_bad_boot(parsed, bad);
	cpuinit();
	init_memory();
	init_clock();
	lab_faults();
	choose_backend();
	take_modules();
	log_printf("drover: host ready %lu us after entry\n", tsc_to_us(rdtsc() - start));
	irq_enable();
	finish(vmm_main(&config));
}
