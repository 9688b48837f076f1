/*
 * Accepting: one connection at a time, if it may come.
 */
#define _GNU_SOURCE			/* accept4 */
#include "accept.h"

#ifdef __linux__

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admission.h"
#include "clock.h"
#include "counters.h"
#include "lifecycle.h"
#include "listening.h"
#include "opening.h"
#include "state.h"
#include "timers.h"

/* How long nothing is accepted: */
#define OTHERS_MS 2			/* for others to accept what we leave to them */
#define RECHECK_MS 100			/* a connection of another plane may have ended */

#define REFUSALS 64			/* at once, of connections whose keys could not be computed */

/* Is this error of accept() about the one connection, so that the next may be fine? */
static int
is_of_the_connection(int error)
{
	switch (error) {
	case ECONNABORTED: case EINTR: case EPROTO: case ENETDOWN: case ENOPROTOOPT:
	case EHOSTDOWN: case ENONET: case EHOSTUNREACH: case EOPNOTSUPP: case ENETUNREACH:
	case EPERM: case ETIMEDOUT:
		return 1;
	}
	return 0;
}

/* Begin a connection from an accepted socket.  Returns 0 if the system refuses. */
static int
begin(struct plane *plane, const struct arrival *arrival)
{
	struct connection *connection;
	int error = opening_begin(plane, plane->accepting.service.pipe, arrival, &connection);

	if (error != 0) {
		close(arrival->fd);	/* which resets it */
		listening_pause_for_trouble(plane, error);
		return 0;
	}
	look_for_shortage(plane);
	if (admission_source_is_exceeded(plane, connection))
		lifecycle_end(plane, connection, PLANE_TOO_MANY);
	return 1;
}

/* Take a socket from the listening one.  Returns a negative number if there is none. */
static int
take(struct plane *plane, struct sockaddr_storage *peer, socklen_t *length)
{
	int fd = accept4(plane->accepting.service.listener, (struct sockaddr *)peer, length,
	    SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0)
		counter_add(plane->counters, PLANE_ACCEPTED, 1);
	/* EAGAIN: another plane was faster */
	else if (errno != EAGAIN && errno != EWOULDBLOCK && !is_of_the_connection(errno))
		listening_pause_for_trouble(plane, errno);
	return fd;
}

/* Have it reported that a connection has begun. */
static void
announce(struct plane *plane, const struct arrival *arrival)
{
	struct plane_ending *begun;

	if (plane->begun_count == BEGUN_MOST)
		return;			/* does not happen: a turn accepts three at most, and all are reported after it */
	begun = &plane->begun[plane->begun_count++];
	*begun = (struct plane_ending){ .number = arrival->number, .cause = PLANE_BEGUN };
	if (arrival->peer_length <= sizeof(begun->peer.bytes)) {
		begun->peer.length = (uint32_t)arrival->peer_length;
		memcpy(begun->peer.bytes, arrival->peer, arrival->peer_length);
	}
}

static int
take_and_begin(struct plane *plane)
{
	struct sockaddr_storage peer;
	struct arrival arrival;
	socklen_t length = sizeof(peer);
	int fd = take(plane, &peer, &length);

	if (fd < 0)
		return 0;
	arrival = (struct arrival){
		.fd = fd, .number = ++plane->accepted, .peer = &peer, .peer_length = length,
	};
	if (!begin(plane, &arrival))
		return 0;
	if (plane->accepting.service.tell_begun)
		announce(plane, &arrival);
	return 1;
}

/*
 * Refuse some of those who wait: no plane can compute their keys in time, and would they wait on, it could
 * compute nobody's.
 */
static void
refuse_some(struct plane *plane)
{
	int fd;

	for (int i = 0; i < REFUSALS && (fd = take(plane, NULL, NULL)) >= 0; i++) {
		close(fd);		/* which resets it */
		counter_add(plane->counters, PLANE_ENDED + PLANE_OVERLOAD, 1);
		plane->accepting.overloaded = 1;
	}
}

/* As many unauthenticated connections as there may be: pause until one of ours may go. */
static void
pause_for_grace(struct plane *plane)
{
	uint64_t now_ms = clock_now_ms(), ends_ms = admission_grace_ends_ms(plane);

	listening_pause(plane, PAUSE_UNPROVEN, ends_ms >= now_ms + RECHECK_MS ? RECHECK_MS :
	    ends_ms > now_ms ? ends_ms - now_ms : 1);
}

/* Accept one connection, if it may come; anyhow: although others should.  Returns whether one has. */
static int
accept_one(struct plane *plane, int anyhow)
{
	struct accepting *accepting = &plane->accepting;
	struct connection *leaving;
	struct census census;

	/* Counting first and reading the others' counters then needs no lock: two planes at once
	 * may both find that there is no room, but never both take the last place. */
	counters_enter(plane->counters);
	admission_look(plane, &census);
	switch (admission_decide(plane, &census, anyhow, &leaving)) {
	case ADMIT:
		if (!take_and_begin(plane))
			break;
		if (leaving != NULL)
			lifecycle_end(plane, leaving, PLANE_SHED);
		else if (census.active == accepting->service.limit)
			accepting->limit_reached = 1;
		return 1;
	case OVER_LIMIT:
		listening_pause(plane, PAUSE_LIMIT, RECHECK_MS);
		break;
	case OVER_SHARE:
		listening_pause(plane, PAUSE_SHARE, OTHERS_MS);
		break;
	case UNPROVEN:
		pause_for_grace(plane);
		break;
	case OVERLOADED:
		if (anyhow)
			refuse_some(plane);
		else
			listening_pause(plane, PAUSE_OVERLOAD, OTHERS_MS);
		break;
	}
	counters_leave(plane->counters);
	return 0;
}

void
accept_on_shortage(struct plane *plane)
{
	listening_pause_for_trouble(plane, plane->shortage);
	plane->shortage = 0;
}

void
accept_woken(struct plane *plane)
{
	if (listening_take_wake(plane))
		plane->accepting.pending = 1;	/* else another plane was faster */
}

void
accept_next(struct plane *plane)
{
	struct accepting *accepting = &plane->accepting;

	accepting->pending = 0;
	/* The system would otherwise wake the same plane for every connection for as long as it is idle. */
	if (accept_one(plane, 0) && accepting->service.wake >= 0 && !listening_is_paused(plane))
		listening_queue_up(plane);
}

void
accept_resume(struct plane *plane)
{
	struct accepting *accepting = &plane->accepting;
	enum pause reason = accepting->reason;
	int error;

	timer_clear(&plane->timers, &accepting->pause);
	accepting->reason = PAUSE_NONE;
	listening_take_wake(plane);		/* perhaps our own; the listening socket tells the rest */
	error = listening_watch(plane);
	if (error != 0)			/* the system has run out of memory */
		listening_pause_for_trouble(plane, error);
	else if (reason == PAUSE_SHARE || reason == PAUSE_OVERLOAD)
		accept_one(plane, 1);	/* the others may be busy, or stopped */
}

/* Has what a pause waits for come about, now that there may be room? */
static int
is_over(const struct plane *plane)
{
	struct census census;

	switch (plane->accepting.reason) {
	case PAUSE_LIMIT:
	case PAUSE_UNPROVEN:
		return 1;
	case PAUSE_SHARE:
		admission_look(plane, &census);
		return !admission_share_is_exceeded(plane, &census);
	default:
		return 0;
	}
}

void
accept_on_room(struct plane *plane)
{
	plane->room_made = 0;
	if (is_over(plane))
		accept_resume(plane);
}

/* Beginning and end. */

int
accept_begin(struct plane *plane, const struct plane_service *service)
{
	int error = timers_reserve(&plane->timers, 1);

	if (error != 0)
		return error;
	plane->accepting = (struct accepting){ .service = *service, .pause.kind = TIMER_PAUSE };
	error = listening_watch(plane);
	if (error != 0)
		plane->accepting.service.listener = -1;
	else
		counter_add(plane->counters, PLANE_SERVING, 1);
	return error;
}

void
accept_end(struct plane *plane)
{
	struct accepting *accepting = &plane->accepting;

	if (accepting->service.listener < 0)
		return;
	if (!listening_is_paused(plane))
		listening_unwatch(plane);
	timer_clear(&plane->timers, &accepting->pause);
	counter_decrement(plane->counters, PLANE_SERVING);
	accepting->reason = PAUSE_NONE;
	accepting->service.listener = -1;
	accepting->pending = 0;
}

#endif
