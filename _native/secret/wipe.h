#ifndef WIPE_H
#define WIPE_H

/*
 * Erasing what must not stay in memory.
 */

#include <stddef.h>
#include <string.h>

/* Erase length bytes at p in a way that the compiler cannot leave out. */
static inline void
wipe(void *p, size_t length)
{
	memset(p, 0, length);
	__asm__ volatile("" : : "r"(p) : "memory");
}

/*
 * Erase what the functions that the caller has just called left below its own
 * frame: the registers that they had to spill may hold keys too, and C has no
 * name for where those went.
 */
static __attribute__((noinline, unused)) void
wipe_stack(void)
{
	unsigned char frames[4096];

	wipe(frames, sizeof(frames));
}

#endif
