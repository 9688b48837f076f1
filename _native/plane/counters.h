#ifndef PLANE_COUNTERS_H
#define PLANE_COUNTERS_H

/*
 * What a plane counts, in an array of 64-bit numbers that other processes may read at any time.
 */

#include <stdint.h>

enum plane_counter {
	/* What others look at when they accept, in a cache line of its own */
	PLANE_ACTIVE,			/* connections now, until their end is reported, if it is */
	PLANE_UNAUTHENTICATED,		/* connections now whose peer has not proved to hold the key */
	PLANE_SERVING,			/* 1 while the plane accepts, or pauses from that */
	/* What changes with every batch */
	PLANE_SEALED = 8,		/* payload bytes from plain to crypt */
	PLANE_OPENED,			/* payload bytes from crypt to plain */
	PLANE_ACCEPTED,
	PLANE_ESTABLISHED,
	PLANE_ENDED = 16		/* + enum plane_cause: connections that have ended so */
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

/* Count a connection that may come, */
static inline void
counters_enter(uint64_t *counters)
{
	counter_add(counters, PLANE_ACTIVE, 1);
	counter_add(counters, PLANE_UNAUTHENTICATED, 1);
}

/* and that has not come. */
static inline void
counters_leave(uint64_t *counters)
{
	counter_decrement(counters, PLANE_UNAUTHENTICATED);
	counter_decrement(counters, PLANE_ACTIVE);
}

#endif
