#ifndef PLANE_ACCEPT_H
#define PLANE_ACCEPT_H

/*
 * Accepting connections from the listening socket, and leaving it to other planes for a while.
 */

#include "service.h"
#include "state.h"

/* Accept, from now on.  Returns 0 or an errno value. */
int accept_begin(struct plane *plane, const struct plane_service *service);

/* Accept no more. */
void accept_end(struct plane *plane);

/* Another plane has paused: a connection may be waiting. */
void accept_woken(struct plane *plane);

/* A connection may be waiting: accept one, if there is room. */
void accept_next(struct plane *plane);

/* The pause is over: accept again. */
void accept_resume(struct plane *plane);

/* The system has run out of something (plane->shortage): pause for a moment, and clear that. */
void accept_on_shortage(struct plane *plane);

/* There may be room (plane->room_made): end a pause that waits for that, and clear it. */
void accept_on_room(struct plane *plane);

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

#endif
