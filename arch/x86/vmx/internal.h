/* SPDX-License-Identifier: MIT */
/* Private to the VMX backend: VMCS fields, control bits, what this CPU can do, the per-VM and per-vcpu data. */
#ifndef ARCH_X86_VMX_INTERNAL_H
#define ARCH_X86_VMX_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86/insn.h"
#include "vmm/backend.h"

enum vmcs_field {
#define VMCS(name, encoding, width, kind, nested) VMCS_##name = encoding,
#include "arch/x86/def/vmcs.def"
#undef VMCS
};

enum vmcs_kind { VMCS_KIND_CTL, VMCS_KIND_GUEST, VMCS_KIND_HOST, VMCS_KIND_INFO };

/* ---- Controls (ctl.c) ---- */

enum ctl_word { CTL_PIN, CTL_PROC, CTL_PROC2, CTL_EXIT, CTL_ENTRY, CTL_NR };

/* Only the bits that code outside ctl.c's table looks at. */
#define PROC_INTR_WINDOW (1u << 2)
#define PROC_CR8_LOAD (1u << 19)
#define PROC_NMI_WINDOW (1u << 22)
#define PROC_MOV_DR (1u << 23)
#define PROC_MTF (1u << 27)
#define PROC_SECONDARY (1u << 31)
#define PROC2_EPT (1u << 1)
#define PROC2_RDTSCP (1u << 3)
#define PROC2_VPID (1u << 5)
#define PROC2_UNRESTRICTED (1u << 7)
#define PROC2_SHADOW (1u << 14)
#define PROC2_BUS_LOCK (1u << 30)
#define PIN_EXT_INTR (1u << 0)
#define PIN_NMI (1u << 3)
#define PIN_VIRTUAL_NMI (1u << 5)
#define PIN_TIMER (1u << 6)
#define EXIT_SAVE_DEBUG (1u << 2)
#define EXIT_HOST64 (1u << 9)
#define EXIT_ACK_INTR (1u << 15)
#define ENTRY_LOAD_DEBUG (1u << 2)
#define ENTRY_IA32E (1u << 9)

#define BASIC_REVISION 0x7fffffffull
#define BASIC_SIZE(basic) ((uint32_t)((basic) >> 32) & 0x1fff)
#define BASIC_MEMTYPE(basic) ((unsigned)((basic) >> 50) & 0xf)
#define BASIC_TRUE_CTLS (1ull << 55)
#define EPTCAP_WALK4 (1ull << 6)
#define EPTCAP_WB (1ull << 14)
#define EPTCAP_2M (1ull << 16)
#define EPTCAP_INVEPT (1ull << 20)
#define EPTCAP_INVEPT_SINGLE (1ull << 25)
#define EPTCAP_INVEPT_ALL (1ull << 26)
#define EPTCAP_INVVPID (1ull << 32)
#define EPTCAP_INVVPID_ALL (1ull << 42)
#define INV_SINGLE 1u
#define INV_ALL 2u
#define MISC_VMWRITE_ANY (1ull << 29) /* exit information too */
#define MISC_INSN_LEN_0 (1ull << 30)
#define MISC_TIMER_SHIFT 0x1full /* one tick of the preemption timer is 1 << this many TSC ticks */
#define VMX_TIMER_US 30000u

#define MEMTYPE_WB 6u

struct vmx_caps {
	uint64_t basic, misc, ept_vpid;
	uint64_t cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
	uint32_t allowed0[CTL_NR]; /* bits that must be 1 */
	uint32_t allowed1[CTL_NR]; /* bits that may be 1 */
	uint32_t base[CTL_NR];     /* what drover runs with, toggles off */
	bool tsc_aux;              /* the MSR exists */
};
extern struct vmx_caps vmx_caps;

/* Reads the capability MSRs into vmx_caps and computes base[]. False: reason names the control that is missing or forced. */
bool vmx_ctl_init(struct vmx_caps *caps, char *reason, size_t size);
/* Names of the bits of a control word that are set, to the log, on one line. */
void vmx_ctl_log(enum ctl_word w, uint32_t value);
/* First broken bit of a control word against the CPU's allowance: its name, or NULL. */
const char *vmx_ctl_violation(enum ctl_word w, uint32_t value);

/* ---- Interruptibility, events, pending debug exceptions ---- */

#define INTR_STI (1u << 0)
#define INTR_MOV_SS (1u << 1)
#define INTR_SMI (1u << 2)
#define INTR_NMI (1u << 3)

#define INFO_VECTOR 0xffu
#define INFO_TYPE(info) ((info) >> 8 & 7)
#define INFO_ERROR (1u << 11)
#define INFO_NMI_UNBLOCK (1u << 12)
#define INFO_VALID (1u << 31)
enum { VMX_TYPE_INTR = 0, VMX_TYPE_NMI = 2, VMX_TYPE_EXC = 3, VMX_TYPE_SOFT_INT = 4, VMX_TYPE_PRIV_SOFT = 5, VMX_TYPE_SOFT_EXC = 6, VMX_TYPE_OTHER = 7 };

#define PEND_BS (1ull << 14)
#define PEND_ENABLED (1ull << 12)

#define EXIT_REASON_ENTRY_FAIL (1u << 31)
#define EXIT_REASON_BUS_LOCK (1u << 26) /* the instruction before the exit made one */
#define HW_REASON_VMFAIL 0xffffffffu /* exit.hw_reason when VMLAUNCH/VMRESUME itself failed; u.fail.code is the VM-instruction error */

/* ---- Per CPU, VM, vcpu ---- */

struct vmx_vcpu;

struct vmx_cpu {
	void *vmxon_region;
	struct vmx_vcpu *current; /* whose VMCS is current here */
};

#define VMX_LBR_MAX 98 /* lbr.c: LBR_SELECT, TOS, 32 times FROM, TO, INFO */

struct vmx_vm {
	uint64_t eptp;
	uint16_t vpid;
	bool flush;        /* before the next entry */
	uint8_t *msr_bitmap;
	uint64_t lbr[VMX_LBR_MAX]; /* branch records that are software's (lbr.c) */
	uint16_t open[16]; /* 64-bit words of it that may have a 0 in them: all others are ones */
	uint16_t nr_open;
};

/* MSRs that the guest uses directly and that hardware does not switch. */
#define VMX_SWAPPED_MSRS 6

struct vmx_vcpu {
	uint64_t host_rsp; /* as in the VMCS. Offsets 0 and 8 are used by switch.S */
	uint8_t launched;
	bool loaded;       /* between vcpu_load and vcpu_put */
	uint32_t proc;     /* as in the VMCS, but for */
	uint32_t proc_or;  /* what a guest hypervisor wants of its guest besides */
	uint32_t host_loads; /* vcpu_load's so far, and which of them the host-state area is of: nested_switch.c */
	uint64_t rip, rsp, rflags, debugctl; /* as in the VMCS; debugctl may have lost bits there since (VST_DBG) */
	void *vmcs;
	uint64_t vmcs_pa;
	struct vmx_vm *vm;
	uint64_t host_msr[VMX_SWAPPED_MSRS];
	uint32_t exceptions; /* the bitmap that a step has put aside, or 0 */
	bool kicked;         /* its timer is 0 for a step */
	bool int3;           /* of the bitmap: INT3 exits for a debugger */
	uint32_t pf_mask, pf_match; /* and the filter of #PFs, which a guest hypervisor may have set */
	bool lbr_loaded;   /* the CPU's branch records are this guest's, and newer than lbr[] */
	uint64_t lbr[VMX_LBR_MAX];
	struct desc_ptr host_gdt, host_idt;
};
_Static_assert(offsetof(struct vmx_vcpu, launched) == 8, "switch.S");

static inline struct vmx_vcpu *vmx_hw(const struct vcpu *v)
{
	return v->hw;
}

/* ---- vmcs.c ---- */

/* On a field that must exist; panics by the field's name when the CPU has another opinion. */
_Noreturn void vmcs_access_failed(const char *what, enum vmcs_field f);

static inline uint64_t vmcs_read(enum vmcs_field f)
{
	uint64_t v = 0;

	if (__builtin_expect(!vmread(f, &v), 0))
		vmcs_access_failed("VMREAD", f);
	return v;
}

static inline uint32_t vmcs_read32(enum vmcs_field f)
{
	return (uint32_t)vmcs_read(f);
}

static inline void vmcs_write(enum vmcs_field f, uint64_t v)
{
	if (__builtin_expect(!vmwrite(f, v), 0))
		vmcs_access_failed("VMWRITE", f);
}

/* For dump and audit: 0 when the field does not exist. */
static inline uint64_t vmcs_peek(enum vmcs_field f)
{
	uint64_t v = 0;

	vmread(f, &v);
	return v;
}

void vmx_make_current(struct vmx_vcpu *hw, struct cpu *c);
/* A VMCS of its own for hw, with vmcs_init()'s contents. hw->vm is set. False: out of memory. */
bool vmx_vmcs_create(struct vmx_vcpu *hw, bool bus_lock_exit);
void vmx_vmcs_destroy(struct vmx_vcpu *hw);
/* Controls and the guest fields that never change; the VMCS is current. bus_lock_exit: where the CPU has it. */
void vmcs_init(struct vmx_vcpu *hw, bool bus_lock_exit);
/* Host-state area for this CPU, from the CPU itself. */
void vmcs_write_host(struct cpu *c);
/* The MSRs that the guest uses directly (SYSCALL's, KernelGSBase, TSC_AUX): v->st from/to the CPU; and the host's set out of the way. */
void vmx_msrs_read(struct vcpu *v);
void vmx_msrs_write(struct vcpu *v);
void vmx_msrs_swap_in(struct vcpu *v);  /* host's saved, v->st's written */
void vmx_msrs_swap_out(struct vcpu *v); /* host's written back; read the guest's first */

/* ---- state.c: guest state between struct vcpu and the VMCS ---- */
void vmx_fetch(struct vcpu *v, uint32_t groups);
void vmx_dbg_now(const struct vcpu *v, struct dbg_now *now);
void vmx_commit(struct vcpu *v);
/* Rules V09, V10: PENDING_DBG.BS agrees with TF whenever the entry has an STI or MOV SS shadow. */
void vmx_sync_pending_bs(const struct vcpu *v);

/* ---- lbr.c ---- */
void vmx_lbr_init(void);  /* finds the CPU's stack */
bool vmx_lbr_known(void); /* it is one that drover can give to guests */
void vmx_lbr_load(struct vmx_vcpu *hw);
void vmx_lbr_save(struct vmx_vcpu *hw);
void vmx_lbr_wanted(void); /* dbg.h: lbr_wanted */
/* backend.h: lbr, lbr_state */
bool vmx_lbr(struct vcpu *v, uint32_t msr, bool write, uint64_t *val);
unsigned vmx_lbr_state(struct vcpu *v, uint64_t *array, bool restore);
void vmx_lbr_record(struct vcpu *v, uint64_t from, uint64_t to, bool event);

/* ---- exit.c ---- */
/* fail: what vmx_enter returned. */
void vmx_decode(struct vcpu *v, struct cpu *c, unsigned fail);
const char *vmx_exit_text(uint32_t reason);
const char *vmx_insn_error_text(uint64_t code);

/* ---- switch.S ---- */
/* 0: the guest exited (or the entry failed late: see the exit reason). 1: VMfailInvalid, 2: VMfailValid. */
unsigned vmx_enter(struct vcpu *v, struct vmx_vcpu *hw);
void vmx_exit_entry(void); /* HOST_RIP */

/* ---- nested_ops.c ---- */
extern const struct nested_ops vmx_nested;
/* The part of CR0 and CR4 that a guest hypervisor keeps from its guest: masks, and what the guest reads there. Level 1 only. */
struct vmx_nested_cr {
	uint64_t mask0, mask4, shadow0, shadow4;
	uint64_t fixed0;     /* CR0 bits that are 1 without an unrestricted guest: drover's besides */
	uint64_t own0, own4; /* values, as its guest has them, of the bits that drover owns */
	bool pdptes_loaded;  /* the entry has them from its VMCS: they do not follow CR3 */
};
void vmx_nested_cr(const struct vcpu *v, struct vmx_nested_cr *c);
/* The entry that comes injects an event. Level 1 only. */
void nvmx_mtf_injected(struct vcpu *v);
void vmx_nested_own_cr(struct vcpu *v, uint64_t cr0, uint64_t cr4);

/* ---- audit.c, dump.c ---- */
unsigned vmx_audit(struct vcpu *v);
void vmx_dump(struct vcpu *v);
const char *vmcs_field_name(enum vmcs_field f);
/* Guest-state part of the audit (audit_guest.c); returns the broken rules. */
unsigned vmx_audit_guest(void);

/* The audit's common line: logs the rule when it is broken. Returns 1 then, else 0. */
unsigned vmx_audit_rule(bool ok, const char *rule, uint64_t value);

#endif
