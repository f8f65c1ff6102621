/* SPDX-License-Identifier: MIT */
/* Console sink: the debug port of QEMU and Bochs. */
#ifndef DRIVERS_DEBUGCON_H
#define DRIVERS_DEBUGCON_H

#include <stdbool.h>
#include <stdint.h>

/* False: the port does not read back 0xe9, so it is not one. */
bool debugcon_init(uint16_t port);

#endif
