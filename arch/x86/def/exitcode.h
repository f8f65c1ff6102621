/* SPDX-License-Identifier: MIT */
/* How a run ends: the values that drover and its guests write to the debug-exit port. */
#ifndef ARCH_X86_DEF_EXITCODE_H
#define ARCH_X86_DEF_EXITCODE_H

/* QEMU's isa-debug-exit turns a value V into the process status (V << 1) | 1. A VM's virtual port takes the same values.
 * drover ends with the worst (numerically largest) of what it met; values below 0x10 are not used, so that a stray write shows. */
enum exit_code {
	EXIT_PASS = 0x10,      /* everything that ran passed */
	EXIT_FAIL = 0x11,      /* a check was not ok */
	EXIT_ERROR = 0x12,     /* a check could not be run */
	EXIT_BADOPT = 0x20,    /* unknown option, value or scenario */
	EXIT_NOMODULE = 0x21,  /* no multiboot module to run */
	EXIT_BADMODULE = 0x22, /* a module is no ELF, truncated, overlaps, or is not a multiboot image */
	EXIT_NOVIRT = 0x23,    /* the CPU has no usable VMX or SVM, and one was asked for; or is no 64-bit CPU */
	EXIT_LOCKED = 0x24,    /* firmware locked VMX or SVM off */
	EXIT_NOMEM = 0x25,     /* too little RAM */
	EXIT_TRIPLE = 0x31,    /* a guest triple-faulted */
	EXIT_BUDGET = 0x32,    /* a guest ran past its budget */
	EXIT_BADMEM = 0x33,    /* a guest touched memory that it does not have */
	EXIT_ENTRY = 0x34,     /* hardware refused to enter the guest */
	EXIT_HALTED = 0x35,    /* a guest halted with nothing left to wake it */
	EXIT_UNHANDLED = 0x36, /* a guest did what this machine model does not have */
	EXIT_PANIC = 0x3f,     /* drover itself is wrong */
};

#endif
