#ifndef PLANE_TURN_H
#define PLANE_TURN_H

/*
 * The turns of a plane: what is done in which order, each time that something has happened.
 */

#include <stdint.h>

struct plane;

/* Wait at most wait_ms for events, and serve what is ready.  Returns a set of enum plane_wanted. */
int turn(struct plane *plane, int wait_ms);

/* How long to wait for events, in milliseconds, if the caller would wait until this time; -1: any time. */
int turn_time_to_wait(const struct plane *plane, uint64_t deadline_ms);

/* What there is to be told to the caller, once: a set of enum plane_wanted. */
int turn_take_wanted(struct plane *plane);

#endif
