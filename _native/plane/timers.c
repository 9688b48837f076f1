/*
 * Timers in a binary heap: each knows its place, so that any of them can be taken out.
 */
#include "timers.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define ROOM_MIN 64

int
timers_reserve(struct timers *timers, size_t room)
{
	struct timer **heap;

	if (room <= timers->room)
		return 0;
	room = room < ROOM_MIN ? ROOM_MIN : room + room / 2;
	heap = realloc(timers->heap, (room + 1) * sizeof(*heap));
	if (heap == NULL)
		return ENOMEM;
	timers->heap = heap;
	timers->room = room;
	return 0;
}

void
timers_free(struct timers *timers)
{
	free(timers->heap);
	*timers = (struct timers){ 0 };
}

static void
put(struct timers *timers, size_t place, struct timer *timer)
{
	timers->heap[place] = timer;
	timer->place = (uint32_t)place;
}

/* Put a timer where it belongs, looking upwards and then downwards from a place that is free. */
static void
sift(struct timers *timers, size_t place, struct timer *timer)
{
	struct timer **heap = timers->heap;

	while (place > 1 && timer->due_ms < heap[place / 2]->due_ms) {
		put(timers, place, heap[place / 2]);
		place /= 2;
	}
	for (;;) {
		size_t child = 2 * place;

		if (child > timers->count)
			break;
		if (child < timers->count && heap[child + 1]->due_ms < heap[child]->due_ms)
			child++;
		if (heap[child]->due_ms >= timer->due_ms)
			break;
		put(timers, place, heap[child]);
		place = child;
	}
	put(timers, place, timer);
}

void
timer_set(struct timers *timers, struct timer *timer, uint64_t due_ms)
{
	timer_clear(timers, timer);
	if (due_ms == UINT64_MAX)
		return;
	assert(timers->count < timers->room);
	timer->due_ms = due_ms;
	timers->count++;
	sift(timers, timers->count, timer);
}

void
timer_clear(struct timers *timers, struct timer *timer)
{
	size_t place = timer->place;
	struct timer *last;

	if (place == 0)
		return;
	timer->place = 0;
	last = timers->heap[timers->count--];
	if (last != timer)
		sift(timers, place, last);
}

struct timer *
timers_first(const struct timers *timers)
{
	return timers->count > 0 ? timers->heap[1] : NULL;
}
