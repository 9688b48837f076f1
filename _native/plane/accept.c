/*
 * Accepting: who may come, and when not.
 */
#define _GNU_SOURCE			/* accept4 */
#include "connection.h"

#ifdef __linux__

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAUSE_MS 100			/* when the system has run out of something */
#define SHARE_PAUSE_MS 2		/* that others have to take what is beyond our share */
#define LIMIT_RECHECK_MS 100		/* a connection of another plane may have ended */

/* The listening socket, and pauses. */

/* Watch a descriptor that others watch as well: of all that do, one is woken. */
static int
watch_with_others(struct plane *plane, int fd, uint64_t tag)
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

	if (error == 0 && service->nudge >= 0)
		error = watch_with_others(plane, service->nudge, TAG_NUDGE);
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
	int nudge = plane->accepting.service.nudge;

	unwatch(plane, plane->accepting.service.listener);
	unwatch(plane, nudge);
	timer_set(&plane->timers, &plane->accepting.pause, due_in(ms));
	if (nudge >= 0 && write(nudge, &one, sizeof(one)) < 0)
		return;			/* it is as full as can be: they are as good as woken */
}

void
accept_pause(struct plane *plane, int error)
{
	if (plane->accepting.service.listener < 0 || is_paused(plane))
		return;
	plane->accepting.wanted |= PLANE_CANNOT_ACCEPT;
	plane->accepting.error = error;
	pause_accepting(plane, PAUSE_MS);
}

/* Who may come. */

/* The sum over all planes. */
static uint64_t
total(const struct plane_service *service, enum plane_counter counter)
{
	uint64_t sum = 0;

	for (size_t slot = 0; slot < service->slots; slot++)
		sum += __atomic_load_n(&service->counters[slot * service->stride + counter],
		    __ATOMIC_SEQ_CST);
	return sum;
}

/* We have a quarter more connections than the planes have on average, and one. */
static int
has_too_many(const struct plane *plane)
{
	const struct plane_service *service = &plane->accepting.service;
	uint64_t ours = plane->counters[PLANE_ACTIVE];

	return service->workers > 1 && ours > 1 &&
	    (ours - 1) * service->workers * 4 > total(service, PLANE_ACTIVE) * 5;
}

/* Leave who has come to the others. */
static void
leave_to_others(struct plane *plane)
{
	pause_accepting(plane, SHARE_PAUSE_MS);
	plane->accepting.leftover = 1;
}

/* Is there a nudge?  Whoever asks has to look who is there, and nobody else need to. */
static int
take_nudge(const struct plane *plane)
{
	int nudge = plane->accepting.service.nudge;
	uint64_t count;

	return nudge >= 0 && read(nudge, &count, sizeof(count)) == sizeof(count);
}

void
accept_nudged(struct plane *plane)
{
	if (take_nudge(plane))
		plane->accepting.acceptable = 1;	/* else another one was faster */
}

/*
 * Do two addresses count as one source?  Of IPv6, a network of 64 bits is what one
 * subscriber has.  A UNIX socket is no source.
 */
static int
is_same_source(const struct connection *a, const struct connection *b)
{
	const struct sockaddr_in *a4 = (const struct sockaddr_in *)(const void *)&a->peer;
	const struct sockaddr_in *b4 = (const struct sockaddr_in *)(const void *)&b->peer;
	const struct in6_addr *a6 = &a->peer.sin6_addr, *b6 = &b->peer.sin6_addr;
	int prefix = IN6_IS_ADDR_V4MAPPED(a6) || IN6_IS_ADDR_V4MAPPED(b6) ? 16 : 8;

	if (a->peer.sin6_family != b->peer.sin6_family)
		return 0;
	if (a->peer.sin6_family == AF_INET)
		return a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	return a->peer.sin6_family == AF_INET6 && memcmp(a6, b6, (size_t)prefix) == 0;
}

static uint64_t
strangers_like(const struct plane *plane, const struct connection *connection)
{
	uint64_t count = 0;

	for (struct link *l = plane->strangers.next; l != &plane->strangers; l = l->next)
		count += (uint64_t)is_same_source(connection, stranger_of(l));
	return count;
}

/*
 * A stranger has been accepted: are there too many of them now?  The oldest makes room,
 * being the least likely to have the key; but not for more from one address than may be.
 */
static void
accept_stranger(struct plane *plane, struct connection *connection)
{
	const struct plane_service *service = &plane->accepting.service;

	if (service->strangers_per_source != 0 &&
	    strangers_like(plane, connection) > service->strangers_per_source)
		connection_fail(plane, connection, PLANE_TOO_MANY, 0);
	else if (service->strangers != 0 && total(service, PLANE_STRANGERS) > service->strangers)
		connection_fail(plane, stranger_of(plane->strangers.next), PLANE_SHED, 0);
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

/* Take a connection from the listening socket.  Returns 0 if it came to nothing. */
static int
take(struct plane *plane)
{
	const struct plane_service *service = &plane->accepting.service;
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);
	struct connection *connection;
	int fd = accept4(service->listener, (struct sockaddr *)&peer, &length,
	    SOCK_NONBLOCK | SOCK_CLOEXEC);
	int error;

	if (fd < 0) {
		/* EAGAIN: another one was faster */
		if (errno != EAGAIN && errno != EWOULDBLOCK && !is_of_the_connection(errno))
			accept_pause(plane, errno);
		return 0;
	}
	plane_count(plane, PLANE_ACCEPTED, 1);
	error = connection_begin(plane, 0, fd, service->pipe, &peer, length, &connection);
	if (error != 0) {
		close(fd);		/* which resets it */
		accept_pause(plane, error);
		return 0;
	}
	if (connection->stranger.next != NULL)
		accept_stranger(plane, connection);
	return 1;
}

/* Accept one connection, if there is room for it.  Returns 0 if that came to nothing. */
static int
accept_one(struct plane *plane)
{
	uint64_t limit = plane->accepting.service.limit;
	uint64_t active;

	/* Whoever counts itself before it looks at the others needs no lock: two at once may
	 * both find that there is no room, but never both find the last place. */
	plane_count(plane, PLANE_ACTIVE, 1);
	active = limit != 0 ? total(&plane->accepting.service, PLANE_ACTIVE) : 0;
	if (active > limit) {
		pause_accepting(plane, LIMIT_RECHECK_MS);
		plane->accepting.at_limit = 1;
	} else if (take(plane)) {
		if (active == limit && limit != 0)
			plane->accepting.wanted |= PLANE_LIMIT_REACHED;
		return 1;
	}
	plane_count(plane, PLANE_ACTIVE, (uint64_t)-1);
	return 0;
}

void
accept_some(struct plane *plane)
{
	int listener = plane->accepting.service.listener;

	plane->accepting.acceptable = 0;
	if (has_too_many(plane)) {
		leave_to_others(plane);
	} else if (accept_one(plane) && plane->accepting.service.workers > 1 && !is_paused(plane)) {
		/* Go to the end of the queue of those that wait: the system would else wake
		 * the same process for every connection for as long as it is idle. */
		unwatch(plane, listener);
		if (watch_with_others(plane, listener, TAG_LISTENER) != 0)
			pause_accepting(plane, PAUSE_MS);
	}
}

void
accept_again(struct plane *plane)
{
	int leftover = plane->accepting.leftover;

	timer_clear(&plane->timers, &plane->accepting.pause);
	plane->accepting.at_limit = plane->accepting.leftover = 0;
	take_nudge(plane);		/* ours, if nobody has: the listening socket tells us the rest */
	if (watch(plane) != 0)		/* the system has run out of memory */
		pause_accepting(plane, PAUSE_MS);
	else if (leftover)		/* the others may be busy, or stopped */
		accept_one(plane);
}

void
accept_made_room(struct plane *plane)
{
	const struct accepting *accepting = &plane->accepting;

	if (is_paused(plane) && (accepting->at_limit || (accepting->leftover && !has_too_many(plane))))
		accept_again(plane);
}

int
plane_serve(struct plane *plane, const struct plane_service *service)
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
plane_stop_serving(struct plane *plane)
{
	struct accepting *accepting = &plane->accepting;

	if (accepting->service.listener < 0)
		return;
	if (!is_paused(plane)) {
		unwatch(plane, accepting->service.listener);
		unwatch(plane, accepting->service.nudge);
	}
	timer_clear(&plane->timers, &accepting->pause);
	accepting->service.listener = -1;
	accepting->acceptable = 0;
	accepting->service.tell_clean = 1;	/* who waits for the last one to end wants to know */
}

int
plane_accept_error(const struct plane *plane)
{
	return plane->accepting.error;
}

#endif
