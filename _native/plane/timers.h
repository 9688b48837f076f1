#ifndef TIMERS_H
#define TIMERS_H

/*
 * Times at which something is due: a heap of timers that their owners hold.
 */

#include <stddef.h>
#include <stdint.h>

struct timer {
	uint64_t due_ms;
	uint32_t place;			/* in the heap, from 1 on; 0: not set */
	int kind;			/* for the owner */
};

struct timers {
	struct timer **heap;		/* heap[1] is due first */
	size_t count;
	size_t room;			/* how many can be set at once */
};

/* Make room for so many timers at once.  Returns 0 or an errno value. */
int timers_reserve(struct timers *timers, size_t room);

/* Free what the heap holds; the timers are their owners'. */
void timers_free(struct timers *timers);

/* Set a timer, or set it to another time; UINT64_MAX is never.  There must be room for it. */
void timer_set(struct timers *timers, struct timer *timer, uint64_t due_ms);

/* Unset a timer, if it is set. */
void timer_clear(struct timers *timers, struct timer *timer);

/* The timer that is due first, or NULL. */
struct timer *timers_first(const struct timers *timers);

#endif
