/*
 * Accepting: one connection at a time, and pauses.
 */
#define _GNU_SOURCE			/* accept4 */
#include "accept.h"

#ifdef __linux__

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admission.h"
#include "clock.h"
#include "counters.h"
#include "lifecycle.h"
#include "state.h"
#include "timers.h"

#define PAUSE_MS 100			/* when the system has run out of something */
#define SHARE_PAUSE_MS 2		/* for others to accept what is beyond our share */
#define LIMIT_RECHECK_MS 100		/* a connection of another plane may have ended */

/* The listening socket, and pauses. */

/* Watch a descriptor that other planes watch as well: the system wakes one of them. */
static int
watch_with_others(struct plane *plane, int fd, enum event_tag tag)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLEXCLUSIVE, .data.u64 = tag };

	return epoll_ctl(plane->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

static void
unwatch(struct plane *plane, int fd)
{
	if (fd >= 0)
		epoll_ctl(plane->epoll, EPOLL_CTL_DEL, fd, NULL);
}

static int
watch(struct plane *plane)
{
	const struct plane_service *service = &plane->accepting.service;
	int error = watch_with_others(plane, service->listener, TAG_LISTENER);

	if (error == 0 && service->wake >= 0)
		error = watch_with_others(plane, service->wake, TAG_WAKE);
	if (error != 0)
		unwatch(plane, service->listener);
	return error;
}

static int
is_paused(const struct plane *plane)
{
	return plane->accepting.pause.place != 0;
}

/* Accept nothing for so long, and wake another plane, because the system may have woken none. */
static void
pause_accepting(struct plane *plane, uint64_t ms)
{
	static const uint64_t one = 1;
	int wake = plane->accepting.service.wake;

	unwatch(plane, plane->accepting.service.listener);
	unwatch(plane, wake);
	timer_set(&plane->timers, &plane->accepting.pause, clock_after(clock_now_ms(), ms));
	if (wake >= 0 && write(wake, &one, sizeof(one)) < 0)
		return;			/* the counter is at its maximum: the others are being woken */
}

/* The system refuses: pause, and report that to the caller. */
static void
pause_for_trouble(struct plane *plane, int error)
{
	if (plane->accepting.service.listener < 0 || is_paused(plane))
		return;
	plane->accepting.has_trouble = 1;
	plane->accepting.error = error;
	pause_accepting(plane, PAUSE_MS);
}

void
accept_on_shortage(struct plane *plane)
{
	pause_for_trouble(plane, plane->shortage);
	plane->shortage = 0;
}

/* Was there a wake-up?  If so, no other plane sees it any more, so this one has to accept. */
static int
take_wake(const struct plane *plane)
{
	int wake = plane->accepting.service.wake;
	uint64_t count;

	return wake >= 0 && read(wake, &count, sizeof(count)) == sizeof(count);
}

void
accept_woken(struct plane *plane)
{
	if (take_wake(plane))
		plane->accepting.pending = 1;	/* else another plane was faster */
}

/* Accepting. */

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
	struct connection *connection, *excess;
	enum plane_cause cause;
	int error = lifecycle_begin(plane, plane->accepting.service.pipe, arrival, &connection);

	if (error != 0) {
		close(arrival->fd);	/* which resets it */
		pause_for_trouble(plane, error);
		return 0;
	}
	if (plane->shortage != 0)
		accept_on_shortage(plane);
	if (connection->unauthenticated.next != NULL &&
	    (excess = admission_excess(plane, connection, &cause)) != NULL)
		lifecycle_refuse(plane, excess, cause);
	return 1;
}

/* Have it reported that a connection has begun. */
static void
announce(struct plane *plane, const struct arrival *arrival)
{
	struct plane_ending *begun;

	if (plane->begun_count == BEGUN_MOST)
		return;			/* one is accepted per turn, and all are reported after it */
	begun = &plane->begun[plane->begun_count++];
	*begun = (struct plane_ending){ .number = arrival->number, .cause = PLANE_BEGUN };
	if (arrival->peer_length <= sizeof(begun->peer.bytes)) {
		begun->peer.length = (uint32_t)arrival->peer_length;
		memcpy(begun->peer.bytes, arrival->peer, arrival->peer_length);
	}
}

/* Take a connection from the listening socket.  Returns 0 if it came to nothing. */
static int
take(struct plane *plane)
{
	struct sockaddr_storage peer;
	struct arrival arrival;
	socklen_t length = sizeof(peer);
	int fd = accept4(plane->accepting.service.listener, (struct sockaddr *)&peer, &length,
	    SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		/* EAGAIN: another plane was faster */
		if (errno != EAGAIN && errno != EWOULDBLOCK && !is_of_the_connection(errno))
			pause_for_trouble(plane, errno);
		return 0;
	}
	counter_add(plane->counters, PLANE_ACCEPTED, 1);
	arrival = (struct arrival){
		.fd = fd, .number = ++plane->accepted, .peer = &peer, .peer_length = length,
	};
	if (plane->reports_begun)
		announce(plane, &arrival);
	return begin(plane, &arrival);
}

/* Accept one connection, if there is room for it.  Returns 0 if that came to nothing. */
static int
accept_one(struct plane *plane)
{
	uint64_t limit = plane->accepting.service.limit;
	uint64_t active;

	/* Counting first and reading the others' counters then needs no lock: two planes at once
	 * may both find that there is no room, but never both take the last place. */
	counter_add(plane->counters, PLANE_ACTIVE, 1);
	active = limit != 0 ? admission_total(plane, PLANE_ACTIVE) : 0;
	if (active > limit) {
		pause_accepting(plane, LIMIT_RECHECK_MS);
		plane->accepting.at_limit = 1;
	} else if (take(plane)) {
		if (active == limit && limit != 0)
			plane->accepting.limit_reached = 1;
		return 1;
	}
	counter_decrement(plane->counters, PLANE_ACTIVE);
	return 0;
}

void
accept_next(struct plane *plane)
{
	struct accepting *accepting = &plane->accepting;
	int listener = accepting->service.listener;

	accepting->pending = 0;
	if (admission_share_is_exceeded(plane)) {
		pause_accepting(plane, SHARE_PAUSE_MS);	/* leave it to the others */
		accepting->leftover = 1;
	} else if (accept_one(plane) && accepting->service.workers > 1 && !is_paused(plane)) {
		/* Go to the end of the system's queue of waiting processes: it would otherwise
		 * wake the same one for every connection for as long as that is idle. */
		unwatch(plane, listener);
		if (watch_with_others(plane, listener, TAG_LISTENER) != 0)
			pause_accepting(plane, PAUSE_MS);
	}
}

void
accept_resume(struct plane *plane)
{
	int leftover = plane->accepting.leftover;

	timer_clear(&plane->timers, &plane->accepting.pause);
	plane->accepting.at_limit = plane->accepting.leftover = 0;
	take_wake(plane);		/* perhaps our own; the listening socket tells the rest */
	if (watch(plane) != 0)		/* the system has run out of memory */
		pause_accepting(plane, PAUSE_MS);
	else if (leftover)		/* the others may be busy, or stopped */
		accept_one(plane);
}

void
accept_on_room(struct plane *plane)
{
	const struct accepting *accepting = &plane->accepting;

	plane->room_made = 0;
	if (is_paused(plane) && (accepting->at_limit ||
	    (accepting->leftover && !admission_share_is_exceeded(plane))))
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
	error = watch(plane);
	if (error != 0)
		plane->accepting.service.listener = -1;
	return error;
}

void
accept_end(struct plane *plane)
{
	struct accepting *accepting = &plane->accepting;

	if (accepting->service.listener < 0)
		return;
	if (!is_paused(plane)) {
		unwatch(plane, accepting->service.listener);
		unwatch(plane, accepting->service.wake);
	}
	timer_clear(&plane->timers, &accepting->pause);
	accepting->service.listener = -1;
	accepting->pending = 0;
}

#endif
