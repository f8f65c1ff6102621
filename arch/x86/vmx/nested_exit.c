/* SPDX-License-Identifier: MIT */
/* Nested VMX: whose is an exit of the nested guest, what of it the guest hypervisor sees, and which waiting event is an exit to it. */
#include "arch/x86/def/cr.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/vmx/nested.h"
#include "vmm/apic.h"
#include "vmm/exits.h"
#include "vmm/gmem.h"
#include "vmm/guard.h"
#include "vmm/run.h"

/* ---- Exceptions ---- */

/* SDM "Exceptions": #PF has a mask and a match besides its bit. */
static bool wants_exception(const struct nvmx *n, unsigned vector, uint32_t error)
{
	bool bit = V12(n, EXCEPTION_BITMAP) >> vector & 1;

	if (vector != VEC_PF)
		return bit;
	return ((error & V12_32(n, PF_MASK)) == V12_32(n, PF_MATCH)) == bit;
}

/* A #DB that hardware has intercepted. The debugger's part stays here (Z04). */
static bool wants_db(struct vcpu *v, const struct nvmx *n, uint32_t *payload)
{
	uint32_t rest = v->exit.u.exc.db.payload, theirs = dbg_route(&v->dbg, &rest);

	*payload = rest;
	return wants_exception(n, VEC_DB, 0) && (!theirs || rest || v->exit.u.exc.db.cls == DBG_ICEBP);
}

/* ---- Instructions ---- */

static bool wants_io(const struct vcpu *v, const struct nvmx *n)
{
	uint32_t proc = V12_32(n, PROC_CTL), port = (uint32_t)v->exit.u.io.port;

	if (!(proc & PROC_IO_BITMAPS))
		return proc & PROC_IO;
	for (unsigned i = 0; i < v->exit.u.io.size; i++, port++) {
		uint64_t map = port & 0x8000 ? V12(n, IO_BITMAP_B) : V12(n, IO_BITMAP_A);
		uint8_t bits = 0xff;

		gmem_read(v->vm, (struct gpa){ map + (port & 0x7fff) / 8 }, &bits, 1);
		if (port > 0xffff || (bits >> port % 8 & 1))
			return true;
	}
	return false;
}

/* A bitmap that is not memory reads as ones. */
static bool wants_msr(const struct vcpu *v, const struct nvmx *n, bool write)
{
	uint32_t msr = (uint32_t)v->r[GPR_RCX], i = msr & 0x1fff;
	uint8_t bits = 0xff;

	if (msr - i != 0 && msr - i != 0xc0000000)
		return true;
	if (!(V12(n, PROC_CTL) & PROC_MSR_BITMAPS))
		return true;
	gmem_read(v->vm, (struct gpa){ V12(n, MSR_BITMAP) + (write ? 2048u : 0u) + (msr >= 0xc0000000 ? 1024u : 0u) + i / 8 }, &bits, 1);
	return bits >> i % 8 & 1;
}

static uint64_t cr_value(const struct vcpu *v)
{
	return v->r[v->exit.u.cr.gpr];
}

/* SDM "Instructions That Cause VM Exits Conditionally". CLTS and LMSW exit for the guest hypervisor's mask only: drover owns none of their bits. */
static bool wants_cr(const struct vcpu *v, const struct nvmx *n)
{
	uint32_t proc = V12_32(n, PROC_CTL);
	bool write = v->exit.u.cr.access != CR_READ;

	switch (v->exit.u.cr.cr) {
	case 0:
		if (v->exit.u.cr.access != CR_WRITE)
			return true;
		return (cr_value(v) ^ V12(n, CR0_SHADOW)) & V12(n, CR0_MASK);
	case 3:
		return proc & (write ? PROC_CR3_LOAD : PROC_CR3_STORE);
	case 4:
		return (cr_value(v) ^ V12(n, CR4_SHADOW)) & V12(n, CR4_MASK);
	default:
		return proc & (write ? PROC_CR8_LOAD : PROC_CR8_STORE);
	}
}

/* ---- By reason ---- */

enum who { WHO_L0, WHO_L1, WHO_PROC, WHO_PROC2 };

struct owner {
	uint8_t who;  /* enum who: PROC, PROC2: the guest hypervisor's iff that control bit is 1 */
	uint8_t bit;
};

/* The rest, and what is not listed, is drover's or has a function above. */
static const struct owner owners[] = {
	[2] = { WHO_L1, 0 },     [7] = { WHO_PROC, 2 },   [8] = { WHO_PROC, 22 },  [9] = { WHO_L1, 0 },     [10] = { WHO_L1, 0 },
	[11] = { WHO_L1, 0 },    [12] = { WHO_PROC, 7 },  [13] = { WHO_L1, 0 },    [14] = { WHO_PROC, 9 },  [15] = { WHO_PROC, 11 },
	[16] = { WHO_PROC, 12 }, [17] = { WHO_L1, 0 },    [18] = { WHO_L1, 0 },    [19] = { WHO_L1, 0 },    [20] = { WHO_L1, 0 },
	[21] = { WHO_L1, 0 },    [22] = { WHO_L1, 0 },    [24] = { WHO_L1, 0 },
	[26] = { WHO_L1, 0 },    [27] = { WHO_L1, 0 },    [29] = { WHO_PROC, 23 }, /* N09: whatever the CPL, the exit outranks the faults */
	[36] = { WHO_PROC, 10 }, [37] = { WHO_L1, 0 }, [39] = { WHO_PROC, 29 }, [40] = { WHO_PROC, 30 }, [46] = { WHO_PROC2, 2 }, [47] = { WHO_PROC2, 2 },
	[50] = { WHO_L1, 0 },    [51] = { WHO_PROC, 12 }, [53] = { WHO_L1, 0 },    [54] = { WHO_PROC2, 6 }, [55] = { WHO_L1, 0 },
};

static bool wants_by_table(const struct nvmx *n, uint32_t reason)
{
	struct owner o = { WHO_L0, 0 };

	if (reason < sizeof(owners) / sizeof(owners[0]))
		o = owners[reason];
	switch ((enum who)o.who) {
	case WHO_L1: return true;
	case WHO_PROC: return V12(n, PROC_CTL) >> o.bit & 1;
	case WHO_PROC2: return n->proc2 >> o.bit & 1;
	case WHO_L0: break;
	}
	return false; /* host interrupts and NMIs, bus locks (N23) */
}

/* What hardware says of the exit, as it is. A bus lock before it was drover's to count (N23). */
static struct l1_exit as_hardware_says(const struct vcpu *v)
{
	uint32_t reason = v->exit.hw_reason & 0xffff;
	struct l1_exit x = {
		.reason = reason, .qual = vmcs_read(VMCS_EXIT_QUALIFICATION), .idt_info = vmcs_read32(VMCS_IDT_VECTORING_INFO),
		.idt_error = vmcs_read32(VMCS_IDT_VECTORING_ERROR), .insn_len = vmcs_read32(VMCS_EXIT_INSN_LEN),
		.insn_info = vmcs_read32(VMCS_EXIT_INSN_INFO), .gla = vmcs_read(VMCS_GUEST_LINEAR), .gpa = vmcs_read(VMCS_GUEST_PA),
	};

	if (reason == R_EXCEPTION) {
		x.intr_info = vmcs_read32(VMCS_EXIT_INTR_INFO);
		x.intr_error = vmcs_read32(VMCS_EXIT_ERROR_CODE);
	}
	return x;
}

/* True: x is to be an exit to the guest hypervisor. */
static bool wants(struct vcpu *v, struct nvmx *n, struct l1_exit *x)
{
	uint32_t reason = v->exit.hw_reason & 0xffff, payload = 0;
	bool theirs;

	switch (reason) {
	case R_EXCEPTION:
		if (v->exit.kind != EXITK_EXCEPTION)
			return false; /* the host's NMI, a machine check, the end of a step */
		theirs = v->exit.u.exc.vector == VEC_DB ? wants_db(v, n, &payload) : wants_exception(n, v->exit.u.exc.vector, v->exit.u.exc.error);
		break;
	case R_CR: theirs = wants_cr(v, n); break;
	case R_IO: theirs = wants_io(v, n); break;
	case R_RDMSR: theirs = wants_msr(v, n, false); break;
	case R_WRMSR: theirs = wants_msr(v, n, true); break;
	case R_VMREAD: theirs = nvmx_wants_access(v, n, false); break;
	case R_VMWRITE: theirs = nvmx_wants_access(v, n, true); break;
	case R_TIMER: theirs = (V12(n, PIN_CTL) & PIN_TIMER) && !n->kick && n->timer_left == 0; break;
	default: theirs = wants_by_table(n, reason); break;
	}
	if (!theirs)
		return false;
	*x = as_hardware_says(v);
	if (reason == R_EXCEPTION && v->exit.u.exc.vector == VEC_DB)
		x->qual = payload; /* only that: DR6 and the nested guest's DR7.GD stay as they are (N10) */
	return true;
}

/* ---- What drover does itself ---- */

/* MOV to a control register with a bit that drover owns: as at level 0, but the guest hypervisor's bits are its own, and what VMX fixes is #GP. */
static void own_cr(struct vcpu *v, const struct nvmx *n)
{
	uint64_t *gpr = &v->r[v->exit.u.cr.gpr], old = *gpr, val = old, cr0_fixed = CR0_NE;
	bool bad = false;

	vcpu_need(v, VST_CR);
	if (!(n->proc2 & PROC2_UNRESTRICTED))
		cr0_fixed |= CR0_PE | CR0_PG;
	if (v->exit.u.cr.access == CR_WRITE && v->exit.u.cr.cr == 0) {
		val = (old & ~V12(n, CR0_MASK)) | (v->st.cr0 & V12(n, CR0_MASK));
		bad = (val & cr0_fixed) != cr0_fixed;
	} else if (v->exit.u.cr.access == CR_WRITE && v->exit.u.cr.cr == 4) {
		val = (old & ~V12(n, CR4_MASK)) | (v->st.cr4 & V12(n, CR4_MASK));
	}
	if (bad) {
		vcpu_raise(v, VEC_GP, true, 0);
		return;
	}
	*gpr = val;
	exit_cr(v);
	if (v->exit.u.cr.access == CR_WRITE)
		*gpr = old;
}

/* With VMCS shadowing, one that the bitmaps leave to hardware. */
static bool own_access(struct vcpu *v, struct nvmx *n)
{
	uint32_t reason = v->exit.hw_reason & 0xffff;

	if (reason == R_VMREAD)
		nvmx_vmread(v, n);
	else if (reason == R_VMWRITE)
		nvmx_vmwrite(v, n);
	else
		return false;
	return true;
}

/* HLT that nobody intercepts: hardware waits, for drover's interrupts too, so that what comes for any level finds it. */
static void own_hlt(struct vcpu *v)
{
	vcpu_skip(v, v->exit.len);
	if (v->exception.type == EVENT_NONE) {
		vmcs_write(VMCS_GUEST_ACTIVITY, 1);
		v->step.asleep = true; /* a step would be TF there, which wants BS in the pending field (V09): nothing runs that could be stepped */
	}
}

/* Only the first entry after VMLAUNCH can be refused for what the guest hypervisor wrote. Else it is drover's mistake, and the machine model says so. */
static bool entry_refused(struct vcpu *v, struct nvmx *n)
{
	if (!n->run_pending)
		return false;
	if (v->exit.hw_reason == HW_REASON_VMFAIL)
		nvmx_late_vmfail(v, n);
	else
		nvmx_entry_failed(v, n, v->exit.hw_reason & 0xffff, vmcs_read(VMCS_EXIT_QUALIFICATION));
	return true;
}

static void timer_account(struct nvmx *n)
{
	uint64_t left, used;

	if (!(V12(n, PIN_CTL) & PIN_TIMER) || n->kick)
		return;
	left = vmcs_read(VMCS_PREEMPTION_TIMER);
	used = left < n->timer_set ? n->timer_set - left : 0;
	n->timer_left = used < n->timer_left ? n->timer_left - used : 0;
}

/* An EPT violation with a shadow: filled in, or the guest hypervisor's. False: a debugger's, for the machine model, with the address in the guest hypervisor's memory. */
static bool ept_violation(struct vcpu *v, struct nvmx *n)
{
	struct l1_exit x = as_hardware_says(v);

	switch (nvmx_ept_fill(v, n, v->exit.u.mem.gpa, vmcs_read(VMCS_EXIT_QUALIFICATION), &x.reason, &x.qual)) {
	case EPT_FILLED:
		nvmx_timer_arm(v, n);
		return true;
	case EPT_L1:
		nvmx_leave(v, n, &x);
		return true;
	case EPT_APIC:
		nvmx_timer_arm(v, n);
		apic_mmio(v);
		return true;
	case EPT_GUARD:
		nvmx_timer_arm(v, n);
		v->exit.u.mem.gpa = x.qual;
		return false;
	}
	return true; /* not reached */
}

bool nvmx_exit(struct vcpu *v)
{
	struct nvmx *n = nvmx_of(v);
	struct l1_exit x;

	if (v->exit.kind == EXITK_ENTRY_FAIL)
		return entry_refused(v, n);
	n->run_pending = false;
	if (v->step.asleep)
		v->step.asleep = vmcs_read(VMCS_GUEST_ACTIVITY) == 1;
	/* With TF set, an emulator saves BS at each exit, even of a guest that has executed nothing. */
	if (n->unmoved && (v->exit.hw_reason & 0xffff) == R_TIMER)
		vmcs_write(VMCS_GUEST_PENDING_DBG, V12(n, GUEST_PENDING_DBG));
	n->unmoved = false;
	timer_account(n);
	if (nvmx_mtf_exit(v, n))
		return true;
	if (wants(v, n, &x)) {
		nvmx_leave(v, n, &x);
		return true;
	}
	if (v->exit.kind == EXITK_MEM && nvmx_ept(n))
		return ept_violation(v, n);
	if (v->exit.kind == EXITK_MEM && (v->exit.u.mem.gpa ^ VLAPIC_PA) >= 4096 && !guard_has(v->vm, v->exit.u.mem.gpa)) { /* as on SVM: nobody is there, and no tables of L1's to blame */
		nvmx_leave(v, n, &(struct l1_exit){ .reason = R_TRIPLE });
		return true;
	}
	if (n->kick)
		v->event_pending = true;
	n->kick = false;
	v->held = 0;
	nvmx_timer_arm(v, n);
	if (own_access(v, n))
		return true;
	if (v->exit.kind == EXITK_CR) {
		own_cr(v, n);
		return true;
	}
	if (v->exit.kind == EXITK_HLT) {
		own_hlt(v);
		return true;
	}
	return false;
}

/* ---- Waiting events ---- */

static struct l1_exit event_exit(uint32_t reason, uint32_t vector, uint32_t type)
{
	return (struct l1_exit){ .reason = reason, .intr_info = vector | type << 8 | INFO_VALID };
}

/* An exception that drover has raised for the nested guest. */
static bool exception_exits(struct vcpu *v, struct nvmx *n)
{
	const struct event *e = &v->exception;
	struct l1_exit x = event_exit(R_EXCEPTION, e->vector, VMX_TYPE_EXC);

	if (!wants_exception(n, e->vector, e->error))
		return false;
	/* The trap of an emulated instruction goes through the pending-debug field: hardware raises it in its place among what else waits, and it comes back as an
	 * exit (V13). A fault must not: General Detect has no bit there, and a code breakpoint would look like a trap (N13, N15). */
	if (e->vector == VEC_DB && e->db.cls == DBG_TRAP && e->db.emulated)
		return false;
	x.qual = e->vector == VEC_DB ? e->db.payload : e->vector == VEC_PF ? e->cr2 : 0;
	if (e->has_error) {
		x.intr_info |= INFO_ERROR;
		x.intr_error = e->error;
	}
	if (e->vector == VEC_DB && e->db.cls == DBG_ICEBP)
		x.intr_info = VEC_DB | VMX_TYPE_PRIV_SOFT << 8 | INFO_VALID;
	v->exception.type = EVENT_NONE;
	nvmx_leave(v, n, &x);
	return true;
}

/* The acknowledged interrupt is taken from the queue; else it waits until the guest hypervisor lets it in. */
static void intr_exits(struct vcpu *v, struct nvmx *n, unsigned irq)
{
	struct l1_exit x = { .reason = R_INTR };

	if (V12(n, EXIT_CTL) & EXIT_ACK_INTR) {
		x = event_exit(R_INTR, irq, VMX_TYPE_INTR);
		event_take_irq(v, (uint8_t)irq);
	}
	nvmx_leave(v, n, &x);
}

/* The nested guest is entered for what comes first, and left before its next instruction. What waits is not its own: it is not to have it meanwhile. */
static bool kick(struct vcpu *v, struct nvmx *n)
{
	if (!(vmx_caps.allowed1[CTL_PIN] & PIN_TIMER))
		return false;
	n->kick = true;
	v->held = VCPU_HELD_INTR | VCPU_HELD_NMI;
	vmcs_write(VMCS_PIN_CTL, vmcs_read(VMCS_PIN_CTL) | PIN_TIMER);
	nvmx_timer_arm(v, n);
	return true;
}

static bool event_exits(struct vcpu *v, struct nvmx *n)
{
	int irq = event_irq(v);
	bool nmi = v->nmi_pending && (V12(n, PIN_CTL) & PIN_NMI), intr = irq >= 0 && (V12(n, PIN_CTL) & PIN_EXT_INTR);

	/* What is under way is delivered first; then the nested guest is to be left before its next instruction (N21). */
	if (v->exit.vectoring.type != EVENT_NONE) {
		if (nmi || intr || n->init)
			kick(v, n);
		return false;
	}
	if (v->exception.type != EVENT_NONE)
		return exception_exits(v, n);
	/* Hardware has not seen its state yet: an entry that fails does so before any interrupt. */
	if (n->run_pending && (nmi || intr) && kick(v, n)) {
		n->unmoved = true;
		return false;
	}
	if (nmi) {
		struct l1_exit x = event_exit(R_EXCEPTION, VEC_NMI, VMX_TYPE_NMI);

		v->nmi_pending = false;
		nvmx_leave(v, n, &x);
	} else if (intr) {
		intr_exits(v, n, (unsigned)irq);
	}
	return nmi || intr;
}

/* Before all else: a triple fault that drover has found; INIT. A #DB trap that waits is stored with it (N16), a fault comes again with its instruction. */
static bool init_exits(struct vcpu *v, struct nvmx *n)
{
	if (v->exception.type == EVENT_TRIPLE) {
		v->exception.type = EVENT_NONE;
		nvmx_leave(v, n, &(struct l1_exit){ .reason = R_TRIPLE });
		return true;
	}
	if (!n->init || v->exit.vectoring.type != EVENT_NONE)
		return false;
	n->init = false;
	nvmx_leave(v, n, &(struct l1_exit){ .reason = R_INIT });
	return true;
}

bool nvmx_event(struct vcpu *v)
{
	struct nvmx *n = nvmx_of(v);

	if (init_exits(v, n) || nvmx_mtf_event(v, n) || event_exits(v, n))
		return true;
	nvmx_mtf_arm(v, n);
	return false;
}

bool nvmx_irq_open(const struct vcpu *v)
{
	return (V12(nvmx_of(v), PIN_CTL) & PIN_EXT_INTR) || (v->rflags & RFLAGS_IF);
}
