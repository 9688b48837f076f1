#ifndef PLANE_ACCEPT_H
#define PLANE_ACCEPT_H

/*
 * Accepting: the listening socket, the pauses in which it is left to other planes, and how those are
 * woken.
 */

#include "service.h"

struct plane;

/* Accept, from now on.  Returns 0 or an errno value. */
int accept_begin(struct plane *plane, const struct plane_service *service);

/* Accept no more. */
void accept_end(struct plane *plane);

/* Another plane has left somebody to us. */
void accept_woken(struct plane *plane);

/* There may be somebody: accept one, if there is room. */
void accept_some(struct plane *plane);

/* The pause is over. */
void accept_resume(struct plane *plane);

/* The system has run out of something, plane->shortage: accept nobody for a moment, and clear that. */
void accept_on_shortage(struct plane *plane);

/* A connection is no more, plane->room_made: end a pause that has waited for that, and clear it. */
void accept_on_room(struct plane *plane);

#endif
