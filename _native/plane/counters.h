#ifndef PLANE_COUNTERS_H
#define PLANE_COUNTERS_H

/*
 * What a plane counts, in an array of 64-bit numbers that other processes may read at any time.
 */

#include <stdint.h>

#define TIME_BOUNDS 20			/* of the buckets of a histogram, */
#define TIME_WORDS 24			/* and the places that one has: the buckets, one more, and the sum */

enum plane_counter {
	/* What others look at, the first three whenever they accept; in a cache line of its own */
	PLANE_ACTIVE,			/* connections now, until their end is reported, if it is */
	PLANE_UNAUTHENTICATED,		/* connections now whose peer has not proved to hold the key */
	PLANE_SERVING,			/* 1 while the plane accepts, or pauses from that */
	PLANE_ENTRIES,			/* entries that have ever been used */
	/* What changes with every batch */
	PLANE_SEALED = 8,		/* payload bytes from plain to crypt */
	PLANE_OPENED,			/* payload bytes from crypt to plain */
	PLANE_SEALED_PACKETS,
	PLANE_OPENED_PACKETS,
	/* What changes with every connection */
	PLANE_ACCEPTED = 16,
	PLANE_ESTABLISHED,
	PLANE_ACCEPT_ERRORS,		/* + enum accept_error */
	PLANE_ENDED = 24,		/* + enum plane_cause: connections that have ended so */
	/* Histograms */
	PLANE_HANDSHAKE_TIME = 64,
	PLANE_CONNECT_TIME = PLANE_HANDSHAKE_TIME + TIME_WORDS,
	PLANE_CONNECTION_TIME = PLANE_CONNECT_TIME + TIME_WORDS,
	PLANE_COUNTERS = PLANE_CONNECTION_TIME + TIME_WORDS
};

/* Of what the system has run out, when it refused a connection. */
enum accept_error {
	ACCEPT_PROCESS_FILES,		/* EMFILE */
	ACCEPT_SYSTEM_FILES,		/* ENFILE */
	ACCEPT_MEMORY,			/* ENOMEM, ENOBUFS, ENOSPC */
	ACCEPT_OTHER,
	ACCEPT_ERRORS
};

/* The upper bounds of the buckets, in microseconds, from the lowest to the highest; the last bucket has
 * none. */
extern const uint64_t time_bounds[TIME_BOUNDS];

/* Count a time, in microseconds, in the histogram that begins at a counter. */
void counter_time(uint64_t *counters, enum plane_counter histogram, uint64_t us);

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
