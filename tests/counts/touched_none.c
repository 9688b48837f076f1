/*
 * Nobody tells of accesses to memory.
 */
#include "touched.h"

#include <stdio.h>

void
touched_watch(const void *slots, size_t size, size_t stride, size_t own, const uint64_t *used)
{
	(void)slots;
	(void)size;
	(void)stride;
	(void)own;
	(void)used;
}

void
touched_begin(void)
{
}

void
touched_end(void)
{
}

void
touched_print(void)
{
	printf("null");
}
