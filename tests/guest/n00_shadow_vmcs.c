/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor in a hypervisor in a guest reads what it has never written, or each of its VMREADs is an exit although the one below asked for none.
 * Cause: VMCS shadowing is offered, and L0 looks at the wrong VMCS, the wrong bitmap, or checks less than hardware does at the entry.
 * Who had it: made up; Linux KVM before 4.20 read fields of the wrong VMCS for L2. Rules: NV = VMCS shadowing as the SDM tells it. */
#include "tests/guest/l1_vmx.h"

#define VC_PROC2_SHADOW (1u << 14)
#define SHADOW_VMCS (1u << 31)
#define VALUE 0x1122334455667788ul

CODE64(n00_sh_read, "vmread %rax, %rbx; nop;" VMX_END)
CODE64(n00_sh_write, "vmwrite %rbx, %rax; pushf; pop %rdx; nop;" VMX_END)
CODE64(n00_sh_flags, "stc; vmread %rax, %rbx; pushf; pop %rdx; nop;" VMX_END)
CODE64(n00_sh_mem, "vmread %rax, (%rsi); vmwrite 8(%rsi,%rcx,2), %rax; nop;" VMX_END)
CODE64(n00_sh_user, "vmread %rax, %rbx; nop;" VMX_END_USER)

static uint8_t read_map[4096] __attribute__((aligned(4096))), write_map[4096] __attribute__((aligned(4096)));
static uint64_t link, controls;
static uint32_t *other;

static void open_field(uint8_t *map, unsigned field)
{
	map[field / 8] &= (uint8_t)~(1u << field % 8);
}

static void tune(struct vmx_l2 *r)
{
	(void)r;
	vf_change(VF_PROC2, 0, controls);
	vf_set(VF_VMREAD_MAP, (uint64_t)read_map);
	vf_set(VF_VMWRITE_MAP, (uint64_t)write_map);
	vf_set(VF_LINK, link);
}

static struct vmx_l2 l2(const void *code, uint64_t field, uint64_t value)
{
	struct vmx_l2 r = { .code = code, .tune = tune };

	r.regs.rax = field;
	r.regs.rbx = value;
	return r;
}

/* In the shadow VMCS, by way of making it the current one. */
static uint64_t in_shadow(uint64_t field)
{
	uint64_t v = 0;

	if (vmx_ptrld((uint64_t)other) || vmx_read(field, &v) || vmx_clear((uint64_t)other) || vmx_ptrld(vmx_region()))
		scenario_error("the shadow VMCS cannot be read");
	return v;
}

static void into_shadow(uint64_t field, uint64_t v)
{
	if (vmx_ptrld((uint64_t)other) || vmx_write(field, v) || vmx_clear((uint64_t)other) || vmx_ptrld(vmx_region()))
		scenario_error("the shadow VMCS cannot be written");
}

static void by_bitmap(void)
{
	struct vmx_l2 r = l2(n00_sh_read, VF_RIP, 1);

	vmx_run(&r);
	check_eq("NV.sh.read.bit", "VMREAD whose bit is 1: an exit", r.reason, 23);
	check_eq("NV.sh.read.len", "which tells the length", r.len, 3);
	r = l2(n00_sh_write, VF_RIP, 1);
	vmx_run(&r);
	check_eq("NV.sh.write.bit", "VMWRITE likewise", r.reason, 25);
	into_shadow(VF_RIP, VALUE);
	open_field(read_map, VF_RIP);
	r = l2(n00_sh_read, VF_RIP, 1);
	vmx_run(&r);
	check_eq("NV.sh.read", "VMREAD whose bit is 0: no exit", r.exit == VX_HLT ? r.rip - (uint64_t)n00_sh_read : 0x100 + r.reason, 4);
	check_eq("NV.sh.read.value", "the shadow VMCS's value", r.regs.rbx, VALUE);
	r = l2(n00_sh_write, VF_RIP, 1);
	vmx_run(&r);
	check_eq("NV.sh.write.own-bit", "VMWRITE has a bitmap of its own", r.reason, 25);
	open_field(write_map, VF_RIP);
	r = l2(n00_sh_write, VF_RIP, 0x7777);
	vmx_run(&r);
	check_eq("NV.sh.write", "VMWRITE whose bit is 0: no exit", r.exit, VX_HLT);
	check_eq("NV.sh.write.flags", "VMsucceed", r.regs.rdx & 0x8d5, 0);
	check_eq("NV.sh.write.value", "the shadow VMCS has it", in_shadow(VF_RIP), 0x7777);
	check_eq("NV.sh.write.rip", "and the nested guest's own RIP is another", r.rip - (uint64_t)n00_sh_write, 6);
	r = l2(n00_sh_read, VF_RIP | 1ul << 40, 1);
	vmx_run(&r);
	check_eq("NV.sh.wide", "an encoding of more than 15 bits is an exit", r.reason, 23);
	controls = 0;
	link = ~0ul;
	r = l2(n00_sh_read, VF_RIP, 1);
	vmx_run(&r);
	check_eq("NV.sh.off", "without the control all are exits", r.reason, 23);
	controls = VC_PROC2_SHADOW;
	link = (uint64_t)other;
}

static void widths(void)
{
	struct vmx_l2 r;

	open_field(read_map, VF_EFER);
	open_field(read_map, VF_EFER + 1);
	open_field(write_map, VF_EFER + 1);
	open_field(write_map, VF_ES_SEL);
	open_field(write_map, VF_REASON);
	into_shadow(VF_EFER, VALUE);
	r = l2(n00_sh_read, VF_EFER + 1, 0);
	vmx_run(&r);
	check_eq("NV.sh.high", "the upper half of a 64-bit field", r.regs.rbx, VALUE >> 32);
	r = l2(n00_sh_write, VF_EFER + 1, 0x99);
	vmx_run(&r);
	check_eq("NV.sh.high.write", "can be written alone", in_shadow(VF_EFER), 0x9955667788);
	r = l2(n00_sh_write, VF_ES_SEL, 0x12345);
	vmx_run(&r);
	check_eq("NV.sh.width", "a 16-bit field keeps 16 bits", in_shadow(VF_ES_SEL), 0x2345);
	r = l2(n00_sh_write, VF_REASON, 0x55);
	vmx_run(&r);
	check_eq("NV.sh.info", "exit information can be written where MISC says so", in_shadow(VF_REASON), 0x55);
	check_eq("NV.sh.info.own", "there alone", vf(VF_REASON), 12);
	vf_set(VF_REASON, 0x66);
	check_eq("NV.sh.info.current", "and in the current VMCS by its hypervisor", vf(VF_REASON), 0x66);
	check_eq("NV.sh.info.rip", "with nothing else changed", vf(VF_RIP), r.rip);
}

/* The operands: memory of the nested guest, with and without second-level tables. */
static void memory(bool own_tables)
{
	uint64_t *at = (uint64_t *)watch_buf;
	const char *how = own_tables ? "mem.ept" : "mem";
	struct vmx_l2 r = l2(n00_sh_mem, VF_RIP, 0);

	into_shadow(VF_RIP, VALUE);
	at[0] = 0;
	at[3] = 0x4444;
	r.regs.rsi = (uint64_t)at;
	r.regs.rcx = 8;
	r.own_tables = own_tables;
	vmx_run(&r);
	check_eq(fmt("NV.sh.%s", how), "operands in memory: no exit", r.exit, VX_HLT);
	check_eq(fmt("NV.sh.%s.read", how), "VMREAD stores", at[0], VALUE);
	check_eq(fmt("NV.sh.%s.write", how), "VMWRITE loads", in_shadow(VF_RIP), 0x4444);
}

static uint8_t *hole;

static void make_hole(struct vmx_l2 *r)
{
	tune(r);
	vmx_protect(hole, 1);
}

static void read_only_memory(void)
{
	static uint8_t page[4096] __attribute__((aligned(4096)));
	struct vmx_l2 r = l2(n00_sh_mem, VF_RIP, 0);

	hole = page;
	r.regs.rsi = (uint64_t)page;
	r.own_tables = true;
	r.tune = make_hole;
	vmx_run(&r);
	check_eq("NV.sh.hole", "memory that the nested guest may not write: an EPT violation", r.exit == VX_MEM ? r.gpa : 0x100 + r.reason, (uint64_t)page);
	check_eq("NV.sh.hole.rip", "of that instruction", r.rip - (uint64_t)n00_sh_mem, 0);
}

static void failures(void)
{
	struct vmx_l2 r;

	for (unsigned i = 0; i < 64; i++)
		open_field(read_map, 0x7fc0 + i);
	r = l2(n00_sh_flags, 0x7ffe, 1);
	vmx_run(&r);
	check_eq("NV.sh.field", "a field that does not exist: no exit", r.exit, VX_HLT);
	check_eq("NV.sh.field.flags", "ZF alone", r.regs.rdx & 0x8d5, 0x40);
	check_eq("NV.sh.field.error", "the number is in the VMCS of the one that runs", vf(VF_ERROR), 12);
	check_eq("NV.sh.field.kept", "the register stays", r.regs.rbx, 1);
	r = l2(n00_sh_user, VF_RIP, 1);
	r.cpl = 3;
	r.exceptions = 1u << VEC_GP;
	vmx_run(&r);
	check_eq("NV.sh.user", "at CPL 3: #GP", r.exit == VX_EXC ? r.vector : 0x100 + r.reason, VEC_GP);
	check_eq("NV.sh.user.error", "error code 0", r.error, 0);
	r = l2(n00_sh_user, VF_RSP, 1);
	r.cpl = 3;
	r.exceptions = 1u << VEC_GP;
	vmx_run(&r);
	check_eq("NV.sh.user.bit", "at CPL 3 with the bit: the exit comes first", r.reason, 23);
	link = ~0ul;
	r = l2(n00_sh_flags, VF_RIP, 1);
	vmx_run(&r);
	check_eq("NV.sh.none", "no shadow VMCS: no exit", r.exit, VX_HLT);
	check_eq("NV.sh.none.flags", "CF alone", r.regs.rdx & 0x8d5, 1);
	link = (uint64_t)other;
}

static void steps(void)
{
	struct vmx_l2 r = l2(n00_sh_read, VF_RIP, 1);

	r.rflags = FL_TF;
	r.exceptions = 1u << VEC_DB;
	vmx_run(&r);
	check_eq("NV.sh.step", "a single step over it", r.exit == VX_EXC ? r.payload : 0x100 + r.reason, 0x4000);
	check_eq("NV.sh.step.rip", "ends behind it", r.rip - (uint64_t)n00_sh_read, 3);
	debug_state_reset();
}

static void refused(const char *id, const char *desc, uint64_t field, uint64_t value, unsigned number)
{
	struct vmx_l2 r = l2(n00_sh_read, VF_RIP, 1);

	vmx_prepare(&r);
	vf_set(field, value);
	check_eq(fmt("NV.sh.%s", id), desc, vmx_launch(), number == 33 ? VMX_OK : VMX_ERROR(number));
	if (number != 33)
		return;
	check_eq(fmt("NV.sh.%s.reason", id), "is an exit: 33 with bit 31", vf(VF_REASON), 0x80000021);
	check_eq(fmt("NV.sh.%s.qual", id), "for the link pointer", vf(VF_QUALIFICATION), 4);
}

static void entries(void)
{
	refused("read-map", "a VMREAD bitmap that is no page", VF_VMREAD_MAP, (uint64_t)read_map + 8, 7);
	refused("write-map", "a VMWRITE bitmap beyond the address width", VF_VMWRITE_MAP, 1ul << 50, 7);
	refused("link.current", "the link pointer is the current VMCS", VF_LINK, vmx_region(), 33);
	refused("link.ordinary", "the link pointer is no shadow VMCS", VF_LINK, vmx_region_on(), 33);
	controls = 0;
	refused("link.shadow", "the link pointer is one, without the control", VF_LINK, (uint64_t)other, 33);
	controls = VC_PROC2_SHADOW;
	check_eq("NV.sh.ptrld", "VMPTRLD of a shadow VMCS", vmx_ptrld((uint64_t)other), VMX_OK);
	check_eq("NV.sh.launch", "VMLAUNCH of one: VMfailInvalid", vmx_launch(), VMX_INVALID);
	check_eq("NV.sh.resume", "VMRESUME likewise", vmx_relaunch(), VMX_INVALID);
	vmx_clear((uint64_t)other);
	check_eq("NV.sh.kept", "VMCLEAR leaves it one", *other >> 31, 1);
	vmx_ptrld(vmx_region());
	*other ^= SHADOW_VMCS | 1;
	check_eq("NV.sh.ptrld.revision", "VMPTRLD of another revision", vmx_ptrld((uint64_t)other), VMX_ERROR(11));
	*other ^= 1;
}

SCENARIO(n00_shadow_vmcs, "VMCS shadowing for a hypervisor's guest", SCN_NESTED)
{
	uint64_t cap = 0, misc = 0;

	vmx_start();
	if (try_rdmsr(0x48b, &cap) != NO_FAULT || !(cap >> 32 & VC_PROC2_SHADOW))
		scenario_skip("no VMCS shadowing");
	try_rdmsr(0x485, &misc);
	check_eq("NV.sh.misc", "VMWRITE goes to exit information, too", misc >> 29 & 1, 1);
	other = vmx_spare();
	*other |= SHADOW_VMCS;
	vmx_clear((uint64_t)other);
	link = (uint64_t)other;
	controls = VC_PROC2_SHADOW;
	for (unsigned i = 0; i < sizeof(read_map); i++)
		read_map[i] = write_map[i] = 0xff;
	by_bitmap();
	widths();
	memory(false);
	memory(true);
	read_only_memory();
	failures();
	steps();
	entries();
	vmx_stop();
}
