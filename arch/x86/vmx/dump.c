/* SPDX-License-Identifier: MIT */
/* The VMCS in the log, field by field, from the list that generates the field names. */
#include "arch/lib/log.h"
#include "arch/x86/vmx/internal.h"

static const struct {
	const char *name;
	uint16_t field;
	uint8_t width, kind;
} fields[] = {
#define VMCS(name, encoding, width, kind, nested) { #name, encoding, width, VMCS_KIND_##kind },
#include "arch/x86/def/vmcs.def"
#undef VMCS
};
#define NR_FIELDS (sizeof(fields) / sizeof(fields[0]))

const char *vmcs_field_name(enum vmcs_field f)
{
	for (size_t i = 0; i < NR_FIELDS; i++)
		if (fields[i].field == f)
			return fields[i].name;
	return "?";
}

/* Fields that this CPU does not have are left out. */
static void dump_kind(enum vmcs_kind kind, const char *title)
{
	unsigned column = 0;

	for (size_t i = 0; i < NR_FIELDS; i++) {
		uint64_t v;

		if (fields[i].kind != kind || !vmread(fields[i].field, &v))
			continue;
		log_printf("%s%s=0x%llx", column ? " " : title, fields[i].name, (unsigned long long)v);
		if (++column == 4) {
			log_printf("\n");
			column = 0;
		}
	}
	if (column)
		log_printf("\n");
}

void vmx_dump(struct vcpu *v)
{
	uint32_t reason;

	if (!v->hw)
		return;
	vmx_make_current(vmx_hw(v), this_cpu());
	reason = vmcs_read32(VMCS_EXIT_REASON);
	log_printf("drover: VMCS: last exit reason 0x%x (%s)\n", reason, vmx_exit_text(reason));
	dump_kind(VMCS_KIND_GUEST, "drover:   guest: ");
	dump_kind(VMCS_KIND_CTL, "drover:   control: ");
	dump_kind(VMCS_KIND_INFO, "drover:   exit: ");
	dump_kind(VMCS_KIND_HOST, "drover:   host: ");
	vmx_ctl_log(CTL_PIN, vmcs_read32(VMCS_PIN_CTL));
	vmx_ctl_log(CTL_PROC, vmcs_read32(VMCS_PROC_CTL));
	vmx_ctl_log(CTL_PROC2, vmcs_read32(VMCS_PROC2_CTL));
	vmx_ctl_log(CTL_EXIT, vmcs_read32(VMCS_EXIT_CTL));
	vmx_ctl_log(CTL_ENTRY, vmcs_read32(VMCS_ENTRY_CTL));
}
