/*
 * A turn: take events, accept, serve, compute, run timers.
 */
#include "turn.h"

#ifdef __linux__

#include <limits.h>
#include <sched.h>
#include <sys/epoll.h>

#include "accept.h"
#include "clock.h"
#include "computing.h"
#include "connection.h"
#include "lifecycle.h"
#include "list.h"
#include "opening.h"
#include "report.h"
#include "state.h"
#include "timers.h"
#include "wanted.h"

#define EVENTS_PER_TURN 256

/* How often to look whether a peer has acknowledged the rest; there is no event for it. */
#define DRAIN_POLL_MS 10

/* How often a bulk transfer lets others have the CPU, at most. */
#define YIELD_MS 1

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

/*
 * A process that is woken for a small message should not have to wait until the system's clock ticks and
 * finds that our time is up.  But each time costs us the rest of a slice, beside whoever is busy.
 */
static void
yield_after_much(struct plane *plane)
{
	uint64_t now_ms = clock_now_ms();

	if (now_ms < plane->yielded_ms + YIELD_MS)
		return;
	plane->yielded_ms = now_ms;
	sched_yield();
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
			opening_attempt_due(plane,
			    OWNER_OF(timer, struct connection, attempt_timer));
		else
			lifecycle_time_out(plane, OWNER_OF(timer, struct connection, timeout));
		look_for_shortage(plane);
	}
}

/* Has the last connection ended of a plane that accepts no more?  It says so once. */
static int
is_drained(const struct plane *plane)
{
	return plane->stopping && plane->connections == 0;
}

int
turn_take_wanted(struct plane *plane)
{
	struct accepting *accepting = &plane->accepting;
	int wanted = (accepting->limit_reached ? PLANE_LIMIT_REACHED : 0) |
	    (accepting->overloaded ? PLANE_OVERLOADED : 0) |
	    (accepting->has_trouble ? PLANE_CANNOT_ACCEPT : 0);

	if (is_drained(plane)) {
		wanted |= PLANE_DRAINED;
		plane->stopping = 0;
	}
	accepting->limit_reached = accepting->overloaded = accepting->has_trouble = 0;
	return wanted;
}

int
turn(struct plane *plane, int wait_ms)
{
	int wanted = take_events(plane, wait_ms);

	if (plane->accepting.pending)
		accept_next(plane);
	while (!is_empty(plane, QUEUE_READY))
		serve_first(plane, QUEUE_READY);
	if (!is_empty(plane, QUEUE_BULK)) {
		struct connection *connection = connection_first(plane, QUEUE_BULK);

		serve_first(plane, QUEUE_BULK);
		if (connection_is_bulky(connection))
			yield_after_much(plane);
	}
	if (computing_is_due(plane)) {
		opening_compute(plane, computing_next(plane));
		computing_note(plane);
		look_for_shortage(plane);
	}
	if (!is_empty(plane, QUEUE_DRAINING) && clock_now_ms() >= plane->drain_due_ms) {
		lifecycle_poll_draining(plane);
		plane->drain_due_ms = clock_after(clock_now_ms(), DRAIN_POLL_MS);
	}
	run_timers(plane);
	if (!is_empty(plane, QUEUE_ENDED))
		report_forget(plane);
	look_for_room(plane);
	return wanted | turn_take_wanted(plane);
}

/* 1 if there is something to do that no event will announce, else 0. */
static int
is_busy(const struct plane *plane)
{
	return !is_empty(plane, QUEUE_READY) || !is_empty(plane, QUEUE_BULK) ||
	    computing_is_due(plane) || !is_empty(plane, QUEUE_ENDED) || is_drained(plane) ||
	    plane->begun_count > 0;
}

int
turn_time_to_wait(const struct plane *plane, uint64_t deadline_ms)
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

#endif
