#ifndef PLANE_LISTENING_H
#define PLANE_LISTENING_H

/*
 * The listening socket, which other planes watch as well, and pauses in which it is left to them.
 *
 * A plane that pauses wakes another one by an eventfd, because the system may have woken only us for the
 * connections that are waiting.
 */

#include <stdint.h>

#include "state.h"

/* Watch it, from now on.  Returns 0 or an errno value. */
int listening_watch(struct plane *plane);

/* Watch it no more. */
void listening_unwatch(struct plane *plane);

/* Go to the end of the system's queue of planes to be woken; or pause, if that fails. */
void listening_queue_up(struct plane *plane);

/* Accept nothing for so long, and wake another plane. */
void listening_pause(struct plane *plane, enum pause reason, uint64_t ms);

/* The system refuses, with this errno value: pause, and report that to the caller, unless we pause already,
 * or do not serve. */
void listening_pause_for_trouble(struct plane *plane, int error);

/* Was there a wake-up?  If so, no other plane sees it any more, so this one has to accept. */
int listening_take_wake(const struct plane *plane);

/* 1 during a pause, else 0. */
static inline int
listening_is_paused(const struct plane *plane)
{
	return plane->accepting.reason != PAUSE_NONE;
}

#endif
