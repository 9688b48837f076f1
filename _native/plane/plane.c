/*
 * The plane as its caller has it: made, told what to do, and run.
 */
#include "plane.h"

#ifdef __linux__

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "accept.h"
#include "clock.h"
#include "lifecycle.h"
#include "list.h"
#include "opening.h"
#include "report.h"
#include "secret/wipe.h"
#include "state.h"
#include "turn.h"

size_t
plane_run(struct plane *plane, int64_t timeout_ms, int *wanted,
    struct plane_ending *endings, size_t room)
{
	uint64_t deadline_ms = timeout_ms < 0 ? UINT64_MAX : timeout_ms == 0 ? 0 :
	    clock_now_ms() + (uint64_t)timeout_ms;
	const struct link *ended = &plane->queue[QUEUE_ENDED];
	size_t count;

	do {
		*wanted = turn(plane, turn_time_to_wait(plane, deadline_ms));
	} while (*wanted == 0 && list_is_empty(ended) && plane->begun_count == 0 &&
	    (deadline_ms == UINT64_MAX || (deadline_ms > 0 && clock_now_ms() < deadline_ms)));

	count = report_take_begun(plane, endings);
	while (count < room && !list_is_empty(ended))
		report_take(plane, &endings[count++]);
	look_for_room(plane);
	*wanted |= turn_take_wanted(plane);
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

	if (error == 0) {
		plane->stopping = 0;
		plane->budget = (struct budget){ .left = service->tell_burst };
	}
	return error;
}

void
plane_report(struct plane *plane, int clean, int left, int begun)
{
	report_choose(plane, clean, left, begun);
}

void
plane_stop_serving(struct plane *plane)
{
	accept_end(plane);
	plane->stopping = 1;
}

int
plane_carry(struct plane *plane, uint64_t id, int accepted, struct plane_pipe *pipe)
{
	const struct arrival arrival = { .fd = accepted, .id = id };
	struct connection *connection;
	int error;

	counters_enter(plane->counters);
	error = opening_begin(plane, pipe, &arrival, &connection);
	if (error != 0)
		counters_leave(plane->counters);
	look_for_shortage(plane);
	return error;
}

int
plane_accept_error(const struct plane *plane)
{
	return plane->accepting.error;
}

int
plane_kill(struct plane *plane, uint64_t number)
{
	return lifecycle_kill(plane, number);
}

void
plane_abort_all(struct plane *plane)
{
	lifecycle_abort_all(plane);
}

void
plane_give_back(struct plane *plane)
{
	batch_give_back(&plane->batch);
}

struct plane *
plane_new(int control, uint64_t *counters, struct plane_entry *entries, size_t count)
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
	plane->entries = (struct entries){ .entry = entries, .count = count };
	plane->accepted = 0;
	plane->connections = 0;
	plane->timers = (struct timers){ 0 };
	for (enum queue queue = 0; queue < QUEUES; queue++)
		list_init(&plane->queue[queue]);
	plane->drain_due_ms = 0;
	list_init(&plane->unauthenticated);
	plane->shortage = plane->room_made = plane->stopping = 0;
	plane->accepting = (struct accepting){ .service.listener = -1 };
	plane->computing = (struct computing){ 0 };
	plane->yielded_ms = 0;
	plane->begun_count = 0;
	plane->budget = (struct budget){ 0 };
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
