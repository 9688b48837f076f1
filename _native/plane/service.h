#ifndef PLANE_SERVICE_H
#define PLANE_SERVICE_H

/*
 * What a plane is told about a listening socket, which it may share with others.
 */

#include <stddef.h>
#include <stdint.h>

#include "pipe.h"

#define BEGUN_MOST 8			/* connections that one call accepts, with some to spare */

struct plane_service {
	int listener;			/* closing what it accepts means a reset (SO_LINGER) */
	int wake;			/* an eventfd by which a plane that pauses wakes another, or -1 */
	struct plane_pipe *pipe;
	const uint64_t *counters;	/* of all planes that share it: counters[slot * stride + ...] */
	size_t stride;
	const uint64_t *used;		/* how many slots are in use; it may change at any time */
	size_t slots;			/* how many there are at most; unused ones are 0 */
	uint64_t limit;			/* of their connections; 0: none */
	uint64_t unauthenticated;	/* limit: peers that have not proved to hold the key; 0: none */
	uint64_t unauthenticated_per_source;	/* the same, from one address, in this plane */
	int tell_clean;			/* report clean ends too, */
	int tell_left;			/* and PLANE_LEFT, instead of only counting them, */
	int tell_begun;			/* and PLANE_BEGUN: plane_run() needs room for BEGUN_MOST */
	uint64_t tell_burst;		/* so many failures may be reported at once, */
	uint64_t tell_interval_ms;	/* and one more after each such time; 0: all of them */
};

#endif
