#ifndef PLANE_CLOCK_H
#define PLANE_CLOCK_H

/*
 * The monotonic clock, in milliseconds or microseconds; UINT64_MAX is never.
 */

#include <stdint.h>

/* The time. */
uint64_t clock_now_ms(void);

/* The same in microseconds. */
uint64_t clock_now_us(void);

/* So many milliseconds after a time; UINT64_MAX milliseconds after it is never. */
static inline uint64_t
clock_after(uint64_t time_ms, uint64_t ms)
{
	return ms == UINT64_MAX ? ms : time_ms + ms;
}

#endif
