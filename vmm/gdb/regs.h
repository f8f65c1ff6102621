/* SPDX-License-Identifier: MIT */
/* Registers as gdb numbers them, and the XML that tells gdb which there are. */
#ifndef VMM_GDB_REGS_H
#define VMM_GDB_REGS_H

#include "vmm/gdb/packet.h"
#include "vmm/vcpu.h"

#define GDB_REG_RBP 6u
#define GDB_REG_RSP 7u
#define GDB_REG_RIP 16u

/* How many there are, numbered from 0; the size in bytes of one, 1 to 16; 0: there is no such register. */
unsigned gdb_regs(void);
unsigned gdb_reg_size(unsigned i);
/* i: below gdb_regs(). value: 16 bytes, of which the register's size counts, low byte first. A debug register is the guest's own, whoever has it in hardware. */
void gdb_reg_get(struct vcpu *v, unsigned i, uint8_t value[16]);
/* False: it cannot be written, or not with this value, and nothing has changed; what it holds already can always be written. */
bool gdb_reg_set(struct vcpu *v, unsigned i, const uint8_t value[16]);

/* target.xml, NUL-terminated; made at the first call. */
const char *gdb_target_xml(void);

#endif
