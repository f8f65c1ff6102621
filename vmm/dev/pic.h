/* SPDX-License-Identifier: MIT */
/* The masks of the two 8259s, as storage: nothing is connected to them. A kernel that uses the APIC writes them once. */
#ifndef VMM_DEV_PIC_H
#define VMM_DEV_PIC_H

#include <stdbool.h>
#include <stdint.h>

#define PIC_MASTER 0x20
#define PIC_SLAVE 0xa0

struct pic {
	uint8_t mask;
	uint8_t icw_left; /* writes of the mask's port that are ICW2-4 still */
};

void pic_init(struct pic *p);
/* data: the upper port, of mask and ICW2-4. */
void pic_write(struct pic *p, bool data, uint8_t value);
uint8_t pic_read(const struct pic *p, bool data);

#endif
