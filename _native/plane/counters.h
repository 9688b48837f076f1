#ifndef PLANE_COUNTERS_H
#define PLANE_COUNTERS_H

/*
 * What a plane counts, in an array of 64-bit numbers that other processes may read at any time.
 */

#include <stdint.h>

enum plane_counter {
	PLANE_ACTIVE,			/* connections now, until their end is reported, if it is */
	PLANE_ACCEPTED,
	PLANE_ESTABLISHED,
	PLANE_SEALED,			/* payload bytes from plain to crypt */
	PLANE_OPENED,			/* payload bytes from crypt to plain */
	PLANE_UNAUTHENTICATED,		/* connections now whose peer has not proved to hold the key */
	PLANE_ENDED = 8			/* + enum plane_cause: connections that have ended so */
};

/* Add to a counter.  Sequentially consistent: of two planes that each add to their own counter and then
 * read the other's, at least one sees both. */
static inline void
counter_add(uint64_t *counters, unsigned counter, uint64_t change)
{
	__atomic_fetch_add(&counters[counter], change, __ATOMIC_SEQ_CST);
}

/* Subtract 1 from a counter, likewise. */
static inline void
counter_decrement(uint64_t *counters, unsigned counter)
{
	counter_add(counters, counter, UINT64_MAX);
}

#endif
