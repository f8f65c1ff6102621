/* SPDX-License-Identifier: MIT */
/* For a failed entry: prints SVM's control block by name, and checks it against the APM's "Canonicalization and Consistency Checks". */
#include "arch/lib/log.h"
#include "arch/x86/def/cr.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/insn.h"
#include "arch/x86/svm/svm.h"

#define SEG_FIELD(name, off) { #name, off, 0 },
#define FIELD(name, off) { #name, off, sizeof(((struct vmcb *)0)->name) },
static const struct {
	const char *name;
	uint16_t off;
	uint16_t size; /* bytes; 0: a segment */
} fields[] = { VMCB_FIELDS(FIELD) VMCB_SEGS(SEG_FIELD) };
#undef FIELD
#undef SEG_FIELD

void svm_dump(struct vcpu *v)
{
	const struct vmcb *b = svm_hw(v)->vmcb;

	log_printf("drover: VMCB at 0x%llx, exit code 0x%llx (%s)\n", (unsigned long long)svm_hw(v)->vmcb_pa, (unsigned long long)b->exit_code,
		   svm_exit_name(b->exit_code));
	for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		const uint8_t *p = (const uint8_t *)b + fields[i].off;
		uint64_t x = 0;

		if (fields[i].size == 0) {
			const struct vmcb_seg *s = (const void *)p;

			log_printf("drover:   %03x %-24s sel %04x attr %03x limit %08x base %016llx\n", fields[i].off, fields[i].name, s->sel,
				   s->attr, s->limit, (unsigned long long)s->base);
			continue;
		}
		for (unsigned k = 0; k < fields[i].size; k++)
			x |= (uint64_t)p[k] << (k * 8);
		log_printf("drover:   %03x %-24s %llx\n", fields[i].off, fields[i].name, (unsigned long long)x);
	}
}

/* Reserved bits of CR3 and CR4 depend on the CPU; here are those that no AMD CPU has. */
#define CR4_NEVER 0xffffffffff08e000ull /* all but VME..UMIP, LA57, FSGSBASE..OSXSAVE, SMEP, SMAP, PKE, CET */
#define EFER_KNOWN 0x36fd01ull          /* SCE LME LMA NXE SVME LMSLE FFXSR TCE MCOMMIT INTWB UAIE AIBRSE */

bool svm_pat_illegal(uint64_t pat)
{
	for (unsigned i = 0; i < 64; i += 8) {
		uint64_t type = pat >> i & 0xff;

		if (type == 2 || type == 3 || type > 7)
			return true;
	}
	return false;
}

bool svm_event_illegal(const struct vmcb *b)
{
	uint64_t ev = b->event_inj, vec = ev & VMCB_EV_VECTOR;

	if (!(ev & VMCB_EV_VALID))
		return false;
	switch (VMCB_EV_TYPE(ev)) {
	case VMCB_EV_INTR:
	case VMCB_EV_SOFT: return false;
	case VMCB_EV_NMI: return false; /* the vector is ignored */
	case VMCB_EV_EXCEPTION: return vec == VEC_NMI || vec > 31 || (vec == VEC_OF && (b->efer & EFER_LMA) && (b->cs.attr & SEG_AR_L >> 4));
	default: return true;
	}
}

struct audit {
	unsigned broken;
};

static void rule(struct audit *a, bool broken, const char *what)
{
	if (!broken)
		return;
	a->broken++;
	log_printf("drover: VMCB breaks the entry rule: %s\n", what);
}

static void audit_cr(struct audit *a, const struct vmcb *b, unsigned pa_bits)
{
	bool long_mode = (b->efer & EFER_LME) && (b->cr0 & CR0_PG);

	rule(a, !(b->efer & EFER_SVME), "EFER.SVME is zero");
	rule(a, !(b->cr0 & CR0_CD) && (b->cr0 & CR0_NW), "CR0.CD is zero and CR0.NW is set");
	rule(a, b->cr0 >> 32, "CR0[63:32] are not zero");
	rule(a, (b->efer & EFER_LMA) && (b->cr3 >> pa_bits & ~(b->cr4 & CR4_PCIDE ? 1ull << (63 - pa_bits) : 0)), "a reserved bit of CR3 is set");
	rule(a, b->cr4 & CR4_NEVER, "a reserved bit of CR4 is set");
	rule(a, b->dr6 >> 32, "DR6[63:32] are not zero");
	rule(a, b->dr7 >> 32, "DR7[63:32] are not zero");
	rule(a, b->efer & ~EFER_KNOWN, "a reserved bit of EFER is set");
	rule(a, long_mode && !(b->cr4 & CR4_PAE), "EFER.LME and CR0.PG are set and CR4.PAE is zero");
	rule(a, long_mode && !(b->cr0 & CR0_PE), "EFER.LME and CR0.PG are set and CR0.PE is zero");
	rule(a, long_mode && (b->cr4 & CR4_PAE) && (b->cs.attr & SEG_AR_L >> 4) && (b->cs.attr & SEG_AR_DB >> 4),
	     "EFER.LME, CR0.PG, CR4.PAE, CS.L and CS.D are all set");
}

unsigned svm_audit(struct vcpu *v)
{
	const struct vmcb *b = svm_hw(v)->vmcb;
	unsigned pa_bits = cpuid(0x80000008, 0).eax & 0xff;
	struct audit a = { 0 };

	audit_cr(&a, b, pa_bits);
	rule(&a, !(b->intercept[VMCB_I_MISC2] & VMCB_I2_VMRUN), "the VMRUN intercept bit is clear");
	rule(&a, (b->msrpm_pa + VMCB_MSRPM_SIZE - 1) >> pa_bits, "the MSR permission map reaches past the largest physical address");
	rule(&a, (b->iopm_pa + VMCB_IOPM_SIZE - 1) >> pa_bits, "the I/O permission map reaches past the largest physical address");
	rule(&a, svm_event_illegal(b), "illegal event injection");
	rule(&a, b->asid == 0, "ASID is zero");
	rule(&a, b->asid >= svm_feat.nr_asids, "ASID is beyond CPUID 8000_000A EBX");
	rule(&a, (b->np_control & VMCB_NP_ENABLE) && svm_pat_illegal(b->g_pat), "G_PAT holds an illegal memory type");
	rule(&a, (b->np_control & VMCB_NP_ENABLE) && (b->n_cr3 & 0xfff || b->n_cr3 >> pa_bits), "a reserved bit of nCR3 is set");
	return a.broken;
}
