/* SPDX-License-Identifier: MIT */
/* What the files of PVM's emulation share: memory as the guest's accesses see it, descriptors, far transfers. */
#ifndef ARCH_X86_PVM_EMUL_H
#define ARCH_X86_PVM_EMUL_H

#include "arch/x86/def/hypercall.h"
#include "arch/x86/def/pte.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/pvm/pvm.h"
#include "vmm/fetch.h"

/* Is it the INVLPG that speaks to drover, together with the instruction behind it (hypercall.h)? */
static inline bool pvm_is_pair(const struct decoded *d)
{
	return d->kind == DEC_INVLPG && d->mem && d->base == DECODE_NO_REG && d->index == DECODE_NO_REG && d->seg == DECODE_NO_SEG && d->disp == HC_PVM_PAIR;
}

/* As fetch_window(), without a walk where the page is the last one's. */
static inline const uint8_t *pvm_code(struct vcpu *v, unsigned *n)
{
	uint64_t at = v->rip - v->fetch.page; /* an empty cache has a page that no offset fits */

	if (at > 4096 - DECODE_MAX_LEN || !fetch_cache_valid(v))
		return fetch_window(v, n);
	*n = DECODE_MAX_LEN;
	return v->fetch.host + at;
}

/* ---- mem.c ---- */

/* PVM_SUPER: an access to a table or a frame, with the kernel's rights whatever the CPL (SDM "implicit supervisor-mode accesses"). */
enum pvm_right { PVM_AT_CPL, PVM_SUPER };

/* n <= 4096 bytes at a canonical linear address. False: nothing was copied, and a #PF is queued, or the VM has been stopped: no memory there. The host's
 * range is never there, whatever the guest's tables say. */
bool pvm_read(struct vcpu *v, uint64_t va, void *dst, size_t n, enum pvm_right right);
bool pvm_write(struct vcpu *v, uint64_t va, const void *src, size_t n, enum pvm_right right);
/* May the guest write there at its CPL? As pvm_write, without the copy. */
bool pvm_touch_write(struct vcpu *v, uint64_t va, size_t n);
/* Linear address of an instruction's memory operand of n bytes, n >= 1. False: #GP(0) or #SS(0), not canonical. */
bool pvm_operand(struct vcpu *v, const struct decoded *d, size_t n, uint64_t *va);
/* B0-3 of the breakpoints that an access hits (E08). */
uint32_t pvm_hits(struct vcpu *v, bool write, uint64_t va, size_t n);

/* The stack of an instruction: RSP as it is to become, cut to SS's width. Nothing of v changes before pvm_stack_close(). False: a fault is queued, and the
 * instruction is over (a push has moved sp). */
struct pvm_stack {
	uint64_t base, mask, sp;
	uint32_t hits;
};
struct pvm_stack pvm_stack_open(struct vcpu *v);
bool pvm_pop(struct vcpu *v, struct pvm_stack *s, unsigned n, uint64_t *val); /* n: 2, 4, 8 bytes */
bool pvm_push(struct vcpu *v, struct pvm_stack *s, unsigned n, uint64_t val);
void pvm_stack_close(struct vcpu *v, const struct pvm_stack *s);              /* RSP = sp */

/* ---- seg.c ---- */

static inline bool pvm_null(uint16_t sel)
{
	return sel < 4;
}

enum { PVM_DESC_OK, PVM_DESC_NONE, PVM_DESC_FAULT }; /* NONE: beyond the table, or in an LDT. FAULT: queued */
/* The descriptor of sel, whose RPL is ignored; returns one of these. n: 8 or 16 bytes, desc[1] for 16 alone. */
unsigned pvm_desc_read(struct vcpu *v, uint16_t sel, unsigned n, uint64_t desc[2]);
/* Around what reads descriptors and may change the virtual mode: one comparison of the guest's table, not several. True: it was another one, and the views
 * are new. */
bool pvm_gdt_begin(struct vcpu *v);
void pvm_gdt_end(struct vcpu *v);
/* Its accessed bit, or busy bit with `bits`; false: a fault is queued. */
bool pvm_desc_mark(struct vcpu *v, uint16_t sel, uint64_t desc, uint64_t bits);
struct seg pvm_seg(uint16_t sel, uint64_t desc); /* desc: as it is in the table */
/* The end of a load, when its rights are good: desc of sel is present and becomes accessed, *out is it, to be shown as the selector `as`. False: a fault is
 * queued, `absent` (VEC_NP, VEC_SS) or the table's #PF. */
bool pvm_desc_load(struct vcpu *v, uint16_t sel, uint64_t desc, uint8_t absent, uint16_t as, struct seg *out);
/* A selector as the guest means it. In virtual kernel mode CS and SS read as RPL 3, and what was read comes back: RPL 0 again. */
uint16_t pvm_virtual_sel(const struct vcpu *v, uint16_t sel, uint64_t desc);
/* The checks of SS for a code segment that runs at cpl; in 64-bit mode it may be null. False: a fault is queued. */
bool pvm_check_ss(struct vcpu *v, uint16_t sel, unsigned cpl, bool long64, struct seg *out);

#define PVM_DESC_A (1ull << 40)
#define PVM_DESC_BUSY (1ull << 41)
#define PVM_DESC_S (1ull << 44)
#define PVM_DESC_P (1ull << 47)
#define PVM_DESC_DPL_SHIFT 45
#define PVM_DESC_DPL (3ull << PVM_DESC_DPL_SHIFT)
#define PVM_DESC_WRITE (1ull << 41)  /* of data */
#define PVM_DESC_READ (1ull << 41)   /* of code */
#define PVM_DESC_CONF (1ull << 42)
#define PVM_DESC_CODE (1ull << 43)
#define PVM_DESC_L (1ull << 53)
#define PVM_DESC_DB (1ull << 54)

static inline unsigned pvm_desc_dpl(uint64_t d)
{
	return (unsigned)(d >> PVM_DESC_DPL_SHIFT & 3);
}

static inline bool pvm_is_code(uint64_t d)
{
	return (d & (PVM_DESC_S | PVM_DESC_CODE)) == (PVM_DESC_S | PVM_DESC_CODE);
}

/* Two slots of the second page of a view, made for one entry each: the segment that the guest has in CS or SS while its table has another one. */
#define PVM_XCODE 0x1030
#define PVM_XDATA 0x1038

/* hw->cs, ss, ds, es, fs, gs: selectors that are sure to load in the current view, DPL 3. For a data segment that does not: 0. */
void pvm_hw_segs(struct vcpu *v);
/* An exit has found other selectors in CS and SS than the entry loaded: the guest has loaded them by itself. */
void pvm_cs_from_hw(struct vcpu *v, uint16_t cs, uint16_t ss);
/* What a selector that hardware has loaded by itself stands for: base, limit, rights from the bytes that the views were made of. */
struct seg pvm_seg_from_hw(const struct vcpu *v, uint16_t sel);

/* ---- far.c: carried out and retired, or a fault is queued. All groups of v->st but VST_DBG are in step (pvm_emulate) ---- */
void pvm_iret(struct vcpu *v, const struct decoded *d);
void pvm_retf(struct vcpu *v, const struct decoded *d);
void pvm_far_jump(struct vcpu *v, const struct decoded *d, bool call);
bool pvm_sysret(struct vcpu *v, const struct decoded *d);

/* ---- deliver.c ---- */
/* INT n, INT3, INTO at RIP: queued as an event, which takes the held #DB along (A25). */
void pvm_soft_int(struct vcpu *v, uint8_t vector, unsigned len, bool int_n);
/* A trap #DB for what software's accesses have hit, and MOV SS has held back: B0-3 and BS of hits, of which a debugger's go to it. 0: none. */
void pvm_raise_hits(struct vcpu *v, uint32_t hits);

/* May the guest touch size ports from there at its virtual CPL? False: #GP(0) is queued. SDM "I/O Permission Bit Map". */
bool pvm_io_allowed(struct vcpu *v, uint16_t port, unsigned size);

/* ---- shadow.c: what STI and MOV SS hold off until one instruction has run, which nothing tells of but a hidden step ---- */

/* Before an entry with st.shadow open, hw->entry_* set. Bits to be set in hardware's RFLAGS besides the guest's. */
uint64_t pvm_shadow_enter(struct vcpu *v);
/* Behind the decoding of the exit of such an entry: takes the hidden TF out of rflags, ends the shadow if the instruction has run, and makes the step's #DB
 * what it is for the guest: nothing (EXITK_INTR_WINDOW), or what MOV SS has held back. */
void pvm_shadow_leave(struct vcpu *v);

#endif
