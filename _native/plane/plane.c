/*
 * The loop of the data plane: wait, take events, accept, serve, run timers, report.
 */
#include "plane.h"

#ifdef __linux__

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "accept.h"
#include "clock.h"
#include "connection.h"
#include "lifecycle.h"
#include "list.h"
#include "report.h"
#include "secret/wipe.h"
#include "state.h"
#include "timers.h"

#define EVENTS_PER_TURN 256

/* How often to look whether a peer has acknowledged the rest; there is no event for it. */
#define DRAIN_POLL_MS 10

/* What a connection reports is looked at before anything else happens. */

static inline void
look_for_shortage(struct plane *plane)
{
	if (plane->shortage != 0)
		accept_on_shortage(plane);
}

static inline void
look_for_room(struct plane *plane)
{
	if (plane->room_made)
		accept_on_room(plane);
}

/* Wait at most wait_ms for events, and take all of them before anything is served, so that none can be
 * of a connection that has ended in the meantime.  Returns a set of enum plane_wanted. */
static int
take_events(struct plane *plane, int wait_ms)
{
	struct epoll_event events[EVENTS_PER_TURN];
	int count = epoll_wait(plane->epoll, events, EVENTS_PER_TURN, wait_ms);
	int wanted = count < 0 ? PLANE_INTERRUPTED : 0;

	for (int i = 0; i < count; i++) {
		uintptr_t tag = (uintptr_t)events[i].data.u64;

		if (tag == TAG_CONTROL)
			wanted |= PLANE_CONTROL;
		else if (tag == TAG_LISTENER)
			plane->accepting.pending = 1;
		else if (tag == TAG_WAKE)
			accept_woken(plane);
		else
			lifecycle_take_events(plane, (struct endpoint *)tag, events[i].events);
	}
	return wanted;
}

static inline int
is_empty(const struct plane *plane, enum queue queue)
{
	return list_is_empty(&plane->queue[queue]);
}

static inline void
serve_first(struct plane *plane, enum queue queue)
{
	lifecycle_serve(plane, connection_first(plane, queue));
	look_for_shortage(plane);
}

/* Act on every timer that is due. */
static void
run_timers(struct plane *plane)
{
	struct timer *timer = timers_first(&plane->timers);
	uint64_t now_ms = timer != NULL ? clock_now_ms() : 0;

	for (; timer != NULL && timer->due_ms <= now_ms; timer = timers_first(&plane->timers)) {
		timer_clear(&plane->timers, timer);
		if (timer->kind == TIMER_PAUSE)
			accept_resume(plane);
		else if (timer->kind == TIMER_ATTEMPT)
			lifecycle_attempt_due(plane,
			    OWNER_OF(timer, struct connection, attempt_timer));
		else
			lifecycle_time_out(plane, OWNER_OF(timer, struct connection, timeout));
		look_for_shortage(plane);
	}
}

/* What accepting reports to the caller: a set of enum plane_wanted. */
static int
take_wanted(struct plane *plane)
{
	struct accepting *accepting = &plane->accepting;
	int wanted = (accepting->limit_reached ? PLANE_LIMIT_REACHED : 0) |
	    (accepting->has_trouble ? PLANE_CANNOT_ACCEPT : 0);

	accepting->limit_reached = accepting->has_trouble = 0;
	return wanted;
}

/* Wait at most wait_ms, and serve what is ready.  Returns a set of enum plane_wanted. */
static int
turn(struct plane *plane, int wait_ms)
{
	int wanted = take_events(plane, wait_ms);

	if (plane->accepting.pending)
		accept_next(plane);
	while (!is_empty(plane, QUEUE_READY))
		serve_first(plane, QUEUE_READY);
	if (!is_empty(plane, QUEUE_BULK)) {
		serve_first(plane, QUEUE_BULK);
		/* A process that is woken for a small message should not have to wait until
		 * the system's clock ticks and finds that our time is up. */
		sched_yield();
	}
	if (!is_empty(plane, QUEUE_COMPUTING)) {
		lifecycle_compute(plane, connection_first(plane, QUEUE_COMPUTING));
		look_for_shortage(plane);
	}
	if (!is_empty(plane, QUEUE_DRAINING) && clock_now_ms() >= plane->drain_due_ms) {
		lifecycle_poll_draining(plane);
		plane->drain_due_ms = clock_after(clock_now_ms(), DRAIN_POLL_MS);
	}
	run_timers(plane);
	if (!is_empty(plane, QUEUE_ENDED) && !(plane->reports_clean && plane->reports_left)) {
		report_forget_harmless(plane);
		look_for_room(plane);
	}
	return wanted | take_wanted(plane);
}

/* 1 if there is something to do that no event will announce, else 0. */
static int
is_busy(const struct plane *plane)
{
	return !is_empty(plane, QUEUE_READY) || !is_empty(plane, QUEUE_BULK) ||
	    !is_empty(plane, QUEUE_COMPUTING) || !is_empty(plane, QUEUE_ENDED) || plane->begun_count > 0;
}

/* How long to wait for events, if the caller would wait until this time. */
static int
time_to_wait(const struct plane *plane, uint64_t deadline_ms)
{
	const struct timer *timer = timers_first(&plane->timers);
	uint64_t now_ms;

	if (is_busy(plane))
		return 0;
	if (timer != NULL && timer->due_ms < deadline_ms)
		deadline_ms = timer->due_ms;
	if (deadline_ms == UINT64_MAX && is_empty(plane, QUEUE_DRAINING))
		return -1;
	now_ms = clock_now_ms();
	if (!is_empty(plane, QUEUE_DRAINING) && deadline_ms > plane->drain_due_ms)
		deadline_ms = plane->drain_due_ms;
	if (deadline_ms <= now_ms)
		return 0;
	return deadline_ms - now_ms < INT_MAX ? (int)(deadline_ms - now_ms) : INT_MAX;
}

size_t
plane_run(struct plane *plane, int64_t timeout_ms, int *wanted,
    struct plane_ending *endings, size_t room)
{
	uint64_t deadline_ms = timeout_ms < 0 ? UINT64_MAX : timeout_ms == 0 ? 0 :
	    clock_now_ms() + (uint64_t)timeout_ms;
	size_t count;

	do {
		*wanted = turn(plane, time_to_wait(plane, deadline_ms));
	} while (*wanted == 0 && is_empty(plane, QUEUE_ENDED) && plane->begun_count == 0 &&
	    (deadline_ms == UINT64_MAX || (deadline_ms > 0 && clock_now_ms() < deadline_ms)));

	count = report_take_begun(plane, endings);
	while (count < room && !is_empty(plane, QUEUE_ENDED)) {
		report_take(plane, &endings[count++]);
		look_for_room(plane);
	}
	*wanted |= take_wanted(plane);
	return count;
}

int
plane_supported(void)
{
	return 1;
}

int
plane_serve(struct plane *plane, const struct plane_service *service)
{
	int error = accept_begin(plane, service);

	if (error == 0)
		plane_report(plane, service->tell_clean, service->tell_left, service->tell_begun);
	return error;
}

void
plane_report(struct plane *plane, int clean, int left, int begun)
{
	if (plane->accepting.service.listener >= 0)
		report_choose(plane, clean, left, begun);
}

void
plane_stop_serving(struct plane *plane)
{
	accept_end(plane);
	report_choose(plane, 1, 1, 0);
}

int
plane_carry(struct plane *plane, uint64_t id, int accepted, struct plane_pipe *pipe)
{
	const struct arrival arrival = { .fd = accepted, .id = id };
	struct connection *connection;
	int error;

	counter_add(plane->counters, PLANE_ACTIVE, 1);
	error = lifecycle_begin(plane, pipe, &arrival, &connection);
	if (error != 0)
		counter_decrement(plane->counters, PLANE_ACTIVE);
	look_for_shortage(plane);
	return error;
}

int
plane_accept_error(const struct plane *plane)
{
	return plane->accepting.error;
}

void
plane_abort_all(struct plane *plane)
{
	lifecycle_abort_all(plane);
}

struct plane *
plane_new(int control, uint64_t *counters)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = TAG_CONTROL };
	struct plane *plane = malloc(sizeof(*plane));
	int saved;

	if (plane == NULL)
		return NULL;
	plane->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (plane->epoll < 0 || epoll_ctl(plane->epoll, EPOLL_CTL_ADD, control, &event) != 0) {
		saved = errno;
		if (plane->epoll >= 0)
			close(plane->epoll);
		free(plane);
		errno = saved;
		return NULL;
	}
	plane->counters = counters;
	plane->accepted = 0;
	plane->connections = 0;
	plane->timers = (struct timers){ 0 };
	for (enum queue queue = 0; queue < QUEUES; queue++)
		list_init(&plane->queue[queue]);
	plane->drain_due_ms = 0;
	list_init(&plane->unauthenticated);
	plane->shortage = plane->room_made = 0;
	plane->accepting = (struct accepting){ .service.listener = -1 };
	plane->begun_count = 0;
	report_choose(plane, 0, 0, 0);
	return plane;
}

void
plane_free(struct plane *plane)
{
	assert(plane->connections == 0);
	timers_free(&plane->timers);
	close(plane->epoll);
	wipe(plane, sizeof(*plane));	/* the batch holds plaintext */
	free(plane);
}

#endif
