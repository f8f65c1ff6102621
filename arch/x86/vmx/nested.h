/* SPDX-License-Identifier: MIT */
/* Private to nested*.c: a guest hypervisor's state. vmcs01: what it runs with; vmcs12: what it has written; vmcs02: what its guest runs with. */
#ifndef ARCH_X86_VMX_NESTED_H
#define ARCH_X86_VMX_NESTED_H

#include "arch/x86/vmx/internal.h"
#include "vmm/demand.h"
#include "vmm/gva.h"

/* Index of a field in vmcs12: N12_GUEST_RIP... */
enum n12_index {
#define VMCS(name, encoding, width, kind, nested) N12_##name,
#include "arch/x86/def/vmcs.def"
#undef VMCS
	N12_NR
};

enum n12_kind { N12_COPY, N12_MERGE, N12_MODEL, N12_HOST, N12_INFO, N12_NONE };

struct nvmx;

struct n12_field {
	uint16_t field;
	uint8_t width; /* bits; 0: natural */
	uint8_t kind;  /* enum n12_kind */
	bool guest;    /* guest state: hardware changes it, an exit saves it */
	uint64_t (*merge)(const struct vcpu *v, const struct nvmx *n);
};
extern const struct n12_field n12_fields[N12_NR]; /* nested_merge.c */

/* Control bits that only this code looks at. */
#define PROC_TSC_OFFSET (1u << 3)
#define PROC_HLT (1u << 7)
#define PROC_INVLPG (1u << 9)
#define PROC_MWAIT (1u << 10)
#define PROC_RDPMC (1u << 11)
#define PROC_RDTSC (1u << 12)
#define PROC_CR3_LOAD (1u << 15)
#define PROC_CR3_STORE (1u << 16)
#define PROC_CR8_STORE (1u << 20)
#define PROC_IO (1u << 24)
#define PROC_IO_BITMAPS (1u << 25)
#define PROC_MSR_BITMAPS (1u << 28)
#define PROC_MONITOR (1u << 29)
#define PROC_PAUSE (1u << 30)
#define PROC2_DESC (1u << 2)
#define PROC2_WBINVD (1u << 6)
#define EXIT_SAVE_PAT (1u << 18)
#define EXIT_LOAD_PAT (1u << 19)
#define EXIT_SAVE_EFER (1u << 20)
#define EXIT_LOAD_EFER (1u << 21)
#define EXIT_SAVE_TIMER (1u << 22)
#define ENTRY_LOAD_PAT (1u << 14)
#define ENTRY_LOAD_EFER (1u << 15)
#define EPTCAP_EXEC_ONLY (1ull << 0)
#define EPTCAP_1G (1ull << 17)

/* Basic exit reasons that are made here, and not by hardware alone. */
enum { R_EXCEPTION = 0, R_INTR = 1, R_TRIPLE = 2, R_INIT = 3, R_CR = 28, R_VMREAD = 23, R_VMWRITE = 25, R_IO = 30, R_RDMSR = 31, R_WRMSR = 32, R_GUEST_STATE = 33, R_MSR_LOAD = 34,
       R_MTF = 37, R_EPT_VIOLATION = 48, R_EPT_MISCONFIG = 49, R_TIMER = 52 };

/* SDM "VM-Instruction Error Numbers". */
enum vmfail {
	VMFAIL_CLEAR_ADDR = 2, VMFAIL_CLEAR_VMXON = 3, VMFAIL_LAUNCH_NOT_CLEAR = 4, VMFAIL_RESUME_NOT_LAUNCHED = 5, VMFAIL_CONTROLS = 7,
	VMFAIL_HOST = 8, VMFAIL_PTRLD_ADDR = 9, VMFAIL_PTRLD_VMXON = 10, VMFAIL_PTRLD_REVISION = 11, VMFAIL_FIELD = 12, VMFAIL_READ_ONLY = 13,
	VMFAIL_VMXON_IN_ROOT = 15, VMFAIL_MOV_SS = 26, VMFAIL_INV_OPERAND = 28
};

#define NO_VMCS (~0ull)
#define NVMX_REVISION 0x64726f76u /* "drov" */
#define REVISION_SHADOW (1u << 31) /* of a region: it is a shadow VMCS, hardware's too */
#define NEPT_PAGES 64u            /* of one guest hypervisor's shadow EPT, at most */

/* A VMCS region in the guest's memory. The SDM leaves all but the first two words to the CPU. */
struct n12_region {
	uint32_t revision, abort, launched, zero;
	uint64_t f[N12_NR];
};
_Static_assert(sizeof(struct n12_region) <= 4096, "one page");

/* How the monitor trap flag is done for a guest hypervisor: nested_mtf.c. */
enum mtf_means { MTF_NONE, MTF_HW, MTF_TIMER };
/* With MTF_TIMER, how the next exit is to come: behind one instruction, or what takes its place; behind the event that the entry injects; at once; and at once,
 * for hardware's checks of the entry, when the instruction is one for software. */
enum mtf_state { MTF_OFF, MTF_STEP, MTF_BEHIND, MTF_DUE, MTF_CHECK };

struct nvmx {
	bool vmxon;
	uint64_t vmxon_pa;
	uint64_t current;       /* guest-physical address of vmcs12, or NO_VMCS */
	bool launched;
	bool is_shadow;         /* it is a shadow VMCS: it can be read and written, and not be entered */
	uint64_t f[N12_NR];     /* vmcs12, while it is current */
	bool dirty[N12_NR];     /* COPY: written by the guest hypervisor since it was copied to vmcs02 */
	bool all_dirty;

	struct vmx_vcpu *hw1, *hw2;
	struct vmx_vm *vm2;
	struct n12_region *image; /* where a region is checked before it is believed */

	/* Level 1. */
	bool run_pending;       /* VMLAUNCH has switched the level, and the nested guest has not run yet (N21) */
	uint32_t proc2;         /* vmcs12's secondary controls, 0 without them */
	uint64_t cr0, cr4;      /* the nested guest's bits that drover owns */
	uint64_t timer_left;    /* preemption timer: ticks until the exit that vmcs12 asks for */
	uint64_t timer_set;     /* what vmcs02 was given */
	bool init;              /* an INIT waits */
	bool unmoved;           /* kick, with nothing to deliver first: it will not have executed anything */
	bool kick;              /* something of the guest hypervisor's waits: leave the nested guest at once */
	struct {
		uint8_t state;      /* enum mtf_state */
		bool due;           /* an MTF exit is to come before the next instruction */
		bool handled;       /* drover handles an exit of the nested guest's, which had: */
		uint64_t rip, rcx;  /* rip, rflags: also as the entry had them */
		uint64_t rflags;
		bool waits;         /* the entry had a pending debug exception to deliver first */
	} mtf;
	struct {
		uint64_t rip, rsp, rflags, dr7, debugctl, efer, pat;
		uint8_t insn_len; /* VMLAUNCH's or VMRESUME's */
		bool nmi_blocked;
	} l1;                   /* as before the entry */

	/* VMCS shadowing; NULL: not on this CPU. */
	void *shadow;
	uint8_t *shadow_read, *shadow_write, *shadow_write_all; /* bitmaps; the last one while vmcs12 is a shadow VMCS itself */
	bool shadow_on;         /* vmcs01 has it, and it holds the current vmcs12's fields */

	/* Shadow EPT. */
	struct demand ept;
	uint64_t eptp;          /* vmcs12's that the shadow is of; 0: empty */
	uint16_t vpid;          /* vmcs12's of the last entry */
};

/* vmcs12's field by its name in vmcs.def. */
#define V12(n, name) ((n)->f[N12_##name])
#define V12_32(n, name) ((uint32_t)(n)->f[N12_##name])

static inline struct nvmx *nvmx_of(const struct vcpu *v)
{
	return v->nested;
}

static inline bool nvmx_ept(const struct nvmx *n)
{
	return n->proc2 & PROC2_EPT;
}

/* The bits that a field has. */
static inline uint64_t n12_mask(unsigned i)
{
	return n12_fields[i].width == 16 ? 0xffff : n12_fields[i].width == 32 ? 0xffffffff : ~0ull;
}

/* ---- nested_caps.c ---- */
/* The bits of a control word that must and that may be 1 in vmcs12. */
void nvmx_allowed(enum ctl_word w, uint32_t *must, uint32_t *may);
uint64_t nvmx_misc(void);
uint64_t nvmx_ept_vpid_cap(void);
uint64_t nvmx_cr4_fixed1(void);
void nvmx_cpuid(struct vcpu *v, uint32_t leaf, uint32_t sub, struct cpuid_regs *r);
int nvmx_msr(struct vcpu *v, uint32_t msr, bool write, uint64_t *val);

/* ---- nested_check.c: SDM "VM Entries" ---- */
bool nvmx_check_controls(const struct vcpu *v, struct nvmx *n);
bool nvmx_check_host(struct vcpu *v, const struct nvmx *n);
/* What hardware cannot check for us. False: *qual is the exit qualification of the failed entry. */
bool nvmx_check_guest(struct vcpu *v, const struct nvmx *n, uint64_t *qual);
bool nvmx_eptp_valid(uint64_t eptp);

/* ---- nested_merge.c ---- */
/* Fields of vmcs02 that are copied or merged; vmcs02 is current. */
void nvmx_merge(struct vcpu *v, struct nvmx *n);
/* Guest state that is copied, back into vmcs12. */
void nvmx_save_copied(struct nvmx *n);
/* nested.c's level switch: vmcs02's MSR bitmap, 1 where either of the two wants an exit (N22). */
void nvmx_merge_msr_bitmap(struct vcpu *v, struct nvmx *n);

/* ---- nested_ept.c ---- */
bool nvmx_ept_init(struct nvmx *n);
void nvmx_ept_destroy(struct nvmx *n);
/* Forget all translations; they come back on demand. */
void nvmx_ept_zap(struct nvmx *n);
/* The shadow is of this EPTP from now on. */
void nvmx_ept_use(struct nvmx *n, uint64_t eptp);
/* An EPT violation of the nested guest: filled in; the guest hypervisor's, *reason and *qual; its tables lead to its APIC's page, data access;
 * or a fetch from a page that a debugger guards: *qual is its address in the guest hypervisor's memory. */
enum ept_fault { EPT_FILLED, EPT_L1, EPT_APIC, EPT_GUARD };
enum ept_fault nvmx_ept_fill(struct vcpu *v, struct nvmx *n, uint64_t gpa, uint64_t hw_qual, uint32_t *reason, uint64_t *qual);
/* vmm/nested.h: phys */
bool nvmx_phys(struct vcpu *v, uint64_t *pa);
bool nvmx_irq_open(const struct vcpu *v);
bool nvmx_access(struct vcpu *v, uint64_t *pa, uint32_t access);
bool nvmx_miss(struct vcpu *v);

/* ---- nested_switch.c ---- */
struct l1_exit {
	uint32_t reason;
	uint64_t qual;
	uint32_t intr_info, intr_error, insn_len, insn_info, idt_info, idt_error;
	uint64_t gla, gpa;
};
/* From the guest hypervisor to its guest: checks are done. */
void nvmx_enter(struct vcpu *v, struct nvmx *n);
/* And back. */
void nvmx_leave(struct vcpu *v, struct nvmx *n, const struct l1_exit *x);
/* The entry failed behind its checks of controls and host state: reason 33 or 34. From either level; the nested guest has not run. */
void nvmx_entry_failed(struct vcpu *v, struct nvmx *n, uint32_t reason, uint64_t qual);
/* Hardware refused vmcs02 as a whole: the instruction fails, and nothing has changed (N07). */
void nvmx_late_vmfail(struct vcpu *v, struct nvmx *n);
/* Makes hw the VMCS that this vcpu runs with; what belongs to neither of the two comes along. */
void nvmx_use_hw(struct vcpu *v, struct vmx_vcpu *hw);
/* The VMCS of the nested guest in place of the guest hypervisor's, with what vmcs12 has by copy and merge: st is empty then. */
void nvmx_to_level1(struct vcpu *v, struct nvmx *n);
void nvmx_timer_arm(const struct vcpu *v, struct nvmx *n);

/* ---- nested_shadow.c: all of them with level 0 ---- */
bool nvmx_shadow_init(struct nvmx *n);
void nvmx_shadow_destroy(struct nvmx *n);
/* vmcs12 has changed: the guest hypervisor is to read that. */
void nvmx_shadow_out(struct vcpu *v, struct nvmx *n);
/* What the guest hypervisor has written there is wanted in vmcs12. */
void nvmx_shadow_in(struct vcpu *v, struct nvmx *n);
/* There is no current vmcs12 any more. */
void nvmx_shadow_off(struct vcpu *v, struct nvmx *n);

/* ---- nested_msrs.c ---- */
/* The MSR areas. load: 0, or the number of the entry that cannot be loaded, from 1. */
uint64_t nvmx_msrs_load(struct vcpu *v, uint64_t area, uint32_t count);
bool nvmx_msrs_store(struct vcpu *v, uint64_t area, uint32_t count);

/* ---- nested_mtf.c ---- */
extern enum mtf_means nvmx_mtf_means;
/* Finds it out, once. n is complete, its VMCS for the nested guest unused, and the VM has its memory. */
void nvmx_mtf_probe(struct vcpu *v, struct nvmx *n);
/* An exit of the nested guest. True: it was the trap flag's, and the guest hypervisor runs next. Before all other owners. */
bool nvmx_mtf_exit(struct vcpu *v, struct nvmx *n);
/* Before an event is selected. True: likewise. */
bool nvmx_mtf_event(struct vcpu *v, struct nvmx *n);
/* An exit of the flag's is due, also by what drover has just carried out. */
bool nvmx_mtf_due(const struct vcpu *v, const struct nvmx *n);
/* What waits is known: the next entry. */
void nvmx_mtf_arm(struct vcpu *v, struct nvmx *n);
/* Timer ticks until the trap flag's exit, at most. */
uint64_t nvmx_mtf_ticks(const struct nvmx *n);

/* ---- nested_access.c: operands, VMREAD and VMWRITE ---- */
struct nvmx_operand {
	bool is_reg;
	uint8_t reg;     /* is_reg, VMREAD and VMWRITE only */
	uint8_t reg2;    /* the other operand */
	struct gva at;
};
/* The operand of the VMX instruction that has exited. size: of one in memory, bytes. False: a fault has been queued. */
bool nvmx_operand(struct vcpu *v, unsigned size, struct nvmx_operand *o);
/* Of a memory operand. False: a fault has been queued, or the nested guest is not what runs next, or it is to try again. */
bool nvmx_read_operand(struct vcpu *v, const struct nvmx_operand *o, void *dst, unsigned size);
/* Carried out, or failed, or a fault queued: level 0 on the current vmcs12, level 1 on the shadow VMCS of its link pointer. */
void nvmx_vmread(struct vcpu *v, struct nvmx *n);
void nvmx_vmwrite(struct vcpu *v, struct nvmx *n);
/* Level 1: is it an exit to the guest hypervisor? */
bool nvmx_wants_access(struct vcpu *v, const struct nvmx *n, bool write);

/* ---- nested_exit.c ---- */
bool nvmx_exit(struct vcpu *v);
bool nvmx_event(struct vcpu *v);

/* ---- nested_snapshot.c: nested.h's save, check, restore ---- */
void nvmx_save(struct vcpu *v, void *to);
const char *nvmx_check(struct vcpu *v, const void *from);
void nvmx_restore(struct vcpu *v, const void *from);

/* ---- nested.c ---- */
void nvmx_insn(struct vcpu *v);
void nvmx_vmsucceed(struct vcpu *v);
void nvmx_vmfail(struct vcpu *v, struct nvmx *n, enum vmfail err);
void nvmx_vmfail_invalid(struct vcpu *v);

#endif
