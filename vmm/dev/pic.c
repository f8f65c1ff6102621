/* SPDX-License-Identifier: MIT */
/* Intel 8259A data sheet, "Initialization Command Words". The lower port reads all ones: no request, no service. */
#include "vmm/dev/pic.h"

#define ICW1 0x10
#define ICW1_SINGLE 0x02
#define ICW1_NEED4 0x01

void pic_init(struct pic *p)
{
	*p = (struct pic){ .mask = 0xff };
}

void pic_write(struct pic *p, bool data, uint8_t value)
{
	if (!data) {
		if (value & ICW1) {
			p->icw_left = (uint8_t)(1 + !(value & ICW1_SINGLE) + (value & ICW1_NEED4));
			p->mask = 0;
		}
		return;
	}
	if (p->icw_left)
		p->icw_left--;
	else
		p->mask = value;
}

uint8_t pic_read(const struct pic *p, bool data)
{
	return data ? p->mask : 0xff;
}
