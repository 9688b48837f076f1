/*
 * The listening socket: watched, left to others for a while, and watched again.
 */
#include "listening.h"

#ifdef __linux__

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "clock.h"
#include "counters.h"
#include "timers.h"

#define TROUBLE_MS 100			/* how long to accept nothing when the system has run out of something */

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

int
listening_watch(struct plane *plane)
{
	const struct plane_service *service = &plane->accepting.service;
	int error = watch_with_others(plane, service->listener, TAG_LISTENER);

	if (error == 0 && service->wake >= 0)
		error = watch_with_others(plane, service->wake, TAG_WAKE);
	if (error != 0)
		unwatch(plane, service->listener);
	return error;
}

void
listening_unwatch(struct plane *plane)
{
	unwatch(plane, plane->accepting.service.listener);
	unwatch(plane, plane->accepting.service.wake);
}

void
listening_queue_up(struct plane *plane)
{
	int listener = plane->accepting.service.listener;

	unwatch(plane, listener);
	if (watch_with_others(plane, listener, TAG_LISTENER) != 0)
		listening_pause(plane, PAUSE_TROUBLE, TROUBLE_MS);
}

void
listening_pause(struct plane *plane, enum pause reason, uint64_t ms)
{
	static const uint64_t one = 1;
	struct accepting *accepting = &plane->accepting;
	int wake = accepting->service.wake;

	listening_unwatch(plane);
	accepting->reason = reason;
	timer_set(&plane->timers, &accepting->pause, clock_after(clock_now_ms(), ms));
	if (wake >= 0 && write(wake, &one, sizeof(one)) < 0)
		return;			/* the counter is at its maximum: the others are being woken */
}

static enum accept_error
kind_of(int error)
{
	switch (error) {
	case EMFILE:
		return ACCEPT_PROCESS_FILES;
	case ENFILE:
		return ACCEPT_SYSTEM_FILES;
	case ENOMEM: case ENOBUFS: case ENOSPC:
		return ACCEPT_MEMORY;
	}
	return ACCEPT_OTHER;
}

void
listening_pause_for_trouble(struct plane *plane, int error)
{
	if (plane->accepting.service.listener < 0 || listening_is_paused(plane))
		return;
	counter_add(plane->counters, PLANE_ACCEPT_ERRORS + kind_of(error), 1);
	plane->accepting.has_trouble = 1;
	plane->accepting.error = error;
	listening_pause(plane, PAUSE_TROUBLE, TROUBLE_MS);
}

int
listening_take_wake(const struct plane *plane)
{
	int wake = plane->accepting.service.wake;
	uint64_t count;

	return wake >= 0 && read(wake, &count, sizeof(count)) == sizeof(count);
}

#endif
