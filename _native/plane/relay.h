#ifndef PLANE_RELAY_H
#define PLANE_RELAY_H

/*
 * Relaying: what becomes of an established connection while its flows move data, end and fail.
 *
 * The owner calls relay_begin() when the flows have their keys, and relay_step() when there may be
 * something to move, until that returns RELAY_ENDED.  After RELAY_DRAINING it calls relay_poll() now
 * and then, because there is no event for what that waits for.
 */

#include <stddef.h>
#include <stdint.h>

#include "flow.h"

struct relay {
	struct flows flows;
	uint64_t deadline_ms;		/* of draining, once that has begun; else 0 */
	int queued;			/* what the system had still to deliver when we last asked */
};

enum relay_result {
	RELAY_IDLE,			/* nothing can be moved before there is an event */
	RELAY_MORE,			/* there is more to move at once */
	RELAY_DRAINING,			/* an endpoint has failed, and the rest is being delivered: poll */
	RELAY_DRAINING_MORE,		/* the same, and there is more to move at once */
	RELAY_ENDED			/* .flows.failure says why */
};

/* The connection is established.  now_ms is the time. */
void relay_begin(struct relay *relay, uint64_t now_ms);

/* Move at most so many packets in each direction, and see what has become of the connection. */
enum relay_result relay_step(struct relay *relay, size_t packets, struct batch *batch,
    uint64_t *counters);

/* Go on delivering the rest after a failure.  Returns RELAY_DRAINING, RELAY_DRAINING_MORE or
 * RELAY_ENDED. */
enum relay_result relay_poll(struct relay *relay);

/* When to look again whether it has been silent for too long; 0: it has. */
uint64_t relay_silence_due(struct relay *relay);

#endif
