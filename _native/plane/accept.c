/*
 * Accepting: one connection at a time, and when not.
 */
#define _GNU_SOURCE			/* accept4 */
#include "accept.h"

#ifdef __linux__

#include <errno.h>
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
#define SHARE_PAUSE_MS 2		/* that others have to take what is beyond our share */
#define LIMIT_RECHECK_MS 100		/* a connection of another plane may have ended */

/* The listening socket, and pauses. */

/* Watch a descriptor that others watch as well: of all that do, one is woken. */
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

/* Accept nobody for so long; others may, of whom the system may have woken none. */
static void
pause_accepting(struct plane *plane, uint64_t ms)
{
	static const uint64_t one = 1;
	int wake = plane->accepting.service.wake;

	unwatch(plane, plane->accepting.service.listener);
	unwatch(plane, wake);
	timer_set(&plane->timers, &plane->accepting.pause, clock_after(clock_now_ms(), ms));
	if (wake >= 0 && write(wake, &one, sizeof(one)) < 0)
		return;			/* it is as full as can be: they are as good as woken */
}

/* The system refuses: pause, and have the caller told. */
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

/* Is there a wake-up?  Whoever asks has to look who is there, and nobody else need to. */
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
		plane->accepting.acceptable = 1;	/* else another one was faster */
}

/* Accepting. */

/* What accept() says of that one connection, not of the listening socket: the next may be fine. */
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

/* Take a connection from the listening socket.  Returns 0 if it came to nothing. */
static int
take(struct plane *plane)
{
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);
	int fd = accept4(plane->accepting.service.listener, (struct sockaddr *)&peer, &length,
	    SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		/* EAGAIN: another one was faster */
		if (errno != EAGAIN && errno != EWOULDBLOCK && !is_of_the_connection(errno))
			pause_for_trouble(plane, errno);
		return 0;
	}
	counter_add(plane->counters, PLANE_ACCEPTED, 1);
	return begin(plane, &(struct arrival){
		.fd = fd, .number = ++plane->accepted, .peer = &peer, .peer_length = length,
	});
}

/* Accept one connection, if there is room for it.  Returns 0 if that came to nothing. */
static int
accept_one(struct plane *plane)
{
	uint64_t limit = plane->accepting.service.limit;
	uint64_t active;

	/* Whoever counts itself before it looks at the others needs no lock: two at once may
	 * both find that there is no room, but never both find the last place. */
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
accept_some(struct plane *plane)
{
	struct accepting *accepting = &plane->accepting;
	int listener = accepting->service.listener;

	accepting->acceptable = 0;
	if (admission_share_is_exceeded(plane)) {
		pause_accepting(plane, SHARE_PAUSE_MS);	/* leave who has come to the others */
		accepting->leftover = 1;
	} else if (accept_one(plane) && accepting->service.workers > 1 && !is_paused(plane)) {
		/* Go to the end of the queue of those that wait: the system would else wake
		 * the same process for every connection for as long as it is idle. */
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
	take_wake(plane);		/* ours, if nobody has: the listening socket tells us the rest */
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
	accepting->acceptable = 0;
}

#endif
