/*
 * Computing: the order of exponentiations, and a bound to how many wait.
 */
#include "computing.h"

#ifdef __linux__

#include "clock.h"
#include "connection.h"
#include "state.h"

#define POWERS 2			/* exponentiations of a handshake */
#define SAMPLES 64			/* that the average interval is of, about */
#define LONGEST_US 100000		/* which an interruption may add to it */

int
computing_is_due(const struct plane *plane)
{
	return !list_is_empty(&plane->queue[QUEUE_AGREEING]) ||
	    !list_is_empty(&plane->queue[QUEUE_COMMITTING]);
}

/* How long a connection waits for its keys that comes now, in microseconds. */
static uint64_t
time_to_wait(const struct plane *plane)
{
	return POWERS * plane->computing.waiting * (plane->computing.sum_us / SAMPLES);
}

/* How long a handshake may take, in microseconds. */
static uint64_t
time_allowed(const struct plane *plane)
{
	const struct plane_pipe *pipe = plane->accepting.service.pipe;
	uint64_t allowed_ms = pipe != NULL ? pipe->settings.timeout_ms : UINT64_MAX;

	return allowed_ms < UINT64_MAX / 1000 ? 1000 * allowed_ms : UINT64_MAX;
}

struct connection *
computing_next(const struct plane *plane)
{
	if (!list_is_empty(&plane->queue[QUEUE_AGREEING]))
		return connection_first(plane, QUEUE_AGREEING);
	if (time_to_wait(plane) > time_allowed(plane))
		return connection_last(plane, QUEUE_COMMITTING);
	return connection_first(plane, QUEUE_COMMITTING);
}

void
computing_note(struct plane *plane)
{
	struct computing *computing = &plane->computing;
	uint64_t now_us = clock_now_us();
	uint64_t took_us = now_us - computing->done_us;

	if (computing->done_us != 0) {
		if (took_us > LONGEST_US)
			took_us = LONGEST_US;
		if (computing->sum_us == 0)
			computing->sum_us = SAMPLES * took_us;
		computing->sum_us += took_us - computing->sum_us / SAMPLES;
	}
	computing->done_us = computing_is_due(plane) ? now_us : 0;
}

int
computing_is_full(const struct plane *plane)
{
	return plane->computing.waiting >= COMPUTING_ALWAYS && time_to_wait(plane) > time_allowed(plane) / 2;
}

#endif
