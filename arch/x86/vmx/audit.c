/* SPDX-License-Identifier: MIT */
/* The VM-entry checks in software, so that "invalid control field" gets a name: controls, event injection, host state. The guest's part is in
 * audit_guest.c. Sources: SDM "Checks on VMX Controls", "Checks on Host Control Registers, MSRs, and SSP", and the two after it. */
#include "arch/lib/log.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/pte.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/vmx/internal.h"

unsigned vmx_audit_rule(bool ok, const char *rule, uint64_t value)
{
	if (!ok)
		log_printf("drover: audit: VMX: broken: %s (0x%llx)\n", rule, (unsigned long long)value);
	return ok ? 0 : 1;
}
#define rule vmx_audit_rule

static unsigned audit_words(void)
{
	static const struct {
		enum ctl_word w;
		enum vmcs_field f;
		const char *rule;
	} words[] = {
		{ CTL_PIN, VMCS_PIN_CTL, "pin-based controls fit the capability MSR" },
		{ CTL_PROC, VMCS_PROC_CTL, "processor-based controls fit the capability MSR" },
		{ CTL_PROC2, VMCS_PROC2_CTL, "secondary controls fit the capability MSR" },
		{ CTL_EXIT, VMCS_EXIT_CTL, "exit controls fit the capability MSR" },
		{ CTL_ENTRY, VMCS_ENTRY_CTL, "entry controls fit the capability MSR" },
	};
	unsigned n = 0;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		uint32_t v = vmcs_read32(words[i].f);
		const char *bit = vmx_ctl_violation(words[i].w, v);

		n += rule(!bit, words[i].rule, v);
		if (bit)
			log_printf("drover: audit: VMX: the bit is: %s\n", bit);
	}
	return n;
}

static unsigned audit_execution(void)
{
	uint32_t pin = vmcs_read32(VMCS_PIN_CTL), proc = vmcs_read32(VMCS_PROC_CTL), proc2 = vmcs_read32(VMCS_PROC2_CTL);
	uint32_t bitmap = vmcs_read32(VMCS_EXCEPTION_BITMAP);
	uint64_t eptp = vmcs_read(VMCS_EPTP);
	unsigned n = 0;

	n += rule(vmcs_read(VMCS_CR3_TARGET_COUNT) <= 4, "CR3-target count <= 4", vmcs_read(VMCS_CR3_TARGET_COUNT));
	n += rule(!(pin & PIN_VIRTUAL_NMI) || (pin & PIN_NMI), "virtual NMIs need NMI exiting", pin);
	n += rule(!(proc & PROC_NMI_WINDOW) || (pin & PIN_VIRTUAL_NMI), "NMI-window exiting needs virtual NMIs", proc);
	n += rule(!(vmcs_read(VMCS_MSR_BITMAP) & 0xfff), "MSR bitmap is page-aligned", vmcs_read(VMCS_MSR_BITMAP));
	n += rule(!(proc2 & PROC2_UNRESTRICTED) || (proc2 & PROC2_EPT), "unrestricted guest needs EPT", proc2);
	n += rule((eptp & 7) == 6, "EPTP memory type is write-back", eptp);
	n += rule((eptp >> 3 & 7) == 3, "EPTP walk length is 4", eptp);
	n += rule(!(eptp & 0xf80) && eptp >> 12 != 0, "EPTP reserved bits are 0, root is not", eptp);
	n += rule(!(proc2 & PROC2_VPID) || vmcs_read(VMCS_VPID) != 0, "VPID is not 0", vmcs_peek(VMCS_VPID));
	/* Not checked by hardware: drover's own promises. */
	n += rule(bitmap & 1u << VEC_DB, "H01: #DB is intercepted", bitmap);
	n += rule(bitmap & 1u << VEC_AC, "H02: #AC is intercepted", bitmap);
	n += rule((vmcs_read(VMCS_EXIT_CTL) & EXIT_SAVE_DEBUG) && (vmcs_read(VMCS_ENTRY_CTL) & ENTRY_LOAD_DEBUG),
		  "V07: debug controls are saved and loaded", vmcs_read(VMCS_EXIT_CTL));
	return n;
}

static bool has_error_code(uint32_t vector)
{
	return vector == VEC_DF || (vector >= VEC_TS && vector <= VEC_PF) || vector == VEC_AC;
}

static unsigned audit_injection(void)
{
	uint32_t info = vmcs_read32(VMCS_ENTRY_INTR_INFO), type = INFO_TYPE(info), vector = info & INFO_VECTOR;
	uint32_t len = vmcs_read32(VMCS_ENTRY_INSN_LEN);
	bool wants_error = type == VMX_TYPE_EXC && has_error_code(vector) && (vmcs_read(VMCS_GUEST_CR0) & CR0_PE);
	unsigned n = 0;

	if (!(info & INFO_VALID))
		return 0;
	n += rule(type != 1 && (type != VMX_TYPE_OTHER || (vmx_caps.allowed1[CTL_PROC] & PROC_MTF)), "injection: type is valid", info);
	n += rule(type != VMX_TYPE_NMI || vector == VEC_NMI, "injection: NMI has vector 2", info);
	n += rule(type != VMX_TYPE_EXC || vector <= 31, "injection: exception vector <= 31", info);
	n += rule(((info & INFO_ERROR) != 0) == wants_error, "injection: error code exactly where the exception has one", info);
	n += rule(!(info & 0x7ffff000), "injection: reserved bits are 0", info);
	if (info & INFO_ERROR)
		n += rule(!(vmcs_read(VMCS_ENTRY_ERROR_CODE) & 0xffff8000), "injection: error code fits", vmcs_read(VMCS_ENTRY_ERROR_CODE));
	if (type >= VMX_TYPE_SOFT_INT && type <= VMX_TYPE_SOFT_EXC)
		n += rule(len <= 15 && (len > 0 || (vmx_caps.misc & MISC_INSN_LEN_0)), "injection: instruction length", len);
	return n;
}

static unsigned audit_host(void)
{
	static const enum vmcs_field sel[] = { VMCS_HOST_ES_SEL, VMCS_HOST_CS_SEL, VMCS_HOST_SS_SEL, VMCS_HOST_DS_SEL, VMCS_HOST_FS_SEL,
					       VMCS_HOST_GS_SEL, VMCS_HOST_TR_SEL };
	static const enum vmcs_field addr[] = { VMCS_HOST_FS_BASE, VMCS_HOST_GS_BASE, VMCS_HOST_TR_BASE, VMCS_HOST_GDTR_BASE,
						VMCS_HOST_IDTR_BASE, VMCS_HOST_SYSENTER_ESP, VMCS_HOST_SYSENTER_EIP, VMCS_HOST_RIP };
	uint64_t cr0 = vmcs_read(VMCS_HOST_CR0), cr4 = vmcs_read(VMCS_HOST_CR4), efer = vmcs_read(VMCS_HOST_EFER);
	unsigned n = 0;

	n += rule((cr0 & vmx_caps.cr0_fixed0) == vmx_caps.cr0_fixed0 && !(cr0 & ~vmx_caps.cr0_fixed1), "host CR0 fixed bits", cr0);
	n += rule((cr4 & vmx_caps.cr4_fixed0) == vmx_caps.cr4_fixed0 && !(cr4 & ~vmx_caps.cr4_fixed1), "host CR4 fixed bits", cr4);
	n += rule(cr4 & CR4_PAE, "host CR4.PAE", cr4);
	n += rule((efer & (EFER_LME | EFER_LMA)) == (EFER_LME | EFER_LMA), "host EFER.LME and LMA", efer);
	for (size_t i = 0; i < sizeof(sel) / sizeof(sel[0]); i++)
		n += rule(!(vmcs_read(sel[i]) & 7), vmcs_field_name(sel[i]), vmcs_read(sel[i]));
	n += rule(vmcs_read(VMCS_HOST_CS_SEL) && vmcs_read(VMCS_HOST_TR_SEL), "host CS and TR are not null", vmcs_read(VMCS_HOST_TR_SEL));
	for (size_t i = 0; i < sizeof(addr) / sizeof(addr[0]); i++)
		n += rule(is_canonical(vmcs_read(addr[i])), vmcs_field_name(addr[i]), vmcs_read(addr[i]));
	n += rule(vmcs_read(VMCS_EXIT_CTL) & EXIT_HOST64, "64-bit host", vmcs_read(VMCS_EXIT_CTL));
	n += rule(vmcs_read(VMCS_HOST_GS_BASE) == (uint64_t)(uintptr_t)this_cpu(), "host GS base is this CPU's data", vmcs_read(VMCS_HOST_GS_BASE));
	return n;
}

unsigned vmx_audit(struct vcpu *v)
{
	if (!v->hw)
		return 0;
	vmx_make_current(vmx_hw(v), this_cpu());
	return audit_words() + audit_execution() + audit_injection() + audit_host() + vmx_audit_guest();
}
