/* SPDX-License-Identifier: MIT */
/* Physical memory: a sorted table of free ranges. Allocations are few and large (VMs, tables), so a table does. */
#include "arch/x86/pmem.h"

#include "arch/lib/panic.h"
#include "arch/lib/string.h"
#include "arch/x86/paging.h"

#define MAX_RANGES 512u

struct range {
	uint64_t start, end;
};

static struct range ranges[MAX_RANGES]; /* sorted, disjoint, not touching */
static unsigned nr_ranges;
static uint64_t free_bytes;

static void remove_at(unsigned i)
{
	memmove(&ranges[i], &ranges[i + 1], (nr_ranges - i - 1) * sizeof(ranges[0]));
	nr_ranges--;
}

static bool insert_at(unsigned i, uint64_t start, uint64_t end)
{
	if (nr_ranges >= MAX_RANGES)
		return false;
	memmove(&ranges[i + 1], &ranges[i], (nr_ranges - i) * sizeof(ranges[0]));
	ranges[i] = (struct range){ start, end };
	nr_ranges++;
	return true;
}

/* Takes whole pages [start, end) out, whatever of them is free. */
static bool cut(uint64_t start, uint64_t end)
{
	for (unsigned i = 0; i < nr_ranges;) {
		struct range r = ranges[i];
		uint64_t lo = start > r.start ? start : r.start, hi = end < r.end ? end : r.end;

		if (lo >= hi) {
			i++;
			continue;
		}
		free_bytes -= hi - lo;
		if (lo > r.start && hi < r.end) {
			ranges[i].end = lo;
			if (insert_at(i + 1, hi, r.end))
				return true; /* nothing else can overlap: the ranges are disjoint */
			free_bytes -= r.end - hi;
			return false;
		}
		if (lo > r.start)
			ranges[i++].end = lo;
		else if (hi < r.end)
			ranges[i++].start = hi;
		else
			remove_at(i);
	}
	return true;
}

static bool give(uint64_t start, uint64_t end)
{
	unsigned i = 0;

	while (i < nr_ranges && ranges[i].start < start)
		i++;
	if ((i > 0 && ranges[i - 1].end > start) || (i < nr_ranges && ranges[i].start < end))
		return false; /* overlaps what is free already */
	free_bytes += end - start;
	if (i > 0 && ranges[i - 1].end == start) {
		ranges[i - 1].end = end;
		if (i < nr_ranges && ranges[i].start == end) {
			ranges[i - 1].end = ranges[i].end;
			remove_at(i);
		}
		return true;
	}
	if (i < nr_ranges && ranges[i].start == end) {
		ranges[i].start = start;
		return true;
	}
	if (insert_at(i, start, end))
		return true;
	free_bytes -= end - start;
	return false;
}

bool pmem_add(uint64_t pa, uint64_t len)
{
	uint64_t start = (pa + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1), end = (pa + len) & ~(uint64_t)(PAGE_SIZE - 1);

	if (pa + len < pa || start >= end)
		return true; /* wraps, or holds no whole page */
	cut(start, end); /* a memory map may overlap itself */
	return give(start, end);
}

bool pmem_reserve(uint64_t pa, uint64_t len)
{
	uint64_t start = pa & ~(uint64_t)(PAGE_SIZE - 1), end = pa + len;

	if (len == 0)
		return true;
	end = end < pa ? UINT64_MAX & ~(uint64_t)(PAGE_SIZE - 1) : (end + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
	return cut(start, end);
}

void *pmem_alloc(size_t bytes, size_t align)
{
	uint64_t size = ((uint64_t)bytes + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);

	assert(bytes > 0 && (align & (align - 1)) == 0);
	if (size < bytes)
		return NULL;
	if (align < PAGE_SIZE)
		align = PAGE_SIZE;
	for (unsigned i = 0; i < nr_ranges; i++) {
		uint64_t at = (ranges[i].start + align - 1) & ~(uint64_t)(align - 1);

		if (at < ranges[i].start || at > ranges[i].end || ranges[i].end - at < size)
			continue;
		if (!cut(at, at + size))
			return NULL;
		return memset(phys_to_virt(at), 0, (size_t)size);
	}
	return NULL;
}

void pmem_free(void *p, size_t bytes)
{
	uint64_t pa, size = ((uint64_t)bytes + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);

	if (p == NULL)
		return;
	pa = virt_to_phys(p);
	assert(pa % PAGE_SIZE == 0 && bytes > 0);
	if (!give(pa, pa + size))
		panic("pmem_free: 0x%lx+0x%lx is free already, or too many pieces", pa, size);
}

uint64_t pmem_free_bytes(void)
{
	return free_bytes;
}
