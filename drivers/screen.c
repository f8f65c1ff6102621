/* SPDX-License-Identifier: MIT */
/* Console sink: a text screen. A grid in RAM is the truth; only cells that change are drawn, and the text moves up by half a
 * screen at a time, because a framebuffer without write combining takes a microsecond for every few pixels. */
#include "drivers/screen.h"

#include <stddef.h>
#include <stdint.h>

#include "arch/lib/log.h"
#include "arch/lib/string.h"
#include "arch/x86/insn.h"
#include "arch/x86/pmem.h"
#include "drivers/font.h"

#define MAX_COLS 160u
#define MAX_ROWS 64u
#define CELL_W 8u
#define CELL_H 16u

#define VGA_TEXT 0xb8000u
#define VGA_COLS 80u
#define VGA_ROWS 25u
#define VGA_ATTR 0x0700u
#define VGA_CRTC 0x3d4
#define PIXEL_ON 0x00c0c0c0u

static char grid[MAX_ROWS][MAX_COLS]; /* what is shown; '\0' and ' ' look alike */
static unsigned cols, rows, cur_x, cur_y;
static uint8_t *fb_base;       /* RGB */
static size_t fb_pitch;
static volatile uint16_t *vga; /* text */

static void draw_pixels(unsigned x, unsigned y, char c)
{
	const uint8_t *glyph = font_5x7[c >= FONT_FIRST && c <= FONT_LAST ? c - FONT_FIRST : 0];
	uint8_t *line = fb_base + (size_t)y * CELL_H * fb_pitch + (size_t)x * CELL_W * 4;

	for (unsigned row = 0; row < CELL_H; row++, line += fb_pitch) {
		unsigned font_row = row / 2; /* each drawn twice, the last two rows empty */
		unsigned bits = font_row < FONT_ROWS ? (unsigned)glyph[font_row] << 2 : 0;

		for (unsigned i = 0; i < CELL_W; i += 2) { /* two pixels in one write */
			uint64_t left = bits & (0x80u >> i) ? PIXEL_ON : 0, right = bits & (0x40u >> i) ? PIXEL_ON : 0;

			*(volatile uint64_t *)(void *)(line + i * 4) = left | right << 32;
		}
	}
}

static void set_cell(unsigned x, unsigned y, char c)
{
	if (grid[y][x] == c)
		return;
	grid[y][x] = c;
	if (vga != NULL)
		vga[y * VGA_COLS + x] = (uint16_t)(VGA_ATTR | (uint8_t)c);
	else
		draw_pixels(x, y, c);
}

static void new_line(void)
{
	unsigned up = rows / 2;

	cur_x = 0;
	if (++cur_y < rows)
		return;
	for (unsigned y = 0; y < rows; y++)
		for (unsigned x = 0; x < cols; x++)
			set_cell(x, y, y + up < rows ? grid[y + up][x] : ' ');
	cur_y = rows - up;
}

static void screen_write(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char c = s[i];

		if (c == '\n') {
			new_line();
			continue;
		}
		if (c == '\r')
			continue;
		if (cur_x >= cols)
			new_line();
		set_cell(cur_x++, cur_y, c == '\t' ? ' ' : c >= FONT_FIRST && c <= FONT_LAST ? c : '?');
	}
}

static bool use_framebuffer(const struct boot_framebuffer *fb)
{
	if (fb->bpp != 32 || fb->width < CELL_W || fb->height < CELL_H || fb->pitch < fb->width * 4 || fb->pa % 8 != 0 || fb->pitch % 8 != 0)
		return false;
	fb_base = phys_to_virt(fb->pa);
	fb_pitch = fb->pitch;
	cols = fb->width / CELL_W < MAX_COLS ? fb->width / CELL_W : MAX_COLS;
	rows = fb->height / CELL_H < MAX_ROWS ? fb->height / CELL_H : MAX_ROWS;
	for (unsigned y = 0; y < fb->height; y++)
		memset(fb_base + (size_t)y * fb_pitch, 0, (size_t)fb->width * 4);
	return true;
}

/* Memory that keeps two different values is there; open bus does not. */
static bool vga_answers(volatile uint16_t *cell)
{
	cell[0] = 0x0755;
	cell[1] = 0x07aa;
	return cell[0] == 0x0755 && cell[1] == 0x07aa;
}

static bool use_vga(void)
{
	volatile uint16_t *cell = phys_to_virt(VGA_TEXT);

	if (!vga_answers(cell))
		return false;
	vga = cell;
	cols = VGA_COLS;
	rows = VGA_ROWS;
	for (unsigned i = 0; i < VGA_COLS * VGA_ROWS; i++)
		vga[i] = VGA_ATTR | ' ';
	outb(VGA_CRTC, 0x0a); /* cursor off: it would only lag behind */
	outb(VGA_CRTC + 1, 0x20);
	return true;
}

bool screen_init(const struct boot_framebuffer *fb, const char **what)
{
	static const struct log_sink sink = { "screen", screen_write, NULL };

	if (fb->kind == BOOT_SCREEN_RGB) {
		*what = "framebuffer";
		if (!use_framebuffer(fb))
			return false;
	} else {
		*what = "VGA text";
		if (!use_vga())
			return false;
	}
	memset(grid, ' ', sizeof(grid));
	log_add_sink(&sink);
	return true;
}
