/* SPDX-License-Identifier: MIT */
/* A guest in ring 3 for the tests of PVM's emulation: tables, stacks and code at fixed places, no CPU. Expected values come from the SDM. */
#ifndef PVM_GUEST_H
#define PVM_GUEST_H

#include "arch/x86/def/cr.h"
#include "arch/x86/def/seg.h"
#include "arch/x86/pvm/emul.h"
#include "tap.h"

#define PG_GDT 0x10000ull
#define PG_GDT_LIMIT 0x8fu
#define PG_IDT 0x11000ull
#define PG_IDT_LIMIT (0x90u * 16 - 1) /* vectors up to 8f */
#define PG_TSS 0x12000ull
#define PG_RSP0 0x21008ull /* aligned down to 21000 by a delivery */
#define PG_IST1 0x23000ull
#define PG_IST_BAD 0x800000000000ull /* IST2: not canonical */
#define PG_IST_HOLE 0x25000ull /* IST3: the page below is not present */
#define PG_IST_EDGE 0x26010ull /* IST4: the lower part of the frame is in a page that is not present */
#define PG_KCODE 0x30000ull
#define PG_UCODE 0x200000ull
#define PG_USTACK 0x210000ull
#define PG_KSTACK 0x20f00ull
#define PG_DATA 0x13000ull
#define PG_RDONLY 0x27000ull
#define PG_LAST 0x1ff000ull

enum {
	S_KCODE = 0x08, S_KDATA = 0x10, S_UCODE32 = 0x1b, S_UDATA = 0x23, S_UCODE = 0x2b, S_UDATA_NP = 0x33, S_TSS = 0x38, S_KCODE32 = 0x48, S_KCODE_NP = 0x50,
	S_CODE1 = 0x58, S_CONF = 0x60, S_RDONLY = 0x68, S_LDT = 0x70, S_LD = 0x80, S_TSS_BUSY16 = 0x88,
};

extern struct vcpu pg;
extern struct pvm_vcpu pg_hw;

/* At virtual CPL 0 or 3, RFLAGS 2, RIP and RSP at that level's code and stack, SS and CS loaded, nothing pending. */
void pg_start(unsigned cpl);
void pg_poke(uint64_t at, const void *p, unsigned n);
void pg_poke64(uint64_t at, uint64_t v);
uint64_t pg_peek64(uint64_t at);
void pg_unmap(uint64_t page); /* of the first 2 MiB */
/* The page below the host's range: PG_LAST, for supervisors. */
void pg_map_last(void);
/* A gate: sel, offset, type 14 or 15, DPL, IST. */
void pg_gate(unsigned vector, uint16_t sel, uint64_t offset, unsigned type, unsigned dpl, unsigned ist);
/* The instruction at RIP has faulted with this vector and error code; carried out. Bytes: n of them. */
void pg_insn(unsigned vector, uint32_t error, const void *bytes, unsigned n);
#define PG_INSN(...) pg_insn(VEC_GP, 0, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))
/* The queued exception as vector << 32 | has_error << 31 | error; all ones: none. */
uint64_t pg_fault(void);
#define PG_NONE (~0ull)
#define PG_FAULT(vec, error) ((uint64_t)(vec) << 32 | 1u << 31 | (error))
#define PG_FAULT_PLAIN(vec) ((uint64_t)(vec) << 32)
/* The payload of a queued trap #DB; all ones: none. */
uint64_t pg_db(void);

#endif
