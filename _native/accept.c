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

#define ACCEPT_PAUSE_MS 100		/* when the system has run out of something */
#define SHARE_PAUSE_MS 2		/* that others have to take what is beyond our share */
#define LIMIT_RECHECK_MS 100		/* a connection of another plane may have ended */

/* Watch a descriptor that others watch as well: of all that do, one is woken. */
static int
watch_with_others(struct plane *plane, int fd, uint64_t tag)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLEXCLUSIVE, .data.u64 = tag };

	return epoll_ctl(plane->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

static void
unwatch(struct plane *plane)
{
	epoll_ctl(plane->epoll, EPOLL_CTL_DEL, plane->service.listener, NULL);
	if (plane->service.nudge >= 0)
		epoll_ctl(plane->epoll, EPOLL_CTL_DEL, plane->service.nudge, NULL);
}

static int
watch(struct plane *plane)
{
	struct service *service = &plane->service;
	int error = watch_with_others(plane, service->listener, TAG_LISTENER);

	if (error == 0 && service->nudge >= 0)
		error = watch_with_others(plane, service->nudge, TAG_NUDGE);
	if (error != 0)
		unwatch(plane);
	return error;
}

/* Accept nothing for so long, and then take one more (leftover), or as before. */
static void
pause_accepting(struct plane *plane, uint64_t ms, int leftover)
{
	unwatch(plane);
	plane->service.leftover = leftover;
	timer_set(&plane->timers, &plane->service.pause, due_in(ms));
}

/* Leave who has come to the others, of whom the system may have woken none. */
static void
leave_to_others(struct plane *plane)
{
	static const uint64_t one = 1;

	pause_accepting(plane, SHARE_PAUSE_MS, 1);
	if (plane->service.nudge >= 0 && write(plane->service.nudge, &one, sizeof(one)) < 0)
		return;			/* it is as full as can be: they are as good as woken */
}

static int
is_paused(const struct plane *plane)
{
	return plane->service.pause.place != 0;
}

static void
watch_or_try_again(struct plane *plane)
{
	if (watch(plane) != 0)		/* the system has run out of memory */
		timer_set(&plane->timers, &plane->service.pause, due_in(ACCEPT_PAUSE_MS));
}

/* The connections of all planes. */
static uint64_t
total_active(const struct service *service)
{
	uint64_t total = 0;

	for (size_t slot = 0; slot < service->slots; slot++)
		total += __atomic_load_n(&service->active[slot * service->stride], __ATOMIC_SEQ_CST);
	return total;
}

/* We have a quarter more connections than the planes have on average, and one. */
static int
has_too_many(const struct plane *plane)
{
	const struct service *service = &plane->service;
	uint64_t ours = plane->counters[PLANE_ACTIVE];

	return service->workers > 1 && ours > 1 &&
	    (ours - 1) * service->workers * 4 > total_active(service) * 5;
}

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

void
accept_pause(struct plane *plane, int error)
{
	if (plane->service.listener < 0 || is_paused(plane))
		return;
	plane->service.wanted |= PLANE_CANNOT_ACCEPT;
	plane->service.error = error;
	pause_accepting(plane, ACCEPT_PAUSE_MS, 0);
}

/*
 * Accept one connection.  Returns 0 if there is none, or none is wanted, for the
 * time being.
 */
static int
accept_one(struct plane *plane)
{
	struct service *service = &plane->service;
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);
	uint64_t active;
	int fd, error;

	/* Whoever counts itself before it looks at the others needs no lock: two at once may
	 * both find that there is no room, but never both find the last place. */
	plane_count(plane, PLANE_ACTIVE, 1);
	active = service->limit != 0 ? total_active(service) : 0;
	if (active > service->limit) {
		plane_count(plane, PLANE_ACTIVE, (uint64_t)-1);
		service->at_limit = 1;
		pause_accepting(plane, LIMIT_RECHECK_MS, 0);
		return 0;
	}
	fd = accept4(service->listener, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		error = errno;
		plane_count(plane, PLANE_ACTIVE, (uint64_t)-1);
		if (error == EAGAIN || error == EWOULDBLOCK)
			return 0;	/* another one was faster */
		if (!is_of_the_connection(error)) {
			accept_pause(plane, error);
			return 0;
		}
		return 1;
	}
	plane_count(plane, PLANE_ACCEPTED, 1);
	error = connection_begin(plane, 0, fd, service->pipe, &peer, length);
	if (error != 0) {
		close(fd);		/* which resets it */
		plane_count(plane, PLANE_ACTIVE, (uint64_t)-1);
		accept_pause(plane, error);
		return 0;
	}
	if (active == service->limit && service->limit != 0)
		service->wanted |= PLANE_LIMIT_REACHED;
	return 1;
}

void
accept_nudged(struct plane *plane)
{
	uint64_t count;

	if (read(plane->service.nudge, &count, sizeof(count)) == sizeof(count))
		plane->service.acceptable = 1;	/* else another one was faster */
}

void
accept_some(struct plane *plane)
{
	plane->service.acceptable = 0;
	if (has_too_many(plane))
		leave_to_others(plane);
	else if (accept_one(plane) && plane->service.workers > 1 && !is_paused(plane)) {
		epoll_ctl(plane->epoll, EPOLL_CTL_DEL, plane->service.listener, NULL);
		if (watch_with_others(plane, plane->service.listener, TAG_LISTENER) != 0)
			pause_accepting(plane, ACCEPT_PAUSE_MS, 0);
	}
}

void
accept_again(struct plane *plane)
{
	struct service *service = &plane->service;
	int leftover = service->leftover;

	timer_clear(&plane->timers, &service->pause);
	service->at_limit = service->leftover = 0;
	watch_or_try_again(plane);
	if (leftover && !is_paused(plane))	/* the others may be busy, or stopped */
		accept_one(plane);
}

void
accept_has_room(struct plane *plane)
{
	struct service *service = &plane->service;

	if (is_paused(plane) && (service->at_limit || (service->leftover && !has_too_many(plane))))
		accept_again(plane);
}

int
plane_serve(struct plane *plane, int listener, int nudge, struct plane_pipe *pipe, uint64_t *active,
    size_t stride, size_t slots, uint64_t workers, uint64_t limit, int tell_clean)
{
	int error = timers_reserve(&plane->timers, 1);

	if (error != 0)
		return error;
	plane->service = (struct service){
		.listener = listener,
		.nudge = nudge,
		.pipe = pipe,
		.active = active,
		.stride = stride,
		.slots = slots,
		.workers = workers,
		.limit = limit,
		.tell_clean = tell_clean != 0,
		.pause.kind = TIMER_LISTENER,
	};
	error = watch(plane);
	if (error != 0)
		plane->service.listener = -1;
	return error;
}

void
plane_stop_serving(struct plane *plane)
{
	if (plane->service.listener < 0)
		return;
	if (!is_paused(plane))
		unwatch(plane);
	timer_clear(&plane->timers, &plane->service.pause);
	plane->service.listener = -1;
	plane->service.acceptable = 0;
	plane->service.tell_clean = 1;	/* who waits for the last one to end wants to know */
}

int
plane_accept_error(const struct plane *plane)
{
	return plane->service.error;
}

#endif
