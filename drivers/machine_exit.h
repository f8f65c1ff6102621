/* SPDX-License-Identifier: MIT */
/* The end of the machine: the exit code leaves by whatever way this machine has. */
#ifndef DRIVERS_MACHINE_EXIT_H
#define DRIVERS_MACHINE_EXIT_H

/* exit_code: enum exit_code. Waits for the console, then QEMU's debug-exit port, Bochs' shutdown port, else halts for ever. */
_Noreturn void machine_exit(int exit_code);

#endif
