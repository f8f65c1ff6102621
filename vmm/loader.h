/* SPDX-License-Identifier: MIT */
/* Multiboot-1 ELF images: every check first, pure, with its own message; then the copy. */
#ifndef VMM_LOADER_H
#define VMM_LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOADER_MAX_SEGMENTS 16u

struct loader_segment {
	uint64_t offset, filesz; /* in the file */
	uint64_t pa, memsz;      /* in guest memory; non-empty */
	uint64_t va;
};

struct loader_image {
	uint32_t entry;   /* guest-physical */
	uint32_t entry64; /* ditto, of the 64-bit entry that a note names (boot64.h); 0: none */
	uint64_t end;     /* one past the highest byte */
	unsigned nr;
	struct loader_segment seg[LOADER_MAX_SEGMENTS];
};

/* Can this file be loaded into a VM with RAM [0, ram)? False: why says what is wrong with it. */
bool loader_check(const uint8_t *file, uint64_t len, uint64_t ram, struct loader_image *out, char *why, size_t cap);

/* Copies the segments that loader_check() has accepted. ram: the VM's memory, zeroed. */
void loader_place(const uint8_t *file, const struct loader_image *im, uint8_t *ram);

#endif
