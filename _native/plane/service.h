#ifndef PLANE_SERVICE_H
#define PLANE_SERVICE_H

/*
 * What a plane is told about a listening socket, which it may share with others.
 */

#include <stddef.h>
#include <stdint.h>

#include "pipe.h"

/* Closing the listening socket's connections means a reset (SO_LINGER). */
struct plane_service {
	int listener;
	int wake;			/* an eventfd by which planes leave the next one to others, or -1 */
	struct plane_pipe *pipe;
	const uint64_t *counters;	/* of all planes that share it: counters[slot * stride + ...] */
	size_t stride;
	size_t slots;			/* those that are not used now are 0 */
	uint64_t workers;		/* how many share it now */
	uint64_t limit;			/* of their connections; 0: none */
	uint64_t unauthenticated;	/* limit of those whose peer has not proved to hold the key; 0: none */
	uint64_t unauthenticated_per_source;	/* of those with one address in this plane; 0: none */
	int tell_clean;			/* report also who ends in a clean way, instead of counting it */
};

#endif
