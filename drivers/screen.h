/* SPDX-License-Identifier: MIT */
/* Console sink: a text screen, on VGA text memory or on a linear framebuffer. */
#ifndef DRIVERS_SCREEN_H
#define DRIVERS_SCREEN_H

#include <stdbool.h>

#include "arch/x86/bootinfo.h"

/* Takes the screen that the loader describes; if it says nothing, VGA text when its memory answers. False: no usable screen.
 * A framebuffer above 4 GiB must have been mapped (paging_map_device). *what: a word for the log. */
bool screen_init(const struct boot_framebuffer *fb, const char **what);

#endif
