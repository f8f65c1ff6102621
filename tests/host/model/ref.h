/* SPDX-License-Identifier: MIT */
/* The debug registers as the manuals' tables give them, bit by bit: the reference for dbg.c, and the software CPU's own arithmetic. */
#ifndef MODEL_REF_H
#define MODEL_REF_H

#include <stdbool.h>
#include <stdint.h>

struct ref_cpu {
	bool rtm, bld, amd;
	bool btf, lbr;      /* DEBUGCTL has these bits */
	bool lbrv;          /* SVM can switch DEBUGCTL */
	bool masks, masks32; /* AMD's address masks, and all 32 bits of them */
	bool bus_lock_exit; /* VMX can */
	bool no_debugctl;   /* none of its bits is a guest's */
	uint8_t lbr_depth;  /* Intel's stack of records; 0: none */
};

uint64_t ref_dr6_written(uint64_t v, struct ref_cpu c); /* reads back after a write of v; v: 32 bits */
uint64_t ref_dr7_written(uint64_t v, struct ref_cpu c);
/* DR6 after a #DB. cause: bits in positive polarity at DR6's places. */
uint64_t ref_dr6_after(uint64_t old, uint32_t cause, struct ref_cpu c);

enum ref_access { REF_FETCH, REF_READ, REF_WRITE, REF_PORT };
/* Does breakpoint slot i match, byte by byte? addr, len: what is accessed. de: CR4.DE. */
bool ref_match(uint64_t dr, uint64_t dr7, unsigned i, enum ref_access a, uint64_t addr, unsigned len, bool de);
bool ref_enabled(uint64_t dr7, unsigned i);

#endif
