/* SPDX-License-Identifier: MIT */
/* Symptom: a hypervisor that looks at what a VMX instruction says gets a fault, a success, or another number; or its whole VM is stopped.
 * Cause: the checks of each instruction are many, and in an order. Each failure has a number in the SDM.
 * Rules: NV = nested VMX as the SDM's instruction reference and "VM Instruction Error Numbers" tell it. */
#include "tests/guest/l1_vmx.h"

CODE64(n00_code, "nop;" VMX_END)
CODE64(n00_vmread_user, "xor %eax, %eax; vmread %rax, %rcx;" DONE)
CODE64(n00_launch_ss, "mov %ss, %eax; mov %eax, %ss; vmlaunch; pushf; pop %rbx; nop;" DONE)

CODE32(n00_pg_off, "mov %cr0, %eax; btr $31, %eax; mov %eax, %cr0;" DONE)

/* CR0_FIXED0. PG can be tried outside 64-bit mode only. */
static void fixed_cr0(void)
{
	struct run r = { .code = n00_pg_off, .compat = true, .allow = 1ul << VEC_GP };
	uint64_t cr0 = read_cr0();

	try_begin();
	__asm__ volatile("1: mov %0, %%cr0\n2:\n" EXTABLE("1b", "2b")::"r"(cr0 & ~0x20ul) : "memory");
	check_eq("NV.fixed.ne", "in VMX operation CR0.NE cannot go", try_end(), VEC_GP);
	check_eq("NV.fixed.ne.kept", "nor does it", read_cr0(), cr0);
	run_code(&r);
	check_eq("NV.fixed.pg", "nor can CR0.PG", r.end, VEC_GP);
}

static void off(void)
{
	struct run r = { .code = n00_vmread_user, .cpl = 3, .allow = 1ul << VEC_UD | 1ul << VEC_GP };

	vmx_stop();
	run_code(&r);
	check_eq("NV.off.user", "outside VMX operation VMREAD is #UD, at CPL 3 too", r.end, VEC_UD);
	try_begin();
	__asm__ volatile("1: vmxon %0\n2:\n" EXTABLE("1b", "2b")::"m"(watch_buf) : "cc", "memory");
	check_eq("NV.off.vmxe", "VMXON without CR4.VMXE is #UD", try_end(), VEC_UD);
	vmx_start();
	run_code(&r);
	check_eq("NV.user", "in VMX operation at CPL 3: #GP", r.end, VEC_GP);
	check_eq("NV.user.error", "error code 0", trap_nth(VEC_GP, 0)->err, 0);
	check_eq("NV.vmxe", "in VMX operation CR4.VMXE cannot go", try_write_cr4(read_cr4() & ~(1ul << 13)), VEC_GP);
}

static void pointers(void)
{
	uint32_t *spare = vmx_spare();
	uint64_t good = (uint64_t)spare;

	vf_set(VF_RIP, 0x1234);
	check_eq("NV.vmxon.root", "VMXON in VMX operation", vmx_on(vmx_region_on()), VMX_ERROR(15));
	check_eq("NV.vmclear.align", "VMCLEAR of an address that is no page's", vmx_clear(good + 8), VMX_ERROR(2));
	check_eq("NV.vmclear.width", "beyond the address width", vmx_clear(1ul << 50), VMX_ERROR(2));
	check_eq("NV.vmclear.vmxon", "of the VMXON region", vmx_clear(vmx_region_on()), VMX_ERROR(3));
	check_eq("NV.vmptrld.align", "VMPTRLD of an address that is no page's", vmx_ptrld(good + 8), VMX_ERROR(9));
	check_eq("NV.vmptrld.vmxon", "of the VMXON region", vmx_ptrld(vmx_region_on()), VMX_ERROR(10));
	*spare ^= 1;
	check_eq("NV.vmptrld.revision", "of another revision", vmx_ptrld(good), VMX_ERROR(11));
	*spare ^= 1;
	check_eq("NV.vmptrld.kept", "the current one stays", vf(VF_RIP), 0x1234);
}

static void fields(void)
{
	uint64_t misc = 0, v;

	try_rdmsr(0x485, &misc);
	check_eq("NV.vmread.field", "VMREAD of a field that does not exist", vmx_read(0x7ffe, &v), VMX_ERROR(12));
	check_eq("NV.vmwrite.field", "VMWRITE of one", vmx_write(0x7ffe, 0), VMX_ERROR(12));
	check_eq("NV.vmread.error", "the number is in its field", vf(VF_ERROR), 12);
	check_eq("NV.vmwrite.read-only", "VMWRITE of exit information, as MISC has it", vmx_write(VF_REASON, 0), misc >> 29 & 1 ? VMX_OK : VMX_ERROR(13));
	vf_set(VF_EFER, 0x1122334455667788);
	check_eq("NV.high", "the upper half of a 64-bit field", vf(VF_EFER + 1), 0x11223344);
	vf_set(VF_EFER + 1, 0x99);
	check_eq("NV.high.write", "can be written alone", vf(VF_EFER), 0x9955667788);
	vf_set(VF_ES_SEL, 0x12345);
	check_eq("NV.width", "a 16-bit field keeps 16 bits", vf(VF_ES_SEL), 0x2345);
}

static void entry_error(const char *id, const char *desc, uint64_t field, uint64_t value, unsigned number)
{
	struct vmx_l2 r = { .code = n00_code };

	vmx_prepare(&r);
	vf_set(field, value);
	check_eq(fmt("NV.%s", id), desc, vmx_launch(), VMX_ERROR(number));
}

static void entries(void)
{
	struct vmx_l2 r = { .code = n00_code };
	struct run ss = { .code = n00_launch_ss };

	vmx_prepare(&r);
	check_eq("NV.resume", "VMRESUME of a VMCS that is clear", vmx_relaunch(), VMX_ERROR(5));
	run_code(&ss);
	check_eq("NV.mov-ss", "VMLAUNCH behind MOV SS", vf(VF_ERROR), 26);
	check_eq("NV.mov-ss.flags", "ZF alone", ss.regs.rbx & 0x8d5, 0x40);
	check_eq("NV.launch", "VMLAUNCH", vmx_launch(), VMX_OK);
	check_eq("NV.launch.reason", "runs to its HLT", vf(VF_REASON), 12);
	check_eq("NV.launch.twice", "VMLAUNCH of a VMCS that is launched", vmx_launch(), VMX_ERROR(4));
	entry_error("pin", "a reserved pin-based control", VF_PIN, ~0u, 7);
	entry_error("proc", "a control that must be 1 is 0", VF_PROC, 0, 7);
	entry_error("bitmap", "an MSR bitmap that is no page", VF_MSR_BITMAP, 1, 7);
	entry_error("event.type", "an event of the reserved type", VF_EVENT, 1u << 31 | 1 << 8, 7);
	entry_error("event.error", "#GP without an error code", VF_EVENT, 1u << 31 | 3 << 8 | 13, 7);
	entry_error("msrs", "an MSR area that is not aligned", VF_MSR_LOAD_COUNT, 1, (vmx_write(VF_MSR_LOAD, 8), 7));
	entry_error("host.cr4", "host CR4 without VMXE", VF_HOST_CR4, 0x20, 8);
	entry_error("host.cs", "host CS is null", VF_HOST_CS, 0, 8);
	entry_error("host.rip", "host SYSENTER_EIP is not canonical", 0x6c12, 1ul << 60, 8);
	entry_error("host.sel", "host ES has an RPL", VF_HOST_ES, SEL_UDATA, 8);
}

static void failed_state(const char *id, const char *desc, uint64_t field, uint64_t value)
{
	struct vmx_l2 r = { .code = n00_code };

	vmx_prepare(&r);
	vf_set(field, value);
	check_eq(fmt("NV.%s", id), desc, vmx_launch(), VMX_OK);
	check_eq(fmt("NV.%s.reason", id), "is an exit: 33 with bit 31", vf(VF_REASON), 0x80000021);
}

static void guest_state(void)
{
	static uint64_t area[2] __attribute__((aligned(16))) = { 0xc0000100, 0 };
	struct vmx_l2 r = { .code = n00_code };

	failed_state("guest.cr4", "CR4 without VMXE", VF_CR4, 0x20);
	failed_state("guest.cr0", "CR0 without NE", VF_CR0, read_cr0() & ~0x20ul);
	failed_state("guest.rflags", "RFLAGS bit 1 is 0", VF_RFLAGS, 0);
	failed_state("guest.efer", "EFER without LMA in IA-32e mode", VF_EFER, 0);
	failed_state("guest.tr", "TR is unusable", VF_ES_AR + 14, 0x10000);
	failed_state("guest.link", "a link pointer that is no page", VF_LINK, 1);
	check_eq("NV.guest.link.qual", "which the qualification tells: 4", vf(VF_QUALIFICATION), 4);
	failed_state("guest.activity", "an activity state that does not exist", VF_ACTIVITY, 7);
	vmx_prepare(&r);
	vf_set(VF_MSR_LOAD, (uint64_t)area);
	vf_set(VF_MSR_LOAD_COUNT, 1);
	check_eq("NV.msr-load", "an MSR that cannot be loaded", vmx_launch(), VMX_OK);
	check_eq("NV.msr-load.reason", "is an exit: 34 with bit 31", vf(VF_REASON), 0x80000022);
	check_eq("NV.msr-load.qual", "with the entry's number", vf(VF_QUALIFICATION), 1);
}

static void others(void)
{
	uint64_t v;

	check_eq("NV.invept.type", "INVEPT of an unknown type", vmx_invept(9, 0), VMX_ERROR(28));
	check_eq("NV.invept.eptp", "of an EPTP that cannot be", vmx_invept(1, 7), VMX_ERROR(28));
	check_eq("NV.invept.all", "of all", vmx_invept(2, 0), VMX_OK);
	check_eq("NV.invvpid.type", "INVVPID of an unknown type", vmx_invvpid(9, 1), VMX_ERROR(28));
	check_eq("NV.invvpid.zero", "of VPID 0", vmx_invvpid(1, 0), VMX_ERROR(28));
	check_eq("NV.invvpid.one", "of one", vmx_invvpid(1, 1), VMX_OK);
	vmx_clear(vmx_region());
	check_eq("NV.none.vmread", "no current VMCS: VMREAD", vmx_read(VF_RIP, &v), VMX_INVALID);
	check_eq("NV.none.vmlaunch", "VMLAUNCH", vmx_launch(), VMX_INVALID);
	check_eq("NV.none.vmxon", "VMXON has nowhere to say its number", vmx_on(vmx_region_on()), VMX_INVALID);
}

SCENARIO(n00_errors, "VMX instructions say what is wrong by the SDM's numbers", SCN_NESTED)
{
	vmx_start();
	off();
	fixed_cr0();
	pointers();
	fields();
	entries();
	guest_state();
	others();
	vmx_stop();
}
