#ifndef PLANE_CONNECT_H
#define PLANE_CONNECT_H

/*
 * Connecting to the target: its addresses one after the other, within one time limit.
 *
 * Every address gets an equal share of the time that is left, so that one that does not
 * answer does not keep the next from being tried.
 *
 * The owner calls connect_begin(), connect_step() when there are events of the endpoint, and
 * connect_time_out() at .due_ms, until one of them has returned CONNECT_DONE or CONNECT_FAILED; and
 * connect_release() at the end, whatever the end.
 */

#include <stdint.h>

#include "endpoint.h"
#include "failure.h"
#include "pipe.h"

struct connector {
	struct endpoint *endpoint;	/* of the target */
	struct targets *targets;	/* until connect_release(), then NULL */
	uint64_t reach_by_ms;		/* one of them, at the latest */
	uint64_t due_ms;		/* of connect_time_out(); UINT64_MAX: never */
	uint32_t current;		/* which of them is being tried */
	struct failure failure;		/* of the one that was tried last */
};

enum connect_result {
	CONNECT_WAIT,			/* for events of the endpoint, or for .due_ms */
	CONNECT_DONE,			/* the endpoint is connected */
	CONNECT_FAILED,			/* .failure says why */
	CONNECT_SHORTAGE		/* wait: the system has run out of something, .failure.error */
};

/* Hold the targets that the pipe has now; connect_begin() may come later. */
void connect_prepare(struct connector *connector, const struct plane_pipe *pipe,
    struct endpoint *endpoint);

/* Begin.  now_ms is the time. */
enum connect_result connect_begin(struct connector *connector,
    const struct plane_pipe_settings *settings, int epoll, uint64_t now_ms);

/* There may be events of the endpoint. */
enum connect_result connect_step(struct connector *connector,
    const struct plane_pipe_settings *settings, int epoll);

/* The time of an attempt, or of the pause before it, is over. */
enum connect_result connect_time_out(struct connector *connector,
    const struct plane_pipe_settings *settings, int epoll);

/* The target that is being tried, is reached, or failed last; NULL if there is none. */
const struct plane_address *connect_target(const struct connector *connector);

/* Give the targets back.  May be repeated. */
void connect_release(struct connector *connector);

#endif
